"""Services that do what no real daemon does on demand: the listener probe must neither pass them nor wait for ever."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.services.probe import Order, Request, probe
from ansible.module_utils.mtaudit.services.seen import Mission, Service, Target
from ansible.module_utils.mtaudit.smtp.evidence import Limits
from ansible.module_utils.mtaudit.smtp.login import Login
from smtp.fakes import KNOWN, LOCAL_DOMAIN, Fake, self_signed

FAST = Limits(connect_s=2, banner_s=0.4, reply_s=0.4, message_s=0.4, quit_s=0.2, backoff_s=0.01)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return self_signed(tmp_path_factory.mktemp("tls"))


def target(**more: Any) -> Target:
    return Target("mx.good.test", **{"known_recipient": KNOWN, "local_domains": (LOCAL_DOMAIN,), **more})


def look(port: int, service: Service, about: Target | None = None, **more: Any) -> dict[str, Any]:
    mission = Mission("probe@stranger.test", "probe.stranger.test", limits=FAST)
    order = Order(about or target(), "127.0.0.1", (service,))
    request = Request((order,), mission, dial=lambda host, _port: (host, port), **{"target_timeout_s": 20.0, **more})
    return asyncio.run(probe(request))


SMTP = Service(25)


def of_fake(fake: Fake, service: Service = SMTP, about: Target | None = None) -> dict[str, Any]:
    async def both() -> dict[str, Any]:
        await fake.start()
        mission = Mission("probe@stranger.test", "probe.stranger.test", limits=FAST, foreign="canary@sink.test")
        order = Order(about or target(), "127.0.0.1", (service,))
        try:
            return await probe(Request((order,), mission, target_timeout_s=20, dial=lambda host, _port: (host, fake.port)))
        finally:
            fake.stop()

    return asyncio.run(both())


def of_server(serve: Serve, service: Service, about: Target | None = None, **more: Any) -> dict[str, Any]:
    async def both() -> dict[str, Any]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        mission = Mission("probe@stranger.test", "probe.stranger.test", limits=FAST)
        order = Order(about or target(), "127.0.0.1", (service,))
        request = Request((order,), mission, dial=lambda host, _port: (host, port), **{"target_timeout_s": 20.0, **more})
        try:
            return await probe(request)
        finally:
            server.close()

    return asyncio.run(both())


def said(answer: dict[str, Any]) -> dict[str, str]:
    return {found["control"]: found["status"] for found in answer["findings"]}


def reason(answer: dict[str, Any], control: str) -> str:
    return next(str(found.get("reason", "")) for found in answer["findings"] if found["control"] == control)


def script(greeting: bytes, answers: dict[bytes, bytes], otherwise: bytes) -> Serve:
    """A server that answers by the first word after an IMAP tag, or of the line."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        while line := await reader.readline():
            tag, _space, rest = line.rstrip().partition(b" ")
            words = [*rest.split(b" "), b""] if tag[:1] == b"a" and tag[1:].isdigit() else [tag]
            writer.write(answers.get(words[0].upper(), otherwise).replace(b"TAG", tag))
            await writer.drain()
            if words[0].upper() in (b"LOGOUT", b"QUIT"):
                break
        writer.close()

    return serve


IMAP = script(
    b"* OK ready\r\n",
    {
        b"CAPABILITY": b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\nTAG OK done\r\n",
        b"AUTHENTICATE": b"TAG NO [PRIVACYREQUIRED] no\r\n",
        b"LOGOUT": b"* BYE\r\nTAG OK\r\n",
    },
    b"TAG BAD what\r\n",
)


def test_a_good_server_without_tls() -> None:
    found = said(of_fake(Fake()))
    assert {c: found[c] for c in ("AUTH-01", "AUTH-02", "RCPT-01", "INFO-01", "INFO-02")} == dict.fromkeys(
        ("AUTH-01", "AUTH-02", "RCPT-01", "INFO-01", "INFO-02"), "pass"
    )
    assert found["TLS-01"] == "notapplicable" and found["PATCH-02"] == "unknown"


