"""Reading Exim: lists as Exim cuts them, expansions, tables, ACLs, listeners; what is known, and what is a doubt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.readers import exim
from ansible.module_utils.mtaudit.readers.exim_expand import Doubt, Expander, ForcedFailure, Known, Session
from ansible.module_utils.mtaudit.readers.exim_lists import Lists
from ansible.module_utils.mtaudit.readers.exim_model import Exim
from ansible.module_utils.mtaudit.readers.exim_syntax import Config, items, parse_acls, parse_options
from ansible.module_utils.mtaudit.readers.exim_tables import Table
from ansible.module_utils.mtaudit.runner import Completed, ReadError, Replay
from capture_fixture import restore

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
STRANGER = Session("198.19.0.201", "mail.stranger.test", "mail.stranger.test", "probe@stranger.test", "a@canary.test")


def recorded() -> dict[str, Any]:
    return restore(json.loads((FIXTURES / "RELAY-03/pass-exim-untouched/recording.json").read_text()))


def read_with(change: Any = None) -> list[Exim]:
    recording = recorded()
    if change:
        change(recording)
    return exim.read(Replay(recording))


# Each was asked of Exim 4.96 with `exim -be '${map{LIST}{[$item]}}'`.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (": 127.0.0.1 : ::::1", ["", "127.0.0.1", "::1"]),
        ("::0/0", [":0/0"]),
        ("<; 10.1.2.3 ; ::/0", ["10.1.2.3", "::/0"]),
        (":", [""]),
        ("", []),
        ("a : : b", ["a", "", "b"]),
        ("a::b:c", ["a:b", "c"]),
        ("a:", ["a"]),
        ("a: ", ["a"]),
        ("<| a | b||c", ["a", "b|c"]),
    ],
)
def test_a_list_is_cut_as_exim_cuts_it(text: str, expected: list[str]) -> None:
    assert items(text) == expected


TABLES = {
    "/items": Table("/items", "1.2.3.9 # me\n!1.2.3.4\n"),
    "/ipl": Table("/ipl", '1.2.3.0/24: yes\n"2001:db8::/32": yes\n'),
    "/lse": Table("/lse", "1.2.3.9: yes\n"),
    "/gone": Table("/gone", problem="Could not read /gone: No such file or directory"),
}


def hosts(text: str, address: str, **lists: str) -> bool:
    named = {("hostlist", name): value for name, value in lists.items()}
    program = Exim("/etc/exim.conf", Config(lists=named), tables=TABLES)
    session = replace(STRANGER, address=address)
    return Lists(program, session, Expander(program.known(), session)).hosts(text)


# Each was asked of Exim 4.96 with `exim -be '${if match_ip{ADDRESS}{LIST}{y}{n}}'`.
@pytest.mark.parametrize(
    ("text", "address", "expected"),
    [
        ("1.2.3.4/24", "1.2.3.9", True),
        ("<; !10.0.0.1", "1.2.3.4", True),
        ("<; !10.0.0.1 ; ", "1.2.3.4", True),
        ("! 1.2.3.4 : 0.0.0.0/0", "1.2.3.4", False),
        ("10/8:*", "1.2.3.9", False),
        ("::0/0", "2001:db8::5", False),
        ("/items", "1.2.3.9", True),
        ("/items", "1.2.3.8", True),
        ("/items:9.9.9.9", "1.2.3.8", False),
        ("!/items:9.9.9.9", "1.2.3.4", True),
        ("!/items", "1.2.3.8", False),
        ("net-iplsearch;/ipl", "1.2.3.9", True),
        ("<; net-iplsearch;;/ipl", "2001:db8::5", True),
        ("net-lsearch;/lse", "1.2.3.9", True),
        ("net24-lsearch;/lse", "1.2.3.9", False),
        ("*", "1.2.3.9", True),
        (":", "1.2.3.9", False),
    ],
)
def test_a_host_list_matches_as_exim_does(text: str, address: str, expected: bool) -> None:
    assert hosts(text, address) is expected


def test_named_lists_are_followed() -> None:
    assert hosts("+ours", "10.0.0.1", ours="10.0.0.0/8") and not hosts("!+ours", "10.0.0.1", ours="10.0.0.0/8")


@pytest.mark.parametrize("text", ["/gone", "/never-read", "+nobody", "net-iplsearch", "net-dbm;/data", "<; net-iplsearch;/ipl"])
def test_what_cannot_be_known_is_a_doubt(text: str) -> None:
    with pytest.raises(Doubt):
        hosts(text, "1.2.3.9")


# Each was asked of Exim 4.96 with `exim -be`, with the variables in place of their values.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"${if match{$received_port}{\N^(465|587)$\N}}", "true"),
        ("${if and {{>{$rcpt_count}{10}}{<{$recipients_count}{${eval:$rcpt_count/2}}} }}", ""),
        ("${if exists{/there}{/there}{}}", "/there"),
        ("${if exists{/missing}{/missing}{}}x", "x"),
        ("${if eq{a}{a}} x ${if eq{a}{b}} x", "true x  x"),
        (r"${if match{abc}{^a(.)c\$}{$1}{no}}", "b"),
        ("${eval:10+3*4/5}", "12"),
        ("${if !def:authenticated_id{nobody}{$authenticated_id}}", "nobody"),
        ("${lc:ABC}${uc:d}", "abcD"),
    ],
)
def test_expansions(text: str, expected: str) -> None:
    known = Known(exists={"/there": True, "/missing": False})
    assert Expander(known, replace(STRANGER, port=465)).expand(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "${run{/bin/true}}",
        "$interface_address",
        "${if exists{/unseen}}",
        "${lookup mysql{SELECT 1}}",
        "${if eq{a}",
        "${sg{a}{b}{c}}",
        "$tls_in_sni",
    ],
)
def test_an_expansion_that_is_not_evaluated_is_a_doubt(text: str) -> None:
    with pytest.raises(Doubt):
        Expander(Known(), STRANGER).expand(text)


def test_a_forced_failure() -> None:
    with pytest.raises(ForcedFailure):
        Expander(Known(), STRANGER).expand("${if eq{a}{b}{x}fail}")


def test_statements_of_an_acl() -> None:
    text = "  check:\n    deny\n    !hosts = +ours\n    message = no\n    MACRO = a : b\n    accept hosts = :\n    endpass\n"
    (deny, accept) = parse_acls(text)["check"]
    assert [str(c) for c in deny.conditions] == ["!hosts = +ours", "message = no"]
    assert accept.verb == "accept" and [c.name for c in accept.conditions] == ["hosts", "endpass"]


def test_options_that_are_on_or_off() -> None:
    assert parse_options("prdr_enable\nno_disable_ipv6\nhosts_proxy = \ntls_privatekey = <value not displayable>\n") == {
        "prdr_enable": "true", "disable_ipv6": "false", "hosts_proxy": "", "tls_privatekey": "<value not displayable>",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "command", "expected"),
    [
        ({}, (), ["*:25"]),
        ({"daemon_smtp_ports": "25 : 465 : smtp : submission"}, (), ["*:25", "*:465", "*:587"]),
        ({"local_interfaces": "<; 127.0.0.1 ; ::1"}, (), ["127.0.0.1:25", "[::1]:25"]),
        ({"local_interfaces": "127.0.0.1.1025 : 192.0.2.1"}, (), ["192.0.2.1:25", "127.0.0.1:1025"]),
        ({"local_interfaces": "<; [::1]:1025 ; 0.0.0.0"}, (), ["*:25", "[::1]:1025"]),
        ({"daemon_smtp_ports": "25"}, ("-oX", "2525"), ["*:2525"]),
        ({"daemon_smtp_ports": "25"}, ("-oX", "127.0.0.1.2525"), ["127.0.0.1:2525"]),
    ],
)
def test_listeners(options: dict[str, str], command: tuple[str, ...], expected: list[str]) -> None:
    given = {"local_interfaces": "<; ::0 ; 0.0.0.0", "daemon_smtp_ports": "smtp", **options}
    assert [listener.name for listener in Exim("f", options=given, command=command).listeners] == expected


def test_listeners_over_tls_only_and_one_family() -> None:
    options = {"tls_on_connect_ports": "465", "daemon_smtp_ports": "25 : 465", "disable_ipv6": "true"}
    first, second = Exim("f", options=options).listeners
    assert (first.tls_wrapper, second.tls_wrapper, first.families) == (False, True, ("ipv4",))


# The reader on a recorded host


def test_no_exim_costs_nothing() -> None:
    replay = Replay({"which": dict.fromkeys(exim.NAMES), "run": [], "read": {}, "stat": {}, "glob": {}})
    assert exim.read(replay) == [] and replay.spawns == 0


def test_a_debian_host() -> None:
    (found,) = read_with()
    server = exim.describe(found)
    assert (server.version, server.helo) == ("4.96", "exim-d12.corp.test")
    assert [(n.name, n.tls_wrapper) for n in server.listeners] == [("*:25", False), ("*:465", True), ("*:587", False)]
    assert server.local_domains == ("exim-d12.corp.test", "exim-d12.test")
    assert found.origin("relay_from_hosts") == "/etc/exim4/update-exim4.conf.conf:7 dc_relay_nets"


def _failing(recording: dict[str, Any]) -> None:
    for entry in recording["run"]:
        entry.update(returncode=1, stdout="", stderr="exim: permission denied\n")


def test_a_configuration_that_cannot_be_read_is_an_instance_with_a_problem() -> None:
    (found,) = read_with(_failing)
    assert "permission denied" in found.problem


def test_hidden_values_are_a_problem() -> None:
    def hide(recording: dict[str, Any]) -> None:
        for entry in recording["run"]:
            entry["stdout"] = entry["stdout"].replace("+relay_from_hosts", "<value not displayable>")

    (found,) = read_with(hide)
    assert "only root" in found.problem


def _replaced(old: str, new: str) -> Any:
    def change(recording: dict[str, Any]) -> None:
        before = json.dumps([e["stdout"] for e in recording["run"]])
        for entry in recording["run"]:
            entry["stdout"] = entry["stdout"].replace(old, new)
        assert before != json.dumps([e["stdout"] for e in recording["run"]]), old

    return change


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("hostlist relay_from_hosts = ", "hostlist relay_from_hosts = 10.0.0.1 : "),
        ("accept\n    authenticated = *", "accept\n    authenticated = plain_server"),
        ("daemon_smtp_ports = 25", "daemon_smtp_ports = 2525 : 25"),
        ("hosts_proxy = ", "hosts_proxy = *"),
    ],
)
def test_the_digest_changes_with_what_decides(old: str, new: str) -> None:
    assert exim.digest(read_with(_replaced(old, new))) != exim.digest(read_with())


def test_the_digest_changes_with_a_table_and_with_a_file_that_appears() -> None:
    def table(recording: dict[str, Any]) -> None:
        recording["read"]["/etc/exim4/sender_logins"] = {"text": "*: *\n"}

    def appeared(recording: dict[str, Any]) -> None:
        path = "/etc/exim4/local_host_whitelist"
        recording["stat"][path] = {"uid": 0, "gid": 0, "mode": 420, "size_bytes": 1, "mtime_ns": 1, "kind": "file"}
        recording["read"][path] = {"text": "0.0.0.0/0\n"}

    digests = {exim.digest(read_with(change)) for change in (None, table, appeared)}
    assert len(digests) == 3


class _Daemons:
    """A host on which daemons run, each with a configuration of its own that prints the same."""

    def __init__(self, *commands: str) -> None:
        self._inner = Replay(recorded())
        self._commands = {f"/proc/{n}/cmdline": c.replace(" ", "\0") + "\0" for n, c in enumerate(commands, 100)}
        self.asked: list[list[str]] = []
        self.spawns = 0

    def run(self, argv: Any, *more: Any, **options: Any) -> Completed:
        if argv[0] != "exim4":
            return self._inner.run(argv)
        self.asked.append(list(argv))
        return self._inner.run([argv[0], "-bP", *(["config"] if argv[-1] == "config" else [])])

    def glob(self, pattern: str) -> list[str]:
        return sorted(self._commands)

    def read(self, path: str) -> str:
        return self._commands[path] if path in self._commands else self._inner.read(path)

    def stat(self, path: str) -> Any:
        return self._inner.stat(path)

    def which(self, name: str) -> Any:
        return self._inner.which(name)


def test_a_second_daemon_is_read_with_its_own_configuration() -> None:
    second_daemon = "/usr/sbin/exim4 -C /etc/second.conf -DX=1 -bd -oX 2526"
    host = _Daemons("/usr/sbin/exim4 -bd -q30m", second_daemon, "/usr/bin/less exim4 -bd")
    first, second = exim.read(host)
    assert first.primary is None and second.primary is first and second.listeners[0].port == 2526
    assert ["exim4", "-C", "/etc/second.conf", "-DX=1", "-bP", "config"] in host.asked and len(host.asked) == 4


def test_a_read_error_is_no_crash() -> None:
    class Broken(_Daemons):
        def run(self, argv: Any, *more: Any, **options: Any) -> Completed:
            raise ReadError("no more processes")

    (found,) = exim.read(Broken())
    assert found.problem == "no more processes"
