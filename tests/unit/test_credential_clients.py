"""Logins at services that do what a daemon does not on demand: hang, flood, talk rubbish, hang up, say the password again."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible.module_utils.mtaudit.credentials import mail_answers, mail_login
from ansible.module_utils.mtaudit.credentials.client import PORTS, PROTOCOLS, try_login
from ansible.module_utils.mtaudit.credentials.clients import ber, digest, http_form, mysql, postgresql, snmp, ssh, telnet
from ansible.module_utils.mtaudit.credentials.values import Credential, Outcome, Service
from ansible.module_utils.mtaudit.smtp.evidence import Limits

Peer = Callable[[socket.socket], Any]
ADMIN = Credential("admin", "Tulip-Anvil-93")
TIME_S = 1.0
LITTLE_TIME_S = 0.4
STANDS_OPEN = ("redis", "telnet", "http", "rspamd")  # perhaps: they are tried without a credential, too
OVER_TCP = [protocol for protocol in PROTOCOLS if protocol not in ("snmp", "ssh")]  # paramiko is where the lab's vantages are


@contextlib.contextmanager
def served(peer: Peer) -> Iterator[int]:
    """The port of a server that does `peer` with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=handle, args=(connection,), daemon=True).start()

        def handle(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                peer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def service(protocol: str, port: int, **options: str) -> Service:
    return Service(protocol, "127.0.0.1", port, options=options)


def script(*steps: bytes) -> Peer:
    """A peer that says one step, and the next after each thing that it is told. It hangs up after a last one that is a line."""
    def talk(connection: socket.socket) -> None:
        for number, step in enumerate(steps, 1):
            connection.sendall(step)
            if (number == len(steps) and step.endswith(b"\r\n")) or not connection.recv(4096):
                return
    return talk


def hang(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def drip(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"2")
        time.sleep(0.05)


def flood(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"220-more and more\r\n" * 500)


def one_long_line(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"* OK " + b"x" * 8000)


def rubbish(connection: socket.socket) -> None:
    connection.sendall(bytes(range(256)) * 8)
    hang(connection)


def cut(connection: socket.socket) -> None:
    connection.sendall(b"+")


def echo(connection: socket.socket) -> None:
    while data := connection.recv(4096):
        connection.sendall(data)


@pytest.mark.parametrize("peer", [hang, drip, flood, one_long_line, rubbish, cut, echo], ids=lambda peer: peer.__name__)
@pytest.mark.parametrize("protocol", OVER_TCP)
def test_whatever_answers_ends_in_an_attempt_and_in_time(protocol: str, peer: Peer) -> None:
    with served(peer) as port:
        for credential in (ADMIN, None) if protocol in STANDS_OPEN else (ADMIN,):
            started = time.monotonic()
            attempt = try_login(service(protocol, port), credential, LITTLE_TIME_S)
            assert time.monotonic() - started < LITTLE_TIME_S + 1.5
            assert attempt.outcome in (Outcome.SHUT, Outcome.UNASKED), attempt
            assert ADMIN.password not in attempt.said


@pytest.mark.parametrize("protocol", [*OVER_TCP, "snmp"])
def test_where_nobody_listens(protocol: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert try_login(service(protocol, port), ADMIN, TIME_S).outcome is Outcome.SHUT


@pytest.mark.parametrize("protocol", OVER_TCP)
def test_tls_with_one_that_has_none(protocol: str) -> None:
    with served(rubbish) as port:
        attempt = try_login(Service(protocol, "127.0.0.1", port, tls=True), ADMIN, TIME_S)
    assert attempt.outcome in (Outcome.SHUT, Outcome.UNASKED)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_credential_with_a_line_end_is_not_sent(protocol: str) -> None:
    assert try_login(service(protocol, 1), Credential("admin\r\nDELE 1", "x"), TIME_S).outcome is Outcome.UNASKED


def test_each_protocol_has_its_ports() -> None:
    assert set(PORTS) == set(PROTOCOLS)


TOLD_AGAIN = b"no login for admin with Tulip-Anvil-93 (VHVsaXAtQW52aWwtOTM=)"


@pytest.mark.parametrize(("protocol", "steps"), [
    ("smtp", [b"220 a\r\n", b"250-a\r\n250 AUTH PLAIN\r\n", b"535 " + TOLD_AGAIN + b"\r\n"]),
    ("imap", [b"* OK a\r\n", b"* CAPABILITY IMAP4rev1\r\na1 OK\r\n", b"a2 NO " + TOLD_AGAIN + b"\r\n"]),
    ("pop3", [b"+OK a\r\n", b"-ERR no CAPA\r\n", b"+OK\r\n", b"-ERR " + TOLD_AGAIN + b"\r\n"]),
    ("ftp", [b"220 a\r\n", b"502 no\r\n", b"331 a\r\n", b"530 " + TOLD_AGAIN + b"\r\n"]),
    ("telnet", [b"login: ", b"Password: ", TOLD_AGAIN + b" incorrect\r\nlogin: "]),
    ("redis", [b"", b"-WRONGPASS " + TOLD_AGAIN + b"\r\n"]),
])
def test_a_refusal_that_says_the_login_again_is_told_without_it(protocol: str, steps: list[bytes]) -> None:
    peer = script(*steps) if steps[0] else answered(steps[1])
    with served(peer) as port:
        attempt = try_login(service(protocol, port), ADMIN, TIME_S * 3)
    assert attempt.outcome is Outcome.REFUSED, attempt
    assert "redacted" in attempt.said
    assert not {"Tulip-Anvil-93", "VHVsaXAtQW52aWwtOTM", "admin"} & set(attempt.said.replace("(", " ").replace("=", " ").split())


@pytest.mark.parametrize(("protocol", "steps"), [
    ("smtp", [b"220 a\r\n", b"250-a\r\n250 AUTH PLAIN\r\n", b"538 5.7.11 Encryption required\r\n"]),
    ("imap", [b"* OK a\r\n", b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\na1 OK\r\n", b""]),
    ("imap", [b"* OK a\r\n", b"* CAPABILITY IMAP4rev1\r\na1 OK\r\n", b"a2 BAD Unknown command\r\n"]),
    ("imap", [b"* OK a\r\n", b"* CAPABILITY IMAP4rev1\r\na1 OK\r\n", b"a2 NO [PRIVACYREQUIRED] not in clear\r\n"]),
    ("pop3", [b"+OK a\r\n", b"-ERR no CAPA\r\n", b"-ERR [AUTH] Plaintext authentication disallowed here.\r\n"]),
    ("ftp", [b"220 a\r\n", b"502 no\r\n", b"530 Non-anonymous sessions must use encryption.\r\n"]),
    ("redis", [b"-ERR AUTH <password> called without any password configured for the default user.\r\n"]),
])
def test_a_login_that_is_not_taken_so_is_not_refused(protocol: str, steps: list[bytes]) -> None:
    with served(script(*steps)) as port:
        attempt = try_login(service(protocol, port), ADMIN, TIME_S * 3)
    assert attempt.outcome is Outcome.UNASKED, attempt


def answered(data: bytes) -> Peer:
    def talk(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(data)
    return talk


@pytest.mark.parametrize(("protocol", "steps"), [
    ("smtp", [b"220 a\r\n", b"250-a\r\n250 AUTH PLAIN\r\n", b"454 4.7.0 Temporary authentication failure\r\n"]),
    ("smtp", [b"220 a\r\n", b"250-a\r\n250 AUTH PLAIN\r\n", b"421 4.7.0 Error: go away\r\n"]),
    ("smtp", [b"220 a\r\n", b"250-a\r\n250 AUTH PLAIN\r\n", b"535 5.7.8 Too many failed logins\r\n"]),
    ("smtp", [b"450 4.3.2 try again later\r\n"]),
    ("imap", [b"* OK a\r\n", b"* CAPABILITY IMAP4rev1\r\na1 OK\r\n", b"a2 NO [UNAVAILABLE] Internal\r\n"]),
    ("imap", [b"* BYE too many connections from your address\r\n"]),
    ("ftp", [b"421 Too many users\r\n"]),
    ("ftp", [b"220 a\r\n", b"502 no\r\n", b"331 a\r\n", b"530 Account is locked\r\n"]),
    ("telnet", [b"login: ", b"Password: ", b"Too many attempts, come later\r\n"]),
    ("mysql", [b"\x2a\0\0\0\xff\x69\x04Host '198.51.100.66' is blocked because."]),
    ("redis", [b"-ERR max number of clients reached\r\n"]),
])
def test_who_is_put_off_is_not_refused(protocol: str, steps: list[bytes]) -> None:
    with served(script(*steps)) as port:
        attempt = try_login(service(protocol, port), ADMIN, TIME_S * 3)
    assert attempt.outcome is Outcome.PUT_OFF, attempt


@pytest.mark.parametrize(("protocol", "steps", "outcome"), [
    ("pop3", [b"+OK a\r\n", b"-ERR no CAPA\r\n", b"+OK\r\n", b"-ERR [IN-USE] Do you have another POP session running?\r\n"],
     Outcome.ACCEPTED),
    ("imap", [b"* OK a\r\n", b"* CAPABILITY IMAP4rev1\r\na1 OK\r\n", b"a2 NO [AUTHORIZATIONFAILED] No such identity\r\n"],
     Outcome.ACCEPTED),
    ("imap", [b"* OK a\r\n", b"* CAPABILITY IMAP4rev1\r\na1 OK\r\n", b"a2 NO [EXPIRED] Expired\r\n"], Outcome.UNASKED),
    ("imap", [b"* OK a\r\n", b"* CAPABILITY IMAP4rev1\r\na1 OK\r\n", b"a2 NO Unsupported authentication mechanism.\r\n"],
     Outcome.UNASKED),
    ("pop3", [b"+OK a\r\n", b"-ERR no CAPA\r\n", b"-ERR Unknown command.\r\n"], Outcome.UNASKED),
    ("pop3", [b"+OK a\r\n", b"-ERR no CAPA\r\n", b"+OK\r\n", b"-ERR [SYS/PERM] broken\r\n"], Outcome.PUT_OFF),
    ("smtp", [b"220 a\r\n", b"250-a\r\n250 AUTH PLAIN\r\n",
              b"535 5.7.8 Error: authentication failed: generic failure\r\n"], Outcome.UNASKED),
    ("smtp", [b"220 a\r\n", b"250-a\r\n250 AUTH PLAIN\r\n",
              b"535 5.7.8 Error: authentication failed: authentication failure\r\n"], Outcome.REFUSED),
])
def test_a_no_of_a_mail_service_that_says_more(protocol: str, steps: list[bytes], outcome: Outcome) -> None:
    with served(script(*steps)) as port:
        attempt = try_login(service(protocol, port), ADMIN, TIME_S * 3)
    assert attempt.outcome is outcome, attempt


@pytest.mark.parametrize(("protocol", "steps"), [
    ("imap", [b"* OK a\r\n", b"* CAPABILITY IMAP4rev1\r\na1 OK\r\n", b"a2 NO no\r\n"]),
    ("pop3", [b"+OK a\r\n", b"-ERR no CAPA\r\n", b"+OK\r\n", b"-ERR no\r\n"]),
])
def test_a_password_that_cannot_be_told_as_it_is_is_not_sent(protocol: str, steps: list[bytes]) -> None:
    with served(script(*steps)) as port:
        attempt = try_login(service(protocol, port), Credential("admin", "Grüße26"), TIME_S * 3)
    assert attempt.outcome is Outcome.UNASKED and "not ASCII" in attempt.said, attempt


# RFC 4954, section 6; X.7.13 "occurs after a successful authentication to a disabled account".
@pytest.mark.parametrize(("reply", "outcome"), [
    ("432 4.7.12 A password transition is needed", Outcome.UNASKED), ("454 4.7.0 Temporary failure", Outcome.PUT_OFF),
    ("500 5.5.6 Line too long", Outcome.UNASKED), ("503 5.5.1 No AUTH here", Outcome.UNASKED),
    ("525 5.7.13 User account disabled", Outcome.ACCEPTED), ("535 5.7.13 Account disabled", Outcome.ACCEPTED),
    ("530 5.7.0 Must issue STARTTLS first", Outcome.UNASKED), ("534 5.7.9 Too weak", Outcome.UNASKED),
    ("535 5.7.8 Credentials invalid", Outcome.REFUSED), ("538 5.7.11 Encryption required", Outcome.UNASKED),
])  # fmt: skip
def test_what_smtp_replies_to_a_login_is_read_alike_by_the_probe_and_the_drill(reply: str, outcome: Outcome) -> None:
    steps = (b"220 a\r\n", b"250-a\r\n250 AUTH PLAIN\r\n", f"{reply}\r\n".encode())
    with served(script(*steps)) as port:
        assert try_login(service("smtp", port), ADMIN, TIME_S * 3).outcome is outcome
    with served(script(*steps)) as port:
        tried = asyncio.run(mail_login.try_login(service("smtp", port), "127.0.0.1", ADMIN, Limits(), "t.test", False))
    assert tried.attempt.outcome is outcome, tried


@pytest.mark.parametrize(("text", "outcome"), [
    ("NO [AUTHENTICATIONFAILED] no", Outcome.REFUSED), ("NO [AUTHORIZATIONFAILED] no", Outcome.ACCEPTED),
    ("NO [EXPIRED] no", Outcome.UNASKED), ("NO [PRIVACYREQUIRED] no", Outcome.UNASKED), ("NO [CONTACTADMIN] no", Outcome.UNASKED),
    ("NO [UNAVAILABLE] no", Outcome.PUT_OFF), ("NO [INUSE] no", Outcome.PUT_OFF), ("NO [SERVERBUG] no", Outcome.PUT_OFF),
    ("-ERR [AUTH] no", Outcome.REFUSED), ("-ERR [IN-USE] no", Outcome.ACCEPTED), ("-ERR [LOGIN-DELAY] no", Outcome.PUT_OFF),
    ("-ERR [SYS/TEMP] no", Outcome.PUT_OFF), ('NO (ENCRYPT-NEEDED) "no"', Outcome.UNASKED),
    ('NO (AUTH-TOO-WEAK) "no"', Outcome.UNASKED), ('NO (TRANSITION-NEEDED) "no"', Outcome.UNASKED), ('NO "no"', Outcome.REFUSED),
])  # fmt: skip
def test_each_response_code_of_a_login(text: str, outcome: Outcome) -> None:
    """RFC 5530, 2449, 3206, 5804."""
    assert mail_answers.of_refusal(text) is outcome


def test_the_drill_reads_a_refusal_in_the_same_way() -> None:
    steps = (b"+OK a\r\n", b"+OK\r\nSASL PLAIN\r\n.\r\n", b"+ \r\n", b"-ERR [IN-USE] locked\r\n")
    with served(script(*steps)) as port:
        tried = asyncio.run(mail_login.try_login(service("pop3", port), "127.0.0.1", ADMIN, Limits(), "t.test", False))
    assert tried.attempt.outcome is Outcome.ACCEPTED, tried


# HTTP


def web(answer: Callable[[str, str, str], str]) -> Peer:
    """A web server: (method, path, whole request) to the answer after `HTTP/1.1 `."""
    def talk(connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            data = connection.recv(4096)
            if not data:
                return
            request += data
        head, _, body = request.partition(b"\r\n\r\n")
        wanted = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
        while len(body) < wanted:
            body += connection.recv(4096)
        method, path, _version = head.decode().split("\r\n")[0].split(" ")
        text = answer(method, path, (head + b"\r\n\r\n" + body).decode())
        connection.sendall(b"HTTP/1.1 " + text.replace("\n", "\r\n").encode())
    return talk


FORM = (
    "200 OK\nSet-Cookie: s=1\n\n<form method=post action=/in><input name=user><input name=p type=password>"
    "<input type=hidden name=t value=7>Too many attempts lock you out."
)


def site(right: str, wrong: str) -> Peer:
    """A form; `right` answers the right password, `wrong` any other."""
    def answer(method: str, path: str, request: str) -> str:
        if method == "GET":
            return "200 OK\n\n<title>home</title>" if path == "/home" else FORM
        assert "Cookie: s=1" in request and "t=7" in request
        return right if f"user=admin&p={ADMIN.password}" in request else wrong
    return web(answer)


@pytest.mark.parametrize(("right", "wrong", "outcome"), [
    ("302 Found\nLocation: /home\n\n", FORM, Outcome.ACCEPTED),
    ("302 Found\nLocation: /home\n\n", "302 Found\nLocation: /login?error\n\n", Outcome.ACCEPTED),
    ("200 OK\n\nwelcome", "401 Unauthorized\n\n", Outcome.ACCEPTED),
    ("200 OK\n\nwelcome", "200 OK\n\nwrong password", Outcome.UNASKED),
    ("302 Found\nLocation: /home\n\n", "302 Found\nLocation: /home\n\n", Outcome.UNASKED),
    ("302 Found\nLocation: /home\n\n", "429 Too Many Requests\n\n", Outcome.UNASKED),
    ("200 OK\n\nwelcome", "403 Forbidden\n\n", Outcome.UNASKED),
    ("403 Forbidden\n\n", "403 Forbidden\n\n", Outcome.UNASKED),
    (FORM, FORM, Outcome.UNASKED),
    (FORM + "<p>Wrong password", FORM, Outcome.REFUSED),
    (FORM.replace("/in", "/new") + "<p>Set up", FORM, Outcome.UNASKED),
    (FORM + "<p>Incorrect user name or password or account is temporarily blocked.", FORM, Outcome.REFUSED),
    ("302 Found\nLocation: http://198.51.100.9/\n\n", FORM, Outcome.UNASKED),
    ("429 Too Many Requests\n\n", FORM, Outcome.PUT_OFF),
    ("503 Service Unavailable\n\n", FORM, Outcome.PUT_OFF),
    (FORM + "<p>You are locked out", FORM, Outcome.PUT_OFF),
])
def test_a_form_lets_in_whom_it_answers_otherwise_than_a_stranger(right: str, wrong: str, outcome: Outcome) -> None:
    with served(site(right, wrong)) as port:
        attempt = try_login(service("http", port), ADMIN, TIME_S * 5)
    assert attempt.outcome is outcome, attempt


@pytest.mark.parametrize(("answer", "outcome"), [
    ("200 OK\n\nhello", Outcome.UNASKED),
    ("302 Found\nLocation: https://127.0.0.1/\n\n", Outcome.UNASKED),
    ("302 Found\nLocation: /again\n\n", Outcome.SHUT),
    ("401 Unauthorized\nWWW-Authenticate: Negotiate\n\n", Outcome.UNASKED),
    ("503 Service Unavailable\n\n", Outcome.PUT_OFF),
    ("500 Oops\n\n", Outcome.SHUT),
    ("200 OK\n\n<form><input type=password name=a><input type=password name=b>", Outcome.UNASKED),
    ("200 OK\n\n<![if x" + "<a" * 60000, Outcome.UNASKED),
    ("200 OK\n\n<form onsubmit='return send()'><input name=u><input name=p type=password></form>wrong", Outcome.UNASKED),
])
def test_pages_that_ask_for_no_login_of_ours(answer: str, outcome: Outcome) -> None:
    with served(web(lambda *_: answer)) as port:
        attempt = try_login(service("http", port), ADMIN, TIME_S * 5)
    assert attempt.outcome is outcome, attempt


@pytest.mark.parametrize(("password", "outcome"), [(ADMIN.password, Outcome.ACCEPTED), ("other", Outcome.REFUSED)])
def test_basic(password: str, outcome: Outcome) -> None:
    right = "Basic " + base64.b64encode(f"admin:{ADMIN.password}".encode()).decode()

    def answer(_method: str, path: str, request: str) -> str:
        assert path == "/admin"
        if f"Authorization: {right}\r\n" in request:
            return "200 OK\n\nhello"
        return '401 No\nWWW-Authenticate: Negotiate, Basic realm="a, Digest b", charset="UTF-8"\n\n'

    with served(web(answer)) as port:
        assert try_login(service("http", port, path="/admin"), Credential("admin", password), TIME_S * 3).outcome is outcome


def test_what_is_forbidden_to_the_right_password_is_no_refusal() -> None:
    with served(web(lambda _m, _p, request: "403 Forbidden\n\n" if "Authorization" in request else
                    '401 No\nWWW-Authenticate: Basic realm="a"\n\n')) as port:
        assert try_login(service("http", port), ADMIN, TIME_S * 3).outcome is Outcome.UNASKED


def test_a_form_that_a_script_sends_is_not_sent() -> None:
    asked = []

    def answer(_method: str, path: str, _request: str) -> str:
        asked.append(path)
        return "200 OK\n\n<form onsubmit='return send()'><input name=u><input name=p type=password></form>"

    with served(web(answer)) as port:
        assert "a script sends" in try_login(service("http", port), ADMIN, TIME_S * 3).said
    assert asked == ["/"]


def test_one_password_is_sent_to_an_account() -> None:
    sent = []

    def answer(method: str, path: str, request: str) -> str:
        if method == "POST":
            sent.append("user=admin&" in request)
            return "302 Found\nLocation: /home\n\n" if sent[-1] else FORM
        return "200 OK\n\nhome" if path == "/home" else FORM

    with served(web(answer)) as port:
        assert try_login(service("http", port), ADMIN, TIME_S * 3).outcome is Outcome.ACCEPTED
    assert sent == [True, False]


@pytest.mark.parametrize(("options", "answer", "outcome"), [
    ({}, "200 OK\n\nwelcome", Outcome.UNASKED),
    ({"path": "/a", "protected": "True"}, "200 OK\n\nwelcome", Outcome.ACCEPTED),
    ({"path": "/a", "protected": "yes"}, FORM, Outcome.REFUSED),
    ({"path": "/a", "protected": "yes"}, "401 No\n\n", Outcome.REFUSED),
    ({"path": "/a", "protected": "no"}, "200 OK\n\nwelcome", Outcome.UNASKED),
])
def test_a_page_stands_open_where_it_should_not(options: dict[str, str], answer: str, outcome: Outcome) -> None:
    with served(web(lambda *_: answer)) as port:
        assert try_login(service("http", port, **options), None, TIME_S * 3).outcome is outcome


def test_a_protected_page_that_leads_elsewhere_is_not_open() -> None:
    with served(web(lambda _m, path, _r: "200 OK\n\napp" if path == "/login" else "302 Found\nLocation: /login\n\n")) as port:
        assert try_login(service("http", port, path="/a", protected="yes"), None, TIME_S * 3).outcome is Outcome.UNASKED


@pytest.mark.parametrize("hostile", ["a" * 65000, '"\\' * 30000])
def test_a_challenge_of_any_length_is_read_in_no_time(hostile: str) -> None:
    with served(web(lambda *_: f"401 No\nWWW-Authenticate: Digest {hostile}\n\n")) as port:
        started = time.process_time()
        try_login(service("http", port), ADMIN, TIME_S * 3)
        assert time.process_time() - started < 1


def test_a_name_in_a_challenge_is_looked_for_once() -> None:
    started = time.process_time()
    assert digest.parameters("a" * 30000) == {}
    assert time.process_time() - started < 1


def test_a_login_that_is_led_on_is_not_asked_again_without_its_name() -> None:
    def answer(_method: str, path: str, request: str) -> str:
        if "Authorization: Basic" in request and path == "/":
            return "302 Found\nLocation: /home\n\n"
        return '401 No\nWWW-Authenticate: Basic realm="a"\n\n'

    with served(web(answer)) as port:
        assert try_login(service("http", port), ADMIN, TIME_S * 3).outcome is Outcome.ACCEPTED


def test_digest_as_in_the_examples_of_rfc_7616() -> None:
    told = (
        'realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",'
        ' opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    for algorithm, response in (
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
    ):
        challenge = digest.parameters(told.format(algorithm))
        said = digest.authorization(challenge, "GET", "/dir/index.html", "Mufasa", "Circle of Life",
                                    "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
        assert f'response="{response}"' in said
        assert digest.parameters(said[len("Digest "):])["opaque"] == challenge["opaque"]


def test_digest_of_a_user_whose_name_is_hidden_as_in_rfc_7616() -> None:
    challenge = digest.parameters('realm="api@example.org", qop="auth", algorithm=SHA-256, userhash=true, nonce="a"')
    said = digest.parameters(digest.authorization(challenge, "GET", "/", "a", "b"))
    assert said["userhash"] == "true" and len(said["username"]) == 64


@pytest.mark.parametrize(("challenge", "rank"), [
    ({"algorithm": "SHA-256"}, 1), ({}, 2), ({"algorithm": "md5-sess"}, 2),
    ({"algorithm": "TOKEN"}, None), ({"qop": "auth-int"}, None),
])
def test_the_strength_of_a_challenge(challenge: dict[str, str], rank: int | None) -> None:
    assert digest.strength(challenge) == rank


def test_a_form_is_sent_as_a_browser_would() -> None:
    page = http_form.parse("""<title> My
      device</title><form action=/search><input name=q></form>
      <form action="/login?a=1&amp;b=2" method="POST"><input type=hidden name=t value="a&quot;b"><input name=realm value=x>
      <input name=username><input type=password name=pw><select name=lang><option value=en><option value=de selected></select>
      <input type=checkbox name=stay><input type=checkbox name=https checked><button name=go value=1>in</button>
      <input type=submit name=other value=2></form>""")
    assert page.title == "My device" and page.form and page.form.action == "/login?a=1&b=2" and page.form.method == "post"
    assert page.form.filled("u", "p") == [
        ("t", 'a"b'), ("realm", "x"), ("username", "u"), ("pw", "p"), ("lang", "de"), ("https", "on"), ("go", "1"),
    ]


# SNMP


def test_ber_of_lengths_and_numbers() -> None:
    for number, told in ((0, "020100"), (127, "02017f"), (128, "02020080"), (-1, "0201ff"), (65535, "020300ffff")):
        assert ber.integer(number).hex() == told
        assert ber.read(ber.integer(number))[0].number == number
    assert ber.object_identifier("1.3.6.1.4.1.8072").hex() == "06072b06010401bf08"
    long = ber.octets(b"x" * 300)
    assert long[:4].hex() == "0482012c" and ber.read(long + b"rest") == (ber.Value(ber.OCTETS, b"x" * 300), b"rest")


@pytest.mark.parametrize("data", ["", "02", "0202ff", "0480", "04850102030405", "1f8101", "0484ffffffff"])
def test_ber_that_is_none(data: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        ber.read(bytes.fromhex(data))


def agent(respond: Callable[[bytes], list[bytes]]) -> socket.socket:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                data, peer = udp.recvfrom(65535)
                for answer in respond(data):
                    udp.sendto(answer, peer)

    threading.Thread(target=serve, daemon=True).start()
    return udp


def is_discovery(data: bytes) -> bool:
    return ber.read(data)[0].parts[0].number == snmp.VERSION_3


@pytest.mark.parametrize(("respond", "outcome", "words"), [
    (lambda _: [], Outcome.SHUT, "silence"),
    (lambda _: [b"\xff" * 40, b"", b"\x30\x84\xff\xff\xff\xff"], Outcome.SHUT, "silence"),
    (lambda data: [data] if is_discovery(data) else [], Outcome.REFUSED, "silent to this community"),
    (lambda data: [] if is_discovery(data) else [data.replace(b"\xa0", b"\xa2", 1).replace(b"\5\0", b"\4\0")],
     Outcome.ACCEPTED, "SNMPv2c"),
])
def test_snmp(
    monkeypatch: pytest.MonkeyPatch, respond: Callable[[bytes], list[bytes]], outcome: Outcome, words: str
) -> None:
    monkeypatch.setattr(snmp, "RESENT_AFTER_S", 0.2)
    with agent(respond) as udp:
        attempt = try_login(service("snmp", udp.getsockname()[1]), Credential("", "public"), 5)
    assert attempt.outcome is outcome and words in attempt.said, attempt


# Telnet


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_telnet_options_are_refused_once_however_they_are_cut(size: int) -> None:
    data = b"\xff\xfb\x01\xff\xfd\x18lo\xff\xffg\xff\xfa\x18\x01\xff\xf0in\xff\xfb\x01\xff\xf9: "
    options, text, answer = telnet.Options(), b"", b""
    for at in range(0, len(data), size):
        more, told = options.take(data[at:at + size])
        text, answer = text + more, answer + told
    assert (text, answer) == (b"lo\xffgin: ", b"\xff\xfe\x01\xff\xfc\x18")


@pytest.mark.parametrize(("steps", "outcome"), [
    ([b"login: ", b"Password: ", b"\r\nLast login: Mon\r\n\x1b[1mroot@nas\x1b[0m:~# "], Outcome.ACCEPTED),
    ([b"Username: ", b"Password: ", b"\r\nrouter>"], Outcome.ACCEPTED),
    ([b"Password: ", b"\r\nswitch#"], Outcome.ACCEPTED),
    ([b"login: ", b"Password: ", b"\r\nLogin incorrect\r\nlogin: "], Outcome.REFUSED),
    ([b"login: ", b"Password: ", b"\r\nAccess denied\r\n"], Outcome.REFUSED),
    ([b"login: ", b"Password: ", b"\r\n##########\r\n"], Outcome.UNASKED),
    ([b"login: ", b"Password: ", b"\r\nEnter choice:\r\n"], Outcome.UNASKED),
    ([b"Welcome\r\n# "], Outcome.UNASKED),
    ([b"Login: ", b"Password: ", b"\r\nChange your password\r\n\r\nnew password> "], Outcome.ACCEPTED),
    ([b"login: ", b"Password: ", b"\r\nYou are forced to change your password.\r\nNew Password: "], Outcome.ACCEPTED),
    ([b"login: ", b"\r\nNew password for user admin: "], Outcome.ACCEPTED),
    ([b"Set a new password: ", b"\r\n# "], Outcome.UNASKED),
    ([b"User: ", b"Password: ", b"\r\nuser@sw1> "], Outcome.ACCEPTED),
    ([b"Username> ", b"Password> ", b"\r\nUsername> "], Outcome.REFUSED),
    ([b"login: ", b"Password: ", b"\r\n2 failed login attempts since the last successful login.\r\nChoice\r\n"], Outcome.UNASKED),
])
def test_telnet_prompts(steps: list[bytes], outcome: Outcome) -> None:
    with served(script(*steps)) as port:
        attempt = try_login(service("telnet", port), ADMIN, TIME_S * 3)
    assert attempt.outcome is outcome, attempt


def test_a_telnet_server_that_says_the_password_again_shows_no_prompt_by_it() -> None:
    with served(script(b"login: ", b"Password: ", b"secret#")) as port:
        assert try_login(service("telnet", port), Credential("admin", "secret#"), TIME_S * 2).outcome is Outcome.SHUT


def test_failed_logins_before_a_menu_that_waits_are_no_refusal() -> None:
    menu = b"\r\n2 failed logins\r\n1) status\r\nChoice"
    with served(script(b"login: ", b"Password: ", menu)) as port:
        assert try_login(service("telnet", port), ADMIN, TIME_S).outcome is Outcome.UNASKED


# SSH, with a stand-in for the library


class Asks:
    """A transport with keyboard-interactive. It asks one question after the other; then the login has failed."""

    remote_version = "SSH-2.0-x"

    class BadAuthenticationType(Exception):
        allowed_types = ("keyboard-interactive",)

    class AuthenticationException(Exception):
        pass

    def __init__(self, *questions: str) -> None:
        self.questions = questions
        self.told: list[str] = []

    def auth_none(self, _name: str) -> None:
        raise self.BadAuthenticationType

    def auth_interactive(self, _name: str, handler: Callable[..., list[str]]) -> None:
        for question in self.questions:
            try:
                self.told += handler("", "", [(question, False)])
            except ssh.AsksMore as exc:  # in the library's thread
                raise EOFError from exc
        raise self.AuthenticationException

    def is_active(self) -> bool:
        return True


@pytest.mark.parametrize(("questions", "outcome"), [
    (["Password: "], Outcome.REFUSED),
    (["Password: ", "Password: "], Outcome.REFUSED),
    (["Password: ", "Verification code: "], Outcome.UNASKED),
    (["Password: ", "Current password: "], Outcome.ACCEPTED),
    (["Password: ", "New password: "], Outcome.ACCEPTED),
])
def test_ssh_that_asks_for_more_than_a_password(questions: list[str], outcome: Outcome) -> None:
    transport = Asks(*questions)
    assert ssh._login(transport, transport, ADMIN).outcome is outcome
    assert transport.told[0] == ADMIN.password and len(transport.told) == len(questions) - (outcome is not Outcome.REFUSED)


# Any connection


def test_all_addresses_of_a_name_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    found = socket.getaddrinfo
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(3):  # what is not taken fills the queue: further ones are left without an answer
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: found(*args, **more) * 6)
        started = time.monotonic()
        attempt = try_login(service("ftp", full.getsockname()[1]), ADMIN, LITTLE_TIME_S)
    assert attempt.outcome is Outcome.SHUT and time.monotonic() - started < 3 * LITTLE_TIME_S


# MySQL, PostgreSQL


GREETING = b"\x0a8.0\0" + b"\1\0\0\0" + b"a" * 8 + b"\0" + b"\0\x82\x21\2\0\x08\0\x15" + b"\0" * 10 + b"b" * 12 + b"\0"


def packet(number: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "little") + bytes((number,)) + body


@pytest.mark.parametrize("account", ["mysql_native_password", "client_ed25519"])
def test_mysql_whose_usual_plugin_is_not_spoken(account: str) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(packet(0, GREETING + b"client_ed25519\0"))
        told = connection.recv(4096)
        same = told.endswith(account.encode() + b"\0")
        switch = b"\xfe" + account.encode() + b"\0" + b"c" * 20
        connection.sendall(packet(2, b"\xff\x15\x04#28000Access denied" if same else switch))

    with served(talk) as port:
        attempt = try_login(service("mysql", port), ADMIN, TIME_S)
    assert attempt.outcome is (Outcome.REFUSED if account == "mysql_native_password" else Outcome.UNASKED), attempt


@pytest.mark.parametrize(("protocol", "steps"), [
    ("mysql", [packet(0, b"\xff\x6a\x04Host '198.51.100.66' is not allowed to connect to this MySQL server")]),
    ("postgresql", [b"", b"N", b"E\0\0\0\x3bC28000\0" + b'Mno pg_hba.conf entry for host "198.51.100.66"' + b"\0\0"]),
])
def test_an_address_that_may_not_log_in_is_not_banned(protocol: str, steps: list[bytes]) -> None:
    with served(script(*steps)) as port:
        attempt = try_login(service(protocol, port), ADMIN, TIME_S)
    assert attempt.outcome is Outcome.UNASKED and "198.51" in attempt.said, attempt


def test_mysql_scrambles_as_its_documentation_says() -> None:
    import hashlib

    salt, secret = bytes(range(20)), hashlib.sha1(b"secret").digest()
    mask = hashlib.sha1(salt + hashlib.sha1(secret).digest()).digest()
    told = mysql.response("mysql_native_password", "secret", salt, secure=False)
    assert told is not None and bytes(a ^ b for a, b in zip(told, mask, strict=True)) == secret
    assert mysql.response("mysql_native_password", "", salt, secure=False) == b""
    assert mysql.response("mysql_clear_password", "secret", salt, secure=False) is None


def test_scram_as_in_the_example_of_rfc_7677() -> None:
    scram = postgresql.Scram("pencil", "user", "rOprNGfwEbeRWgbNEkqO")
    assert scram.first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    told = scram.final(b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    assert told.endswith(b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
