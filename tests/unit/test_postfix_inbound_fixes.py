"""Postfix's fixes of what is asked of blocklists, on recordings of real hosts that fail."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.components import one, read_all, servers
from ansible.module_utils.mtaudit.config.files import ConfigError
from ansible.module_utils.mtaudit.config.postfix import Wanted
from ansible.module_utils.mtaudit.control import REGISTRY
from ansible.module_utils.mtaudit.fix import FIXES
from ansible.module_utils.mtaudit.fixes import every  # noqa: F401 - registers every fix
from ansible.module_utils.mtaudit.runner import Replay
from capture_fixture import restore, site_from

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
ZEN_THERE = "reject_rbl_client zen.spamhaus.org=127.0.0.[2..11]"
ZEN, DBL = "reject_rbl_client zen.spamhaus.org=127.0.0.[2;3;4;9;10;11]", "dbl.spamhaus.org=127.0.1.[2;4;5;6]"
NAMES = ", ".join(f"reject_rhsbl_{what} {DBL}" for what in ("sender", "helo", "reverse_client"))
CLIENT, RECIPIENT = "smtpd_client_restrictions", "smtpd_recipient_restrictions"


def proposed(control: str, name: str, **tunables: Any) -> Wanted | None:
    directory = FIXTURES / control / f"fail-{name}"
    recording = restore(json.loads((directory / "recording.json").read_text()))
    expected = json.loads((directory / "expect.json").read_text())
    readings = read_all(Replay(recording), expected["programs"], recording.get("ids", ()))
    site = replace(site_from(expected["site"]), servers=servers(readings), rspamd=one(readings, "rspamd"),
                   clamav=one(readings, "clamav"), tunables=tunables)  # fmt: skip
    postfix = one(readings, "postfix")
    failing = [f for f in REGISTRY[(control, "postfix")].evaluate(postfix, site) if f.status.value == "fail"]
    assert failing
    found: Wanted | None = FIXES[(control, "postfix")].propose(postfix, site, failing)
    return found


@pytest.mark.parametrize(
    ("name", "where", "begins"),
    [("blocklist-never-reached", CLIENT, f"permit_mynetworks, {ZEN}, reject_rhsbl"),
     ("blocklist-of-other-content", CLIENT, f"permit_mynetworks, {ZEN}, reject_rbl_client bl.test, "),
     ("blocklist-only-warned-about", CLIENT, f"permit_mynetworks, {ZEN}, warn_if_reject, reject_rbl_client zen."),
     ("blocklist-that-is-closed", CLIENT, f"permit_mynetworks, {ZEN_THERE}, reject_rhsbl"),
     ("blocklist-without-a-reply-filter", CLIENT, f"permit_mynetworks, {ZEN}, reject_rhsbl"),
     ("blocklists-not-asked", RECIPIENT, f"permit_mynetworks, {ZEN}")],
)  # fmt: skip
def test_addresses_are_looked_up_behind_those_who_may_relay(name: str, where: str, begins: str) -> None:
    found = proposed("INB-01", name)
    assert found and list(found.parameters) == [where]
    value = found.parameters[where]
    assert value and value.startswith(begins) and "sorbs" not in value


@pytest.mark.parametrize(
    ("name", "begins"),
    [("domain-list-without-a-reply-filter", f"permit_mynetworks, {ZEN_THERE}, reject_rhsbl_reverse_client {DBL}"),
     ("names-not-looked-up", f"permit_mynetworks, {NAMES}, {ZEN_THERE}"),
     ("only-the-sender-looked-up", f"permit_mynetworks, {NAMES}")],
)  # fmt: skip
def test_names_are_looked_up(name: str, begins: str) -> None:
    found = proposed("INB-02", name)
    assert found
    (value,) = found.parameters.values()
    assert value and value.startswith(begins), value


@pytest.mark.parametrize("name", ["only-logs", "weights-below-the-threshold", "without-a-reply-filter"])
def test_the_weights_of_postscreen_are_the_sites(name: str) -> None:
    assert proposed("INB-01", f"postscreen-{name}") is None


def test_a_list_whose_answers_are_not_known_is_not_asked() -> None:
    own = {"address_lists": ("zen.dq.spamhaus.net", "bl.example.org", "k3y.zen.dq.spamhaus.net")}
    found = proposed("INB-01", "blocklists-not-asked", **own)
    assert found and "reject_rbl_client k3y.zen.dq.spamhaus.net=127.0.0.[2;3;4;9;10;11]" in str(found)
    with pytest.raises(ConfigError, match="which answers of zen.dq.spamhaus.net, bl.example.org are listings is not known"):
        proposed("INB-01", "blocklists-not-asked", address_lists=("zen.dq.spamhaus.net", "bl.example.org"))
