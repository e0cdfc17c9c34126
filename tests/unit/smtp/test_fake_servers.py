"""Each kind of server gets exactly its verdict."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.mtaudit.smtp.canary import CanaryError
from ansible.module_utils.mtaudit.smtp.evidence import Limits
from ansible.module_utils.mtaudit.smtp.listener import Mission, Target
from ansible.module_utils.mtaudit.smtp.probe import Order, Request, probe

from .conftest import FAST
from .fakes import DENIED, KNOWN, OK, UNKNOWN_USER, Client, Fake, Sink, local_only, open_when, plain

Probe = Callable[..., dict[str, Any]]


def only(result: dict[str, Any]) -> dict[str, Any]:
    assert len(result["listeners"]) == 1
    return result["listeners"][0]


def verdict(listener: dict[str, Any]) -> tuple[str, list[str]]:
    return listener["verdict"], listener["conditions"]


ANYBODY = open_when(lambda client, rcpt: True)


def refusing(text: str) -> Any:
    """Known recipient accepted, everything else refused in these words."""
    return lambda client, rcpt: OK if rcpt == KNOWN else text


# What other programs say to a stranger: observed with Exim 4.96, Sendmail 8.17, OpenSMTPD 7.6; the rest from their manuals.
CLOSED_WORDS = {
    "postfix-554": DENIED,
    "postfix-454-for-ever": "454 4.7.1 <{rcpt}>: Relay access denied",
    "exim": "550 relay not permitted",
    "sendmail": "550 5.7.1 <{rcpt}>... Relaying denied. IP name lookup failed [198.51.100.66]",
    "opensmtpd": "550 Invalid recipient: <{rcpt}>",
    "exchange": "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
    "qmail": "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
    "courier": "513 Relaying denied.",
    "haraka": "550 I cannot deliver mail for <{rcpt}>",
    "icewarp": "550 5.7.1 <{rcpt}> We do not relay without authentication",
    "authentication-required": "530 5.7.0 Authentication required",
    "mailenable": "503 This mail server requires authentication when attempting to send to a non-local e-mail address.",
}


@pytest.mark.parametrize("words", CLOSED_WORDS.values(), ids=CLOSED_WORDS.keys())
def test_closed_in_any_words(probe_fakes: Probe, words: str) -> None:
    listener = only(probe_fakes(Fake(rcpt=refusing(words))))
    assert verdict(listener) == ("closed", [])
    assert listener["controls"]["positive"]["meaning"] == "accepted"


def test_true_open_relay(probe_fakes: Probe) -> None:
    fake = Fake(rcpt=ANYBODY)
    listener = only(probe_fakes(fake))
    assert verdict(listener) == ("proven_open", [])
    assert listener["classes"]["local_sender"]["verdict"] == "proven_open"
    assert listener["classes"]["routing"]["verdict"] == "unknown"
    assert len(fake.sink.messages) == 2


def test_open_without_delivery_is_accepts(probe_fakes: Probe) -> None:
    fake = Fake(rcpt=ANYBODY)
    listener = only(probe_fakes(fake, deliver=False))
    assert verdict(listener) == ("accepts", [])
    assert not fake.sink.messages and not any("DATA" in c.commands for c in fake.dialogue)


def test_accepts_everything_and_delivers_nothing(probe_fakes: Probe) -> None:
    # Bouncing later looks the same from outside: nothing reaches the canary.
    listener = only(probe_fakes(Fake(rcpt=lambda client, rcpt: OK, relays=False)))
    assert verdict(listener) == ("accepts_but_discards", [])


def test_accepts_foreign_only_and_discards(probe_fakes: Probe) -> None:
    listener = only(probe_fakes(Fake(rcpt=ANYBODY, relays=False)))
    assert verdict(listener) == ("accepts_but_discards", [])


def test_accepts_everything_without_delivery_is_unknown(probe_fakes: Probe) -> None:
    listener = only(probe_fakes(Fake(rcpt=lambda client, rcpt: OK), deliver=False))
    assert listener["verdict"] == "unknown" and "accepts everything" in listener["reason"]


@pytest.mark.parametrize(
    "fault", [{"data": "554 5.7.1 Refused"}, {"dot": "550 5.7.1 Message refused"}], ids=["at-data", "after-the-dot"]
)
def test_refuses_late(probe_fakes: Probe, fault: dict[str, str]) -> None:
    assert verdict(only(probe_fakes(Fake(rcpt=ANYBODY, **fault)))) == ("closed", [])


class Greylist:
    """450 to each new triplet, until it comes again in a later session."""

    def __init__(self, then: Callable[[Client, str], str]) -> None:
        self.then, self.seen = then, {}  # type: ignore[var-annotated]

    def __call__(self, client: Client, rcpt: str) -> str:
        first = self.seen.setdefault((client.sender, rcpt), client)
        if first is client:
            return "450 4.2.0 <{rcpt}>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/"
        return self.then(client, rcpt)


def test_greylists_then_open(probe_fakes: Probe) -> None:
    assert verdict(only(probe_fakes(Fake(rcpt=Greylist(ANYBODY))))) == ("proven_open", [])


def test_greylists_the_plain_form_then_closed(probe_fakes: Probe) -> None:
    def rule(client: Client, rcpt: str) -> str:
        return grey(client, rcpt) if rcpt == KNOWN or plain(rcpt) and "+" in (client.sender or "") else local_only(client, rcpt)

    grey = Greylist(local_only)
    assert verdict(only(probe_fakes(Fake(rcpt=rule)))) == ("closed", [])


def test_greylists_for_a_while_then_closed(probe_fakes: Probe) -> None:
    state = {"sessions": 0}

    def rule(client: Client, rcpt: str) -> str:
        return (
            local_only(client, rcpt)
            if client not in fake.dialogue[:1] and len(fake.dialogue) > 2
            else "450 4.7.1 Try again later"
        )

    fake = Fake(rcpt=rule)
    assert verdict(only(probe_fakes(fake))) == ("closed", []), state


def test_put_off_for_ever_is_unknown(probe_fakes: Probe) -> None:
    listener = only(probe_fakes(Fake(rcpt=lambda client, rcpt: "451 4.3.5 Server configuration error")))
    assert listener["verdict"] == "unknown" and "451 4.3.5" in listener["reason"]


def test_greylisted_known_recipient_does_not_hide_a_relay_denial(probe_fakes: Probe) -> None:
    rule = lambda client, rcpt: "450 4.2.0 Greylisted" if rcpt == KNOWN else local_only(client, rcpt)  # noqa: E731
    assert verdict(only(probe_fakes(Fake(rcpt=rule)))) == ("closed", [])


BLOCKED = {
    "rcpt": {
        "rcpt": lambda client, rcpt: "554 5.7.1 Service unavailable; Client host [198.51.100.66] blocked using zen.spamhaus.org"
    },
    "rcpt-553": {"rcpt": lambda client, rcpt: "553 5.3.0 <{rcpt}>... Blocked by PBL"},
    "banner": {"banner": "554 5.7.1 {name} You are on our blocklist"},
    "banner-without-words": {"banner": "554 {name} No SMTP service here"},
    "mail": {"mail": lambda client, sender: "550 5.7.1 Your IP is listed at bl.spamcop.net"},
}


@pytest.mark.parametrize("fault", BLOCKED.values(), ids=BLOCKED.keys())
def test_prober_on_a_blocklist(probe_fakes: Probe, fault: dict[str, Any]) -> None:
    listener = only(probe_fakes(Fake(**fault)))
    assert listener["verdict"] == "unknown" and "prober blocked" in listener["reason"]


def test_refuses_everything(probe_fakes: Probe) -> None:
    listener = only(probe_fakes(Fake(rcpt=lambda client, rcpt: "550 5.1.1 No such user")))
    assert listener["verdict"] == "unknown" and "refuses everything" in listener["reason"]


def test_starttls_first_then_open(probe_fakes: Probe, tls: ssl.SSLContext) -> None:
    fake = Fake(rcpt=ANYBODY, tls=tls, needs_tls=True)
    assert verdict(only(probe_fakes(fake))) == ("proven_open", ["after_starttls"])


def test_starttls_first_then_closed(probe_fakes: Probe, tls: ssl.SSLContext) -> None:
    assert verdict(only(probe_fakes(Fake(tls=tls, needs_tls=True)))) == ("closed", [])


def test_open_only_inside_tls(probe_fakes: Probe, tls: ssl.SSLContext) -> None:
    fake = Fake(rcpt=open_when(lambda client, rcpt: client.secure and plain(rcpt)), tls=tls)
    assert verdict(only(probe_fakes(fake))) == ("proven_open", ["after_starttls"])


def test_implicit_tls(probe_fakes: Probe, tls: ssl.SSLContext) -> None:
    result = probe_fakes({("127.0.0.1", 465): Fake(rcpt=ANYBODY, tls=tls, implicit_tls=True)})
    assert verdict(only(result)) == ("proven_open", [])


def test_starttls_demanded_but_not_offered_is_unknown(probe_fakes: Probe) -> None:
    assert only(probe_fakes(Fake(needs_tls=True)))["verdict"] == "unknown"


def test_broken_starttls_of_a_closed_server(probe_fakes: Probe) -> None:
    fake = Fake(extensions=("PIPELINING", "STARTTLS"), raw_replies={"STARTTLS": b"220 go on\r\nthis is not TLS\r\n"})
    assert verdict(only(probe_fakes(fake))) == ("closed", [])


def test_authentication_required_for_everything(probe_fakes: Probe) -> None:
    fake = Fake(mail=lambda client, sender: "530 5.7.0 Authentication required")
    assert verdict(only(probe_fakes(fake))) == ("closed", [])


def test_submission_service_that_refuses_every_stranger(probe_fakes: Probe, tls: ssl.SSLContext) -> None:
    words = "554 5.7.1 <unknown[198.51.100.66]>: Client host rejected: Access denied"
    fake = Fake(rcpt=lambda client, rcpt: words, tls=tls, needs_tls=True, logins={"x": "y"})
    assert verdict(only(probe_fakes({("127.0.0.1", 587): fake}))) == ("closed", [])
    again = Fake(rcpt=lambda client, rcpt: words)
    assert only(probe_fakes(again))["verdict"] == "unknown", "on port 25 it refuses everybody, or just us"


def test_ehlo_refused_helo_open(probe_fakes: Probe) -> None:
    fake = Fake(rcpt=ANYBODY, ehlo="502 5.5.2 Error: command not recognized")
    assert verdict(only(probe_fakes(fake))) == ("proven_open", [])


@pytest.mark.parametrize("pieces", [1, 2, 3, 7, 1000])
def test_replies_in_odd_pieces(probe_fakes: Probe, pieces: int) -> None:
    many = "250-2.1.5 this goes on\r\n250-2.1.5 and on\r\n250 2.1.5 Ok"
    denied = "554-5.7.1 250 is not the code here\r\n554-5.7.1 250 2.1.5 Ok\r\n554 5.7.1 Relay access denied"
    greeting = "220-{name} ESMTP\r\n220-We do not\r\n220 authorize spam"
    relay = Fake(rcpt=lambda client, rcpt: many if plain(rcpt) or rcpt == KNOWN else denied, banner=greeting, piece_bytes=pieces)
    assert verdict(only(probe_fakes(relay))) == ("proven_open", [])
    closed = Fake(rcpt=lambda client, rcpt: many if rcpt == KNOWN else denied, banner=greeting, piece_bytes=pieces)
    assert verdict(only(probe_fakes(closed))) == ("closed", [])


@pytest.mark.parametrize("errors", [1, 2, 3, 5])
def test_421_after_n_errors(probe_fakes: Probe, errors: int) -> None:
    fake = Fake(errors_before_421=errors)
    listener = only(probe_fakes(fake))
    assert verdict(listener) == ("closed", [])
    assert listener["unanswered"] == []
    assert {form["nmap"] for form in listener["forms"]} >= set(range(1, 17)), "all forms were still tried"


def test_421_after_errors_hides_no_hole(probe_fakes: Probe) -> None:
    fake = Fake(rcpt=open_when(lambda client, rcpt: rcpt.startswith("sink.test!canary@[")), errors_before_421=1)
    assert verdict(only(probe_fakes(fake))) == ("proven_open", ["bang"])


def test_busy_at_first(probe_fakes: Probe) -> None:
    assert verdict(only(probe_fakes(Fake(busy_connections=2)))) == ("closed", [])


def test_busy_for_ever(probe_fakes: Probe) -> None:
    listener = only(probe_fakes(Fake(busy_connections=10**6)))
    assert listener["verdict"] == "unknown" and "overloaded" in listener["reason"]


def test_tarpit(probe_fakes: Probe) -> None:
    # 30 s for each reply, in small: every reply takes longer than the probe waits for one.
    listener = only(
        probe_fakes(Fake(delay_s=0.3), limits=Limits(connect_s=1, banner_s=0.1, reply_s=0.1, quit_s=0.05, backoff_s=0.01))
    )
    assert listener["verdict"] == "unknown" and "did not answer within" in listener["reason"]


def test_tarpit_against_the_time_limit_of_the_target(probe_fakes: Probe) -> None:
    listener = only(probe_fakes(Fake(delay_s=0.2), target_timeout_s=0.5))
    assert listener["verdict"] == "unknown" and "time-out" in listener["reason"]


@pytest.mark.parametrize("tricks", ['"', "!", "%"])
def test_trick_taken_for_a_local_mailbox(probe_fakes: Probe, tricks: str) -> None:
    rule = lambda client, rcpt: OK if tricks in rcpt else local_only(client, rcpt)  # noqa: E731
    fake = Fake(rcpt=rule, relays=False)
    listener = only(probe_fakes(fake))
    assert verdict(listener) == ("closed", [])
    assert "mailbox of its own" in listener["classes"]["routing"]["reason"]


def test_local_mailbox_does_not_hide_another_trick(probe_fakes: Probe) -> None:
    def rule(client: Client, rcpt: str) -> str:
        return OK if rcpt.startswith(('"', "@good.test:")) else local_only(client, rcpt)

    class Partly(Fake):
        async def _message(self, client: Client, *rest: Any) -> str:
            self.relays = client.recipients[-1].startswith("@")
            return await super()._message(client, *rest)

    assert verdict(only(probe_fakes(Partly(rcpt=rule)))) == ("proven_open", ["source_route"])


def test_bare_quoted_recipient_without_delivery_is_unknown(probe_fakes: Probe) -> None:
    rule = lambda client, rcpt: OK if rcpt == '"canary@sink.test"' else local_only(client, rcpt)  # noqa: E731
    listener = only(probe_fakes(Fake(rcpt=rule), deliver=False))
    assert listener["verdict"] == "unknown" and "mailbox of its own" in listener["reason"]


def test_percent_at_a_domain_that_refuses_unknown_mailboxes(probe_fakes: Probe) -> None:
    rule = lambda client, rcpt: OK if rcpt == "canary%sink.test@good.test" else local_only(client, rcpt)  # noqa: E731
    assert verdict(only(probe_fakes(Fake(rcpt=rule), deliver=False))) == ("accepts", ["percent"])
    assert verdict(only(probe_fakes(Fake(rcpt=rule)))) == ("proven_open", ["percent"])


@pytest.mark.parametrize("banner", ["220 ESMTP", "220", "220 ", "220-", "220 *************************"])
def test_greeting_without_a_name(probe_fakes: Probe, banner: str) -> None:
    banner = "220-\r\n220 " if banner == "220-" else banner
    assert verdict(only(probe_fakes(Fake(banner=banner)))) == ("closed", [])
    assert verdict(only(probe_fakes(Fake(banner=banner, rcpt=ANYBODY)))) == ("proven_open", [])


def by_address(result: dict[str, Any]) -> dict[tuple[str, int], tuple[str, list[str]]]:
    return {(item["host"], item["port"]): verdict(item) for item in result["listeners"]}


def test_open_only_on_ipv6(probe_fakes: Probe) -> None:
    result = probe_fakes({("127.0.0.1", 25): Fake(), ("::1", 25): Fake(rcpt=ANYBODY)})
    assert by_address(result) == {("127.0.0.1", 25): ("closed", []), ("::1", 25): ("proven_open", ["ipv6"])}


def test_open_on_both_is_no_matter_of_ipv6(probe_fakes: Probe) -> None:
    result = probe_fakes({("127.0.0.1", 25): Fake(rcpt=ANYBODY), ("::1", 25): Fake(rcpt=ANYBODY)})
    assert by_address(result) == {("127.0.0.1", 25): ("proven_open", []), ("::1", 25): ("proven_open", [])}


@pytest.mark.parametrize("port", [587, 2525])
def test_open_only_on_another_port(probe_fakes: Probe, port: int) -> None:
    result = probe_fakes({("127.0.0.1", 25): Fake(), ("127.0.0.1", port): Fake(rcpt=ANYBODY)})
    assert by_address(result) == {("127.0.0.1", 25): ("closed", []), ("127.0.0.1", port): ("proven_open", [f"port:{port}"])}


CONDITIONS = {
    "local_sender": lambda client, rcpt: (client.sender or "").endswith("@good.test") and plain(rcpt),
    "null_sender": lambda client, rcpt: client.sender == "" and plain(rcpt),
    "helo_local": lambda client, rcpt: client.helo in ("mx.good.test", "[127.0.0.1]") and plain(rcpt),
    "percent": lambda client, rcpt: "%" in rcpt,
    "bang": lambda client, rcpt: rcpt.startswith("sink.test!") and "+" in (client.sender or ""),
    "source_route": lambda client, rcpt: rcpt.startswith("@"),
    "quoted": lambda client, rcpt: rcpt.startswith('"canary@'),
    "double_at": lambda client, rcpt: rcpt == "canary@sink.test@mx.good.test",
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_open_under_one_condition(probe_fakes: Probe, condition: str) -> None:
    fake = Fake(rcpt=open_when(CONDITIONS[condition]))
    assert verdict(only(probe_fakes(fake))) == ("proven_open", [condition])
    assert verdict(only(probe_fakes(Fake(rcpt=open_when(CONDITIONS[condition])), deliver=False)))[0] in ("accepts", "unknown")


def test_trick_that_also_needs_a_local_sender(probe_fakes: Probe) -> None:
    rule = open_when(lambda client, rcpt: "%" in rcpt and (client.sender or "").endswith("@[127.0.0.1]"))
    assert verdict(only(probe_fakes(Fake(rcpt=rule)))) == ("proven_open", ["percent", "local_sender"])


def test_xclient(probe_fakes: Probe) -> None:
    rule = open_when(lambda client, rcpt: client.pretended == "127.0.0.1")
    listener = only(probe_fakes(Fake(rcpt=rule, xclient=True)))
    assert verdict(listener) == ("proven_open", ["xclient"])
    assert listener["classes"]["plain"]["verdict"] == "closed"
    assert verdict(only(probe_fakes(Fake(xclient=True)))) == ("closed", [])


def test_proxy_header(probe_fakes: Probe) -> None:
    # The prober's own address is 127.0.0.1 as well, so the server trusts it only with the pretended port side of the header.
    trusting = Fake(rcpt=open_when(lambda client, rcpt: client.pretended == "127.0.0.1"), proxy_header=True)
    assert only(probe_fakes(trusting))["verdict"] == "proven_open"
    careful = Fake(proxy_header=True)
    listener = only(probe_fakes(careful))
    assert verdict(listener) == ("closed", [])
    assert listener["classes"]["identity"]["verdict"] == "closed"


def test_digits_in_other_texts(probe_fakes: Probe) -> None:
    closed = Fake(rcpt=refusing("554 5.7.1 <{rcpt}>: 250 Relay access denied; 530 250 2.1.5 Ok id=250530"))
    assert verdict(only(probe_fakes(closed))) == ("closed", [])
    words = open_when(lambda client, rcpt: True)
    busy = Fake(
        rcpt=lambda client, rcpt: words(client, rcpt).replace("Ok", "Ok 530 554 Relay access denied"),
        banner="220 {name} 530 554 ready",
    )
    assert verdict(only(probe_fakes(busy))) == ("proven_open", [])


def test_251_for_a_local_alias(probe_fakes: Probe) -> None:
    def rule(client: Client, rcpt: str) -> str:
        if rcpt == KNOWN or '"' in rcpt:
            return "251 2.1.5 User not local; will forward to <admin@good.test>"
        return DENIED if local_only(client, rcpt) == DENIED else UNKNOWN_USER

    fake = Fake(rcpt=rule)
    listener = only(probe_fakes(fake))
    assert verdict(listener) == ("closed", []) and not fake.sink.messages


def test_reset_in_mid_session(probe_fakes: Probe) -> None:
    assert only(probe_fakes(Fake(reset_after_commands=2)))["verdict"] == "unknown"


def test_silence_after_the_banner(probe_fakes: Probe) -> None:
    listener = only(probe_fakes(Fake(raw_replies={"EHLO": b"", "HELO": b""})))
    assert listener["verdict"] == "unknown" and "did not answer" in listener["reason"]


def test_no_banner(probe_fakes: Probe) -> None:
    listener = only(probe_fakes(Fake(banner=None)))
    assert listener["verdict"] == "unknown" and "did not answer" in listener["reason"]


@pytest.mark.parametrize(
    "flood",
    [b"250-more\r\n" * 100, b"250-" + b"x" * 60000, b"x" * 65536, b"250 ok\r\n" * 1000],
    ids=["lines", "a-long-line", "no-reply", "replies"],
)
def test_endless_answers(probe_fakes: Probe, flood: bytes) -> None:
    listener = only(probe_fakes(Fake(endless=flood)))
    assert listener["verdict"] == "unknown"
    assert listener["costs"]["connections"] <= 3


def test_nuls(probe_fakes: Probe) -> None:
    rule = lambda client, rcpt: "25\x000 2.1.5\x00 Ok" if rcpt == KNOWN else "55\x004 5.7.1 Relay\x00 access denied"  # noqa: E731
    assert verdict(only(probe_fakes(Fake(rcpt=rule)))) == ("closed", [])


def test_one_byte_at_a_time_and_never_done(probe_fakes: Probe) -> None:
    listener = only(probe_fakes(Fake(raw_replies={"EHLO": b"250-mx"})))
    assert listener["verdict"] == "unknown" and "unfinished reply" in listener["reason"]


def test_other_protocol(probe_fakes: Probe) -> None:
    assert only(probe_fakes(Fake(banner="SSH-2.0-OpenSSH_9.2p1")))["verdict"] == "unknown"


def test_connection_refused(probe_fakes: Probe) -> None:
    fake = Fake()
    fake.start = _not_started(fake)  # type: ignore[method-assign]
    listener = only(probe_fakes(fake))
    assert listener["verdict"] == "unknown" and "refused" in listener["reason"]


def _not_started(fake: Fake) -> Any:
    async def start(host: str = "127.0.0.1") -> Fake:
        fake.port = 1
        return fake

    return start


def test_without_known_recipient(probe_fakes: Probe) -> None:
    assert verdict(only(probe_fakes(Fake(), known=""))) == ("closed", [])
    listener = only(probe_fakes(Fake(rcpt=lambda client, rcpt: "550 5.1.1 No such user"), known="", domains=()))
    assert listener["verdict"] == "unknown" and "without a known recipient" in listener["reason"]
    assert verdict(only(probe_fakes(Fake(rcpt=ANYBODY), known="", domains=()))) == ("proven_open", [])


def test_policy_against_null_and_spoofed_senders_is_an_answer(probe_fakes: Probe) -> None:
    def mail(client: Client, sender: str) -> str:
        return "250 2.1.0 Ok" if sender.endswith("@stranger.test") else "553 5.7.1 Sender address rejected"

    assert verdict(only(probe_fakes(Fake(mail=mail)))) == ("closed", [])


def test_catch_all_domain_of_a_closed_server(probe_fakes: Probe) -> None:
    rule = lambda client, rcpt: OK if rcpt.endswith("@good.test") and "%" not in rcpt and "!" not in rcpt else DENIED  # noqa: E731
    fake = Fake(rcpt=rule, relays=False)
    listener = only(probe_fakes(fake))
    assert {name: found["verdict"] for name, found in listener["classes"].items()} == {
        "plain": "closed",
        "local_sender": "closed",
        "identity": "closed",
        "routing": "unknown",  # "canary@sink"@good.test was accepted, and a message might have reached a mailbox there
    }
    assert not any("DATA" in client.commands for client in fake.dialogue)
    assert {"source_route", "bang"} <= {form["name"] for form in listener["forms"]}, "the other tricks were still tried"


def test_canary_that_is_local_to_the_server(probe_fakes: Probe) -> None:
    fake = Fake()
    listener = only(probe_fakes(fake, domains=("sink.test",)))
    assert listener["verdict"] == "unknown" and "is local to this server" in listener["reason"]
    assert not fake.dialogue


def test_without_pipelining(probe_fakes: Probe) -> None:
    assert verdict(only(probe_fakes(Fake(extensions=())))) == ("closed", [])
    assert verdict(only(probe_fakes(Fake(extensions=(), rcpt=ANYBODY)))) == ("proven_open", [])


assert FAST.errors_per_connection == 8


def test_trick_at_a_domain_that_is_only_relayed(probe_fakes: Probe) -> None:
    # As Postfix with allow_untrusted_routing = yes and relay_domains = relayed.test.
    rule = open_when(lambda client, rcpt: rcpt.endswith("@relayed.test") and "canary" in rcpt)
    accepted: list[str] = []

    def counting(client: Client, rcpt: str) -> str:
        reply = rule(client, rcpt)
        accepted.extend([rcpt] if reply == OK and rcpt.endswith("@relayed.test") else [])
        return reply

    fake = Fake(rcpt=counting)
    assert verdict(only(probe_fakes(fake, domains=("good.test", "relayed.test")))) == ("proven_open", ["percent"])
    assert len(accepted) == 2, "one when probing, one of the message"


def test_unresolvable_target(probe_fakes: Probe) -> None:
    order = Order(Target("gone"), "no-such-host.invalid", (25, 587))
    result = asyncio.run(probe(Request((order,), Mission("probe@stranger.test", "canary@sink.test", "a.stranger.test"))))
    assert [item["verdict"] for item in result["listeners"]] == ["unknown", "unknown"]
    assert all("could not be resolved" in item["reason"] for item in result["listeners"])
    assert {finding["status"] for finding in result["findings"]} == {"unknown"}


def test_canary_that_does_not_answer(probe_fakes: Probe) -> None:
    class Broken(Sink):
        def ask(self, token: str) -> bool:
            raise CanaryError("http://sink.test/ could not be asked: connection refused")

    fake = Fake(rcpt=ANYBODY)
    result = probe_fakes(fake, sink=Broken())
    assert verdict(only(result)) == ("accepts", []) and "could not be asked" in only(result)["reason"]
    assert "No message is sent" in result["notes"][0]
    assert not fake.sink.messages


def test_canary_that_says_yes_to_everything(probe_fakes: Probe) -> None:
    class Gullible(Sink):
        def ask(self, token: str) -> bool:
            return True

    assert verdict(only(probe_fakes(Fake(rcpt=ANYBODY, relays=False), sink=Gullible()))) == ("accepts", [])


def test_time_limit_of_the_call_gives_partial_results() -> None:
    async def both() -> dict[str, Any]:
        slow, quick = await Fake(delay_s=0.3, name="mx1.slow.test").start(), await Fake(name="mx2.quick.test").start()
        where = {1: slow.port, 2: quick.port}
        orders = tuple(Order(Target(f"t{n}", KNOWN, ("good.test",)), "127.0.0.1", (n,)) for n in where)
        mission = Mission("probe@stranger.test", "canary@sink.test", "a.stranger.test")
        try:
            return await probe(Request(orders, mission, timeout_s=0.7, dial=lambda host, port: (host, where[port])))
        finally:
            slow.stop()
            quick.stop()

    slow, quick = asyncio.run(both())["listeners"]
    assert (slow["verdict"], quick["verdict"]) == ("unknown", "closed")
    assert "time-out" in slow["reason"] and "call" in slow["reason"]
