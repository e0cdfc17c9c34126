"""Whether mail flows: what a vantage says about scripted servers, what the log adds, and the comparison with before."""

from __future__ import annotations

import asyncio
import re
import ssl
from typing import Any

import pytest
from ansible.module_utils.mtaudit.logs.outcome import Delivery, Trace
from ansible.module_utils.mtaudit.smtp import flow_probe
from ansible.module_utils.mtaudit.smtp.flow import Answer, Direction, Status, after_log, as_broken, compare, unproven
from ansible.module_utils.mtaudit.smtp.flow_probe import Request, Target, send
from ansible.module_utils.mtaudit.smtp.login import Login

from .conftest import FAST
from .fakes import CANARY, DENIED, KNOWN, OK, Client, Fake, Sink

PASSWORD = "Basalt-Ferry-31"
ALICE = Login("alice", PASSWORD, "alice@good.test")
GREYLISTED = "451 4.7.1 <{rcpt}>: Greylisted, try again in 300 seconds"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_probe, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(flow_probe, "RESTART_S", 0.1)


def flow(
    fakes: dict[int, Fake], login: Login | None = None, asked: bool = True, known: str = KNOWN, **more: Any
) -> dict[str, Answer]:
    """Answers by `in 25`, `submission 587`; a port without a fake has nobody who listens."""
    sink = Sink()
    ports = tuple(fakes) or (25,)
    target = Target("mx", "127.0.0.1", known, login, **more.pop("target", {
        "ports": tuple(p for p in ports if p == 25) or (25,), "submission_ports": tuple(p for p in ports if p != 25) or (587,),
    }))  # fmt: skip

    def dial(host: str, port: int) -> tuple[str, int]:
        return host, fakes[port].port if port in fakes else 9

    async def answers() -> dict[str, Any]:
        for fake in fakes.values():
            fake.sink = sink
            await fake.start()
        request = Request((target,), "probe@stranger.test", CANARY, "probe.stranger.test", sink.ask if asked else None,
                          limits=FAST, canary_wait_s=0.2, dial=dial, **{"put_off_s": 0.5, **more})  # fmt: skip
        try:
            return await send(request)
        finally:
            for fake in fakes.values():
                fake.stop()

    found = [Answer.from_dict(answer) for answer in asyncio.run(answers())["answers"]]
    return {f"{answer.direction.value} {answer.where.rpartition(':')[2]}".strip(): answer for answer in found}


def submission(client: Client, rcpt: str) -> str:
    return OK if client.login else DENIED


def server(tls: ssl.SSLContext, **more: Any) -> Fake:
    return Fake(**{"rcpt": submission, "tls": tls, "logins": {"alice": PASSWORD}, **more})


def test_every_direction_of_a_good_server(tls: ssl.SSLContext) -> None:
    fakes = {25: Fake(tls=tls), 587: server(tls), 465: server(tls, implicit_tls=True)}
    found = flow(fakes, ALICE)
    assert {name: answer.status for name, answer in found.items()} == {
        "in 25": Status.ACCEPTED, "submission 587": Status.ARRIVED, "submission 465": Status.ARRIVED,
    }  # fmt: skip
    token = found["in 25"].token
    (client,) = fakes[25].dialogue
    assert client.secure and client.login == "" and client.recipients == [KNOWN]
    assert f"MAIL FROM:<probe+{token}@stranger.test>" in client.commands
    message = next(m for m in fakes[25].sink.messages if token in m)
    for header in (rf"Message-ID: <{token}@stranger\.test>", "Subject: mtaudit mail flow test", r"Date: \w{3}, ",
                   f"X-Mtaudit-Token: {token}", "Auto-Submitted: auto-generated", "From: mtaudit <probe@stranger.test>"):
        assert re.search(f"^{header}", message, re.M), (header, message)
    assert {c.sender for c in fakes[587].dialogue} == {"alice@good.test"}
    assert not [a for a in found.values() if PASSWORD in str(a.to_dict())]
    assert len({a.token for a in found.values()}) == 3


