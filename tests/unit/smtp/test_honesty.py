"""What was not asked, not answered, or answered to a blocked prober is never called closed; and nobody else gets a message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.mtaudit.smtp.battery import FORMS, IDENTITY_FORMS, Form, Hole, Names, fill
from ansible.module_utils.mtaudit.smtp.greeting import vouched
from ansible.module_utils.mtaudit.smtp.verdict import Answer, Delivery, Observations, Outcome, Verdict, conclude
from ansible.module_utils.mtaudit.smtp.wording import Meaning

from .fakes import OK, Client, Fake, local_only, open_when, plain
from .test_fake_servers import ANYBODY, only, verdict
from .test_login import ALICE, PASSWORD, authenticated, other_sender

Probe = Callable[..., dict[str, Any]]
NAMES = Names(
    "probe", "stranger.test", "canary", "sink.test", "mx.good.test", "198.51.100.5", "good.test", "info", "mx.good.test"
)
FILLED = {form.name: form for form in fill(FORMS, NAMES)}


def classes(listener: dict[str, Any]) -> dict[str, str]:
    return {name: found["verdict"] for name, found in listener["classes"].items()}


def denied(form: Form, said: Meaning = Meaning.RELAY_DENIED) -> Answer:
    return Answer(form, said, 554, "5.7.1", "no")


def accepted(form: Form) -> Answer:
    return Answer(form, Meaning.ACCEPTED, 250)


def commands(fake: Fake) -> list[str]:
    return [command for client in fake.dialogue for command in client.commands]


# A: the banner's name


@pytest.mark.parametrize(
    ("said", "helo_name", "domains", "expected"),
    [
        ("mx.good.test", "", ("good.test",), ("mx.good.test", "mx.good.test")),
        ("GOOD.test", "", ("good.TEST",), ("GOOD.test", "GOOD.test")),
        ("mail.example.com", "", ("good.test",), ("", "mail.example.com")),
        ("notgood.test", "", ("good.test",), ("", "notgood.test")),
        ("mail.example.com", "", (), ("", "")),
        ("mail.example.com", "mx.other.test", (), ("mx.other.test", "mx.other.test")),
    ],
)
def test_which_name_the_inventory_vouches_for(said: str, helo_name: str, domains: Any, expected: tuple[str, str]) -> None:
    assert vouched(said, helo_name, domains) == expected


def test_forms_without_a_name_are_left_out() -> None:
    forms = fill(FORMS, Names("probe", "stranger.test", "canary", "sink.test", "", "198.51.100.5"))
    texts = [form.envelope() for form in forms]
    assert not any("@>" in text or "<@:" in text or "HELO " in text and "HELO [" not in text for text in texts)
    assert {"foreign_sender", "server_literal", "percent_literal", "source_route_literal", "helo_literal"} <= {
        f.name for f in forms
    }
    assert {form.nmap for form in fill(FORMS, NAMES)} >= set(range(1, 17)), "with a declared name all of nmap's forms are there"


@pytest.mark.parametrize("domains", [("good.test",), ()])
def test_a_name_that_only_the_banner_gives_is_in_no_envelope(probe_fakes: Probe, domains: tuple[str, ...]) -> None:
    fake = Fake(rcpt=open_when(lambda client, rcpt: not plain(rcpt)), name="mail.example.com")
    probe_fakes(fake, domains=domains)
    used = [c for c in commands(fake) if "example.com" in c]
    assert all(c == "EHLO mail.example.com" for c in used) and bool(used) == bool(domains)
    assert any("[127.0.0.1]" in c for c in commands(fake)), "the address literal stands for it"


# B: 251


def test_251_that_forwards_to_the_canary_is_a_relay(probe_fakes: Probe) -> None:
    def rule(client: Client, rcpt: str) -> str:
        forwarded = rcpt == "canary%sink.test@good.test"
        return "251 2.1.5 User not local; will forward to <Canary@sink.test>" if forwarded else local_only(client, rcpt)

    fake = Fake(rcpt=rule)
    assert verdict(only(probe_fakes(fake))) == ("proven_open", ["percent"]) and len(fake.sink.messages) == 1


def test_251_to_a_local_alias_does_not_hide_another_trick(probe_fakes: Probe) -> None:
    def rule(client: Client, rcpt: str) -> str:
        if "%" in rcpt:
            return "251 2.1.5 User not local; will forward to <admin@good.test>"
        return OK if rcpt.startswith("sink.test!") else local_only(client, rcpt)

    fake = Fake(rcpt=rule)
    assert verdict(only(probe_fakes(fake))) == ("proven_open", ["bang"])
    assert len(fake.sink.messages) == 1


# C: late refusals, and what was never asked

LATE = {
    "blocklist": ("554 5.7.1 Service unavailable; client [198.51.100.66] blocked using zen.spamhaus.org", "unknown"),
    "put-off": ("451 4.7.1 Try again later", "unknown"),
    "overloaded": ("452 4.3.1 too many messages", "unknown"),
    "policy": ("550 5.7.1 Message refused", "closed"),
    "relay-denied-as-4xx": ("454 4.7.1 Relay access denied", "closed"),
}


@pytest.mark.parametrize("where", ["data", "dot"])
@pytest.mark.parametrize("kind", LATE)
def test_late_refusals_are_read_by_their_words(probe_fakes: Probe, where: str, kind: str) -> None:
    words, expected = LATE[kind]
    listener = only(probe_fakes(Fake(rcpt=ANYBODY, **{where: words})))
    assert classes(listener)["plain"] == listener["verdict"] == expected, listener["classes"]
    assert ("prober blocked" in listener["reason"]) == (kind == "blocklist")


class LateRefusal(Fake):
    """Accepts every recipient; takes and relays the message only where `passes` says so."""

    passes: Callable[[Client], bool]

    discards = False

    async def _message(self, client: Client, reader: Any, writer: Any, reply: str) -> str:
        await self._send(writer, reply)
        text = (await reader.readuntil(b"\r\n.\r\n")).decode("ascii")
        if self.passes(client):
            self.sink.deliver(text.replace("\r\n", "\n"))
            return self.dot
        return self.dot if self.discards else "550 5.7.1 Message refused"


BEHIND = {
    "null_sender": lambda client: client.sender == "",
    "helo_local": lambda client: client.helo == "[127.0.0.1]",
    "bang": lambda client: client.recipients[-1].startswith("sink.test!"),
    "local_sender": lambda client: (client.sender or "").endswith("@[127.0.0.1]") and plain(client.recipients[-1]),
}


@pytest.mark.parametrize("discards", [False, True], ids=["refuses", "discards"])
@pytest.mark.parametrize("condition", BEHIND)
def test_a_late_refusal_hides_no_hole(probe_fakes: Probe, condition: str, discards: bool) -> None:
    fake = LateRefusal(rcpt=ANYBODY)
    fake.passes, fake.discards = BEHIND[condition], discards
    assert verdict(only(probe_fakes(fake))) == ("proven_open", [condition])
    assert fake.worst_at_once <= 2


def test_messages_are_bounded_where_everything_is_discarded(probe_fakes: Probe) -> None:
    fake = Fake(rcpt=ANYBODY, relays=False)
    listener = only(probe_fakes(fake))
    per_class: dict[str, int] = {}
    for delivery in listener["deliveries"]:
        hole = FILLED[delivery["form"]].hole.value
        per_class[hole] = per_class.get(hole, 0) + 1
    assert verdict(listener) == ("accepts_but_discards", [])
    # Each form of a class at most once, in at most ROUNDS rounds; the figures stand in docs/verdicts.md.
    assert per_class == {"plain": 4, "local_sender": 3, "routing": 6} and listener["costs"]["messages"] == 13
    assert max(client.errors for client in fake.dialogue) <= 8


def test_a_class_that_was_never_asked_is_unknown() -> None:
    main = FILLED["foreign_sender"]
    lost = Observations(
        {main.name: accepted(main)}, positive=accepted(main), spoke=True, deliveries=[Delivery(main, Outcome.MISSING)]
    )
    found = conclude(lost)
    assert found[Hole.PLAIN].verdict is Verdict.ACCEPTS_BUT_DISCARDS
    assert (found[Hole.ROUTING].verdict, found[Hole.ROUTING].reason) == (Verdict.UNKNOWN, "none of its envelopes was asked")


@pytest.mark.parametrize("submission", [False, True])
def test_unanswered_forms_of_a_service_for_logins_are_not_closed(submission: bool) -> None:
    main = FILLED["foreign_sender"]
    no = denied(main, Meaning.REFUSED if submission else Meaning.AUTH_REQUIRED)
    others = [form for form in FILLED.values() if form is not main]
    seen = Observations({main.name: no}, others, positive=no, spoke=True, submission=submission, gave_up="time-out")
    assert {c.verdict for hole, c in conclude(seen).items() if hole is not Hole.IDENTITY} == {Verdict.UNKNOWN}
    answered = Observations(
        {form.name: denied(form, no.meaning) for form in FILLED.values()}, positive=no, spoke=True, submission=submission
    )
    assert {c.verdict for c in conclude(answered).values()} == {Verdict.CLOSED}


def test_a_tarpit_behind_a_login_is_not_closed(probe_fakes: Probe) -> None:
    fake = Fake(mail=lambda client, sender: "530 5.7.0 Authentication required", delay_s=0.1)
    listener = only(probe_fakes(fake, target_timeout_s=1.3))
    assert listener["unanswered"] and "closed" not in {classes(listener)[name] for name in ("plain", "local_sender", "routing")}


def test_a_login_goes_on_to_another_users_sender_after_a_late_refusal(probe_fakes: Probe, tls: Any) -> None:
    fake = LateRefusal(
        rcpt=lambda client, rcpt: OK if client.login else local_only(client, rcpt), tls=tls, logins={"alice": PASSWORD}
    )
    fake.passes = lambda client: client.sender == "bob@good.test"
    result = probe_fakes(fake, login=ALICE)
    found, finding = other_sender(result)
    assert found["verdict"] == "proven_open" and "bob@good.test" in finding["evidence"][0]["text"]
    assert authenticated(result)[0]["verdict"] == "closed"
    fake = LateRefusal(
        rcpt=lambda client, rcpt: OK if client.login else local_only(client, rcpt), tls=tls, logins={"alice": PASSWORD}
    )
    fake.passes = lambda client: False
    result = probe_fakes(fake, login=ALICE)
    assert {authenticated(result)[0]["verdict"], other_sender(result)[0]["verdict"]} == {"closed"}


# D: identity


class Pretending(Fake):
    """Offers XCLIENT and does something of its own with it."""

    answer = ""

    async def _command(self, client: Client, line: str, reader: Any, writer: Any) -> bool:
        if line.startswith("XCLIENT") and not self.answer:
            return True
        if line.startswith("XCLIENT"):
            await self._send(writer, self.answer)
            return False
        return await super()._command(client, line, reader, writer)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", "unknown"),
        ("421 4.3.0 no", "unknown"),
        ("451 4.3.0 later", "unknown"),
        ("550 5.7.0 insufficient authorization", "closed"),
    ],
)
def test_xclient_offered(probe_fakes: Probe, answer: str, expected: str) -> None:
    fake = Pretending(xclient=True)
    fake.answer = answer
    listener = only(probe_fakes(fake))
    assert classes(listener) == {"plain": "closed", "local_sender": "closed", "routing": "closed", "identity": expected}
    assert "offers no XCLIENT" not in listener["classes"]["identity"]["reason"]


def test_xclient_offered_and_never_tried(probe_fakes: Probe) -> None:
    listener = only(probe_fakes(Fake(xclient=True, delay_s=0.05), target_timeout_s=0.6))
    assert classes(listener)["identity"] == "unknown"


def test_xclient_behind_a_late_refusal(probe_fakes: Probe) -> None:
    fake = LateRefusal(rcpt=ANYBODY, xclient=True)
    fake.passes = lambda client: client.pretended == "127.0.0.1"
    assert verdict(only(probe_fakes(fake))) == ("proven_open", ["xclient"])


def test_identity_is_closed_by_absence_only() -> None:
    refused = {form.name: denied(form) for form in FILLED.values()}
    xclient = fill(IDENTITY_FORMS, NAMES)[0]
    main = FILLED["foreign_sender"]
    absent = Observations(dict(refused), positive=accepted(main), spoke=True)
    offered = Observations(dict(refused), positive=accepted(main), spoke=True, identity_forms=[xclient])
    answered = Observations(
        {**refused, "xclient": denied(xclient)}, positive=accepted(main), spoke=True, identity_forms=[xclient]
    )
    found = [conclude(seen)[Hole.IDENTITY].verdict for seen in (absent, offered, answered)]
    assert found == [Verdict.CLOSED, Verdict.UNKNOWN, Verdict.CLOSED]


# E: a block in mid-probe


def blocked_from(session: int, until: int = 10**6) -> Fake:
    def rule(client: Client, rcpt: str) -> str:
        number = fake.dialogue.index(client) + 1
        return "550 5.7.1 Go away" if session <= number < until else local_only(client, rcpt)

    fake = Fake(rcpt=rule)
    return fake


@pytest.mark.parametrize("errors_before_421", [0, 1])
def test_prober_blocked_in_mid_probe(probe_fakes: Probe, errors_before_421: int) -> None:
    fake = blocked_from(2 if not errors_before_421 else 4)
    fake.errors_before_421 = errors_before_421
    listener = only(probe_fakes(fake))
    assert listener["verdict"] == "unknown" and "closed" not in {classes(listener)[n] for n in ("plain", "routing")}
    assert not [form for form in listener["forms"] if form["text"] == "Go away"], "what a blocked prober is told is no answer"
    if not errors_before_421:
        assert "prober blocked after 1 connections: 550 5.7.1 Go away" in listener["reason"]
        assert len(fake.dialogue) <= 4


def test_one_bad_session_is_no_block(probe_fakes: Probe) -> None:
    fake = blocked_from(2, until=3)
    listener = only(probe_fakes(fake))
    assert verdict(listener) == ("closed", [])
    assert listener["unanswered"] == [] and not [form for form in listener["forms"] if form["text"] == "Go away"]


def test_a_bad_first_session_is_asked_again(probe_fakes: Probe) -> None:
    def rule(client: Client, rcpt: str) -> str:
        if client is fake.dialogue[0]:
            return "550 5.7.1 Go away"
        return OK if plain(rcpt) and client.sender == "" else local_only(client, rcpt)

    fake = Fake(rcpt=rule)
    assert verdict(only(probe_fakes(fake))) == ("proven_open", ["null_sender"])