def test_a_password_is_sent_in_clear_only_where_that_is_allowed() -> None:
    for cleartext, outcome in ((False, "asked"), (True, "taken")):
        login = Login("tester", "Sparrow-99", KNOWN, cleartext=cleartext)
        answer = of_fake(Asking(logins={"tester": "Sparrow-99"}), about=target(login=login))
        assert said(answer)["AUTH-01"] == "fail"
        assert answer["listeners"][0]["login_in_clear"]["outcome"] == outcome
        assert answer["listeners"][0]["costs"]["logins"] == int(cleartext)
        assert "Sparrow" not in str(answer) and "U3BhcnJvdy" not in str(answer)


class Asking(Fake):
    """Asks for the response to AUTH PLAIN (RFC 4954, 4)."""

    def _auth(self, client: Any, argument: str) -> str:
        return "334 "

    async def _auth_login(self, client: Any, reader: Any, writer: Any) -> str:
        await self._send(writer, "334 ")
        response = (await reader.readuntil(b"\n")).strip()
        if response == b"*":
            return "501 5.7.0 Authentication aborted"
        return super()._auth(client, f"PLAIN {response.decode()}")


def test_a_login_that_was_refused_is_not_used_again() -> None:
    fake = Asking(logins={"tester": "another"})
    answer = of_fake(fake, about=target(login=Login("tester", "Sparrow-99", KNOWN, cleartext=True)))
    responses = [line for client in fake.dialogue for line in client.commands if line.startswith("AUTH")]
    assert answer["listeners"][0]["costs"]["logins"] == 1 and len(responses) == 1
    assert answer["listeners"][0]["login_in_clear"]["outcome"] == "asked"


def test_every_mailbox_of_the_domain_is_taken() -> None:
    fake = Fake(rcpt=lambda client, rcpt: "250 2.1.5 Ok" if rcpt.endswith(LOCAL_DOMAIN) else "554 5.7.1 Relay access denied")
    assert said(of_fake(fake))["RCPT-01"] == "fail"


def test_who_relays_for_everybody_has_that_fault_and_no_second_one() -> None:
    answer = of_fake(Fake(rcpt=lambda client, rcpt: "250 2.1.5 Ok"))
    assert said(answer)["RCPT-01"] == "informational"


def test_a_canary_of_the_servers_own_domain_tells_nothing_of_relaying() -> None:
    about = target(local_domains=(LOCAL_DOMAIN, "sink.test"))
    assert said(of_fake(Fake(rcpt=lambda client, rcpt: "250 2.1.5 Ok"), about=about))["RCPT-01"] == "fail"


@pytest.mark.parametrize(
    ("rcpt", "status"),
    [
        ("450 4.2.0 greylisted, try again", "unknown"),  # both put off
        ("550 5.7.1 you are blocked", "unknown"),  # both refused
        ("550 5.1.1 User unknown", "unknown"),
    ],
)
def test_recipients_are_not_judged_without_one_that_is_taken(rcpt: str, status: str) -> None:
    assert said(of_fake(Fake(rcpt=lambda client, address: rcpt)))["RCPT-01"] == status


@pytest.mark.parametrize(
    ("taken", "refusal", "status"),
    [
        ((KNOWN, "postmaster", "abuse"), "550 5.1.1 User unknown", "pass"),
        ((KNOWN, "postmaster"), "550 5.1.1 User unknown", "fail"),
        ((KNOWN,), "550 5.1.1 User unknown", "fail"),
        ((KNOWN, "postmaster"), "450 4.2.0 greylisted, try again", "unknown"),
        ((), "550 5.7.1 you are blocked", "unknown"),
        (("",), "", "unknown"),  # everything is taken
    ],
)
def test_postmaster_and_abuse_are_taken(taken: tuple[str, ...], refusal: str, status: str) -> None:
    fake = Fake(rcpt=lambda client, rcpt: "250 2.1.5 Ok" if rcpt.startswith(taken) else refusal)
    assert said(of_fake(fake))["RCPT-02"] == status


def test_unknown_recipients_put_off_for_good_and_for_now() -> None:
    for text, status in (("450 4.1.1 User unknown", "informational"), ("451 4.7.1 greylisted", "unknown")):
        fake = Fake(rcpt=lambda client, rcpt, text=text: "250 2.1.5 Ok" if rcpt == KNOWN else text)
        assert said(of_fake(fake))["RCPT-01"] == status


