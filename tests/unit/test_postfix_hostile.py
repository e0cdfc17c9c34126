"""Reading Postfix configuration that is broken, odd or hostile: what real Postfix 3.7 and 3.10 were seen to make of it."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.control import Site
from ansible.module_utils.mtaudit.controls.relay_paths import paths
from ansible.module_utils.mtaudit.readers import postfix
from ansible.module_utils.mtaudit.readers.postfix_match import parse_list
from ansible.module_utils.mtaudit.readers.postfix_samples import examples, pattern_lines
from ansible.module_utils.mtaudit.readers.postfix_syntax import expand, main_cf, master_cf
from ansible.module_utils.mtaudit.readers.postfix_tables import Table, cidr_rules, inline_entries, text_entries
from ansible.module_utils.mtaudit.runner import Completed, LocalRunner, ReadError

STRANGER = "198.19.0.66"


class Host:
    """A host with these files and answers of tools; any other tool fails."""

    def __init__(self, files: dict[str, str], answers: dict[str, str]) -> None:
        self.spawns, self.files, self.answers = 0, files, answers

    def run(self, argv: list[str], stdin: str = "", timeout_s: float = 20.0, env: object = None) -> Completed:
        text = self.answers.get(" ".join(argv))
        return Completed(1, "", "fatal: no such thing") if text is None else Completed(0, text, "")

    def read(self, path: str) -> str:
        if path not in self.files:
            raise ReadError(f"Could not read {path}: No such file or directory")
        return self.files[path]

    def stat(self, path: str) -> None:
        return None

    def glob(self, pattern: str) -> list[str]:
        return []

    def which(self, name: str) -> str:
        return f"/usr/sbin/{name}"


def read(main: str = "", master: str = "smtp inet n - y - - smtpd\n", files: dict[str, str] | None = None,
         answers: dict[str, str] | None = None) -> list[postfix.Postfix]:
    """The instances of a host with this configuration."""
    settings = {"config_directory": "/etc/postfix", "mail_version": "3.7.11", "inet_interfaces": "all", "inet_protocols": "all"}
    settings.update({name: value for name, (value, _) in main_cf(main).items()})
    said = {"postconf": "".join(f"{name} = {value}\n" for name, value in settings.items()), "postconf -M": master}
    known = {"/etc/postfix/main.cf": main, "/etc/postfix/master.cf": master, **(files or {})}
    return postfix.read(Host(known, {**said, **(answers or {})}))


# Tables


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("if 198.51.100.7/24\n198.19.0.0/16 OK\nendif\n", "OK"),  # a bad `if` is skipped, and what follows has no condition
        ("if 198.51.100.0/24\n198.19.0.0/16 OK\nendif # x\n198.19.0.0/16 OK\n", None),  # so is an `endif` with more text
        ("if\t198.51.100.0/24\t\n198.19.0.0/16 OK\nendif\n", None),
        ("if !198.51.100.0/24\n198.19.0.0/16 OK\nendif\n", "OK"),
        ("! 198.51.100.0/24 OK\n", "OK"),
        ("!!198.19.0.0/16 OK\n", "OK"),
        ("198.19.0.0/255.255.0.0 OK\n", None),  # a netmask is refused
        ("0.0.0.0/0\n198.19.0.0/16 OK\n", "OK"),  # a line without a result is skipped
        ("198.51.100.0/24 OK # \f198.19.0.0/16 OK\n", None),  # only a line feed ends a line
    ],
)
def test_cidr_tables_as_postfix_reads_them(text: str, answer: str | None) -> None:
    assert Table("cidr:/t", "cidr", rules=tuple(cidr_rules(text))).get(STRANGER) == answer


def test_text_tables_as_postfix_reads_them() -> None:
    assert text_entries("198.19.0.66\nA.test  OK  now\n") == {"a.test": "OK  now"}
    with pytest.raises(ValueError, match="line 2: duplicate entry 'A.test'"):
        text_entries("a.test OK\nA.test REJECT\n")
    for broken in ("{ 198.19.0.66=OK, junk }", "{}", "{ =OK }"):
        with pytest.raises(ValueError):
            inline_entries(broken)
    assert inline_entries("{ a=REJECT, a=OK }") == {"a": "OK"}


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        (r"^(10\.0\.0\.1|198\.19\.0\.66)$", STRANGER),
        (r"^185\.12\.", "185.12.7.7"),
        (r"^10\.|^185\.12\.7\.", "185.12.7.7"),
        (r"^198.19.0.6", "198.19.0.6"),
        (r"^1(72\.16|92\.168)\.", "192.168.7.7"),
        (r"^2a00:1450:", "2a00:1450::7"),
        (r"^(a|(b|c))@x\.test$", "c@x.test"),
        (r"^.*\.pl$", "mtaudit-7f3a9c.pl"),
    ],
)
def test_patterns_are_tried_with_all_their_alternatives(pattern: str, key: str) -> None:
    assert key in examples(pattern)


def test_of_a_long_table_what_is_no_refusal_is_tried_first() -> None:
    text = "".join(f"/^host{n}\\.test$/ REJECT dynamic\n" for n in range(1000)) + "/^partner\\.test$/ OK\n"
    assert pattern_lines(text)[0] == r"^partner\.test$"


@pytest.mark.parametrize("pattern", ["(" * 2000 + ")" * 2000, "(a|b)" * 500, "((((a|b)|c)|d)|e)" * 20, "[" * 5000, "\\" * 5001])
def test_hostile_patterns_end(pattern: str) -> None:
    assert len(examples(pattern)) < 1000


# Lists


def test_files_that_include_each_other_are_a_problem_of_the_list() -> None:
    (reading,) = read("mynetworks = /a\nmydestination = /a\n", files={"/a": "127.0.0.0/8\n/b\n", "/b": "/a\n"})
    doubts = reading.main.match_list("mynetworks").trusted().doubts
    assert "includes itself" in doubts[0][0]
    assert reading.local_domains


def test_more_files_than_are_read_are_not_taken_for_empty() -> None:
    chain = {f"/{n}": f"/{n + 1}\n" for n in range(300)}
    (reading,) = read("mynetworks = /0\n", files={**chain, "/300": "0.0.0.0/0\n"})
    assert reading.main.match_list("mynetworks").trusted().doubts
    flat = {f"/{n}": "127.0.0.0/8\n" for n in range(300)}
    (reading,) = read(f"mynetworks = {' '.join(flat)}\n", files={**flat, "/299": "0.0.0.0/0\n"})
    trusted = reading.main.match_list("mynetworks").trusted()
    assert trusted.doubts or any(n.prefixlen == 0 for n, _ in trusted.networks)


def test_a_refused_pattern_stops_clients_of_its_family_only() -> None:
    matches = parse_list("198.51.100.7/24 [::]/0 0.0.0.0/0", {}, {}, {})
    assert [str(network) for network, _ in matches.trusted().networks] == ["::/0"]
    assert matches.match_client("unknown", "2001:db8:19::66")
    assert "198.51.100.7/24" in matches.trusted().doubts[0][0]


def test_a_netmask_is_refused() -> None:
    found = parse_list("198.19.0.0/255.255.0.0", {}, {}, {}).trusted()
    assert not found.networks and found.doubts


def test_ipv4_in_ipv6_trusts_nobody() -> None:
    (reading,) = read("mynetworks = 127.0.0.0/8 [::ffff:198.19.0.0]/112\nsmtpd_relay_restrictions = permit_mynetworks, reject\n")
    assert paths(reading.smtp_services()[0], Site()) == []


# master.cf, instances, names


@pytest.mark.parametrize(
    "options", ["-o mynetworks=0.0.0.0/0", "-omynetworks=0.0.0.0/0", "-vo mynetworks=0.0.0.0/0", "-vvomynetworks=0.0.0.0/0",
                "-v -o { mynetworks = 0.0.0.0/0 } -v"]
)
def test_every_form_of_an_override(options: str) -> None:
    (entry,) = master_cf(f"2525 inet n - y - - smtpd {options}\n")
    assert dict(entry.overrides) == {"mynetworks": "0.0.0.0/0"}


def test_a_joined_option_that_postconf_takes_apart_wrongly() -> None:
    main, master = "mynetworks = 127.0.0.0/8\n", "2525 inet n - y - - smtpd -omynetworks=0.0.0.0/0\n"
    listed = "2525       inet  n       -       y       -       -       smtpd -o mynetw -o rks=0.0.0.0/0\n"
    reading = postfix.parse("/etc/postfix", main + "inet_interfaces = all\n", listed, main, master)
    assert reading.smtp_services()[0].smtpd.value("mynetworks") == "0.0.0.0/0"


def test_ports_by_any_name_of_etc_services() -> None:
    services = "junk\nodd x/tcp\nodd -5/tcp\nmail-alt 26/tcp\tmail2 # x\nsmtp 25/tcp mail\nmail 27/tcp\nmail2 28/udp\n"
    master = "mail inet n - y - - smtpd\nmail2 inet n - y - - smtpd\n"
    (reading,) = read("", master, {"/etc/services": services})
    assert [s.port for s in reading.smtp_services()] == [25, 26]


def test_host_names_listen_where_the_resolver_says() -> None:
    answers = {"getent ahosts mx.test": "198.51.100.11 STREAM mx.test\n198.51.100.11 DGRAM\n2001:db8:51::11 STREAM\n"}
    (reading,) = read("inet_interfaces = mx.test\n", answers=answers)
    assert [s.listener for s in reading.smtp_services()] == ["198.51.100.11:25", "[2001:db8:51::11]:25"]


@pytest.mark.parametrize(("bind", "families"), [("0.0.0.0", ("ipv4",)), ("[::]", ("ipv6",))])
def test_all_addresses_of_one_family(bind: str, families: tuple[str, ...]) -> None:
    (reading,) = read("", f"{bind}:2525 inet n - y - - smtpd\n")
    assert [(s.listener, s.families) for s in reading.smtp_services()] == [("*:2525", families)]


@pytest.mark.parametrize("running", [True, False])
def test_an_instance_that_is_started_by_hand(running: bool) -> None:
    other = "config_directory = /etc/postfix-alt\nqueue_directory = /q\nmulti_instance_enable = no\n"
    answers = {"postconf -c /etc/postfix-alt": other, "postconf -c /etc/postfix-alt -M": "2530 inet n - n - - smtpd\n"}
    files = {"/etc/postfix-alt/main.cf": "", "/etc/postfix-alt/master.cf": "", "/proc/7/comm": "master\n"}
    if running:
        files["/q/pid/master.pid"] = "  7\n"
    found = read("alternate_config_directories = /etc/postfix-alt\n", files=files, answers=answers)
    assert [p.config_directory for p in found] == ["/etc/postfix", "/etc/postfix-alt"][: 1 + running]


@pytest.mark.parametrize("text", ["${{$a} == }", "${{a} == b}", "${{a} ==", "${a?{b}", "$a" + "${" * 500])
def test_expressions_that_end_too_early(text: str) -> None:
    with pytest.raises(ValueError):
        expand(text, {"a": "1"}.get)


def test_a_cycle_in_a_style_is_no_crash() -> None:
    (reading,) = read("", "26 inet n - y - - smtpd -o mynetworks_style=$x -o x=$x\n")
    trusted = reading.smtp_services()[0].smtpd.match_list("mynetworks").trusted()
    assert ipaddress.ip_network("127.0.0.0/8") in [network for network, _ in trusted.networks]


# Files that are none


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_regular_file_is_not_read(tmp_path: Path, make: Callable[[str], None]) -> None:
    make(str(tmp_path / "x"))
    with pytest.raises(ReadError, match="not a regular file"):
        LocalRunner().read(str(tmp_path / "x"))
    assert LocalRunner().read("/dev/null") == ""


def test_a_nul_in_a_name_is_no_crash() -> None:
    runner = LocalRunner()
    for call in (lambda: runner.read("/etc/a\0b"), lambda: runner.stat("/etc/a\0b"), lambda: runner.run(["true", "a\0b"])):
        with pytest.raises(ReadError):
            call()


@pytest.mark.parametrize("status", [0, 1])
def test_what_postconf_says_of_a_password_is_not_repeated(status: int) -> None:
    class Complaining(Host):
        def run(self, argv: list[str], stdin: str = "", timeout_s: float = 20.0, env: object = None) -> Completed:
            said = "postconf: warning: /etc/postfix/main.cf: unused parameter: relay_password=Wren-Copper\n"
            return Completed(status, "", said + "postconf: fatal: relay_password = Wren-Copper: what is that\n")

    told: dict[str, None] = {}
    try:
        postfix._postconf(Complaining({}, {}), [], told)
    except ReadError as exc:
        told[str(exc)] = None
    assert len(told) == 1 + status and "Wren" not in str(told) and "relay_password" in str(told)
