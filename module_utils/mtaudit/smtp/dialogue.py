"""Hold one SMTP session: greet, STARTTLS, commands (pipelined where offered), AUTH, a message, QUIT."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Sequence
from typing import Optional

from ..redact import MASK
from .connection import Connection, Endpoint, SessionEnded
from .evidence import Costs, Limits, Transcript
from .reply import Reply, ReplyParser


class Session(Connection[Reply]):
    """One connection. Every method raises SessionEnded when the server ends it."""

    def __init__(
        self, endpoint: Endpoint, limits: Limits, transcript: Transcript, costs: Costs, context: Optional[ssl.SSLContext] = None
    ) -> None:
        super().__init__(endpoint, limits, transcript, costs, ReplyParser, context)
        self.upgraded = False
        self._quitting = False
        self.delivering = False  # then an accepted recipient is that of a message, not of a probe
        self.helo = ""
        self.esmtp = False
        self.capabilities: tuple[str, ...] = ()
        self._keywords: set[str] = set()
        self.banner: Optional[Reply] = None
        self.banner_wait_s = 0.0

    async def connect(self, preface: bytes = b"") -> Reply:
        """Connect and read the banner. `preface` is sent first: a PROXY header."""
        await self.open(preface)
        loop = asyncio.get_running_loop()
        started = loop.time()
        self.banner = await self._reply(self.limits.banner_s)
        self.banner_wait_s = loop.time() - started
        if self.banner.code != 220:
            self._count(self.banner)
        return self.banner

    async def _reply(self, timeout_s: float) -> Reply:
        reply = await self._next(timeout_s)
        code = f"{reply.code} {reply.enhanced}" if reply.enhanced else str(reply.code)
        for line in reply.lines[:20]:
            self._add("S:", f"{code} {line}" if line else code)
        return reply

    def _count(self, reply: Reply) -> None:
        if reply.code >= 400 and reply.code != 421:  # a 421 is the server's doing
            self._count_error()

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

    async def piece(self, data: bytes, shown: str, wait_s: float) -> Optional[Reply]:
        """Send a piece of a message after a 354, as it is. What the server says to that within the time, None when nothing."""
        self._send(data)
        self._add("C:", shown)
        if wait_s <= 0:
            return None
        try:
            reply = await self._reply(wait_s)
        except SessionEnded as end:
            if end.kind == "timeout":
                return None
            raise
        self._count(reply)
        self._costs.messages += reply.accepted
        return reply

    async def quit(self) -> None:
        """Say QUIT and wait shortly until the server has closed, so that the next connection does not find this one still open.

        The 221 alone does not say so: a server closes after it (RFC 5321, 4.1.1.10), and counts this connection until then.
        """
        if self._wire.transport is None or (self._wire.ended and not self._quitting):
            return self.abort()
        try:
            if not self._quitting:
                self._send(b"QUIT\r\n")
                self._add("C:", "QUIT")
            await self._reply(self.limits.quit_s)
            await self._wire.reply(self.limits.quit_s)
        except SessionEnded:
            pass
        self.abort()
