"""What a run keeps, what it plans to probe, and what it does with answers that are not what they should be."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.run_directory import (
    begin,
    file_name,
    host_answer,
    keep,
    keep_hosts,
    protects_local_recipients,
    targets,
    tokens_of,
    usable_domains,
)

PUBLIC = {"name": "*:25", "port": 25, "bind": "*", "families": ["ipv4"], "tls_wrapper": False, "loopback_only": False}
INNER = {"name": "127.0.0.1:10025", "port": 10025, "bind": "127.0.0.1", "loopback_only": True}
USUAL = [("198.51.100.7", [25, 465, 587, 2525])]
ESTATE = {"listeners": [PUBLIC, INNER], "addresses": ["198.51.100.7", "2001:db8::7"], "local_domains": ["a.test"]}


def planned(estate: dict, **declared) -> list[tuple[str, list[int]]]:
    return [(t["host"], t["ports"]) for t in targets({"mx1": estate} if estate else {}, {"mx1": declared})]


@pytest.mark.parametrize(
    ("estate", "declared", "expected"),
    [
        (ESTATE, {}, [("198.51.100.7", [25])]),
        (ESTATE, {"ports": [2525]}, [("198.51.100.7", [25, 2525]), ("2001:db8::7", [2525])]),
        # Behind NAT the host does not know its public address, and is asked there all the same.
        ({**ESTATE, "listeners": [{**PUBLIC, "bind": "10.0.0.5"}]}, {"addresses": ["203.0.113.5"]}, [("203.0.113.5", [25])]),
        # What cannot be read is tried on the usual ports where the inventory says where it is.
        ({"listeners": [], "addresses": ["198.51.100.7"]}, {"addresses": ["198.51.100.7"]}, USUAL),
        ({}, {"addresses": ["198.51.100.7"]}, USUAL),
        ({"listeners": [], "addresses": ["198.51.100.7"]}, {}, []),
        ({**ESTATE, "listeners": [INNER]}, {}, []),
        ({}, {}, []),
    ],
)
def test_what_is_probed(estate, declared, expected):
    assert planned(estate, **declared) == expected


def test_the_tls_wrapper_is_the_hosts_own_word():
    wrapped = {**PUBLIC, "port": 2525, "tls_wrapper": True}
    (target,) = targets({"mx1": {**ESTATE, "addresses": ["198.51.100.7"], "listeners": [PUBLIC, wrapped]}}, {})
    assert target["implicit_tls_ports"] == [2525]
    (guessed,) = targets({}, {"mx1": {"addresses": ["198.51.100.7"]}})
    assert guessed["implicit_tls_ports"] == [465]


@pytest.mark.parametrize(
    ("catalogue", "own", "expected"),
    [
        ({"id": "SENDER-03", "tunables": {"protect_local_recipients": {"type": "bool", "value": True}}}, {}, True),
        ({"id": "SENDER-03", "tunables": {"protect_local_recipients": {"type": "bool", "value": True}}}, False, False),
        ({"id": "SENDER-03", "tunables": {"protect_local_recipients": {"type": "bool", "value": False}}}, {}, False),
        ({"id": "SENDER-03", "tunables": {"protect_local_recipients": {"type": "bool", "value": False}}}, True, True),
        ({"id": "RELAY-03", "tunables": {}}, True, False),  # the control is not part of the run
        (None, True, False),
    ],
)
def test_local_recipients_are_tried_where_the_site_protects_them(tmp_path, catalogue, own, expected):
    if catalogue:
        (tmp_path / "catalogue.json").write_text(json.dumps({"controls": [catalogue]}))
    tunables = {} if own == {} else {"SENDER-03": {"protect_local_recipients": own}}
    (target,) = targets({}, {"mx1": {"addresses": ["198.51.100.7"], "tunables": tunables}}, protects_local_recipients(tmp_path))
    assert target["protect_local_recipients"] is expected


def test_domains_that_no_mail_can_be_addressed_to_are_left_out():
    assert usable_domains(["a.test", "münchen.test", "x y", "$myhostname", "", "b.test."]) == ["a.test", "xn--mnchen-3ya.test"]


@pytest.mark.parametrize(
    ("result", "status", "words"),
    [
        ({"findings": [], "estate": ESTATE}, "ok", ""),
        ({"unreachable": True, "msg": "Failed to connect\nmore"}, "unreachable", "Failed to connect"),
        ({}, "failed", "before it was audited"),
        ({"failed": True, "msg": "MODULE FAILURE", "module_stderr": "sh: /x/python: not found"}, "failed", "no usable Python"),
        ({"failed": True, "msg": "Could not start the audit: x"}, "failed", "Could not start"),
        ({"failed": True, "msg": "Module result deserialization failed: x", "module_stdout": "no shell"}, "failed", "no shell"),
        ({"failed": True}, "failed", "without a message"),
        ({"findings": [], "estate": {"listeners": [1]}}, "failed", "estate"),
        ({"findings": [], "estate": {"listeners": 5}}, "failed", "estate"),
        ({"findings": [], "estate": {"listeners": [{**PUBLIC, "port": "smtp"}]}}, "failed", "estate"),
        ({"findings": [], "estate": {"addresses": 5}}, "failed", "estate"),
    ],
)
def test_every_answer_becomes_a_file(result, status, words):
    answer = host_answer("mx1", result)
    assert answer["status"] == status
    assert words in answer["reason"]


def test_a_refused_host_says_what_is_wrong(tmp_path: Path):
    list(keep_hosts(tmp_path, ["mx1", "mx2"], [{}, {"findings": [], "estate": {}}], {"mx1": ["a is wrong", "b is wrong"]}))
    kept = json.loads((tmp_path / "hosts/mx1.json").read_text())
    assert kept["reason"] == "inventory: a is wrong; b is wrong"
    assert json.loads((tmp_path / "hosts/mx2.json").read_text())["status"] == "ok"
    assert (tmp_path / "hosts/mx1.json").stat().st_mode & 0o077 == 0


def test_a_name_never_leaves_its_folder(tmp_path: Path):
    keep(tmp_path, "probes", "../../etc/passwd", {"listeners": [], "invocation": {"auth": "secret"}})
    (kept,) = (tmp_path / "probes").iterdir()
    assert json.loads(kept.read_text()) == {"listeners": []}
    assert file_name("..") != ".."
    assert len(file_name("x" * 500)) == 200


def test_tokens_by_host():
    answers = [{"listeners": [{"name": "mx1", "tokens": ["a"]}, {"name": "mx2", "tokens": ["b"]}]}, {"error": "x"}]
    assert tokens_of(answers) == {"mx1": ["a"], "mx2": ["b"]}


def test_of_old_runs_without_a_report_the_newest_stay(tmp_path: Path) -> None:
    """As of snapshots: ten, and what is younger than 90 days; what was reported on is the report's to keep."""
    for number in range(1, 15):
        directory = tmp_path / f"run{number:02}"
        directory.mkdir()
        (directory / "catalogue.json").touch()
        if number == 1:
            (directory / "history.json").touch()
        days = 30 if number == 14 else 400 - number
        os.utime(directory, (time.time() - days * 86_400,) * 2)
    (tmp_path / "not-a-run").mkdir()
    begin(tmp_path / "now", {"id": "now"})
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["not-a-run", "now", "run01", *(f"run{number:02}" for number in range(5, 15))]
