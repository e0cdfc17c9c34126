"""A stranger's mail with a local sender to a local mailbox: SENDER-03's second half, asked up to RCPT and no further."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.mtaudit.smtp.login import Login

from .fakes import KNOWN, OK, Client, Fake, local_only

Probe = Callable[..., dict[str, Any]]
TO_LOCAL = (f"MAIL FROM:<{KNOWN}>", f"RCPT TO:<{KNOWN}>")


def forged(client: Client) -> bool:
    return (client.sender or "").endswith("@good.test")


def refusing_forged(reply: str) -> Callable[[Client, str], str]:
    return lambda client, rcpt: reply if forged(client) and rcpt == KNOWN else local_only(client, rcpt)


def grey_for_ever(client: Client, rcpt: str) -> str:
    return "450 4.2.0 <{rcpt}>: Greylisted" if forged(client) and rcpt == KNOWN else local_only(client, rcpt)


def mail_refused(client: Client, sender: str) -> str:
    return "553 5.7.1 Sender address rejected: not logged in" if sender.endswith("@good.test") else "250 2.1.0 Ok"


def asked(fake: Fake) -> int:
    """How often a local sender was followed by the known recipient, in the transactions that the server saw."""
    count = 0
    for client in fake.dialogue:
        sender = ""
        for command in client.commands:
            sender = command if command.startswith("MAIL") else "" if command == "RSET" else sender
            count += (sender, command) == TO_LOCAL
    return count


def half(result: dict[str, Any]) -> dict[str, Any]:
    """The listener's class and SENDER-03's findings, of which the local sender's to a foreign recipient is the first."""
    (listener,) = result["listeners"]
    foreign, *local = [f for f in result["findings"] if f["control"] == "SENDER-03"]
    assert foreign["verdict"] == "closed" and len(local) <= 1
    assert (listener["verdict"], listener["conditions"]) == ("closed", []), "it says nothing about relaying"
    assert not listener["deliveries"]
    return {**listener["classes"].get("local_recipient", {"verdict": "unasked"}), "finding": local[0] if local else None}


BEHAVIOURS = {
    "accepts": ({}, "accepts", "fail"),
    "refuses-at-mail": ({"mail": mail_refused}, "closed", "pass"),
    "refuses-at-rcpt": ({"rcpt": refusing_forged("550 5.7.1 <{rcpt}>: local senders must log in")}, "closed", "pass"),
    "wants-a-login": ({"rcpt": refusing_forged("530 5.7.0 Authentication required")}, "closed", "pass"),
    "puts-off-for-ever": ({"rcpt": grey_for_ever}, "unknown", "unknown"),
    "refuses-after-data": ({"data": "554 5.7.1 Forged", "dot": "554 5.7.1 Forged"}, "accepts", "fail"),
    "cuts-at-the-first-error": ({"rcpt": refusing_forged("550 5.7.1 no"), "errors_before_421": 1}, "closed", "pass"),
}


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_what_it_answers(probe_fakes: Probe, behaviour: str) -> None:
    faults, verdict, status = BEHAVIOURS[behaviour]
    fake = Fake(**faults)  # type: ignore[arg-type]
    result = probe_fakes(fake, protect=True)
    found = half(result)
    assert (found["verdict"], found["finding"]["status"], found["finding"]["verdict"]) == (verdict, status, verdict), found
    assert not any(word.startswith("DATA") for client in fake.dialogue for word in client.commands)
    costs = result["listeners"][0]["costs"]
    assert costs["accepted_recipients"] == sum(client.accepted for client in fake.dialogue)
    assert max(client.errors for client in fake.dialogue) <= 8


def test_what_an_acceptance_says(probe_fakes: Probe) -> None:
    fake = Fake()
    found = half(probe_fakes(fake, protect=True))["finding"]
    assert found["conditions"] == ["local_sender", "local_recipient"]
    assert found["message"].startswith("accepts mail with a local sender to a local recipient; unconfirmed: no message is sent")
    assert found["evidence"][0]["text"] == f"{' '.join(TO_LOCAL)} -> {OK}"
    assert asked(fake) == 1


def test_it_costs_one_recipient_and_no_connection(probe_fakes: Probe) -> None:
    without, once = Fake(), Fake()
    probe_fakes(without)
    probe_fakes(once, protect=True)
    assert len(once.dialogue) == len(without.dialogue)
    assert sum(c.accepted for c in once.dialogue) == sum(c.accepted for c in without.dialogue) + 1


def test_where_it_is_not_asked(probe_fakes: Probe) -> None:
    login = Login("alice", "secret", "alice@good.test")
    for more in ({}, {"protect": True, "known": ""}, {"protect": True, "domains": ()}):
        fake = Fake()
        assert half(probe_fakes(fake, **more))["verdict"] == "unasked" and asked(fake) == 0
    submission = Fake(extensions=("PIPELINING", "AUTH PLAIN"), logins={"alice": "secret"})
    probe_fakes({("127.0.0.1", 587): submission}, protect=True, login=login)
    assert asked(submission) == 0


def test_a_known_recipient_that_nobody_reaches_vouches_for_nothing(probe_fakes: Probe) -> None:
    (listener,) = probe_fakes(Fake(rcpt=lambda client, rcpt: "550 5.1.1 no such user"), protect=True)["listeners"]
    assert listener["classes"]["local_recipient"]["verdict"] == "unknown"


def test_an_open_relay_holds_no_sender_back(probe_fakes: Probe) -> None:
    fake = Fake(rcpt=lambda client, rcpt: OK if "canary" in rcpt else local_only(client, rcpt))
    result = probe_fakes(fake, protect=True)
    (listener,) = result["listeners"]
    assert listener["verdict"] == "proven_open" and listener["classes"]["local_recipient"]["verdict"] == "unknown"
    assert all("To: <canary@sink.test>" in message for message in fake.sink.messages) and len(fake.sink.messages) == 2
