"""What is wrong on recorded hosts with OpenSMTPD is mended on a candidate, and nothing else gets worse there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.address import parse_network
from ansible.module_utils.mtaudit.components import read_all, servers
from ansible.module_utils.mtaudit.config.opensmtpd import Wanted, candidate
from ansible.module_utils.mtaudit.control import REGISTRY, Site
from ansible.module_utils.mtaudit.finding import Finding
from ansible.module_utils.mtaudit.fix import FIXES
from ansible.module_utils.mtaudit.fixes import every  # noqa: F401 - registers every fix
from ansible.module_utils.mtaudit.readers.opensmtpd import OpenSmtpd
from ansible.module_utils.mtaudit.runner import Completed, Replay
from capture_fixture import site_from
from test_relay_controls import FIXTURES, SCENARIOS, SINCE, component_of, load

FAILING = [d for d in SCENARIOS if d.name.startswith("fail-opensmtpd-") and (d.parent.name, "opensmtpd") in FIXES]
# What only the site knows, or what the file does not say.
LEFT = {
    "fail-opensmtpd-senders-of-a-shared-domain": "whose sender is whose",
    "fail-opensmtpd-senders-of-all-for-all": "whose sender is whose",
    "fail-opensmtpd-relay-domain-without-recipients": "which mailboxes the next host has",
    "fail-opensmtpd-catch-all-for-everything": "the table is a data base",
    "fail-opensmtpd-traced-sessions": "told on the command line",
    "fail-opensmtpd-traced-while-it-runs": "told by smtpctl",
    "fail-opensmtpd-submission-missing": "no line has TLS and logins",
}
# The statements that are changed, and what becomes of them: the least of it.
CHANGES = {
    "RELAY-01/fail-opensmtpd-from-any-for-any": 'match auth from any for any action "outside"',
    "RELAY-01/fail-opensmtpd-from-src-macro": 'match from src { "10.0.0.1" } for any action "outside"',
    "RELAY-01/fail-opensmtpd-without-login": 'match auth from any for any action "outside"',
    "RELAY-04/fail-opensmtpd-for-domain-negated": 'match auth from any ! for domain "bank.test" action "outside"',
    "RELAY-09/fail-opensmtpd-from-src-ipv6": 'match from src { "10.1.2.3" } for any action "outside"',
    "RATE-02/fail-opensmtpd-limits-too-many-recipients": "smtp limit max-rcpt 1000",
}


class Judged(Replay):
    """smtpd takes the copy as it took the file, and no link of the host leads to a file that changes."""

    def resolve(self, path: str) -> str:
        return path

    def run(self, argv: Sequence[str], *more: Any, **others: Any) -> Completed:
        return super().run(["/etc/smtpd.conf" if word.endswith("smtpd.conf") else word for word in argv], *more, **others)


def failing(smtpd: OpenSmtpd, site: Site) -> list[Finding]:
    found = [f for (_, component), c in sorted(REGISTRY.items()) if component == "opensmtpd" for f in c.evaluate(smtpd, site)]
    return [f for f in found if f.status.value in ("fail", "error")]


@pytest.mark.parametrize("directory", FAILING, ids=lambda d: f"{d.parent.name}-{d.name}")
def test_a_recorded_fault_is_mended(directory: Path, tmp_path: Path) -> None:
    recording, expected = load(directory)
    runner, control = Judged(recording), directory.parent.name
    readings = read_all(runner, ["opensmtpd"])
    live = readings[0].instances[0]
    site = replace(site_from(expected["site"]), servers=servers(readings))
    before = failing(live, site)
    now, wanted = live, Wanted()
    for attempt in range(3):
        own = [f for f in failing(now, site) if f.control == control]
        if not own:
            break
        proposal = FIXES[control, "opensmtpd"].propose(now, site, own)
        name = directory.name.removesuffix("-d13")
        assert (proposal is None) == (name in LEFT), (own, proposal)
        if proposal is None:
            return
        wanted = wanted.then(proposal)
        scratch = tmp_path / str(attempt)
        scratch.mkdir()
        done = candidate(runner, live, wanted, scratch)
        assert done.files and done.activate == "restart"
        now = done.reading
    assert not [f for f in failing(now, site) if f.control == control], wanted
    known = {(f.control, str(f.subject)) for f in before}
    # Behind an open domain there are mailboxes that this host does not know.
    worse = {(f.control, str(f.subject)) for f in failing(now, site)} - known
    assert {id_ for id_, _ in worse} - SINCE <= {"RCPT-01"}, worse


@pytest.mark.parametrize("name", CHANGES)
def test_a_rule_is_changed_and_no_more(name: str) -> None:
    recording, expected = load(FIXTURES / name)
    (live,) = read_all(Replay(recording), ["opensmtpd"])[0].instances
    site, control = site_from(expected["site"]), name.partition("/")[0]
    wanted = FIXES[control, "opensmtpd"].propose(live, site, [f for f in failing(live, site) if f.control == control])
    assert list(wanted.statements.values()) == [CHANGES[name]] and not wanted.additions


def test_networks_that_are_declared_stay_trusted() -> None:
    recording, expected = load(FIXTURES / "RELAY-01/fail-opensmtpd-from-src-file")
    (live,) = read_all(Replay(recording), ["opensmtpd"])[0].instances
    site = replace(site_from(expected["site"]), trusted_networks=(parse_network("10.0.0.0/24"),))
    wanted = FIXES["RELAY-01", "opensmtpd"].propose(live, site, [f for f in failing(live, site) if f.control == "RELAY-01"])
    assert list(wanted.statements.values()) == ['match from src { "10.0.0.1" } for any action "outside"']


def test_the_hosts_own_mail_keeps_its_way() -> None:
    recording, expected = load(FIXTURES / "RELAY-01/fail-opensmtpd-from-any-for-any")
    (live,) = read_all(Replay(recording), ["opensmtpd"])[0].instances
    live.config.rules[:] = [rule for rule in live.config.rules if str(rule) != 'match from local for any action "outside"']
    site = site_from(expected["site"])
    wanted = FIXES["RELAY-01", "opensmtpd"].propose(live, site, [f for f in failing(live, site) if f.control == "RELAY-01"])
    assert wanted.additions == {'match from local for any action "outside"': 'match from any for any action "outside"'}


def test_every_opensmtpd_fault_that_has_a_fix_is_recorded() -> None:
    assert {component_of(d) for d in FAILING} == {"opensmtpd"} and len(FAILING) > 40
