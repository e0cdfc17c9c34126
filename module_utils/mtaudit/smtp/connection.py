"""Hold one connection: connect, TLS, bytes out, replies in. Which bytes are a reply is the protocol's: its parser says so.

What was said is kept as evidence: printable, redacted, bounded. What it cost the server is counted.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Generic, Optional, Protocol, TypeVar, cast

from .evidence import Costs, Limits, Transcript

SESSION_LIMIT_BYTES = 1024 * 1024
UNREAD_LIMIT_REPLIES = 500
READ_BYTES = 4096

Answer = TypeVar("Answer")
Made = TypeVar("Made", covariant=True)


class Parser(Protocol[Made]):
    """Takes bytes in pieces of any size. `error` says what broke the protocol, `pending` whether a reply has begun."""

    error: str

    def feed(self, data: bytes) -> Sequence[Made]: ...

    @property
    def pending(self) -> bool: ...


@dataclass(frozen=True)
class Endpoint:
    """Where to connect. `source` is the own address to connect from, empty for the system's choice."""

    address: str
    port: int
    tls: bool = False
    source: str = ""


class SessionEnded(Exception):
    """The session is over before its end.

    `kind`: unreachable, refused, timeout, closed (by the server, also with 421), protocol (not the protocol, or a flood) or tls.
    `replies`: the answers to the running batch of commands that came before.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.replies: list[Any] = []


class _Wire(asyncio.BufferedProtocol, Generic[Answer]):
    """Bytes in, replies out, with one waiter.

    Buffered, because for any other protocol asyncio maps and unmaps 256 KiB at each read (a tenth of a probe's time).
    """

    def __init__(self, parser: Parser[Answer]) -> None:
        self.transport: Optional[asyncio.Transport] = None
        self.parser = parser
        self.replies: deque[Answer] = deque()
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

    async def reply(self, timeout_s: float) -> Answer:
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


def any_tls() -> ssl.SSLContext:
    """TLS with whoever answers, as old as it may be."""
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


class Connection(Generic[Answer]):
    """One connection. Every method raises SessionEnded when the server ends it.

    `context` makes the TLS of this connection; without one, any TLS is good enough.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        limits: Limits,
        transcript: Transcript,
        costs: Costs,
        parser: Callable[[], Parser[Answer]],
        context: Optional[ssl.SSLContext] = None,
    ) -> None:
        self.endpoint = endpoint
        self.limits = limits
        self.errors = 0
        self.secure = endpoint.tls
        self.source_address = ""
        self.transcript = transcript
        self._costs = costs
        self._context = context
        self._new_parser = parser
        self._wire: _Wire[Answer] = _Wire(parser())
        self._number = costs.started = costs.started + 1

    async def open(self, preface: bytes = b"") -> None:
        """Connect, with TLS where the endpoint has it from the first byte. `preface` is sent first: a PROXY header."""
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
                    ssl=self._tls if self.endpoint.tls and not preface else None,
                    server_hostname="" if self.endpoint.tls and not preface else None,
                ),
            )
        except asyncio.TimeoutError:
            raise self._ended("unreachable", f"no connection within {self.limits.connect_s:g} s") from None
        except ssl.SSLError as exc:
            raise self._ended("tls", f"TLS handshake failed: {exc.reason or exc}") from exc
        except ConnectionRefusedError as exc:
            raise self._ended("refused", "connection refused") from exc
        except ConnectionResetError as exc:
            if not self.endpoint.tls:
                raise self._ended("unreachable", "the connection was reset at once") from exc
            raise self._ended("tls", "the connection ended in the TLS handshake") from exc
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

    @property
    def tls_object(self) -> Optional[ssl.SSLObject]:
        """The TLS of this connection: its version, cipher and certificate. None in clear."""
        return cast("Optional[ssl.SSLObject]", self._transport.get_extra_info("ssl_object"))

    @property
    def connected(self) -> bool:
        return self._wire.transport is not None

    @property
    def _tls(self) -> ssl.SSLContext:
        return self._context or any_tls()

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

    async def _next(self, timeout_s: float) -> Answer:
        """The next reply, without a word in the transcript."""
        try:
            return await self._wire.reply(timeout_s)
        except SessionEnded as end:
            self._add("*", f"the server {end}")
            raise

    def _count_error(self) -> None:
        self.errors += 1
        self._costs.errors += 1
        self._costs.worst_connection_errors = max(self._costs.worst_connection_errors, self.errors)

    async def _upgrade(self) -> None:
        loop = asyncio.get_running_loop()
        # What was sent in clear after the 220 must not be taken for an answer inside TLS (CVE-2011-0411, from the other side).
        self._wire.parser = self._new_parser()
        self._wire.replies.clear()
        try:
            transport = await asyncio.wait_for(
                loop.start_tls(self._transport, self._wire, self._tls, server_hostname=""), self.limits.reply_s
            )
        except asyncio.TimeoutError:
            raise self._ended("tls", "TLS handshake did not end in time") from None
        except (ssl.SSLError, OSError) as exc:
            why = getattr(exc, "reason", None) or str(exc)
            text = f"TLS handshake failed: {why}" if why else "the connection ended in the TLS handshake"
            raise self._ended("tls", text) from exc
        if transport is None:
            raise self._ended("tls", "the connection ended in the TLS handshake")
        self._wire.transport = transport
        self.secure = True
        self._add("*", "TLS")

    def abort(self) -> None:
        """Close at once."""
        if self._wire.transport is not None:
            self._wire.transport.abort()
