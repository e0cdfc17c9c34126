"""RELAY-06 for the host: who listens on a port of SMTP, as far as it is seen, and who is configured for it."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.control import Site
from ansible.module_utils.mtaudit.controls.unknown_ports import every_mail_port_is_of_a_known_program
from ansible.module_utils.mtaudit.listeners import Listener, Server
from ansible.module_utils.mtaudit.readers.sockets import Socket
from ansible.module_utils.mtaudit.readers.system import Host
from ansible.module_utils.mtaudit.readers.uses import Process

EVERY, LOCAL = Listener(587), Listener(587, "127.0.0.1", loopback_only=True)
ONE, OTHER = Listener(587, "198.51.100.7"), Listener(587, "198.51.100.8")


def statuses(
    seen: Listener, holder: str, told: dict[str, Listener], running: str | None = None, of_root: bool = True
) -> list[str]:
    """What is found of one socket."""
    socket = Socket(seen, of_root, Process(7, 1, holder, 0.0) if holder else None)
    host = Host(sockets=[socket], names=frozenset([running or holder]))
    site = Site(servers={name: (Server("1", "/etc", (listener,)),) for name, listener in told.items()})
    return [finding.status.value for finding in every_mail_port_is_of_a_known_program(host, site)]


@pytest.mark.parametrize(("seen", "holder", "told", "expected"), [
    (EVERY, "master", {"postfix": EVERY}, "pass"),
    (ONE, "exim4", {"exim": ONE}, "pass"),
    (ONE, "exim4", {"exim": EVERY}, "pass"),
    (EVERY, "python3", {}, "fail"),
    (EVERY, "python3", {"postfix": Listener(25)}, "fail"),
    (EVERY, "python3", {"postfix": EVERY}, "fail"),
    # What the program has on another address says nothing of this one.
    (EVERY, "socat", {"postfix": LOCAL}, "fail"),
    (OTHER, "socat", {"postfix": ONE}, "fail"),
    # Dovecot's submission took the port that Postfix is configured for, too.
    (EVERY, "dovecot", {"postfix": EVERY, "dovecot": EVERY}, "fail"),
    (EVERY, "haproxy", {"postfix": LOCAL}, "unknown"),
    # Its configuration could not be read, or changed since it listens.
    (EVERY, "master", {}, "unknown"),
    # That a port is open which no program tells of, the audit says in servers under an empty name.
    (EVERY, "python3", {"": EVERY}, "fail"),
])  # fmt: skip
def test_whose_process_is_seen(seen: Listener, holder: str, told: dict[str, Listener], expected: str) -> None:
    assert statuses(seen, holder, told) == [expected]


@pytest.mark.parametrize(("told", "running", "expected"), [
    ({"exim": EVERY}, "exim4", "pass"),
    ({"exim": EVERY}, "cron", "unknown"),
    ({"exim": OTHER}, "exim4", "unknown"),
    ({}, "exim4", "unknown"),
])  # fmt: skip
def test_in_a_container_the_daemon_that_runs_counts(told: dict[str, Listener], running: str, expected: str) -> None:
    assert statuses(EVERY, "", told, running) == [expected]


def test_no_mail_program_has_a_port_that_another_account_opened() -> None:
    """Exim and Sendmail run on when a port is taken: seen in the lab."""
    assert statuses(EVERY, "", {"exim": EVERY}, "exim4", of_root=False) == ["unknown"]


def test_nothing_that_listens_is_nothing_to_ask() -> None:
    assert [f.status.value for f in every_mail_port_is_of_a_known_program(Host(), Site())] == ["notapplicable"]