def test_vrfy_that_tells_mailboxes_apart() -> None:
    class Telling(Fake):
        def _reply(self, client: Any, verb: str, line: str) -> str:
            if verb == "VRFY":
                return "252 2.0.0 " + KNOWN if KNOWN in line else "550 5.1.1 User unknown"
            return super()._reply(client, verb, line)

    assert said(of_fake(Telling()))["INFO-01"] == "fail"


@pytest.mark.parametrize("where", ["VRFY", "AUTH", "HELP", "MAIL"])
def test_a_question_that_ends_the_connection_is_asked_once_and_stays_open(where: str) -> None:
    class Cutting(Fake):
        async def _command(self, client: Any, line: str, reader: Any, writer: Any) -> bool:
            return line.startswith(where) or await super()._command(client, line, reader, writer)

    control = {"VRFY": "INFO-01", "AUTH": "AUTH-01", "HELP": "INFO-02", "MAIL": "RCPT-01"}[where]
    fake = Cutting()
    answer = of_fake(fake)
    assert said(answer)[control] == "unknown" and "closed the connection" in reason(answer, control)
    assert sum(line.startswith(where) for client in fake.dialogue for line in client.commands) == 1
    others = {"AUTH-01", "INFO-01", "INFO-02", "RCPT-01"} - {control}
    assert {said(answer)[other] for other in others} == {"pass"}


def test_a_certificate_that_is_good_for_two_days_only(tls: ssl.SSLContext) -> None:
    answer = of_fake(Fake(tls=tls), Service(587), target(helo_name="mx.good.test", untrusted_fails=False))
    found = next(f for f in answer["findings"] if f["control"] == "TLS-01")
    assert found["status"] == "fail" and "expires on" in found["message"] and "not trusted" not in found["message"]
    about = target(helo_name="other.test", local_domains=("x.test",), expiry_days=1)
    untrusted = of_fake(Fake(tls=tls, name="third.test"), Service(587), about)
    (text,) = [f["message"] for f in untrusted["findings"] if f["control"] == "TLS-01"]
    assert "self-signed" in text and "not for other.test" in text
    assert untrusted["listeners"][0]["costs"]["connections"] <= 3


def test_starttls_that_does_not_work_leaves_what_is_inside_open() -> None:
    fake = Fake(extensions=("PIPELINING", "STARTTLS"))
    fake.raw_replies = {"STARTTLS": b"220 go\r\nthis is no TLS\r\n"}
    found = said(of_fake(fake))
    assert found["TLS-01"] == "unknown" and found["AUTH-02"] == "unknown" and found["AUTH-05"] == "unknown"
    assert found["AUTH-01"] == "pass"


def test_injected_before_tls_counts_for_nothing(tls: ssl.SSLContext) -> None:
    """What comes in clear after the 220 is not taken for the EHLO reply inside TLS (CVE-2011-0411)."""

    class Injecting(Fake):
        async def _command(self, client: Any, line: str, reader: Any, writer: Any) -> bool:
            if line == "STARTTLS" and not client.secure:
                await self._write(writer, b"220 go\r\n250-evil\r\n250 AUTH CRAM-MD5\r\n")
                await writer.start_tls(tls)
                client.secure = True
                return False
            return await super()._command(client, line, reader, writer)

    answer = of_fake(Injecting(tls=tls), Service(587))
    assert "CRAM-MD5" not in str(answer["findings"])


@pytest.mark.parametrize(
    ("service", "greeting", "words"),
    [
        (Service(143, "imap"), b"* BYE go away\r\n", "does not let us in"),
        (Service(143, "imap"), b"220 mx.test ESMTP\r\n", "does not speak imap"),
        (Service(110, "pop3"), b"-ERR busy\r\n", "does not let us in"),
        (Service(4190, "sieve"), b"BYE no\r\n", "ended the session"),
        (Service(4190, "sieve"), b'"X" "y"\r\n' * 400, "more than 200 lines"),
        (Service(143, "imap"), b"* OK " + b"x" * 9000, "longer than 8192 bytes"),
        (Service(143, "imap"), b"", "did not answer"),
        (Service(25), b"554 no\r\n", "does not let us in"),
        (Service(25), b"SSH-2.0-OpenSSH\r\n", "reply code"),
    ],
)
def test_a_listener_that_does_not_let_us_in_is_unknown(service: Service, greeting: bytes, words: str) -> None:
    answer = of_server(script(greeting, {}, b"BAD\r\n"), service)
    assert set(said(answer).values()) == {"unknown"}
    assert words in reason(answer, "AUTH-01")


