"""What is proposed for what is wrong on recorded hosts with Sendmail. That it helps is told by Sendmail, in the lab."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.components import one, read_all, servers
from ansible.module_utils.mtaudit.config.sendmail import Wanted
from ansible.module_utils.mtaudit.control import REGISTRY
from ansible.module_utils.mtaudit.fix import FIXES
from ansible.module_utils.mtaudit.fixes import every  # noqa: F401 - registers every fix
from ansible.module_utils.mtaudit.runner import Replay
from capture_fixture import site_from
from test_relay_controls import FIXTURES, SCENARIOS, load

FAILING = [d for d in SCENARIOS if d.name.startswith("fail-sendmail-") and (d.parent.name, "sendmail") in FIXES]
ACCESS, CLASS = "/etc/mail/access", "/etc/mail/relay-domains"
# What only the site knows, or what stands elsewhere.
LEFT = {
    "fail-sendmail-mailboxes-of-a-relayed-domain-d13": "which mailboxes the next host has",
    "fail-sendmail-second-daemon-open": "it has a file, and somebody who starts it, of its own",
    "fail-sendmail-any-sender-after-login": "whose sender is whose",
    "fail-sendmail-any-sender-after-login-d13": "whose sender is whose",
    "fail-sendmail-logins-send-as-anybody-d13": "whose sender is whose",
}
CHANGES: dict[str, dict[str, Any]] = {
    "RELAY-01/fail-sendmail-access-one-octet": {"maps": {ACCESS: {"connect:198": None}}},
    "RELAY-01/fail-sendmail-access-narrower-refused": {"maps": {ACCESS: {"connect:198.19": None}}},
    "RELAY-01/fail-sendmail-class-r-domain": {
        "words": {CLASS: {"stranger.test": False}}, "maps": {ACCESS: {"To:stranger.test": "RELAY"}}},
    "RELAY-01/fail-sendmail-relay-entire-domain": {"features": {"relay_entire_domain": None}},
    "RELAY-03/fail-sendmail-local-check-helo": {
        "features": {"promiscuous_relay": None, "relay_mail_from": None}, "lines": {"R< $=w > $*\t$# OK": None}},
    "RELAY-04/fail-sendmail-untagged-one-label": {"maps": {ACCESS: {"test": None}}},
    "RELAY-08/fail-sendmail-class-r-holds-the-gateway": {"words": {CLASS: {"198.18.0.254": False}}},
    "RELAY-09/fail-sendmail-class-r-ipv6": {"words": {CLASS: {"IPv6:2001:db8": False}}},
    "RELAY-12/fail-sendmail-certificate-issuer": {"maps": {ACCESS: {"certissuer:/o=lab/cn=authority": None}}},
    "RELAY-14/fail-sendmail-senders-of-logins-behind-delay-checks": {
        "features": {"delay_checks": None, "conncontrol": "`', `terminate'"}},
    "AUTH-01/fail-sendmail-login-in-clear": {"defines": {"confAUTH_OPTIONS": "A y p"}},
    "AUTH-01/fail-sendmail-login-in-clear-for-some": {"maps": {ACCESS: {"srv_features:198.19": None}}},
    "AUTH-02/fail-sendmail-login-on-port-25-d13": {"daemons": {"MTA": "Family=inet6, Name=MTA, Port=smtp, M=A"}},
    "AUTH-03/fail-sendmail-submission-without-a-login-d13": {
        "daemons": {"MSA": "Family=inet6, Name=MSA, Port=submission, M=Ea"}, "features": {"no_default_msa": ""}},
    "INFO-02/fail-sendmail-version-in-the-greeting-d13": {"defines": {"confSMTP_LOGIN_MSG": "$j"}},
    "MILTER-01/fail-sendmail-milter-fails-open-d13": {"filters": {"scanner": "S=inet:3399@127.0.0.1, F=T"}},
    "RATE-02/fail-sendmail-limits-name-nobody": {"maps": {ACCESS: {"ClientConn:": "100"}}},
}  # fmt: skip


def proposed(directory: Path) -> Wanted | None:
    recording, expected = load(directory)
    programs = [name for name in expected["programs"] if name != "os"]
    readings, control = read_all(Replay(recording), programs, recording.get("ids", ())), directory.parent.name
    site = replace(site_from(expected["site"]), servers=servers(readings), rspamd=one(readings, "rspamd"))
    for live in (i for reading in readings if reading.component.name == "sendmail" for i in reading.instances):
        own = [f for f in REGISTRY[control, "sendmail"].evaluate(live, site) if f.status.value == "fail"]
        if own:
            found: Wanted | None = FIXES[control, "sendmail"].propose(live, site, own)
            return found
    raise AssertionError("nothing fails")


@pytest.mark.parametrize("directory", FAILING, ids=lambda d: f"{d.parent.name}-{d.name}")
def test_something_is_proposed_where_it_can_be_known(directory: Path) -> None:
    assert (proposed(directory) is None) == (directory.name in LEFT)


@pytest.mark.parametrize("name", CHANGES)
def test_no_more_is_proposed_than_the_cause(name: str) -> None:
    wanted = proposed(FIXTURES / name)
    assert {f.name: dict(getattr(wanted, f.name)) for f in fields(Wanted) if getattr(wanted, f.name)} == CHANGES[name]