def test_what_is_put_off_is_tried_again() -> None:
    asked: list[str] = []

    def once(client: Client, rcpt: str) -> str:
        asked.append(client.sender or "")
        return GREYLISTED if len(asked) == 1 else OK

    answer = flow({25: Fake(rcpt=once)})["in 25"]
    assert answer.status is Status.ACCEPTED and answer.detail == ""
    assert len(asked) == 2 and len(set(asked)) == 1, "greylisting remembers the sender"


def test_what_stays_put_off_is_unknown() -> None:
    answer = flow({25: Fake(rcpt=lambda client, rcpt: GREYLISTED)}, put_off_s=0.1)["in 25"]
    assert answer.status is Status.UNKNOWN and answer.detail.startswith("put off at RCPT: 451 4.7.1"), answer


def test_a_filter_that_is_down_puts_off_after_the_message() -> None:
    fake = Fake(dot="451 4.7.1 Service unavailable - try again later")
    answer = flow({25: fake}, put_off_s=0.1)["in 25"]
    assert answer.status is Status.UNKNOWN and answer.detail.startswith("put off after the message: 451")
    assert len(fake.dialogue) > 1


@pytest.mark.parametrize(("fake", "detail"), [
    (Fake(rcpt=lambda client, rcpt: "550 5.1.1 User unknown"), "refused at RCPT: 550 5.1.1 User unknown"),
    (Fake(rcpt=lambda client, rcpt: "454 4.7.1 Relay access denied"), "refused at RCPT: 454 4.7.1 Relay access denied"),
    (Fake(banner="554 5.7.1 mx.good.test blocked using zen.spamhaus.org"), "this client is blocked at the greeting"),
    (Fake(dot="554 5.7.1 Spam message rejected"), "refused after the message"),
])  # fmt: skip
def test_refusals_are_not_tried_again(fake: Fake, detail: str) -> None:
    answer = flow({25: fake}, put_off_s=30)["in 25"]
    assert answer.status is Status.REFUSED and answer.detail.startswith(detail), answer
    assert len(fake.dialogue) == 1 and answer.seconds < 1


def test_nobody_listens() -> None:
    found = flow({}, ALICE)
    assert {(a.status, a.detail) for a in found.values()} == {(Status.REFUSED, "connection refused")}


def test_only_465(tls: ssl.SSLContext) -> None:
    target = {"ports": (25,), "submission_ports": (587, 465)}
    found = flow({25: Fake(), 465: server(tls, implicit_tls=True)}, ALICE, target=target)
    assert found["submission 465"].status is Status.ARRIVED
    assert found["submission 587"].status is Status.REFUSED


def test_a_daemon_that_starts_in_this_moment() -> None:
    fake = Fake(busy_connections=1)
    assert flow({25: fake})["in 25"].status is Status.ACCEPTED
    assert len(fake.dialogue) == 2


def test_without_working_tls_a_stranger_sends_in_clear(tls: ssl.SSLContext) -> None:
    broken = Fake(extensions=("STARTTLS",), raw_replies={"STARTTLS": b"220 Go ahead\r\n"})
    answer = flow({25: broken})["in 25"]
    assert answer.status is Status.ACCEPTED and answer.detail == "TLS does not work: it was sent without"


def test_a_password_is_not_sent_in_clear() -> None:
    fake = Fake(rcpt=submission, logins={"alice": PASSWORD})
    answer = flow({587: fake}, ALICE)["submission 587"]
    assert answer.status is Status.REFUSED and "not sent in clear" in answer.detail
    assert not [c for client in fake.dialogue for c in client.commands if c.startswith("AUTH")]
    clear = Login("alice", PASSWORD, "alice@good.test", cleartext=True)
    assert flow({587: Fake(rcpt=submission, logins={"alice": PASSWORD})}, clear)["submission 587"].status is Status.ARRIVED


def test_a_refused_login_is_not_tried_again(tls: ssl.SSLContext) -> None:
    fakes = {587: server(tls), 465: server(tls, implicit_tls=True)}
    found = flow(fakes, Login("alice", "wrong", "alice@good.test"))
    assert sorted(a.status.value for n, a in found.items() if n.startswith("sub")) == ["not_sent", "refused"]
    assert sum(c.startswith("AUTH") for fake in fakes.values() for client in fake.dialogue for c in client.commands) == 1


