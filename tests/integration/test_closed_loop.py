"""What the audit finds is mended, stays mended, lets mail pass, and goes back to the byte; swaks is the oracle."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.fix import FIXES
from ansible.module_utils.mtaudit.fixes import every  # noqa: F401 - registers every fix

sys.path.insert(0, str(Path(__file__).parent))

from closed_loop import AFTERWARDS, Lab, Loop, run
from mtalab.faults import Fault, load

pytestmark = pytest.mark.lab

FULL = bool(os.environ.get("MTAUDIT_FULL"))
PROGRAMS = {"exim": "exim", "sendmail": "sendmail", "opensmtpd": "opensmtpd"}


# Faults of programs that have no fixes, on hosts of one that has.
OTHERS = ("port-of-a-forwarder",)
# What the probes alone see is not asked here: whether a scanner would refuse it, and which certificate a server still shows.
PROBED = ("exim-local-sender-to-local-mailbox", "tls-certificate-renewed-and-not-read")
# Nobody answers as the milter of these rows: where no mail gets past it any more, all mail waits.
PUT_OFF = ("milter-fails-open", "milter-fails-open-on-one-port", "sendmail-milter-fails-open")
# The host behind answers nobody in the lab: mail for it is queued then, before and after.
QUEUED = ("exim-relay-recipients-not-asked-for",)


def component(fault: Fault) -> str:
    if fault.area == "dovecot" or fault.name.startswith("dovecot-") or fault.listener in ("*:143", "*:993"):
        return "dovecot"
    return next((program for name, program in PROGRAMS.items() if fault.base.startswith(name)), "postfix")


def mendable(fault: Fault) -> bool:
    named = {(fault.control, component(fault)), (fault.control, "os")}
    if fault.name in (*OTHERS, *PROBED):
        return False
    return fault.verdict == "fail" and bool(named & set(FIXES)) and not fault.lan


# One batch that touches each program and each kind of fix; test_hardened_smtpd.py has more, without playbooks.
SAMPLE = (
    "mynetworks-two-halves", "own-domain-ok-before-the-reject", "second-port-with-mynetworks", "login-on-port-25",
    "log-world-readable", "exim-relay-nets-everybody", "exim-login-in-clear", "sendmail-access-one-octet",
    "sendmail-login-on-port-25", "opensmtpd-from-any-for-any", "opensmtpd-logins-on-port-25", "dovecot-login-in-clear-for-some",
    "guard-without-a-filter-for-opensmtpd", "policy-optional",
)  # fmt: skip
# What no fix of ours mends, and what the plan says of it.
UNKNOWN = "no change that mtaudit knows"
LEFT: dict[str, str] = {
    "accounts-mail-let-pass": UNKNOWN,  # what the site told its scanner
    "programs-mail-let-pass": UNKNOWN,
    "quarantine-that-is-forgotten": UNKNOWN,  # what is quarantined, and by which version, is the site's choice
    "quarantined-by-an-action-that-is-not-told": "it would not help",
    "suspect-mail-gets-an-action-that-rspamd-does-not-know": UNKNOWN,
    "suspect-mail-thrown-away": UNKNOWN,
    "exim-quarantine-that-no-acl-knows": UNKNOWN,
    "exim-frozen-mail-thaws": UNKNOWN,
    "opensmtpd-quarantine-that-the-filter-does-not-know": UNKNOWN,
    "milter-fails-open-by-itself": "it is so already",  # the milter's own default_action
    "limits-are-not-counted": UNKNOWN,  # somebody switched anvil off
    "rates-without-redis": "it would not help",  # somebody stopped it
    "sendmail-rates-are-not-told-the-login": "it would not help",  # what its milters are told is not changed
    "login-maps-with-everybody-for-all": "it would not help",
    "login-maps-with-a-whole-domain": "it would not help",
    "login-maps-with-a-pattern": "it would not help",
    "abuse-has-an-alias-that-is-not-compiled": "what is compiled differs from its text in 'abuse'",
    "postscreen-weights-below-the-threshold": UNKNOWN,  # the site's own weights
    "postscreen-only-logs": UNKNOWN,
    "lists-answer-errors-to-the-resolver": "it would not help",  # which resolver a host asks is somebody's to say
    "postscreen-without-a-reply-filter": UNKNOWN,
    "guard-not-installed": "it needs fail2ban: name fail2ban, nftables and python3-systemd in mta_harden_install",
    **dict.fromkeys(("guard-watches-what-exim-left", "guard-watches-what-exim-left-d13"), "Exim writes to syslog alone"),
    "log-rsyslog-stopped": "rsyslogd does not run .*somebody has to say",
    "log-discard-before-mail": "this rule throws away",
    "log-discard-by-program": "this rule throws away",
    "log-discard-of-logins": "this rule throws away",
    "log-service-from-warning-on": "LogLevelMax=warning of .*somebody has to say",
    "log-rotated-by-size": UNKNOWN,  # whoever set a size had a disk in mind
    "log-size-after-the-time": UNKNOWN,
    "log-never-rotated": UNKNOWN,
    "log-copies-for-ever": UNKNOWN,  # for how long they may be kept, max_days says
    "log-rotation-not-started": UNKNOWN,  # somebody switched it off
    "log-copies-younger-than-told": UNKNOWN,  # what was deleted does not come back
    "web-sendmail-hands-in": "Sendmail asks nobody about the account",
    "web-opensmtpd-hands-in": "OpenSMTPD is not told which account",
    "web-opensmtpd-closed-by-mode": "OpenSMTPD is not told which account",
    "web-msmtp-without-a-login": "only the site knows",  # which login
    "web-one-login-for-two-sites": "only the site knows",
    "policy-as-debian-comes": "name libpam-pwquality in mta_harden_install",
    "policy-of-login-defs": "name libpam-pwquality in mta_harden_install",
    "password-of-a-second-root": UNKNOWN,  # what is done with it, only the site knows
    "password-not-asked-by-dovecot": UNKNOWN,  # Dovecot's own tables
    "password-beside-nopassword": UNKNOWN,
    "submission-missing": UNKNOWN,  # nobody can log in anywhere
    "secret-by-access-control-list": UNKNOWN,
    "log-readable-by-an-access-control-list": "somebody has to say",
    "secret-of-an-owner-that-is-not-known": UNKNOWN,
    "exim-router-takes-everybody": UNKNOWN,  # which mailboxes exist, only the site knows
    "exim-aliases-for-everybody": UNKNOWN,
    "exim-certificate-of-its-own": UNKNOWN,  # a certificate is somebody's to give
    "exim-second-daemon-open": UNKNOWN,  # whoever started it has to stop it
    "exim-login-held-to-the-domain-only": UNKNOWN,  # whose address is whose, no file says
    "exim-login-maps-with-everybody-for-all": "it would not help",  # and here the file gives everything to everybody
    "opensmtpd-senders-of-a-shared-domain": UNKNOWN,  # whose address is whose
    "opensmtpd-senders-of-all-for-all": UNKNOWN,
    "opensmtpd-catch-all-for-everything": UNKNOWN,  # a data base: the text that it was made from is not known
    "opensmtpd-relay-domain-without-recipients": UNKNOWN,  # which mailboxes the next host has
    "opensmtpd-submission-missing": UNKNOWN,  # no line has a certificate and logins
    "sendmail-mc-is-clean": "it is not what m4 makes of /etc/mail/sendmail.mc",
    "sendmail-second-daemon-open": UNKNOWN,  # whoever started it has to stop it
    "sendmail-log-level-of-the-command-line": UNKNOWN,  # no configuration says it
    "sendmail-log-level-by-its-letter": UNKNOWN,
    "sendmail-sessions-in-a-file": UNKNOWN,
    "sendmail-mailboxes-of-a-relayed-domain": UNKNOWN,
    "sendmail-mailboxes-on-a-hub": UNKNOWN,
    "sendmail-submission-without-a-certificate": UNKNOWN,
    "sendmail-any-sender-after-login": UNKNOWN,
    "sendmail-senders-by-their-local-part": UNKNOWN,
    "sendmail-logins-send-as-anybody": UNKNOWN,
    "sendmail-logins-held-to-the-domain-only": UNKNOWN,
}


def on_both(faults: list[Fault]) -> Iterator[Fault]:
    """All of them, and on the other release what has no row there: each of Dovecot's faults, for its releases name what is set
    each in its own way, and of the other programs one fault of each control."""
    yield from faults
    seen = {(fault.control, component(fault)) for fault in faults if fault.base.endswith("d13")}
    for fault in faults:
        program = component(fault)
        if fault.releases or not fault.base.endswith("d12") or fault.name in LEFT:
            continue
        if program == "dovecot" or (fault.control, program) not in seen:
            yield fault.on_other_release
            seen.add((fault.control, program))


SOME = [fault for fault in load() if mendable(fault) and (FULL or fault.name in SAMPLE)]
FAULTS = [*on_both(SOME)] if FULL else SOME


@pytest.fixture(scope="module")
def loops(lab: Lab, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Loop]:
    """Of the faults that the tests of this run ask for (`-k`)."""
    asked = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
    return run(lab, [fault for fault in FAULTS if fault.name in asked], tmp_path_factory.mktemp("closed"))


@pytest.mark.parametrize("name", [fault.name for fault in FAULTS])
def test_a_fault_is_found_mended_and_put_back(loops: dict[str, Loop], name: str) -> None:
    loop = loops[name]
    fault = loop.fault
    assert not loop.problem
    before, after = loop.fails.get("before", set()), loop.fails.get("after", set())
    own = {found for found in before if found[0] == fault.control}
    assert own, "the audit finds it"
    if name in LEFT:
        why = [r["why"] for r in loop.plan["refused"] if r["control"] == fault.control]
        assert re.search(LEFT[name], " ".join(why)), loop.plan
        return
    assert not loop.told, loop.told
    assert loop.changed == ["before"], ("it is mended, and a second run changes nothing", loop.plan)
    assert not {found for found in after if found[0] == fault.control}, loop.plan
    behind = {(f["control"], f["subject"]["name"]) for step in loop.plan["fixes"] for f in step["shows"]}
    assert after <= before | behind, (after - before, loop.plan)
    open_to = {client for client, answer in fault.sees.items() if answer == "open" and loop.sees.get(client) == "open"}
    if fault.control == "RCPT-02":
        assert {*loop.sees.values()} <= {"open"}, f"mail for abuse is taken: {loop.sees}"
    else:
        assert not open_to or name in QUEUED, f"swaks gets through as {open_to}"
    there, gone = AFTERWARDS.get(name) or AFTERWARDS.get(fault.control, ("", "(?!)"))
    assert re.search(there, loop.said) and not re.search(gone, loop.said), loop.said
    taken = r"^<\*\* 451 " if name.removesuffix("-d13") in PUT_OFF else r"^\s*-> RCPT TO:.*\n<-\s+25\d"
    assert re.search(taken, loop.flows, re.M), loop.flows
    assert loop.state["before"] == loop.state["back"], "the way back is to the byte"
    assert own <= loop.fails["again"], "and the fault is back"
