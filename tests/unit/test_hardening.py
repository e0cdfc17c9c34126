"""Plan and judgement of a hardening run: which fixes are taken, which are not and why; and what speaks against a change."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.audit import Looked, Request, Selected
from ansible.module_utils.mtaudit.components import Component, Reading
from ansible.module_utils.mtaudit.config.files import Candidate, ConfigError, NewFile
from ansible.module_utils.mtaudit.config.postfix import Wanted
from ansible.module_utils.mtaudit.control import REGISTRY
from ansible.module_utils.mtaudit.finding import Finding, Method, Status, Subject
from ansible.module_utils.mtaudit.fix import FIXES, Fix
from ansible.module_utils.mtaudit.hardening.change import _against
from ansible.module_utils.mtaudit.hardening.configure import CONFIGURE
from ansible.module_utils.mtaudit.hardening.judge import against
from ansible.module_utils.mtaudit.hardening.plan import Plan, plan
from ansible.module_utils.mtaudit.hardening.proposals import proposals
from ansible.module_utils.mtaudit.hardening.wishes import Proposals, Step, Wish, wishes
from ansible.module_utils.mtaudit.readers import postfix as reader
from ansible.module_utils.mtaudit.readers.postfix_model import Postfix
from ansible.module_utils.mtaudit.report.run import load_run
from ansible.module_utils.mtaudit.runner import Completed, Replay
from report.factory import Host, write_run

SETTINGS = {
    "mail_version": "3.7.11", "inet_interfaces": "all", "inet_protocols": "all", "mydestination": "mx.test",
    "mynetworks": "127.0.0.0/8", "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
    "allow_untrusted_routing": "no", "smtpd_banner": "$myhostname ESMTP", "myhostname": "mx.test",
}  # fmt: skip
MASTER = "smtp inet n - y - - smtpd\n"
TALKS = "$myhostname ESMTP Postfix 3.10.1"
HERE = Subject("listener", "*:25")


def postfix(**settings: str) -> Postfix:
    text = "".join(f"{name} = {value}\n" for name, value in {**SETTINGS, **settings}.items())
    return reader.parse("/etc/postfix", text, MASTER, text, MASTER)


def edited(runner: object, live: Postfix, wanted: Wanted, scratch: Path) -> Candidate:
    """As config/postfix.py does it, without a Postfix."""
    changed = {name: value or "" for name, value in wanted.parameters.items()}
    if "broken" in changed.values():
        raise ConfigError("smtpd would not start with the new configuration")
    new = postfix(**{**live.parameters, **changed})
    if dict(new.parameters) == dict(live.parameters):
        return Candidate()
    return Candidate((NewFile("/etc/postfix/main.cf", repr(new.parameters).encode()),), "reload", reading=new)


def looked(live: Postfix) -> Looked:
    component = Component("postfix", "Postfix", describe=reader.describe)
    return Looked((Reading(component, (live,)),))


REQUEST = Request("mx", tuple(Selected(i, ("postfix",), ()) for i in ("RELAY-01", "RELAY-03", "RELAY-10", "INFO-01", "INFO-02")))
FIRST, SECOND = Wish("RELAY-01", "critical", "confirm", "medium"), Wish("INFO-02", "low", "auto", "low")


def proposed(tmp_path: Path, live: Postfix, *wanted: Wish) -> Proposals:
    severities = {"RELAY-01": "critical", "RELAY-03": "critical", "INFO-02": "low"}
    return proposals(Replay({}), REQUEST, looked(live), wanted, severities, tmp_path)


@pytest.fixture(autouse=True)
def without_a_postfix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONFIGURE, "postfix", edited)  # type: ignore[arg-type]


@pytest.fixture
def fixes(monkeypatch: pytest.MonkeyPatch) -> Any:
    def instead(control: str, *parameters: dict[str, str] | None) -> None:
        left = list(parameters)

        def propose(live: Postfix, site: object, findings: Sequence[Finding]) -> Wanted | None:
            now = left.pop(0) if left else None
            return None if now is None else Wanted(parameters=now)

        monkeypatch.setitem(FIXES, (control, "postfix"), Fix(control, "postfix", propose))

    return instead


def test_what_fails_is_mended_and_what_passes_is_left_alone(tmp_path: Path) -> None:
    live = postfix(mynetworks="127.0.0.0/8 0.0.0.0/1", smtpd_banner=TALKS)
    found = proposed(tmp_path, live, FIRST, SECOND, Wish("RELAY-10", "high", "auto", "low"))
    assert [step.wish.id for step in found.steps] == ["RELAY-01", "INFO-02"] and not found.refused
    assert found.steps[0].subjects == (HERE,) and not found.steps[0].left
    (candidate,) = found.candidates
    assert candidate.reading.parameters["mynetworks"] == "127.0.0.0/8"
    assert candidate.reading.parameters["smtpd_banner"] == "$myhostname ESMTP", "one candidate holds both"
    assert not proposed(tmp_path / "again", candidate.reading, FIRST, SECOND).candidates


@pytest.mark.parametrize(
    ("tries", "why"),
    [([{"mynetworks": "127.0.0.0/8", "allow_untrusted_routing": "broken"}], "would not start"),
     ([{"myhostname": "other.test"}], "it would not help"),
     ([{"mynetworks": "0.0.0.0/1 127.0.0.0/8"}], "it would not help"),
     ([None], "no change that mtaudit knows"),
     ([{"mynetworks": "127.0.0.0/8", "smtpd_relay_restrictions": "permit_naked_ip_address, reject_unauth_destination"}],
      "with it RELAY-03 would fail"),
     ([{}], "it is so already")],
)  # fmt: skip
def test_a_fix_that_does_not_mend_is_left_out_with_the_reason(tmp_path: Path, fixes: Any, tries: list[Any], why: str) -> None:
    fixes("RELAY-01", *tries)
    lists = Wish("RELAY-03", "critical", "confirm", "medium")
    found = proposed(tmp_path, postfix(mynetworks="127.0.0.0/8 0.0.0.0/1"), FIRST, lists)
    assert not found.steps and not found.candidates
    assert [refused.id for refused in found.refused] == ["RELAY-01"] and why in found.refused[0].why


@pytest.mark.parametrize(("networks", "mended"), [("127.0.0.0/8", True), ("0.0.0.0/1 127.0.0.0/8", False)])
def test_a_fix_may_want_something_of_two_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, networks: str, mended: bool
) -> None:
    def propose(live: Postfix, site: object, findings: Sequence[Finding]) -> Any:
        return {"counter": "five", "postfix": Wanted(parameters={"mynetworks": networks})}

    def counts(runner: object, live: str, wanted: str, scratch: Path) -> Candidate:
        return Candidate((NewFile("/etc/counter", wanted.encode()),), "start", ("counter",), reading=wanted)

    monkeypatch.setitem(FIXES, ("RELAY-01", "postfix"), Fix("RELAY-01", "postfix", propose))
    monkeypatch.setitem(CONFIGURE, "counter", counts)  # type: ignore[arg-type]
    about = looked(postfix(mynetworks="127.0.0.0/8 0.0.0.0/1"))
    about = replace(about, readings=(*about.readings, Reading(Component("counter", "a counter"), ("ten",))))
    found = proposals(Replay({}), REQUEST, about, [FIRST], {"RELAY-01": "critical"}, tmp_path)
    paths = [file.path for candidate in found.candidates for file in candidate.files]
    assert paths == (["/etc/postfix/main.cf", "/etc/counter"] if mended else []) and bool(found.steps) is mended


def test_a_cause_behind_the_first_is_mended_too(tmp_path: Path, fixes: Any) -> None:
    fixes("RELAY-01", {"mynetworks": "127.0.0.0/8 198.19.0.0/16"}, {"mynetworks": "127.0.0.0/8"})
    found = proposed(tmp_path, postfix(mynetworks="127.0.0.0/8 0.0.0.0/1"), FIRST)
    assert found.candidates[0].reading.parameters["mynetworks"] == "127.0.0.0/8" and not found.steps[0].left


def test_what_is_less_severe_may_show_behind_it(tmp_path: Path, fixes: Any) -> None:
    fixes("RELAY-01", {"mynetworks": "127.0.0.0/8", "smtpd_banner": TALKS})
    live = postfix(mynetworks="127.0.0.0/8 0.0.0.0/1")
    found = proposed(tmp_path, live, FIRST, replace(SECOND, withheld="not now"))
    assert [finding.control for finding in found.steps[0].shows] == ["INFO-02"]
    assert [(refused.id, refused.why) for refused in found.refused] == [("INFO-02", "not now")]


@pytest.mark.parametrize(("before", "mended"), [("notapplicable", True), ("unknown", True), ("pass", False)])
def test_what_has_no_fix_may_show_only_where_it_did_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, mended: bool
) -> None:
    """Nobody is kept from closing an open relay because something that people have to mend shows behind it."""
    monkeypatch.delitem(FIXES, ("INFO-02", "postfix"))
    evaluate = REGISTRY[("INFO-02", "postfix")].evaluate

    def looked_at(live: Postfix, site: Any) -> Any:
        is_open = "0.0.0.0/1" in live.parameters["mynetworks"]
        return (replace(f, status=Status(before) if is_open else Status.FAIL) for f in evaluate(live, site))

    monkeypatch.setitem(REGISTRY, ("INFO-02", "postfix"), replace(REGISTRY[("INFO-02", "postfix")], evaluate=looked_at))
    found = proposed(tmp_path, postfix(mynetworks="127.0.0.0/8 0.0.0.0/1"), FIRST)
    assert bool(found.steps) is mended
    if mended:
        assert [finding.control for finding in found.steps[0].shows] == ["INFO-02"]
    else:
        assert found.refused[0].why.startswith("with it INFO-02 would fail")


def test_why_a_fix_is_withheld() -> None:
    catalogue = [{"id": "RELAY-01", "severity": "critical", "class": "confirm", "disruption": "medium"},
                 {"id": "INFO-01", "severity": "medium", "class": "auto", "disruption": "low"}]  # fmt: skip
    assert [bool(wish.withheld) for wish in wishes(catalogue, (), "medium", False)] == [True, False]
    assert [bool(wish.withheld) for wish in wishes(catalogue, (), "medium", True)] == [False, False]
    assert "max_disruption is low" in wishes(catalogue, (), "low", True)[0].withheld
    assert [wish.id for wish in wishes(catalogue, ["INFO-01"], "high", True)] == ["INFO-01"]


class _Up:
    """A host on which these units are up."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def run(self, argv: Sequence[str], **_: Any) -> Completed:
        states = ("active" if name in self.names else "inactive" for name in argv[argv.index("--") + 1:])
        return Completed(0, "".join(f"ActiveState={state}\n\n" for state in states), "")


