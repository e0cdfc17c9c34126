"""Logins that must not work: what is tried, how often, when it ends, and what it means."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.module_utils.mtaudit.audit import _lockout
from ansible.module_utils.mtaudit.credentials.arguments import OPTIONS, ArgumentError, request_from
from ansible.module_utils.mtaudit.credentials.budget import Budget, Candidate, Day
from ansible.module_utils.mtaudit.credentials.client import PORTS as SPOKEN
from ansible.module_utils.mtaudit.credentials.defaults import DEFAULTS, VENDORS, defaults_for
from ansible.module_utils.mtaudit.credentials.ledger import (
    BEGUN,
    DAY_S,
    OPEN,
    RANDOM,
    LedgerError,
    Record,
    opened,
    peek,
)
from ansible.module_utils.mtaudit.credentials.probe import Request, _together, run
from ansible.module_utils.mtaudit.credentials.values import Attempt, Credential, Outcome, Service
from ansible.module_utils.mtaudit.credentials.visit import Door, Order, Visit
from ansible.module_utils.mtaudit.readers.fail2ban import Fail2ban, Jail
from ansible.module_utils.mtaudit.readers.system import Host

TREE = Path(__file__).resolve().parents[2]
USUAL = (("ssh", 22), ("telnet", 23), ("http", 80), ("imap", 143), ("snmp", 161), ("redis", 6379))
PORTS = {name: ((port, False),) for name, port in USUAL}
CONSENT = "J. Doe, head of IT, 2026-11-23"
ADMIN, ROOT, OTHER = (Candidate(f"v/{name}", "acme", name) for name in ("admin", "root", "other"))
PASSWORDS = {"v/admin": "Blue-Kettle", "v/root": "Grey-Anvil", "v/other": "Red-Thimble"}


class Device:
    """What a device answers: a function from protocol and credential to an attempt, and what it was asked."""

    def __init__(self, answer: Callable[[str, Credential | None], Outcome]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str | None]] = []
        self.lock = threading.Lock()

    def __call__(self, service: Service, credential: Credential | None, _timeout_s: float) -> Attempt:
        with self.lock:
            self.asked.append((service.protocol, credential.username if credential else None))
            outcome = self.answer(service.protocol, credential)
        return Attempt(outcome, "as it says")

    @property
    def logins(self) -> list[tuple[str, str | None]]:
        return [each for each in self.asked if each[1] is not None]


def good(_protocol: str, credential: Credential | None) -> Outcome:
    return Outcome.REFUSED if credential else Outcome.UNASKED


def takes(*passwords: str) -> Callable[[str, Credential | None], Outcome]:
    def answer(protocol: str, credential: Credential | None) -> Outcome:
        return Outcome.ACCEPTED if credential and credential.password in passwords else good(protocol, credential)

    return answer


def after(count: int, outcome: Outcome) -> Callable[[str, Credential | None], Outcome]:
    """Refuses so many logins, then answers otherwise."""
    seen: list[int] = []

    def answer(protocol: str, credential: Credential | None) -> Outcome:
        if credential:
            seen.append(1)
        return outcome if len(seen) > count else good(protocol, credential)

    return answer


def door(protocol: str = "ssh", *candidates: Candidate, port: int = 0) -> Door:
    return Door(Service(protocol, "198.51.100.5", port or PORTS[protocol][0][0]), candidates or (ADMIN, ROOT, OTHER), PASSWORDS)


def request(state: Path, *doors: Door, **more: Any) -> Request:
    order = Order("router", doors or (door(),), CONSENT, more.pop("lockout", 0))
    budget = Budget(more.pop("per_account", 3), more.pop("per_service", 2), 0)
    return Request((order,), budget, state=str(state), **more)


def probe(wanted: Request, device: Device, unreachable: tuple[str, ...] = ()) -> dict[str, Any]:
    return run(wanted, device, lambda service, _timeout_s: "Connection refused" if service.protocol in unreachable else "")


def told(result: dict[str, Any], control: str = "CRED-01") -> list[tuple[str, str]]:
    return [(f["status"], f["message"] + f.get("reason", "")) for f in result["findings"] if f["control"] == control]


def said(result: dict[str, Any], control: str = "CRED-01") -> tuple[str, str]:
    (only,) = told(result, control)
    return only


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "credentials.jsonl"


def earlier(state: Path, days: float) -> None:
    """As if all that is recorded had been done before."""
    records = [replace(record, when=record.when - days * DAY_S) for record in peek(str(state), time.time())]
    state.write_text("".join(json.dumps(vars(record)) + "\n" for record in records))


# What it means


def test_a_default_that_gets_in_fails_and_its_password_is_nowhere(state: Path) -> None:
    result = probe(request(state), Device(takes("Blue-Kettle")))
    status, text = said(result)
    assert status == "fail" and "acme's 'admin' gets in" in text
    assert not [each for each in PASSWORDS.values() if each in json.dumps(result) + state.read_text()]


def test_what_got_in_is_the_last_that_is_tried_there(state: Path) -> None:
    device = Device(takes("Blue-Kettle"))
    probe(request(state), device)
    assert [name for _, name in device.logins[1:]] == ["admin"]


def test_a_pass_needs_every_credential(state: Path) -> None:
    device = Device(good)
    assert said(probe(request(state), device)) == (
        "unknown", "ssh: 2 of 3 credentials were tried and refused (seen from vantage stranger)"
        "2 passwords a day are tried at a service; the next run goes on")  # fmt: skip
    earlier(state, 1.01)
    status, text = said(probe(request(state), device))
    assert status == "pass" and "refused all 3 credentials" in text
    assert [name for _, name in device.logins if not name.startswith("mtaudit-")] == ["admin", "root", "other"]


def test_what_was_refused_is_not_asked_again_for_a_month(state: Path) -> None:
    wanted, device = request(state, door("ssh", ADMIN)), Device(good)
    probe(wanted, device)
    earlier(state, 29)
    count = len(device.logins)
    assert said(probe(wanted, device))[0] == "pass" and len(device.logins) == count
    earlier(state, 2)
    assert said(probe(wanted, device))[0] == "pass" and len(device.logins) == count + 2


def test_a_service_that_lets_anybody_in(state: Path) -> None:
    device = Device(lambda _protocol, credential: Outcome.UNASKED if credential else Outcome.ACCEPTED)
    status, text = said(probe(request(state, door("redis", Candidate("v/admin", "acme", ""))), device))
    assert status == "fail" and "without a login" in text and not device.logins


def test_a_service_that_takes_any_login(state: Path) -> None:
    device = Device(lambda _protocol, credential: Outcome.ACCEPTED if credential else Outcome.UNASKED)
    result = probe(request(state), device)
    assert said(result)[0] == "fail" and "with any login" in said(result)[1] and len(device.logins) == 1


def test_a_mail_service_that_takes_any_login_fails_auth_04(state: Path) -> None:
    anything = Device(lambda _protocol, credential: Outcome.ACCEPTED if credential else Outcome.UNASKED)
    result = probe(request(state, door("imap")), anything)
    assert said(result, "AUTH-04")[0] == "fail" and said(result)[0] == "unknown"


def test_a_mail_service_refuses_two_random_logins(state: Path) -> None:
    device = Device(good)
    assert said(probe(request(state, door("imap", ADMIN)), device), "AUTH-04")[0] == "pass"
    assert [name.startswith("mtaudit-") for _, name in device.logins] == [True, True, False]
    assert device.logins[0] != device.logins[1]


def test_telnet_sends_passwords_in_clear_and_that_is_said(state: Path) -> None:
    assert "in clear: switch it off" in said(probe(request(state, door("telnet", ADMIN)), Device(good)))[1]


def test_silence_is_a_refusal_only_of_a_service_that_is_known_to_be_there(state: Path) -> None:
    community = Candidate("v/admin", "acme", "")
    assert said(probe(request(state, door("snmp", community)), Device(good)))[0] == "pass"  # the client knows: its engine answers
    silent = Device(lambda _protocol, credential: Outcome.SHUT if credential else Outcome.UNASKED)
    result = probe(request(state, door("snmp", community, port=1161), door("ssh", ADMIN)), silent)
    assert [status for status, _ in told(result)] == ["unknown", "unknown"] and "silence" in told(result)[0][1]
    assert len(silent.logins) == 3


def test_another_path_at_a_port_is_another_service_with_the_same_budget(state: Path) -> None:
    def at(path: str) -> Door:
        return Door(Service("http", "198.51.100.5", 80, options={"path": path}), (ADMIN,), PASSWORDS)

    def opens(service: Service, credential: Credential | None, _timeout_s: float) -> Attempt:
        wrong = not credential or service.options["path"] == "/shut" or credential.password != "Blue-Kettle"
        return Attempt(Outcome.REFUSED if wrong else Outcome.ACCEPTED)

    wanted = request(state, at("/shut"), at("/open"))
    result = run(wanted, opens, lambda *_: "")
    assert [(f["subject"]["name"], f["status"]) for f in result["findings"] if f["control"] == "CRED-01"] == [
        ("198.51.100.5:80 path=/shut", "pass"), ("198.51.100.5:80 path=/open", "fail")]  # fmt: skip
    assert "at most 2 with passwords at one account and 2 at one service" in json.dumps(result["findings"])
    assert {attempt["from"] for attempt in result["attempts"]} != {""}
    state.unlink()
    tried = run(replace(wanted, budget=Budget(3, 1, 0)), opens, lambda *_: "")
    assert [status for status, _ in told(tried)] == ["pass", "unknown"]


# When it ends


@pytest.mark.parametrize("outcome", [Outcome.SHUT, Outcome.PUT_OFF])
def test_a_ban_stops_the_whole_target_and_is_no_pass(state: Path, outcome: Outcome) -> None:
    device = Device(after(2, outcome))
    result = probe(request(state, door("ssh", ADMIN, ROOT), door("telnet", ADMIN)), device)
    assert [status for status, _ in told(result)] == ["unknown", "unknown"]
    assert [protocol for protocol, _ in device.logins] == ["ssh"] * 3
    status, text = said(result, "AUTH-07")
    assert status == "fail" and "shut out at" in text


def test_after_a_ban_nothing_is_tried_for_a_day(state: Path) -> None:
    probe(request(state), Device(after(1, Outcome.SHUT)))
    device = Device(good)
    assert "shut the prober out" in said(probe(request(state), device))[1] and not device.asked
    earlier(state, 1.01)
    probe(request(state), device)
    assert device.logins


def test_a_service_that_is_not_there_is_no_ban(state: Path) -> None:
    device = Device(good)
    result = probe(request(state, door("telnet", ADMIN), door("ssh", ADMIN)), device, unreachable=("telnet",))
    assert [status for status, _ in told(result)] == ["unknown", "pass"] and "Connection refused" in told(result)[0][1]
    assert said(result, "AUTH-07")[0] == "pass"


def test_a_service_that_never_answered_a_login_stops_only_itself(state: Path) -> None:
    device = Device(lambda protocol, login: Outcome.SHUT if login and protocol == "telnet" else good(protocol, login))
    result = probe(request(state, door("telnet", ADMIN), door("ssh", ADMIN)), device)
    assert [status for status, _ in told(result)] == ["unknown", "pass"] and said(result, "AUTH-07")[0] == "pass"


def test_a_service_that_breaks_off_beside_one_that_answers_is_no_ban(state: Path) -> None:
    device = Device(lambda protocol, login: Outcome.SHUT if login and protocol == "ssh" else good(protocol, login))
    result = probe(request(state, *(door(protocol, ADMIN) for protocol in ("imap", "ssh", "telnet"))), device)
    assert [status for status, _ in told(result)] == ["pass", "unknown", "pass"] and said(result, "AUTH-07")[0] == "pass"


def test_a_service_that_breaks_off_when_the_others_are_gone_as_well_is_a_ban(state: Path) -> None:
    shut: list[str] = []

    def bans(protocol: str, login: Credential | None) -> Outcome:
        if login and protocol == "ssh":
            shut.append("No route to host")
        return Outcome.SHUT if shut else good(protocol, login)

    device = Device(bans)
    wanted = request(state, *(door(protocol, ADMIN) for protocol in ("imap", "ssh", "telnet")))
    result = run(wanted, device, lambda *_: "".join(shut))
    assert [status for status, _ in told(result)] == ["pass", "unknown", "unknown"] and said(result, "AUTH-07")[0] == "fail"
    assert "imap 198.51.100.5:143 answers no more either: No route to host" in told(result)[2][1]
    assert "shut the prober out" in told(probe(wanted, Device(good)))[1][1]


def test_no_password_is_asked_for(state: Path) -> None:
    device = Device(lambda *_: Outcome.UNASKED)
    assert said(probe(request(state), device))[0] == "unknown" and len(device.logins) == 1


def test_a_client_that_fails_is_no_answer(state: Path) -> None:
    def broken(_protocol: str, credential: Credential | None) -> Outcome:
        if credential:
            raise RuntimeError(credential.password)
        return Outcome.UNASKED

    result = probe(request(state), Device(broken))
    assert said(result)[0] == "unknown" and "RuntimeError" in said(result)[1]


def test_a_target_that_hangs_does_not_hold_the_others(state: Path) -> None:
    def hangs(_protocol: str, _credential: Credential | None) -> Outcome:
        time.sleep(60)
        return Outcome.SHUT

    began = time.monotonic()
    result = probe(request(state, timeout_s=0.2, attempt_s=0.1), Device(hangs))
    assert time.monotonic() - began < 5 and said(result)[0] == "unknown"


def test_when_the_time_is_over_no_other_service_is_asked(state: Path) -> None:
    def slow(protocol: str, credential: Credential | None) -> Outcome:
        time.sleep(0.3)
        return good(protocol, credential)

    device = Device(slow)
    result = probe(request(state, door("ssh"), door("telnet"), timeout_s=0.2), device)
    assert device.asked == [("ssh", None)] and "the time of the call was over" in told(result)[1][1]


# The budget


def test_an_account_is_one_on_all_services_of_a_target(state: Path) -> None:
    services = [door("ssh", ADMIN, replace(ADMIN, id="v/root"), port=port) for port in (22, 2222, 2223)]
    device = Device(good)
    result = probe(request(state, *services), device)
    assert [name for _, name in device.logins].count("admin") == 3
    assert [status for status, _ in told(result)] == ["pass", "unknown", "unknown"]


def test_an_account_is_one_however_it_is_spelt(state: Path) -> None:
    spelt = [Candidate(f"v/{name}", "acme", name) for name in ("admin", "Admin", "ADMIN")]
    order = Order("router", tuple(Door(door().service, (each,), {each.id: "x"}) for each in spelt), CONSENT)
    device = Device(good)
    result = probe(Request((order,), Budget(2, 9, 0), state=str(state)), device)
    assert len([name for _, name in device.logins if name and name.lower() == "admin"]) == 2
    assert "at most 2 with passwords at one account" in said(result, "AUTH-07")[1] + json.dumps(result["findings"])


def test_two_names_of_one_address_have_one_budget_and_one_ban(state: Path) -> None:
    device = Device(good)
    both = tuple(Order(name, (door(),), CONSENT) for name in ("router", "gateway"))
    wanted = Request(both, Budget(3, 2, 0), state=str(state))
    probe(wanted, device)
    assert len([name for _, name in device.logins if not name.startswith("mtaudit-")]) == 2
    earlier(state, 1.01)
    probe(request(state), Device(after(1, Outcome.PUT_OFF)))
    told_of = told(probe(replace(wanted, orders=both[1:]), device))
    assert "shut the prober out" in told_of[0][1]


def test_those_that_share_an_address_wait_for_each_other() -> None:
    def visit(name: str, *ports: int) -> Visit:
        doors = [Door(Service("ssh", f"198.51.100.{number}", 22), ()) for number in ports]
        return Visit(Order(name, tuple(doors)), None)

    groups = _together([visit("a", 1), visit("b", 2), visit("c", 3), visit("d", 2, 1), visit("e")])
    assert [sorted(each.order.target for each in group) for group in groups] == [["a", "b", "d"], ["c"]]


def test_a_second_run_of_the_day_gets_no_new_budget(state: Path) -> None:
    device = Device(good)
    for _ in range(3):
        probe(request(state), device)
    assert len(device.logins) == 3  # nobody's, and two


def test_one_less_than_the_targets_own_lockout(state: Path) -> None:
    device = Device(good)
    result = probe(request(state, door("imap"), lockout=3), device)
    assert len(device.logins) == 2 and "3 failed logins shut a client out" in said(result)[1]
    assert said(result, "AUTH-07")[0] == "pass"


def test_where_one_failed_login_shuts_a_client_out_none_is_tried(state: Path) -> None:
    device = Device(good)
    (order,) = request_from(arguments({"protocol": "ssh"}, target={"lockout": 1}), PORTS).orders
    assert said(probe(Request((order,), state=str(state)), device))[0] == "unknown" and not device.logins


@pytest.mark.parametrize(("retries", "lockout"), [((5, 1), 1), ((0, 5), 1), ((5, 3), 3), ((), 0)])
def test_the_strictest_jail_is_the_lockout(retries: tuple[int, ...], lockout: int) -> None:
    jails = [Jail("j", "f", True, "", "", (), (), "", (), retry, 600.0, 600.0, ()) for retry in retries]
    reading = SimpleNamespace(component=SimpleNamespace(name="os"), instances=[Host(guard=Fail2ban(running=True, jails=jails))])
    assert _lockout([reading]) == lockout


def test_logins_are_tried_when_the_probes_are_over() -> None:
    tasks = yaml.safe_load((TREE / "roles/mta_audit/tasks/main.yml").read_text(encoding="utf-8"))
    included = [task["ansible.builtin.include_tasks"]["file"] for task in tasks if "ansible.builtin.include_tasks" in task]
    assert included == ["probe.yml", "credentials.yml"]


@pytest.mark.parametrize("more", [{"per_service": 3}, {"per_service": 9, "per_account": 9}])
def test_a_budget_that_is_too_large_fails_auth_07(state: Path, more: dict[str, int]) -> None:
    assert said(probe(request(state, **more), Device(good)), "AUTH-07")[0] == "fail"


def test_the_pause_is_between_two_logins_of_a_service(state: Path) -> None:
    wanted = replace(request(state, door("ssh", ADMIN)), budget=Budget(3, 2, 0.3))
    began = time.monotonic()
    probe(wanted, Device(good))
    assert 0.3 <= time.monotonic() - began < 0.9


# The record


def test_an_attempt_is_written_down_before_it_is_made(state: Path) -> None:
    written: list[str] = []

    def look(_protocol: str, credential: Credential | None) -> Outcome:
        written.append(peek(str(state), time.time())[-1].outcome)
        return good(_protocol, credential)

    probe(request(state), Device(look))
    assert set(written) == {BEGUN} and BEGUN not in {record.outcome for record in peek(str(state), time.time())}
    assert state.stat().st_mode & 0o777 == 0o600 and state.parent.stat().st_mode & 0o777 == 0o700


def test_an_attempt_that_was_killed_counts(state: Path) -> None:
    now = time.time()
    with opened(str(state), now) as ledger:
        for name in ("admin", "root"):
            ledger.note(Record(now, "router", "ssh 198.51.100.5:22", name, f"v/{name}"))
    device = Device(good)
    assert said(probe(request(state), device))[0] == "unknown" and len(device.logins) == 1


@pytest.mark.parametrize("spoil", [
    lambda path: path.chmod(0o640),
    lambda path: path.write_text(path.read_text() + '{"when": 1'),
    lambda path: path.write_text('{"when": "x"}\n'),
    lambda path: earlier(path, -1),
    lambda path: path.write_text(re.sub('"when":[^,]*', '"when":NaN', path.read_text())),
    lambda path: path.write_bytes(b"\xff\xfe\n"),
    lambda path: (path.rename(path.with_name("other")), path.symlink_to(path.with_name("other"))),
    lambda path: (path.unlink(), path.mkdir()),
    lambda path: (path.unlink(), os.mkfifo(path, 0o600)),
])  # fmt: skip
def test_a_record_that_cannot_be_relied_on_stops_all(state: Path, spoil: Callable[[Path], Any]) -> None:
    probe(request(state), Device(good))
    spoil(state)
    device = Device(good)
    with pytest.raises(LedgerError, match="record of attempts"):
        probe(request(state), device)
    assert not device.asked


def test_two_runs_at_a_time_are_one_too_many(state: Path) -> None:
    with opened(str(state), time.time()), pytest.raises(LedgerError, match="another run"):
        probe(request(state), Device(good))


def test_old_records_go_and_the_last_of_each_stays(state: Path) -> None:
    now = time.time()
    with opened(str(state), now) as ledger:
        for days in (100, 40, 20):
            ledger.note(Record(now - days * DAY_S, "router", "ssh x:22", "admin", "v/admin", "refused"))
    with opened(str(state), now) as ledger:
        assert [round((now - record.when) / DAY_S) for record in ledger.of("router")] == [20]


def test_what_got_in_is_kept_though_a_later_attempt_was_not_answered(state: Path) -> None:
    now = time.time()
    with opened(str(state), now) as ledger:
        for days, outcome in ((4, "refused"), (3, "accepted"), (2, "shut")):
            ledger.note(Record(now - days * DAY_S, "router", "ssh 198.51.100.5:22", "admin", "v/admin", outcome))
        ledger.note(Record(now - DAY_S, "other", "ssh 198.51.100.5:22", "admin", "v/admin", "refused"))
    with opened(str(state), now) as ledger:
        assert [record.outcome for record in ledger.of("router")] == ["accepted", "shut"]


def test_a_full_disk_stops_before_the_attempt(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: int, _line: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    device = Device(good)
    with pytest.raises(LedgerError, match="No space left"):
        probe(request(state), device)
    assert not device.asked


def test_attempts_are_announced_without_a_password(state: Path) -> None:
    result = probe(request(state), Device(good))
    assert [a["credential"] for a in result["attempts"]] == [OPEN, RANDOM, "v/admin", "v/root"]
    assert set(result["attempts"][2]) == {"when", "from", "target", "service", "account", "credential", "outcome"}
    assert result["consents"] == {"router": CONSENT}


def test_check_mode_tries_nothing(state: Path) -> None:
    device = Device(good)
    status, text = said(probe(request(state, dry=True), device))
    assert status == "notchecked" and "3 of 3 credentials are due (acme's 'admin'" in text
    assert not device.asked and not state.exists()


def test_without_consent_nothing_is_tried(state: Path) -> None:
    device = Device(good)
    wanted = replace(request(state), orders=(Order("router", (door(),)),))
    status, text = said(probe(wanted, device))
    assert status == "error" and "mta_audit_credentials_consent" in text and not device.asked and not state.exists()


def test_a_host_without_an_address_keeps_no_other_from_being_tried(state: Path) -> None:
    """A device that is unreachable and declares none, say."""
    device = Device(good)
    nowhere = replace(door(), service=replace(door().service, address=""))
    orders = (Order("nowhere", (nowhere,), CONSENT), *request(state).orders)
    found = probe(replace(request(state), orders=orders), device)
    lost = [each for each in found["findings"] if each["target"] == "nowhere"]
    assert [each["status"] for each in lost] == ["error"] and "mta_audit_addresses" in lost[0]["reason"]
    assert device.asked and {each["target"] for each in found["findings"]} == {"nowhere", "router"}


# The arguments


def arguments(*services: dict[str, Any], **more: Any) -> dict[str, Any]:
    target = {"name": "router", "host": "198.51.100.5", "consent": CONSENT, "lockout": 0, "services": list(services)}
    return {
        "targets": [{**target, **more.pop("target", {})}], "own": [], "vantage": "inside", "per_account": 3, "per_service": 2,
        "pause_s": 5, "concurrency": 10, "attempt_timeout_s": 15, "timeout_s": 60, "state": "/x/y", "dry": False, **more,
    }  # fmt: skip


def test_vendors_and_protocols_choose_the_credentials() -> None:
    own = [{"label": "first", "username": "alice", "password": "Pale-Lantern", "protocols": []}]
    (order,) = request_from(arguments({"protocol": "ssh", "vendors": ["mikrotik"]}, {"protocol": "snmp"}, own=own), PORTS).orders
    ssh, snmp = order.doors
    assert [(c.label, c.username) for c in ssh.candidates] == [("mikrotik", "admin"), ("the site (first)", "alice")]
    assert ssh.service.port == 22 and [c.label for c in snmp.candidates] == ["generic", "generic"]
    assert "Pale-Lantern" not in repr(order)


@pytest.mark.parametrize(("wanted", "message"), [
    (arguments({"protocol": "ssh", "vendors": ["acme"]}), "there is no vendor 'acme'; there are apc, "),
    (arguments({"protocol": "gopher"}), "protocol is one of http, imap, redis, snmp, ssh, telnet, not 'gopher'"),
    (arguments({"protocol": "ssh", "port": 70000}), "port numbers are"),
    (arguments({"protocol": "ssh", "options": {"path": "/"}}), "ssh has no option 'path'; its options: none"),
    (arguments({"protocol": "http", "options": {"paths": "/"}}), "http has no option 'paths'; its options: path, host"),
    (arguments({"protocol": "ssh"}, target={"consent": "my boss"}), "names no day"),
    (arguments({"protocol": "ssh"}, target={"lockout": -1}), "with 1 none are tried"),
    (arguments({"protocol": "ssh"}, timeout_s=0), "timeout_s must be greater than 0"),
    (arguments({"protocol": "ssh"}, pause_s=-1), "pause_s"),
    (arguments(*[{"protocol": "ssh"}] * 10_001), "split the inventory"),
    (arguments({"protocol": "ssh"}, own=[{"label": "a", "password": "x"}] * 2), "there twice"),
    (arguments({"protocol": "ssh"}, own=[{"label": "", "password": "x"}]), "label"),
    (arguments({"protocol": "ssh"}, own=[{"label": "a", "password": "x", "protocols": ["nntp"]}]), "not 'nntp'"),
])  # fmt: skip
def test_what_does_not_fit_is_named(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        request_from(wanted, PORTS)


def test_the_options_are_those_that_the_clients_read() -> None:
    clients = (TREE / "module_utils/mtaudit/credentials/clients").glob("*.py")
    read = {name for path in clients for name in re.findall(r'service\.options\.get\("(\w+)"', path.read_text(encoding="utf-8"))}
    assert read == {name for names in OPTIONS.values() for name in names}


def test_entries_of_one_name_are_one_target() -> None:
    wanted = arguments({"protocol": "ssh"})
    wanted["targets"].append({**wanted["targets"][0], "services": [{"protocol": "telnet"}]})
    (order,) = request_from(wanted, PORTS).orders
    assert [each.service.protocol for each in order.doors] == ["ssh", "telnet"]


# The data


def test_every_default_says_where_it_is_documented() -> None:
    assert len(VENDORS) > 20 and all(len(default.source) > 10 for default in DEFAULTS)
    assert len({(default.id, default.protocols) for default in DEFAULTS}) == len(DEFAULTS)
    assert not [default for default in DEFAULTS if len(default.password) > 3 and default.password in default.id.partition("/")[2]]


def test_the_documentation_lists_every_vendor_and_protocol() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (TREE / "docs/default-credentials.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = {row for row in rows if row != "vendors" and not row.startswith("mta_")}
    assert named == {*VENDORS, *SPOKEN} and {name for default in DEFAULTS for name in default.protocols} <= set(SPOKEN)


def test_a_default_does_not_show_its_password() -> None:
    assert "calvin" not in repr(next(defaults_for("ssh", ["dell"])))


def test_days_are_the_last_24_hours() -> None:
    records = [Record(1000.0, "r", "ssh x:22", "admin", "v/admin", "refused")]
    assert Day(records, 1000.0 + DAY_S - 1).service("x:22") == 1 and Day(records, 1000.0 + DAY_S).service("x:22") == 0
