"""What only people can answer: asked once a run, answered from the inventory, counted as no server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "report"))

import factory
from ansible.module_utils.mtaudit.finding import Status
from ansible.module_utils.mtaudit.joined import JoinedFinding
from ansible.module_utils.mtaudit.questions import SITE
from ansible.module_utils.mtaudit.report.produce import Made

QUESTION = "Who could stop it\nthis Sunday?"


@pytest.fixture
def made(tmp_path: Path) -> Any:
    """The report on two good hosts, of which each declares the answers given."""

    def make(*answers: dict[str, str], second: tuple[dict[str, str], ...] = ()) -> Made:
        hosts = [factory.good("mx1"), factory.good("mx2")]
        hosts[0].declared["answers"] = list(answers)
        hosts[1].declared["answers"] = list(second)
        directory = factory.write_run(tmp_path, hosts)
        catalogue = json.loads((directory / "catalogue.json").read_text())
        catalogue["controls"].append({"id": "PEOPLE-05", "severity": "medium", "title": "Somebody knows it", "area": "people",
                                      "components": {"site": {"manual_check": QUESTION, "advice": "Name two."}}})
        (directory / "catalogue.json").write_text(json.dumps(catalogue))
        return factory.report(directory)

    return make


def answer(status: str = "pass", expires: str = "2027-01-31", **more: str) -> dict[str, str]:
    return {"id": "PEOPLE-05", "status": status, "owner": "Ada", "expires": expires, **more}


def asked(made: Made) -> JoinedFinding:
    (found,) = [f for f in made.report.findings if f.control == "PEOPLE-05"]
    return found


def test_a_question_is_asked_once_and_of_no_server(made: Any) -> None:
    report = made()
    found = asked(report)
    assert (found.host, found.status, found.message) == (SITE, Status.NOTCHECKED, "Who could stop it this Sunday?")
    assert "mta_audit_answers" in found.reason
    assert report.report.headline == "No hole found. All 2 servers answered every serious control."
    assert [host.name for host in report.report.servers] == ["mx1", "mx2"]
    assert report.report.hosts[-1].name == SITE
    assert report.report.gate.asked - report.report.gate.answered == 1


@pytest.mark.parametrize(("given", "status"), [
    ((answer(),), Status.PASS),
    ((answer("fail", note="nobody is named"),), Status.FAIL),
    ((answer(expires="2026-11-20"),), Status.NOTCHECKED),  # the run was on the 21st
    ((answer(expires="2026-11-21"),), Status.PASS),
    ((answer(id="RELAY-01"),), Status.NOTCHECKED),
    (("no mapping",), Status.NOTCHECKED),
])
def test_the_inventory_answers_until_the_answer_expires(made: Any, given: tuple[Any, ...], status: Status) -> None:
    assert asked(made(*given)).status is status


def test_an_answer_of_any_host_counts(made: Any) -> None:
    assert asked(made(second=(answer(),))).status is Status.PASS


def test_of_two_answers_the_later_counts_and_of_equal_ones_the_worse(made: Any) -> None:
    assert asked(made(answer("pass"), second=(answer("fail", "2026-12-31"),))).status is Status.PASS


def test_of_equal_answers_the_worse_counts(made: Any) -> None:
    assert asked(made(answer("pass"), second=(answer("fail"),))).status is Status.FAIL


def test_a_failing_answer_is_advised_on_and_no_hole(made: Any) -> None:
    report = made(answer("fail", note="nobody is named"))
    found = asked(report)
    assert found.fix_hint == "" or found.fix_hint == "Name two."
    assert report.report.answer == "no"
    assert report.report.failing == {"medium": 1}


def test_without_questions_the_site_is_not_listed(tmp_path: Path) -> None:
    report = factory.report(factory.write_run(tmp_path, [factory.good("mx1")]))
    assert [host.name for host in report.report.hosts] == ["mx1"]