def test_every_service_of_a_change_is_told_once_and_enough() -> None:
    file = NewFile("/etc/a", b"new", planned_on="old")
    both = Candidate((file,), "restart", ("systemd-journald",), also=((("php8.2-fpm",), "restart"), (("down",), "reload")))
    asking = Candidate((file,), "reload", ("postfix@-", "postfix"))
    counter = Candidate((), "start", ("counter",))
    again = Candidate((), "restart", ("counter",))
    up = _Up("systemd-journald", "php8.2-fpm", "postfix", "counter")
    made = plan(up, Proposals([], [], [asking, both, counter, again]))  # type: ignore[arg-type]
    told = {"counter": "start", "systemd-journald": "restart", "php8.2-fpm": "restart", "postfix": "reload"}
    assert dict(made.services) == told and list(told) == list(dict(made.services)), "who is asked comes first"
    assert made.silent == ("down",)


def a_plan(*files: NewFile) -> Plan:
    return plan(Replay({}), Proposals([Step(FIRST, "postfix", "", ("it fails",))], [], [Candidate((file,)) for file in files]))


def test_the_digest_is_of_what_is_done() -> None:
    one = a_plan(NewFile("/etc/a", b"new", planned_on="old"))
    assert one.digest == a_plan(NewFile("/etc/a", b"new", planned_on="old")).digest != ""
    assert len({one.digest, a_plan(NewFile("/etc/a", b"newer", planned_on="old")).digest,
                a_plan(NewFile("/etc/a", b"new", planned_on="other")).digest,
                a_plan(NewFile("/etc/a", b"new", 0o600, planned_on="old")).digest}) == 4  # fmt: skip
    assert a_plan().digest == ""


