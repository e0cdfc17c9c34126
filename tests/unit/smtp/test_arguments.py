"""Arguments that do not fit are named; the canary is asked in three ways."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.smtp.arguments import request_from
from ansible.module_utils.mtaudit.smtp.canary import CanaryError, canary_from
from ansible.module_utils.mtaudit.smtp.values import ArgumentError

GOOD: dict[str, Any] = {
    "targets": [{"host": "198.51.100.11"}],
    "sender": "probe@stranger.test",
    "canary": "canary@sink.test",
    "canary_check": None,
    "canary_wait_s": 1,
    "vantage": "stranger",
    "deliver": True,
    "auth": [],
    "allow_foreign_senders": False,
    "helo": "a.stranger.test",
    "concurrency": 10,
    "per_server": 2,
    "timeout_s": 10,
    "target_timeout_s": 10,
    "retry_after_s": 1,
    "tag": "mtaudit",
}
LOGIN = {"target": "mx1", "username": "alice", "password": "x"}


def test_defaults() -> None:
    request = request_from(GOOD)
    (order,) = request.orders
    assert (order.target.name, order.ports, order.tls_ports) == ("198.51.100.11", (25,), (465,))
    assert order.target.protect_local_recipients is False
    assert request.ask is None and request.no_delivery_reason == "canary_check is not set"


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"canary": "canary"}, "canary"),
        ({"canary": ""}, "canary"),
        ({"canary": "a@b"}, "canary"),
        ({"canary": "a b@c.test"}, "canary"),
        ({"canary": "a>\r\nRCPT TO:<b@c.test"}, "canary"),
        ({"sender": "x"}, "sender"),
        ({"sender": "{t}@c.test"}, "sender"),
        ({"targets": [{"host": ""}]}, "host"),
        ({"targets": [{"host": "a", "port": 25}]}, "port"),
        ({"targets": [{"host": "a", "ports": [70000]}]}, "ports"),
        ({"targets": [{"host": "a", "ports": ["smtp"]}]}, "ports"),
        ({"targets": [{"host": "a", "known_recipient": "root"}]}, "known_recipient"),
        ({"targets": [{"host": "a", "local_domains": "good.test"}]}, "local_domains"),
        ({"targets": [{"host": "a", "local_domains": ["a> b"]}]}, "local_domains"),
        ({"canary_check": {"url": "http://sink"}}, "{token}"),
        ({"canary_check": {"url": "ftp://sink/{token}"}}, "http"),
        ({"canary_check": {"url": "http://s/{token}", "maildir": "/x"}}, "exactly one"),
        ({"canary_check": {"imap": {"host": "x"}}}, "user"),
        ({"canary_check": {"pop3": "x"}}, "exactly one"),
        ({"auth": [LOGIN]}, "no target"),
        ({"concurrency": 0}, "concurrency"),
        ({"per_server": 3}, "per_server"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"retry_after_s": -1}, "retry_after_s"),
        ({"tag": "a b"}, "tag"),
        ({"targets": [{"name": "mx1", "host": "a"}], "auth": [LOGIN]}, "own sender"),
        ({"targets": [{"name": "mx1", "host": "a"}], "auth": [{"target": "mx1", "username": "a"}]}, "password"),
    ],
)
def test_what_does_not_fit_is_named(wrong: dict[str, Any], word: str) -> None:
    with pytest.raises(ArgumentError, match=word.replace("{", r"\{")):
        request_from({**GOOD, **wrong})


def test_login_gets_its_own_sender() -> None:
    target = {"name": "mx1", "host": "a", "local_domains": ["good.test"]}
    (order,) = request_from({**GOOD, "targets": [target], "auth": [LOGIN]}).orders
    assert order.target.login is not None and order.target.login.sender == "alice@good.test"


@pytest.fixture
def sink() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response({"/token/came": 200, "/token/broken": 500}.get(self.path, 404))
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/token/{{token}}"
    server.shutdown()
    server.server_close()


def test_canary_over_http(sink: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    ask = canary_from({"url": sink})
    assert ask("came") and not ask("other")
    with pytest.raises(CanaryError, match="500"):
        ask("broken")
    with pytest.raises(CanaryError, match="refused"):
        canary_from({"url": "http://127.0.0.1:1/{token}"})("x")


def test_canary_in_a_maildir(tmp_path: Path) -> None:
    for name in ("new", "cur", "tmp"):
        (tmp_path / name).mkdir()
    ask = canary_from({"maildir": str(tmp_path)})
    assert not ask("mtaudit-1")
    (tmp_path / "new" / "1").write_text("From: x\nX-Mtaudit-Token: mtaudit-1\n\nhello\n")
    assert ask("mtaudit-1") and not ask("mtaudit-2")
    with pytest.raises(CanaryError, match="could not be read"):
        canary_from({"maildir": str(tmp_path / "gone")})("x")
