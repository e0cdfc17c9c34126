"""Whatever stands in the files of a run, from hosts and vantages that nobody vouches for: a report, and no green from rubbish."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import factory
import pytest
from ansible.module_utils.mtaudit.finding import Status
from ansible.module_utils.mtaudit.report.produce import make, write_reports
from ansible.module_utils.mtaudit.report.run import RunError
from ansible.module_utils.mtaudit.run_directory import host_answer, tokens_of, write_json

RUBBISH: tuple[Any, ...] = (None, 7, True, "x" * 300, "\ud800\x00", [], [7], ["x"], {}, {"x": 7}, [{}])

LISTENER = {
    "name": "mx1", "host": "198.51.100.41", "port": 25, "listener": "198.51.100.41:25", "source_address": "198.19.0.66",
    "verdict": "accepts_but_discards", "banner": "220 mx1.test ESMTP", "capabilities": ["PIPELINING"], "tokens": ["a1"],
    "classes": {"plain": {"verdict": "accepts_but_discards", "conditions": ["ipv6"]}},
    "forms": [{"class": "plain", "rcpt_to": "canary@sink.test"}], "dialogue": ["1S: 220 mx1.test", "1C: EHLO x"],
}
ESTATE = {
    "host": "mx1", "kind": {"value": "mx", "source": "inventory"}, "addresses": ["198.51.100.41"], "gateways": ["198.51.100.254"],
    "local_domains": ["mx1.test"], "mynetworks": ["127.0.0.0/8"], "helo": "mx1.test", "config_digest": "sha256:now",
    "listeners": [{"name": "*:25", "port": 25, "bind": "*", "families": ["ipv4", "ipv6"], "loopback_only": False}],
}
TRACE = {"source": "/var/log/mail.log", "reason": "", "traces": [{
    "token": "a1", "clients": [{"address": "198.19.0.66", "name": "x", "port": 4, "refused": False}], "queue_ids": ["4F"],
    "deliveries": [{"recipient": "canary@sink.test", "status": "sent", "relay": "sink.test[198.51.100.20]:25", "dsn": "2.0.0",
                    "text": "250 Ok"}], "lines": ["x"], "before_queue_filter": False}]}
DECLARED = {
    "kind": "mx", "trusted_networks": ["198.51.100.0/28"], "proxies": ["198.51.100.5/32"], "ports": [25],
    "tunables": {"RELAY-15": {"max_proof_age_days": 7}},
    "waivers": [{"id": "RELAY-10", "owner": "Ada", "expires": "2027-01-01", "reason": "moves"}],
    "answers": [{"id": "RELAY-08", "status": "pass", "owner": "Ada", "expires": "2027-01-01"}],
}


def written(tmp_path: Path) -> Path:
    """A run of an open relay in which every part of every file is used."""
    host = factory.proven_open("mx1", declared=copy.deepcopy(DECLARED))
    host.findings.append(factory.failing("RELAY-10", "percent", ("percent",)))
    host.plan, host.problem = [f"RELAY-0{number} (postfix) is mended" for number in range(1, 8)], "it is unreachable"
    controls = (*factory.CONTROLS, ("RELAY-15", "high", "The relay test is not older than the configuration", "Probe again."))
    directory = factory.write_run(tmp_path, [host, factory.good("mx2")], controls=controls)
    (directory / "traces").mkdir()
    (directory / "traces/mx1.json").write_text(json.dumps(TRACE))
    for path, key, value in (("hosts/mx1.json", "estate", ESTATE), ("probes/stranger.json", "listeners", [LISTENER])):
        data = json.loads((directory / path).read_text())
        data[key] = value
        (directory / path).write_text(json.dumps(data))
    return directory


def places(data: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON document; of long lists only the first two entries, the others are alike."""
    if at:
        yield at
    for key, value in data.items() if isinstance(data, dict) else list(enumerate(data))[:2] if isinstance(data, list) else ():
        yield from places(value, (*at, key))


def put(data: Any, at: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(data)
    inner = changed
    for step in at[:-1]:
        inner = inner[step]
    inner[at[-1]] = value
    return changed


@pytest.mark.parametrize("name", ["run.json", "catalogue.json", "hosts/mx1.json", "probes/stranger.json", "traces/mx1.json",
                                  "hardening/mx1.json"])
def test_rubbish_anywhere_never_ends_the_report(name: str, tmp_path: Path) -> None:
    directory = written(tmp_path)
    path = directory / name
    whole = json.loads(path.read_text())
    wrong: list[str] = []
    tried = 0
    for at in places(whole):
        for value in RUBBISH:
            tried += 1
            path.write_text(json.dumps(put(whole, at, value)))
            asked = factory.options(directory, formats=("csv", "html", "junit") if value == {"x": 7} else ())
            try:
                made = make(asked)
                write_reports(asked, made, dry_run=True)
            except RunError:
                assert name in ("run.json", "catalogue.json"), at
            except Exception as exc:
                wrong.append(f"{'.'.join(map(str, at))} = {value!r:.20}: {type(exc).__name__}: {exc}")
            else:
                # The configuration of mx1 is open by its own words: what one other file holds cannot make that good.
                if name != "hosts/mx1.json" and name != "catalogue.json" and made.report.answer == "no":
                    wrong.append(f"{at} = {value!r:.20}: the answer is no")
    assert tried > 30
    assert not wrong, f"{len(wrong)} of {tried}:\n" + "\n".join(wrong[:40])


def test_what_a_host_found_out_counts_though_it_describes_itself_wrongly(tmp_path: Path) -> None:
    """Also where nobody is told twice: the file of a host, and what `mta_collect` makes of an answer."""
    answer = host_answer("mx1", {"findings": [factory.failing().to_dict()], "estate": {"listeners": 5}})
    assert answer["status"] == "failed" and "estate" in answer["reason"]
    directory = factory.write_run(tmp_path, [factory.good("mx1")], vantages=())
    (directory / "hosts/mx1.json").write_text(json.dumps(answer))
    made = make(factory.options(directory))
    assert made.report.answer == "yes"
    assert {f.status for f in made.report.findings} == {Status.FAIL, Status.ERROR}


def test_an_empty_catalogue_asks_nothing(tmp_path: Path) -> None:
    directory = factory.write_run(tmp_path, [factory.good("mx1")])
    for content in ('{"controls": []}', "[]", '{"controls": 7}', "{}"):
        (directory / "catalogue.json").write_text(content)
        with pytest.raises(RunError, match="names no controls"):
            make(factory.options(directory))


def test_text_without_utf_8_is_kept(tmp_path: Path) -> None:
    """A hostile module may send half a surrogate pair; its neighbours' answers are kept in the same task."""
    write_json(tmp_path / "x.json", {"text": "half \ud800 pair", "more": "B\u00fccher"})
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"text": "half \ud800 pair", "more": "B\u00fccher"}


@pytest.mark.parametrize("listeners", [7, [7], [{"name": "mx1", "tokens": 7}], [{"name": [], "tokens": ["a"]}]])
def test_tokens_of_rubbish_are_none(listeners: Any) -> None:
    sound = {"listeners": [{"name": "mx2", "tokens": ["b"]}]}
    assert tokens_of([{"listeners": listeners}, sound]) == {"mx2": ["b"]}