def test_two_fixes_of_one_file() -> None:
    same = hashlib.sha256(b"old").hexdigest()
    mode, text = NewFile("/etc/a", None, 0o600, stays=True), NewFile("/etc/a", b"new", planned_on=same)
    assert a_plan(mode, text).files == a_plan(text, mode).files == (NewFile("/etc/a", b"new", 0o600, planned_on=same),)
    with pytest.raises(ConfigError, match="two fixes write /etc/a"):
        a_plan(NewFile("/etc/a", b"new", planned_on=same), NewFile("/etc/a", b"newer", planned_on=same))


def finding(control: str, status: Status, method: Method = Method.CONFIG) -> Finding:
    return Finding(control, HERE, status, f"{control} is {status.value}", method)


def test_what_the_running_system_says_against_it() -> None:
    step = Step(FIRST, "postfix", "", ("open",), shows=(finding("RCPT-01", Status.FAIL),), subjects=(HERE,))
    made = Plan((step,), ())
    before = [finding("RELAY-01", Status.FAIL), finding("INFO-02", Status.FAIL), finding("AUTH-01", Status.PASS)]
    good = [finding("RELAY-01", Status.PASS), finding("INFO-02", Status.FAIL), finding("RCPT-01", Status.FAIL)]
    assert not list(_against(made, before, good))
    assert "it still fails" in next(iter(_against(made, before, before)))
    assert "did not before: listener" not in next(iter(_against(made, before, [*good, finding("AUTH-01", Status.ERROR)])))
    worse = [finding("AUTH-01", Status.FAIL)]
    assert "it fails, by config, and did not before: AUTH-01" in next(iter(_against(made, before, worse)))
    # A stranger who still gets through, now that no configuration explains it.
    simulated = finding("RELAY-03", Status.FAIL, Method.SIMULATION)
    assert "by simulation" in next(iter(_against(made, [*before, simulated], [*good, simulated])))
    assert not list(_against(made, before, [*good, finding("LOG-01", Status.FAIL, Method.LOG)])), "the log tells of the past"


def test_what_both_runs_say_against_it(tmp_path: Path) -> None:
    runs = {}
    for name, findings in {
        "before": [finding("RELAY-01", Status.FAIL), finding("RELAY-04", Status.FAIL)],
        "good": [finding("RELAY-01", Status.PASS), finding("RELAY-04", Status.FAIL)],
        "bad": [finding("RELAY-01", Status.PASS), finding("RELAY-10", Status.FAIL)],
        "open": [finding("RELAY-01", Status.FAIL)],
        "unsure": [finding("RELAY-01", Status.UNKNOWN)],
    }.items():
        runs[name] = load_run(str(write_run(tmp_path / name, [Host("mx1", findings)])))

    def said(after: str) -> str:
        return "; ".join(against(runs["before"], runs[after], "mx1", {("RELAY-01", "*:25")}, set()))

    assert said("good") == ""
    assert "it fails now, and did not before: RELAY-10" in said("bad")
    assert "it still fails: RELAY-01" in said("open")
    assert "it could not be told whether it still fails: RELAY-01" in said("unsure")
    assert "gave no answer" in "; ".join(against(runs["before"], runs["good"], "mx2", set(), set()))