def test_answers_without_an_end() -> None:
    endless = script(b"* OK ready\r\n", {b"CAPABILITY": b"* CAPABILITY X\r\n" * 5000}, b"")
    answer = of_server(endless, Service(143, "imap"))
    assert said(answer)["AUTH-01"] == "unknown"
    assert len(answer["listeners"][0]["dialogue"]) < 300


def test_a_good_imap_server_and_the_costs() -> None:
    answer = of_server(IMAP, Service(143, "imap"))
    assert said(answer) == {"AUTH-01": "pass", "AUTH-05": "notapplicable", "TLS-01": "notapplicable", "INFO-02": "pass"}
    costs = answer["listeners"][0]["costs"]
    assert (costs["connections"], costs["logins"]) == (1, 0) and costs["bytes_sent"] < 80


@pytest.mark.parametrize(
    ("service", "greeting", "answers"),
    [
        (Service(143, "imap"), b"* OK hi\r\n", {b"CAPABILITY": b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nTAG OK\r\n",
                                               b"AUTHENTICATE": b"+ \r\n", b"*": b"a2 BAD cancelled\r\n"}),
        (Service(110, "pop3"), b"+OK hi\r\n", {b"CAPA": b"+OK\r\nUSER\r\n.\r\n", b"USER": b"+OK\r\n"}),
        (Service(110, "pop3"), b"+OK hi\r\n", {b"CAPA": b"-ERR\r\n", b"USER": b"+OK\r\n"}),
        (Service(4190, "sieve"), b'"SASL" "PLAIN"\r\nOK\r\n', {b"AUTHENTICATE": b'""\r\n'}),
        (Service(4190, "sieve"), b'"SASL" ""\r\nOK\r\n', {b"AUTHENTICATE": b"{0}\r\n\r\n"}),
    ],
)  # fmt: skip
def test_passwords_in_clear(service: Service, greeting: bytes, answers: dict[bytes, bytes]) -> None:
    otherwise = {"imap": b"TAG NO\r\n", "pop3": b"-ERR\r\n", "sieve": b"NO\r\n"}[service.protocol]
    assert said(of_server(script(greeting, answers, otherwise), service))["AUTH-01"] == "fail"


def test_a_login_that_is_offered_in_clear_and_refused() -> None:
    offering = script(b"* OK hi\r\n", {b"CAPABILITY": b"* CAPABILITY IMAP4rev1\r\nTAG OK\r\n"}, b"TAG NO\r\n")
    assert said(of_server(offering, Service(143, "imap")))["AUTH-01"] == "informational"


def test_weak_mechanisms_are_named() -> None:
    greeting = b"+OK hi <17.4@mx.test>\r\n"
    answer = of_server(script(greeting, {b"CAPA": b"+OK\r\nSASL CRAM-MD5 PLAIN\r\n.\r\n"}, b"-ERR\r\n"), Service(110, "pop3"))
    (found,) = [f for f in answer["findings"] if f["control"] == "AUTH-05"]
    assert found["status"] == "fail" and "APOP, CRAM-MD5" in found["message"]


def test_nobody_there_and_time_up() -> None:
    gone = look(1, Service(25))
    assert set(said(gone).values()) == {"unknown"} and "refused" in reason(gone, "AUTH-01")
    slow = of_fake_slow()
    assert "time-out" in reason(slow, "AUTH-01")


def of_fake_slow() -> dict[str, Any]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx.test ESMTP\r\n")
        while await reader.readline():
            await asyncio.sleep(0.3)
            writer.write(b"250 ok\r\n")

    return of_server(serve, Service(25), timeout_s=0.5)


def test_hostile_text_is_fit_for_a_report(tmp_path: Path) -> None:
    evil = b"220 \x1b[2J{{ lookup('pipe','id') }} password=hunter2secret\r\n"
    answer = of_server(script(evil, {}, b"502 \xff\xfe\x1b]0;x\x07\r\n"), Service(25))
    assert "hunter2secret" not in str(answer)
    assert all(line.isprintable() for listener in answer["listeners"] for line in listener["dialogue"])