def test_a_server_that_has_no_logins_any_more(tls: ssl.SSLContext) -> None:
    answer = flow({587: Fake(tls=tls)}, ALICE)["submission 587"]
    assert answer.status is Status.REFUSED and answer.detail == "it offers neither AUTH PLAIN nor AUTH LOGIN"


def test_taken_and_thrown_away_is_not_arrived(tls: ssl.SSLContext) -> None:
    answer = flow({587: server(tls, relays=False)}, ALICE)["submission 587"]
    assert answer.status is Status.ACCEPTED and answer.detail == "did not reach the canary within 0.2 s"
    assert answer.line.startswith("250")


def test_what_is_missing_is_said() -> None:
    found = flow({25: Fake()}, known="", asked=False, no_canary="canary_check is not set")
    assert {(a.direction.value, a.status, a.detail) for a in found.values()} == {
        ("in", Status.NOT_SENT, "no known recipient is declared"),
        ("submission", Status.NOT_SENT, "no test login is declared"),
    }
    assert flow({}, ALICE, asked=False, no_canary="canary_check is not set")["submission"].detail == "canary_check is not set"


def test_a_session_that_ends_after_the_message_is_not_begun_again() -> None:
    class Dying(Fake):
        async def _message(self, client: Client, reader: Any, writer: Any, reply: str) -> str:
            await super()._message(client, reader, writer, reply)
            raise ConnectionError

    fake = Dying()
    answer = flow({25: fake})["in 25"]
    assert answer.status is Status.UNKNOWN and answer.detail.endswith("after the message was sent") and answer.pending
    assert len(fake.dialogue) == 1


def test_messages_of_the_host_are_waited_for() -> None:
    sent = Answer(Direction.OUT, "mx", "sendmail", Status.ACCEPTED, token="mtaudit-1")
    other = Answer(Direction.LOCAL, "mx", "sendmail", Status.ACCEPTED, token="mtaudit-2")
    sink = Sink({"mtaudit-1"})
    request = Request((), "probe@stranger.test", CANARY, "probe", sink.ask, expected=(sent, other), canary_wait_s=0.1)
    found = [Answer.from_dict(answer) for answer in asyncio.run(send(request))["answers"]]
    assert [a.status for a in found] == [Status.ARRIVED, Status.ACCEPTED]


def test_a_canary_that_cannot_be_asked_sends_nothing(tls: ssl.SSLContext) -> None:
    def lies(token: str) -> bool:
        return True

    fake = server(tls)

    async def answers() -> dict[str, Any]:
        await fake.start()
        target = Target("mx", "127.0.0.1", "", ALICE, (), (587,))
        try:
            return await send(Request((target,), "a@b.test", CANARY, "probe", lies, dial=lambda host, _port: (host, fake.port)))
        finally:
            fake.stop()

    (answer,) = [a for a in asyncio.run(answers())["answers"] if a["direction"] == "submission"]
    assert (answer["status"], answer["detail"]) == ("not_sent", "the canary confirms a token that was never sent")
    assert not fake.dialogue


def test_the_time_of_the_call_is_limited() -> None:
    answer = flow({25: Fake(delay_s=0.3)}, timeout_s=0.2)["in 25"]
    assert answer.status is Status.UNKNOWN and "time-out" in answer.detail


# ---- the log

TOKEN = "mtaudit-0a1b2c3d4e5f6071"
TAKEN = Answer(Direction.IN, "mx", "192.0.2.1:25", Status.ACCEPTED, token=TOKEN)


def traced(*deliveries: Delivery, ids: tuple[str, ...] = ("4A3B2C1D",)) -> Trace:
    return Trace(TOKEN, queue_ids=ids, deliveries=deliveries, lines=("a line",))


def delivery(status: str, relay: str = "local", text: str = "delivered to maildir") -> Delivery:
    return Delivery(KNOWN, status, relay, "", text)


