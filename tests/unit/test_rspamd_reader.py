"""What `rspamadm configdump` prints, as readings: recorded from untouched rspamd of Debian 12 and 13 with the lab's workers."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.readers import rspamd
from ansible.module_utils.mtaudit.readers.rspamd import Bucket, Rate, Rspamd, Socket, socket_of
from ansible.module_utils.mtaudit.runner import Replay

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
VERSIONS = ("3.4", "3.12.1")
LOOPBACK = ipaddress.ip_address("127.0.0.1")


def text_of(version: str) -> str:
    """As recorded, with the sections that are asked for since then."""
    text = (FIXTURES / f"rspamd-sections-{version}.txt").read_text()
    later = json.loads((FIXTURES / "rspamd-since.json").read_text())
    asked_later = rspamd.SECTIONS[len(text.split(rspamd.BETWEEN)) :]
    return text + "".join(f"{rspamd.BETWEEN}{json.dumps(later[section])}\n" for section in asked_later)


def told(version: str, **sections: Any) -> Rspamd:
    """The untouched configuration with some sections replaced; Redis and the workers listen."""
    ports = tuple((LOOPBACK, port) for port in (6379, 11332, 11333))
    return Rspamd({**rspamd.parse(text_of(version)), **sections}, ports)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_untouched_rspamd_of_debian(version: str) -> None:
    found = told(version)
    assert found.actions == {"reject": 15, "add_header": 6, "greylist": 4}
    assert [(w.kind, w.milter, w.scans, str(w.sockets[0])) for w in found.workers] == [
        ("normal", False, True, "127.0.0.1:11333"), ("rspamd_proxy", True, True, "127.0.0.1:11332"),
    ]  # fmt: skip
    lists = {one.zone: one for one in found.lists}
    assert lists["zen.spamhaus.org"].checks == {"from", "received"}
    assert not lists["zen.spamhaus.org"].logins
    # The domain of MAIL FROM is not among them, in neither release.
    assert lists["dbl.spamhaus.org"].checks == {"emails", "dkim", "helo", "rdns", "replyto", "urls"}
    assert lists["dbl.spamhaus.org"].logins
    assert found.rates == ()
    assert found.enabled("dmarc") and found.enabled("ratelimit")


@pytest.mark.parametrize("version", VERSIONS)
def test_what_redis_holds_is_inert_without_it(version: str) -> None:
    deaf = Rspamd(rspamd.parse(text_of(version)), ((LOOPBACK, 11332),))
    assert deaf.needs_redis("ratelimit") == "nothing listens on 127.0.0.1:6379"
    assert told(version, redis={}).needs_redis("ratelimit") == "no Redis server is named"
    assert told(version, redis={"servers": "127.0.0.1", "disabled_modules": ["ratelimit"]}).needs_redis("ratelimit")
    assert told(version, redis={"servers": "redis.lan:6379"}).needs_redis("ratelimit") == ""
    assert told(version, redis={}, ratelimit={"servers": "127.0.0.1"}).needs_redis("ratelimit") == ""
    assert told(version, redis={}).needs_redis("dmarc") == ""


def test_a_module_that_is_switched_off() -> None:
    assert not told("3.4", dmarc={"enabled": False}).enabled("dmarc")
    assert not told("3.4", options={"disabled_modules": ["dmarc"]}).enabled("dmarc")
    assert told("3.4", rbl={"enabled": False, "rbls": {"a": {"rbl": "bl.test"}}}).lists == ()


def test_lists_with_switches_of_their_own() -> None:
    rbls = {
        "old": {"rbl": "BL.Test", "from": True, "received": False},
        "usual": {"rbl": "usual.test"},
        "own": {"rbl": "own.test", "ignore_defaults": True, "checks": ["urls"], "exclude_checks": ["urls"]},
        "selector": {"rbl": "dbl.test", "checks": ["helo"], "selector": {"from_smtp": "from('smtp'):domain"}},
        "off": {"rbl": "off.test", "checks": ["from"], "enabled": False},
    }
    found = {one.name: one for one in told("3.4", rbl={"default_from": True, "default_exclude_users": True, "rbls": rbls}).lists}
    assert set(found) == {"old", "usual", "own", "selector"}
    assert (found["old"].zone, found["old"].checks) == ("bl.test", {"from"})
    assert found["usual"].checks == {"from"} and not found["usual"].logins
    assert found["own"].checks == frozenset() and found["own"].logins
    assert found["selector"].selectors == ("from('smtp'):domain",)


def test_rates_in_every_form() -> None:
    rates = {
        "by_user": {"selector": "user.lower", "bucket": [{"burst": 100, "rate": "100 / 1h"}, {"rate": "5 / 1min"}]},
        "to": [1, "30 / 1h"],
        "user": "50 / 1d",
    }
    assert told("3.4", ratelimit={"rates": rates}).rates == (
        Rate("by_user", "user.lower", (Bucket("100 / 1h", 100), Bucket("5 / 1min"))),
        Rate("to", "", (Bucket("30 / 1h", 1),)),
        Rate("user", "", (Bucket("50 / 1d"),)),
    )


def test_workers_that_are_off_or_hand_on() -> None:
    blocks = [
        {"normal": {"bind_socket": ["*:11333", "/run/rspamd/n.sock mode=0666"], "enabled": False}},
        {"rspamd_proxy": {"milter": True, "bind_socket": "/run/rspamd/milter.sock mode=0660 owner=_rspamd",
                          "upstream": {"far": {"hosts": "scanner.lan"}}}},
    ]  # fmt: skip
    (proxy,) = told("3.4", worker=blocks).workers
    assert proxy.sockets == (Socket(path="/run/rspamd/milter.sock"),)
    assert proxy.milter and not proxy.scans


@pytest.mark.parametrize(("text", "socket"), [
    ("localhost:11332", Socket("localhost", 11332)), ("*:11332", Socket("*", 11332)), ("127.0.0.1", Socket("127.0.0.1", 99)),
    ("[::1]:6379", Socket("::1", 6379)), ("/run/x.sock mode=0666", Socket(path="/run/x.sock")), ("systemd:0", None), ("", None),
])
def test_places(text: str, socket: Any) -> None:
    assert socket_of(text, 99) == socket


def test_who_answers_whom() -> None:
    assert Socket("localhost", 11332).serves(Socket("127.0.0.1", 11332))
    assert Socket("*", 11332).serves(Socket("::1", 11332))
    assert not Socket("127.0.0.1", 11332).serves(Socket("127.0.0.1", 11333))
    found = Rspamd(listening=((ipaddress.ip_address("::"), 25), (LOOPBACK, 11332)), sockets=frozenset({"/run/m.sock"}))
    assert found.answers(Socket("127.0.0.1", 25)) is True
    assert found.answers(Socket("localhost", 11332)) is True
    assert found.answers(Socket("127.0.0.1", 11399)) is False
    assert found.answers(Socket("scanner.lan", 11332)) is None
    assert found.answers(Socket(path="/var/run/m.sock")) is True
    assert found.answers(Socket(path="/run/other.sock")) is False
    assert found.answers(Socket(path="rspamd/milter.sock")) is None


@pytest.mark.parametrize("text", ["", "{", "nonsense", "{}Section mtaudit NOT FOUND\n"])
def test_what_is_not_understood_says_so(text: str) -> None:
    with pytest.raises(ValueError):
        rspamd.parse(text)


def _replay(entry: dict[str, Any], setpriv: bool = False) -> Replay:
    argv = ["setpriv", "--bounding-set=-dac_override", *rspamd.COMMAND] if setpriv else [*rspamd.COMMAND]
    return Replay({
        "run": [{"argv": argv, "stdin": "", "env": {}, **entry}],
        "which": {"rspamadm": "/usr/bin/rspamadm", "setpriv": "/usr/bin/setpriv" if setpriv else None},
        "read": {p: {"error": "no"} for p in ("/proc/net/tcp", "/proc/net/tcp6", "/proc/net/unix")},
        "glob": dict.fromkeys(rspamd.LUA, []),
    })  # fmt: skip


def test_a_broken_configuration_is_a_problem_with_its_reason() -> None:
    said = "cannot parse resolv.conf\nfailed to load config: ucl: /etc/rspamd/local.d/rbl.conf:2 unmatched open brace\n"
    found = rspamd.read(_replay({"returncode": 1, "stdout": "", "stderr": said}))
    assert found is not None and "rbl.conf:2 unmatched open brace" in found.problem


def test_a_slow_or_silent_rspamadm_is_a_problem() -> None:
    found = rspamd.read(_replay({"error": ["ToolTimeout", "'rspamadm' did not end within 40 s"]}))
    assert found is not None and "40 s" in found.problem
    found = rspamd.read(_replay({"returncode": 0, "stdout": "", "stderr": ""}))
    assert found is not None and "not understood" in found.problem


def test_one_spawn_without_the_right_to_write() -> None:
    replay = _replay({"returncode": 0, "stdout": text_of("3.4"), "stderr": ""}, setpriv=True)
    found = rspamd.read(replay)
    assert found is not None and found.problem == "" and replay.spawns == 1


def test_no_rspamd_is_none() -> None:
    assert rspamd.read(Replay({"which": {"rspamadm": None}})) is None


def test_sections_that_are_not_there_are_left_out() -> None:
    missing = f"Section {rspamd.SECTIONS[0]} NOT FOUND\n"
    text = "Section mtaudit NOT FOUND\n".join([missing, *("{}\n" for _ in rspamd.SECTIONS[1:])])
    assert rspamd.parse(text) == {name: {} for name in rspamd.SECTIONS[1:]}


@pytest.mark.parametrize(
    ("actions", "action", "known"),
    [
        ({"reject": 15}, "reject", True),
        ({"reject": 15}, "add_header", True),
        ({"reject": 15}, "accept", True),
        ({"reject": 15}, "quarantine", False),
        ({"quarantine": 100}, "quarantine", True),
        ({"quarantine": {"flags": ["no_threshold"]}}, "quarantine", True),
        ({"discard": 100}, "Discard", True),
    ],
)  # fmt: skip
def test_actions_that_a_rule_may_take(actions: dict[str, Any], action: str, known: bool) -> None:
    assert rspamd.Rspamd({"actions": actions}).knows(action) is known
