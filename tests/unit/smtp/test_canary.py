"""Answers of a sink that is none, and texts that give no secret away."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.smtp.canary import CanaryError, canary_from


@pytest.fixture
def no_http() -> Iterator[int]:
    """The port of something that greets as a mail server does."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _address = listening.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"220 sink.test ESMTP\r\n")
                connection.recv(1000)

    threading.Thread(target=serve, daemon=True).start()
    yield listening.getsockname()[1]
    listening.close()


def test_not_http(no_http: int) -> None:
    with pytest.raises(CanaryError, match=rf"^http://127.0.0.1:{no_http} did not answer in HTTP"):
        canary_from({"url": f"http://127.0.0.1:{no_http}/{{token}}"})("x")


@pytest.mark.parametrize(
    "url",
    [
        "http://u:geheim@127.0.0.1:8025/{token}",
        "http://u:geheim@127.0.0.1/{token}",
        "http://u:ge/geheim@127.0.0.1:8025/{token}",
        "http://127.0.0.1:geheim/{token}",
        "http://[geheim/{token}",
        "http://127.0.0.1:1/geheim/{token}?key=geheim",
        "http://127.0.0.1:1/ geheim{token}",
    ],
)
def test_no_part_of_the_url_but_scheme_and_host_is_told(url: str) -> None:
    with pytest.raises(CanaryError) as told:
        canary_from({"url": url})("x")
    assert "geheim" not in str(told.value) and told.value.__suppress_context__


BOUNCE = b"""From: MAILER-DAEMON@mx
Subject: Undelivered Mail Returned to Sender

--b
Content-Type: message/rfc822-headers

From: mtaudit
X-Mtaudit-Token: mtaudit-abc
"""


@pytest.mark.parametrize(
    ("message", "came"),
    [
        (BOUNCE, False),
        (BOUNCE.replace(b"\n", b"\r\n"), False),
        (b"\nX-Mtaudit-Token: mtaudit-abc\n", False),
        (b"Subject: X-Mtaudit-Token: mtaudit-abc\n\n", False),
        (b"X-Mtaudit-Token: mtaudit-abcdef\n\n", False),
        (b"A: " + b"x" * 70_000 + b"\nX-Mtaudit-Token: mtaudit-abc\n\n", False),
        (b"From: x\nX-Mtaudit-Token: mtaudit-abc\n\nhello\n", True),
        (b"From: x\r\nx-mtaudit-token: mtaudit-abc \r\n\r\nhello\r\n", True),
    ],
)
def test_only_the_header_counts_as_arrival(tmp_path: Path, message: bytes, came: bool) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "cur").mkdir()
    (tmp_path / "new" / "1").write_bytes(message)
    assert canary_from({"maildir": str(tmp_path)})("mtaudit-abc") is came


class FakeImap:
    """An IMAP server that answers each command by a script: its name -> the text of its tagged answer."""

    def __init__(self, **answers: str) -> None:
        self.commands: list[str] = []
        self._answers = {"CAPABILITY": "OK", "LOGIN": "OK", "EXAMINE": "OK", "SEARCH": "OK", "LOGOUT": "OK", **answers}
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _address = self._listening.accept()
        with connection, connection.makefile("rw", newline="") as talk:
            talk.write("* OK ready\r\n")
            talk.flush()
            for line in talk:
                tag, name, *_rest = line.split()
                self.commands.append(line.rstrip().partition(" ")[2])
                untagged = {"CAPABILITY": "* CAPABILITY IMAP4rev1\r\n", "LOGOUT": "* BYE\r\n"}.get(name, "")
                talk.write(f"{untagged}{tag} {self._answers[name]} done\r\n")
                talk.flush()

    def ask(self, **other: str) -> bool:
        given = {"host": "127.0.0.1", "port": self.port, "user": "canary", "password": "geheim", "tls": False, **other}
        return canary_from({"imap": given})("mtaudit-abc")


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ({"SEARCH": "NO [SERVERBUG] internal error"}, "could not be searched: [SERVERBUG] internal error"),
        ({"SEARCH": "BAD no such command"}, "SEARCH command error: BAD [b'no such command"),
        ({"EXAMINE": "NO it is gone"}, "folder INBOX cannot be opened: it is gone"),
        ({"LOGIN": "NO geheim is no password"}, "could not be asked: *** is no password"),
    ],
)
def test_an_imap_server_that_refuses_has_confirmed_nothing(answers: dict[str, str], text: str) -> None:
    with pytest.raises(CanaryError) as told:
        FakeImap(**answers).ask()
    assert text in str(told.value) and "geheim" not in str(told.value)


def test_imap_names_are_quoted() -> None:
    server = FakeImap()
    assert server.ask(user='ca "na" ry', folder="Proof of relaying") is False
    assert 'LOGIN "ca \\"na\\" ry" "geheim"' in server.commands
    assert 'EXAMINE "Proof of relaying"' in server.commands


@pytest.mark.parametrize(
    "wrong",
    [{"port": 0}, {"port": 65536}, {"port": "imap"}, {"folder": "A\r\nB"}, {"folder": "Entwürfe"}, {"keyy": 1}],
)
def test_imap_arguments_are_checked_before_anything_is_asked(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="canary_check: imap"):
        canary_from({"imap": {"host": "h", "user": "u", "password": "p", **wrong}})