@pytest.mark.parametrize(("trace", "status", "detail"), [
    (traced(delivery("sent")), Status.ARRIVED, f"delivered, the log says: sent <{KNOWN}> by local delivered to maildir"),
    (traced(delivery("deferred", text="mailbox is full")), Status.ACCEPTED, "the log says deferred"),
    (traced(delivery("bounced", text="user unknown")), Status.REFUSED, "the log says bounced"),
    (traced(), Status.ACCEPTED, "the log says no delivery yet"),
    (Trace(TOKEN), Status.ACCEPTED, "the log says nothing of this message (no log)"),
    # Handed to a content filter, which hands it back: not arrived until that is delivered.
    (traced(delivery("sent", "127.0.0.1[127.0.0.1]:10024", "250 Ok: queued as 5E6F7A"), ids=("4A3B2C", "5E6F7A")),
     Status.ACCEPTED, "the log says no delivery yet"),
    (traced(delivery("sent", "127.0.0.1[127.0.0.1]:10024", "250 Ok: queued as 5E6F7A"), delivery("bounced"),
            ids=("4A3B2C", "5E6F7A")), Status.REFUSED, "the log says bounced"),
])  # fmt: skip
def test_what_the_log_adds(trace: Trace, status: Status, detail: str) -> None:
    found = after_log(TAKEN, trace, "no log")
    assert found.status is status and found.detail.startswith(detail), found


def test_only_the_canary_confirms_what_goes_to_it() -> None:
    sent = Answer(Direction.OUT, "mx", "sendmail", Status.ACCEPTED, "did not reach the canary within 30 s", token=TOKEN)
    found = after_log(sent, traced(delivery("sent", "smart[192.0.2.9]:25", "250 taken")))
    assert found.status is Status.ACCEPTED and "250 taken" in found.detail
    arrived = Answer(Direction.OUT, "mx", "sendmail", Status.ARRIVED, token=TOKEN)
    assert after_log(arrived, Trace(TOKEN)) is arrived


# ---- before and after

ORDER = ("arrived", "accepted", "refused", "unknown", "not_sent", None)
VERDICTS = {  # before: after, in this order
    "arrived": ("kept", "broken", "broken", "broken", "broken", "broken"),
    "accepted": ("kept", "kept", "broken", "broken", "broken", "broken"),
    "refused": ("kept", "kept", "was_broken", "was_broken", "was_broken", "was_broken"),
    "unknown": ("kept", "kept", "was_broken", "was_broken", "was_broken", "was_broken"),
    "not_sent": ("kept", "kept", "not_tried", "not_tried", "not_tried", "not_tried"),
    None: ("kept", "kept", "not_tried", "not_tried", "not_tried"),
}


def answers(status: str | None, detail: str = "") -> list[Answer]:
    return [Answer(Direction.IN, "mx", "192.0.2.1:25", Status(status), detail)] if status else []


@pytest.mark.parametrize(("before", "after", "verdict"), [
    (before, after, verdict) for before, row in VERDICTS.items() for after, verdict in zip(ORDER, row)
])  # fmt: skip
def test_verdicts(before: str | None, after: str | None, verdict: str) -> None:
    (found,) = compare(answers(before, "was so"), answers(after, "is so"))
    assert found.verdict.value == verdict and found.proven is (after == "arrived") and found.reason
    assert bool(as_broken([found])) is (verdict == "broken")
    assert ("in" in unproven([found])) is (after != "arrived")


def test_each_listener_counts_by_itself_and_the_best_vantage_for_it() -> None:
    def at(where: str, status: Status) -> Answer:
        return Answer(Direction.SUBMISSION, "mx", where, status)

    before = [at("192.0.2.1:587", Status.ARRIVED), at("192.0.2.1:465", Status.ARRIVED)]
    after = [at("192.0.2.1:587", Status.REFUSED), at("192.0.2.1:465", Status.UNKNOWN), at("192.0.2.1:465", Status.ARRIVED)]
    found = {each.where: each.verdict.value for each in compare(before, after)}
    assert found == {"192.0.2.1:587": "broken", "192.0.2.1:465": "kept"}
    assert unproven(compare(before, after)).keys() == {"in", "out", "local"}


def test_an_answer_survives_json() -> None:
    assert Answer.from_dict(TAKEN.to_dict()) == TAKEN
    with pytest.raises((KeyError, TypeError, ValueError)):
        Answer.from_dict({"direction": "sideways"})
