"""Hold one SMTP session: connect, greet, STARTTLS, commands (pipelined where offered), AUTH, a message, QUIT.

What was said is kept as evidence: printable, redacted, bounded. What it cost the server is counted.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Optional, cast

from ..redact import MASK
from .evidence import Costs, Limits, Transcript
from .reply import Reply, ReplyParser

SESSION_LIMIT_BYTES = 1024 * 1024
UNREAD_LIMIT_REPLIES = 500
READ_BYTES = 4096


@dataclass(frozen=True)
class Endpoint:
    """Where to connect. `source` is the own address to connect from, empty for the system's choice."""

    address: str
    port: int
    tls: bool = False
    source: str = ""


class SessionEnded(Exception):
    """The session is over before its end.

    `kind`: unreachable, refused, timeout, closed (by the server, also with 421), protocol (not SMTP, or a flood) or tls.
    `replies`: the answers to the running batch of commands that came before.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.replies: list[Reply] = []


class _Wire(asyncio.BufferedProtocol):
    """Bytes in, replies out, with one waiter.

    Buffered, because for any other protocol asyncio maps and unmaps 256 KiB at each read (a tenth of a probe's time).
    """

    def __init__(self) -> None:
        self.transport: Optional[asyncio.Transport] = None
        self.parser = ReplyParser()
        self.replies: deque[Reply] = deque()
        self.ended: Optional[SessionEnded] = None
        self._received_bytes = 0
        self._room = memoryview(bytearray(READ_BYTES))
        self._waiter: Optional[asyncio.Future[None]] = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where asyncio puts what it reads."""
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        """As data_received of other protocols."""
        if self.ended:
            return
        self._received_bytes += nbytes
        self.replies.extend(self.parser.feed(bytes(self._room[:nbytes])))
        if self.parser.error:
            self._end("protocol", f"sent {self.parser.error}")
        elif self._received_bytes > SESSION_LIMIT_BYTES or len(self.replies) > UNREAD_LIMIT_REPLIES:
            self._end("protocol", "sent far more than was asked for")
        elif self.replies:
            self._wake()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        if not self.ended:
            self._end("closed", "reset the connection" if exc else "closed the connection")

    def _end(self, kind: str, text: str) -> None:
        self.ended = SessionEnded(kind, text)
        if self.transport and kind == "protocol":
            self.transport.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    async def reply(self, timeout_s: float) -> Reply:
        """The next reply. Raises SessionEnded."""
        if not self.replies and not self.ended:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(timeout_s, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
        if self.replies:
            return self.replies.popleft()
        if self.ended:
            raise SessionEnded(self.ended.kind, str(self.ended))
        text = "sent an unfinished reply and then nothing more" if self.parser.pending else "did not answer"
        raise SessionEnded("timeout", f"{text} within {timeout_s:g} s")


def _tls_context() -> ssl.SSLContext:
    # Nothing secret rests on this TLS but a test login; the certificate of a server under audit is another control's matter.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    try:
        context.set_ciphers("ALL:@SECLEVEL=0")  # servers with old keys are under audit, too
    except ssl.SSLError:
        pass
    return context


_context: list[ssl.SSLContext] = []


def _shared_context() -> ssl.SSLContext:
    if not _context:
        _context.append(_tls_context())
    return _context[0]


async def _within(limit_s: float, work: Coroutine[Any, Any, Any]) -> None:
    """As asyncio.wait_for, without its extra task for each connection. Raises asyncio.TimeoutError."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    late = False

    def expire() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = loop.call_later(limit_s, expire)
    try:
        await work
    except asyncio.CancelledError:
        if not late:
            raise
        raise asyncio.TimeoutError from None
    finally:
        timer.cancel()


class Session:
    """One connection. Every method raises SessionEnded when the server ends it."""

    def __init__(self, endpoint: Endpoint, limits: Limits, transcript: Transcript, costs: Costs) -> None:
        self.endpoint = endpoint
        self.limits = limits
        self.errors = 0
        self.secure = endpoint.tls
        self.upgraded = False
        self._quitting = False
        self.delivering = False  # then an accepted recipient is that of a message, not of a probe
        self.helo = ""
        self.esmtp = False
        self.capabilities: tuple[str, ...] = ()
        self._keywords: set[str] = set()
        self.banner: Optional[Reply] = None
        self.banner_wait_s = 0.0
        self.source_address = ""
        self.transcript = transcript
        self._costs = costs
        self._wire = _Wire()
        self._number = costs.started = costs.started + 1

    async def connect(self, preface: bytes = b"") -> Reply:
        """Connect and read the banner. `preface` is sent first: a PROXY header."""
        loop = asyncio.get_running_loop()
        self._add("*", f"connect to {self.endpoint.address} port {self.endpoint.port}")
        source = (self.endpoint.source, 0) if self.endpoint.source else None
        try:
            await _within(
                self.limits.connect_s,
                loop.create_connection(
                    lambda: self._wire,
                    self.endpoint.address,
                    self.endpoint.port,
                    local_addr=source,
                    ssl=_shared_context() if self.endpoint.tls and not preface else None,
                    server_hostname="" if self.endpoint.tls and not preface else None,
                ),
            )
        except asyncio.TimeoutError:
            raise self._ended("unreachable", f"no connection within {self.limits.connect_s:g} s") from None
        except ssl.SSLError as exc:
            raise self._ended("tls", f"TLS handshake failed: {exc.reason or exc}") from exc
        except ConnectionRefusedError as exc:
            raise self._ended("refused", "connection refused") from exc
        except OSError as exc:
            raise self._ended("unreachable", f"no connection: {exc.strerror or exc}") from exc
        self._costs.connections += 1
        own = self._transport.get_extra_info("sockname")
        self.source_address = str(own[0]) if own else ""
        if preface:
            self._send(preface)
            self._add("C:", preface.decode("ascii").rstrip())
            if self.endpoint.tls:
                await self._upgrade()
        started = loop.time()
        self.banner = await self._reply(self.limits.banner_s)
        self.banner_wait_s = loop.time() - started
        if self.banner.code != 220:
            self._count(self.banner)
        return self.banner

    def _add(self, who: str, text: str) -> None:
        self.transcript.add(who, text, self._number)

    @property
    def _transport(self) -> asyncio.Transport:
        if self._wire.transport is None:
            raise SessionEnded("closed", "is not connected")
        return self._wire.transport

    def _ended(self, kind: str, text: str) -> SessionEnded:
        self._add("*", text)
        return SessionEnded(kind, text)

    def _send(self, data: bytes) -> None:
        self._costs.bytes_sent += len(data)
        self._transport.write(data)

    async def _reply(self, timeout_s: float) -> Reply:
        try:
            reply = await self._wire.reply(timeout_s)
        except SessionEnded as end:
            self._add("*", f"the server {end}")
            raise
        code = f"{reply.code} {reply.enhanced}" if reply.enhanced else str(reply.code)
        for line in reply.lines[:20]:
            self._add("S:", f"{code} {line}" if line else code)
        return reply

    def _count(self, reply: Reply) -> None:
        if reply.code >= 400 and reply.code != 421:  # a 421 is the server's doing
            self.errors += 1
            self._costs.errors += 1
            self._costs.worst_connection_errors = max(self._costs.worst_connection_errors, self.errors)

    async def hello(self, name: str) -> Reply:
        """EHLO; HELO when EHLO is refused."""
        reply = (await self.commands([f"EHLO {name}"]))[0]
        self.esmtp = reply.accepted
        self.capabilities = tuple(line.strip() for line in reply.lines[1:]) if reply.accepted else ()
        self._keywords = {capability.split(" ")[0].upper() for capability in self.capabilities}
        if not reply.accepted and reply.code >= 500:
            refused = reply
            reply = (await self.commands([f"HELO {name}"]))[0]
            reply = reply if reply.accepted else refused
        if reply.accepted:
            self.helo = name
        return reply

    def offers(self, keyword: str) -> bool:
        """Whether the last EHLO reply holds the keyword."""
        return keyword in self._keywords

    def auth_mechanisms(self) -> set[str]:
        """What stands after AUTH, also in the old form `AUTH=`."""
        found: set[str] = set()
        for capability in self.capabilities:
            words = capability.upper().replace("=", " ", 1).split()
            if words[:1] == ["AUTH"]:
                found.update(words[1:])
        return found

    async def starttls(self, name: str) -> Reply:
        """STARTTLS without verifying the certificate, then EHLO again (RFC 3207, 4.2). A refusal is returned."""
        reply = (await self.commands(["STARTTLS"]))[0]
        if reply.code != 220:
            return reply
        await self._upgrade()
        self.upgraded = True
        return await self.hello(name)

    async def _upgrade(self) -> None:
        loop = asyncio.get_running_loop()
        # What was sent in clear after the 220 must not be taken for an answer inside TLS (CVE-2011-0411, from the other side).
        self._wire.parser = ReplyParser()
        self._wire.replies.clear()
        try:
            transport = await asyncio.wait_for(
                loop.start_tls(self._transport, self._wire, _shared_context(), server_hostname=""), self.limits.reply_s
            )
        except asyncio.TimeoutError:
            raise self._ended("tls", "TLS handshake did not end in time") from None
        except (ssl.SSLError, OSError) as exc:
            raise self._ended("tls", f"TLS handshake failed: {getattr(exc, 'reason', None) or exc}") from exc
        if transport is None:
            raise self._ended("tls", "the connection ended in the TLS handshake")
        self._wire.transport = transport
        self.secure = True
        self._add("*", "TLS")

    async def commands(self, lines: Sequence[str], shown: Sequence[str] = (), last: bool = False) -> list[Reply]:
        """Send the commands, in one write when the server offers PIPELINING, and return one reply for each.

        A 421 ends the session (RFC 5321, 3.8); SessionEnded then holds the replies that came before it. `shown` replaces
        the commands in the evidence. `last`: nothing but `quit` follows, so QUIT may go with them (RFC 2920, 3.1).
        """
        shown = shown or lines
        pipelined = (last or len(lines) > 1) and self.offers("PIPELINING")
        replies: list[Reply] = []
        if pipelined:
            self._quitting = last
            together = [*lines, "QUIT"] if last else lines
            self._send("".join(f"{line}\r\n" for line in together).encode("ascii", "replace"))
            for text in [*shown, "QUIT"] if last else shown:
                self._add("C:", text)
        try:
            for line, text in zip(lines, shown):
                if not pipelined:
                    self._add("C:", text)
                    self._send(f"{line}\r\n".encode("ascii", "replace"))
                reply = await self._reply(self.limits.reply_s)
                self._count(reply)
                if reply.code == 421:
                    raise SessionEnded("closed", f"ended the session: {self.transcript.clean(str(reply))}")
                if line.startswith("RCPT") and reply.accepted and not self.delivering:
                    self._costs.accepted_recipients += 1
                replies.append(reply)
        except SessionEnded as end:
            end.replies = replies
            raise
        return replies

    async def login(self, username: str, password: str) -> Optional[Reply]:
        """One attempt, with AUTH PLAIN or LOGIN. None when the server offers neither."""
        offered = self.auth_mechanisms()
        if "PLAIN" in offered:
            token = base64.b64encode(f"\0{username}\0{password}".encode()).decode()
            return (await self.commands([f"AUTH PLAIN {token}"], [f"AUTH PLAIN {MASK}"]))[0]
        if "LOGIN" not in offered:
            return None
        reply = (await self.commands(["AUTH LOGIN"]))[0]
        for secret in (username, password):
            if reply.code != 334:
                break
            reply = (await self.commands([base64.b64encode(secret.encode()).decode()], [MASK]))[0]
        return reply

    async def message(self, content: str) -> Reply:
        """Send the message after a 354 and return the reply to its end. `content` has CR LF line ends and no lone dots."""
        self._send(content.encode("ascii", "replace") + b".\r\n")
        self._add("C:", f"(message of {len(content)} bytes) .")
        reply = await self._reply(self.limits.message_s)
        self._count(reply)
        self._costs.messages += reply.accepted
        return reply

    async def quit(self) -> None:
        """Say QUIT and wait shortly for the answer, so that the next connection does not find this one still open."""
        if self._wire.transport is None or (self._wire.ended and not self._quitting):
            return self.abort()
        try:
            if not self._quitting:
                self._send(b"QUIT\r\n")
                self._add("C:", "QUIT")
            await self._reply(self.limits.quit_s)
        except SessionEnded:
            pass
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        if self._wire.transport is not None:
            self._wire.transport.abort()
