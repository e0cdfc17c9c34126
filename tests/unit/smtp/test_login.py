"""The classes of a test login: what it may send, and how little of it is shown."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.mtaudit.smtp.login import Login

from .fakes import OK, Client, Fake, local_only

Probe = Callable[..., dict[str, Any]]
PASSWORD = "Basalt-Ferry-31"
ALICE = Login("alice", PASSWORD, "alice@good.test", "bob@good.test")


def server(tls: ssl.SSLContext | None, allowed: tuple[str, ...], **more: Any) -> Fake:
    """Relays for a login whose sender is among `allowed`; "*" means any."""

    def rule(client: Client, rcpt: str) -> str:
        if not client.login:
            return local_only(client, rcpt)
        return OK if "*" in allowed or client.sender in allowed else "553 5.7.1 Sender address rejected: not owned by user alice"

    return Fake(rcpt=rule, tls=tls, logins={"alice": PASSWORD}, **more)


def authenticated(result: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    (listener,) = result["listeners"]
    (finding,) = [f for f in result["findings"] if f["control"] == "RELAY-14"]
    return listener["classes"]["authenticated"], finding


def other_sender(result: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    (listener,) = result["listeners"]
    (finding,) = [f for f in result["findings"] if f["control"] == "SENDER-01"]
    return listener["classes"]["other_sender"], finding


def test_login_bound_to_its_sender(probe_fakes: Probe, tls: ssl.SSLContext) -> None:
    result = probe_fakes(server(tls, ("alice@good.test",)), login=ALICE)
    for found, finding in (authenticated(result), other_sender(result)):
        assert found["verdict"] == "closed" and finding["status"] == "pass"


def test_login_with_any_sender(probe_fakes: Probe, tls: ssl.SSLContext) -> None:
    result = probe_fakes(server(tls, ("*",)), login=ALICE)
    found, finding = authenticated(result)
    assert (found["verdict"], found["conditions"], finding["status"]) == ("proven_open", ["authenticated"], "fail")
    assert other_sender(result)[0]["verdict"] == "proven_open", "as any sender, so as anybody of the house"
    assert result["listeners"][0]["verdict"] == "closed", "not open for strangers"


def test_login_with_another_users_sender(probe_fakes: Probe, tls: ssl.SSLContext) -> None:
    result = probe_fakes(server(tls, ("alice@good.test", "bob@good.test")), login=ALICE)
    found, finding = other_sender(result)
    assert (found["verdict"], found["conditions"], finding["status"]) == ("proven_open", ["authenticated"], "fail")
    assert "bob@good.test" in finding["evidence"][0]["text"]
    assert authenticated(result)[0]["verdict"] == "closed", "a foreign sender is refused"


def test_without_another_users_address_there_is_no_such_class(probe_fakes: Probe, tls: ssl.SSLContext) -> None:
    result = probe_fakes(server(tls, ("*",)), login=Login("alice", PASSWORD, "alice@good.test"))
    assert "other_sender" not in result["listeners"][0]["classes"]
    assert not [f for f in result["findings"] if f["control"] == "SENDER-01"]


def test_what_was_seen_before_a_session_ended_counts(probe_fakes: Probe, tls: ssl.SSLContext) -> None:
    class Leaving(Fake):
        async def _command(self, client: Client, line: str, reader: Any, writer: Any) -> bool:
            if "bob@good.test" in line:
                return True
            return await super()._command(client, line, reader, writer)

    fake = server(tls, ("*",))
    fake.__class__ = Leaving
    result = probe_fakes(fake, login=ALICE)
    assert authenticated(result)[0]["verdict"] == "proven_open"
    assert other_sender(result)[0]["verdict"] == "unknown" and other_sender(result)[1]["reason"]


def test_foreign_senders_may_be_allowed(probe_fakes: Probe, tls: ssl.SSLContext) -> None:
    _found, finding = authenticated(probe_fakes(server(tls, ("*",)), login=ALICE, allow_foreign_senders=True))
    assert finding["status"] == "informational"


def test_wrong_password_is_tried_once_for_all_listeners(probe_fakes: Probe, tls: ssl.SSLContext) -> None:
    fakes = {("127.0.0.1", port): server(tls, ("*",)) for port in (25, 587)}
    result = probe_fakes(fakes, login=Login("alice", "wrong", "alice@good.test"))
    attempts = [c for fake in fakes.values() for client in fake.dialogue for c in client.commands if c.startswith("AUTH")]
    assert len(attempts) == 1
    assert {item["classes"]["authenticated"]["verdict"] for item in result["listeners"]} == {"unknown"}


def test_no_password_in_clear(probe_fakes: Probe) -> None:
    fake = server(None, ("*",))
    found, _finding = authenticated(probe_fakes(fake, login=ALICE))
    assert found["verdict"] == "unknown" and "clear" in found["reason"]
    assert other_sender(probe_fakes(server(None, ("*",)), login=ALICE))[0] == found
    assert not [c for client in fake.dialogue for c in client.commands if c.startswith("AUTH")]
    allowed = Login("alice", PASSWORD, "alice@good.test", cleartext=True)
    assert authenticated(probe_fakes(server(None, ("*",)), login=allowed))[0]["verdict"] == "proven_open"


def test_auth_login_mechanism(probe_fakes: Probe, tls: ssl.SSLContext) -> None:
    class LoginOnly(Fake):
        def _hello(self, client: Client, verb: str) -> str:
            return super()._hello(client, verb).replace("AUTH PLAIN LOGIN", "AUTH LOGIN")

    fake = server(tls, ("*",))
    fake.__class__ = LoginOnly
    assert authenticated(probe_fakes(fake, login=ALICE))[0]["verdict"] == "proven_open"


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_the_password_is_nowhere_in_the_result(probe_fakes: Probe, tls: ssl.SSLContext, mechanism: str) -> None:
    import base64

    class Echo(Fake):
        def _check(self, client: Client, user: str, password: str) -> str:
            return f"535 5.7.8 no: {user} {password}"

        def _hello(self, client: Client, verb: str) -> str:
            return super()._hello(client, verb).replace("AUTH PLAIN LOGIN", f"AUTH {mechanism}")

    fake = server(tls, ("*",))
    fake.__class__ = Echo
    text = json.dumps(probe_fakes(fake, login=ALICE))
    assert PASSWORD not in text
    for secret in (PASSWORD, f"\0alice\0{PASSWORD}"):
        assert base64.b64encode(secret.encode()).decode() not in text


def test_a_listener_without_auth_has_no_such_class(probe_fakes: Probe) -> None:
    result = probe_fakes(Fake(), login=ALICE)
    assert "authenticated" not in result["listeners"][0]["classes"]
