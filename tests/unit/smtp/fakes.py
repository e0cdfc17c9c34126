"""SMTP servers with faults that a real daemon does not produce on demand, and a sink that they deliver to."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import ssl
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

LOCAL_DOMAIN = "good.test"
KNOWN = "root@good.test"
CANARY = "canary@sink.test"
DENIED = "554 5.7.1 <{rcpt}>: Relay access denied"
UNKNOWN_USER = "550 5.1.1 <{rcpt}>: Recipient address rejected: User unknown in local recipient table"
OK = "250 2.1.5 Ok"


@dataclass
class Sink:
    """Where relayed messages arrive. `asked` counts the questions."""

    tokens: set[str] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)

    def deliver(self, text: str) -> None:
        self.messages.append(text)
        found = re.search(r"^X-Mtaudit-Token: (\S+)", text, re.M)
        if found:
            self.tokens.add(found.group(1))

    def ask(self, token: str) -> bool:
        return token in self.tokens


@dataclass
class Client:
    """What the server knows of one connection."""

    secure: bool = False
    login: str = ""
    pretended: str = ""
    helo: str = ""
    sender: str | None = None
    recipients: list[str] = field(default_factory=list)
    errors: int = 0
    accepted: int = 0
    commands: list[str] = field(default_factory=list)


Rule = Callable[[Client, str], str]


def local_only(client: Client, rcpt: str) -> str:
    """A well configured server: its known mailbox, and nothing else."""
    if rcpt.lower() == KNOWN:
        return OK
    return (
        UNKNOWN_USER
        if rcpt.lower().endswith("@" + LOCAL_DOMAIN) and "%" not in rcpt and "!" not in rcpt and '"' not in rcpt
        else DENIED
    )


def open_when(condition: Callable[[Client, str], bool]) -> Rule:
    """Relays when the condition holds; otherwise as a good server."""
    return lambda client, rcpt: OK if condition(client, rcpt) and local_only(client, rcpt) == DENIED else local_only(client, rcpt)


def plain(rcpt: str) -> bool:
    return rcpt == CANARY


@dataclass
class Fake:
    """One scripted server. `rcpt` and `mail` give the reply to an envelope; everything else is a fault to switch on."""

    rcpt: Rule = local_only
    mail: Callable[[Client, str], str] = lambda client, sender: "250 2.1.0 Ok"
    name: str = "mx.good.test"
    banner: str | None = "220 {name} ESMTP Fake"
    extensions: tuple[str, ...] = ("PIPELINING", "SIZE 10240000", "ENHANCEDSTATUSCODES", "8BITMIME")
    ehlo: str = ""  # instead of the usual reply
    data: str = "354 End data with <CR><LF>.<CR><LF>"
    dot: str = "250 2.0.0 Ok: queued as 4D3F1"
    relays: bool = True  # messages reach the sink
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    needs_tls: bool = False
    logins: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    errors_before_421: int = 0
    reset_after_commands: int = 0
    piece_bytes: int = 0
    raw_replies: dict[str, bytes] = field(default_factory=dict)  # verb -> bytes, instead of the reply
    endless: bytes = b""  # sent over and over after EHLO
    proxy_header: bool = False
    xclient: bool = False
    busy_connections: int = 0  # this many first connections are greeted with 421
    dialogue: list[Client] = field(default_factory=list)
    at_once: int = 0
    worst_at_once: int = 0
    sink: Sink = field(default_factory=Sink)
    port: int = 0
    _server: asyncio.AbstractServer | None = None

    async def start(self, host: str = "127.0.0.1") -> Fake:
        context = self.tls if self.implicit_tls else None
        self._server = await asyncio.start_server(self._serve, host, 0, ssl=context, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def stop(self) -> None:
        if self._server:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(secure=self.implicit_tls)
        self.dialogue.append(client)
        self.at_once += 1
        self.worst_at_once = max(self.worst_at_once, self.at_once)
        try:
            await self._talk(client, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, ValueError):
            pass
        finally:
            self.at_once -= 1
            writer.close()

    async def _talk(self, client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.proxy_header:
            words = (await reader.readuntil(b"\n")).decode().split()
            if words[:1] != ["PROXY"]:
                return
            client.pretended = words[2]
        if len(self.dialogue) <= self.busy_connections:
            await self._send(writer, f"421 4.3.2 {self.name} All server ports are busy")
            return
        if self.banner is None:
            await reader.read()
            return
        await self._send(writer, self.banner.format(name=self.name))
        while True:
            line = (await reader.readuntil(b"\n")).decode("ascii", "replace").rstrip("\r\n")
            client.commands.append(line)
            if self.reset_after_commands and len(client.commands) > self.reset_after_commands:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
                return
            if await self._command(client, line, reader, writer):
                return

    async def _command(self, client: Client, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one command. True ends the session."""
        verb = line.split(" ")[0].upper()
        if verb in self.raw_replies:
            await self._write(writer, self.raw_replies[verb])
            return False
        if verb == "EHLO" and self.endless:
            while True:
                await self._write(writer, self.endless)
        if verb == "STARTTLS" and self.tls and not client.secure:
            await self._send(writer, "220 2.0.0 Ready to start TLS")
            await writer.start_tls(self.tls)
            client.secure, client.sender, client.recipients = True, None, []
            return False
        reply = self._reply(client, verb, line)
        if verb == "AUTH" and reply.startswith("334"):
            reply = await self._auth_login(client, reader, writer)
        if verb == "DATA" and reply.startswith("354"):
            reply = await self._message(client, reader, writer, reply)
        await self._send(writer, reply)
        if reply[0] in "45":
            client.errors += 1
            if self.errors_before_421 and client.errors >= self.errors_before_421:
                await self._send(writer, f"421 4.7.0 {self.name} Error: too many errors")
                return True
        return verb == "QUIT"

    def _reply(self, client: Client, verb: str, line: str) -> str:
        argument = line.partition(" ")[2]
        if verb in ("EHLO", "HELO"):
            client.sender, client.recipients, client.helo = None, [], argument
            return self._hello(client, verb)
        if verb == "RSET":
            client.sender, client.recipients = None, []
            return "250 2.0.0 Ok"
        if verb == "QUIT":
            return "221 2.0.0 Bye"
        if verb == "XCLIENT" and self.xclient:
            client.pretended = argument.split("ADDR=")[1].split(" ")[0]
            return f"220 {self.name} ESMTP Fake"
        if verb == "AUTH":
            return self._auth(client, argument)
        if self.needs_tls and not client.secure:
            return "530 5.7.0 Must issue a STARTTLS command first"
        if verb == "MAIL":
            sender = argument.partition("<")[2].rpartition(">")[0]
            reply = self.mail(client, sender)
            client.sender = sender if reply[0] == "2" else None
            return reply
        if verb == "RCPT":
            return self._recipient(client, argument.partition("<")[2].rpartition(">")[0])
        if verb == "DATA":
            return self.data if client.recipients else "554 5.5.1 Error: no valid recipients"
        return "502 5.5.2 Error: command not recognized"

    def _hello(self, client: Client, verb: str) -> str:
        if verb == "EHLO" and self.ehlo:
            return self.ehlo
        offered = [self.name, *(self.extensions if verb == "EHLO" else ())]
        if verb == "EHLO" and self.tls and not client.secure:
            offered.append("STARTTLS")
        if verb == "EHLO" and self.xclient:
            offered.append("XCLIENT NAME ADDR PROTO HELO")
        if verb == "EHLO" and self.logins and (client.secure or not self.tls):
            offered.append("AUTH PLAIN LOGIN")
        return "\r\n".join(f"250{'-' if i < len(offered) - 1 else ' '}{text}" for i, text in enumerate(offered))

    def _recipient(self, client: Client, rcpt: str) -> str:
        if client.sender is None:
            return "503 5.5.1 Error: need MAIL command"
        reply = self.rcpt(client, rcpt).format(rcpt=rcpt)
        if reply[0] == "2":
            client.recipients.append(rcpt)
            client.accepted += 1
        return reply

    def _auth(self, client: Client, argument: str) -> str:
        if not self.logins:
            return "503 5.5.1 Error: authentication not enabled"
        mechanism, _space, initial = argument.partition(" ")
        if mechanism.upper() == "LOGIN":
            return "334 VXNlcm5hbWU6"
        _authzid, user, password = base64.b64decode(initial).decode().split("\0")
        return self._check(client, user, password)

    async def _auth_login(self, client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        await self._send(writer, "334 VXNlcm5hbWU6")
        user = base64.b64decode(await reader.readuntil(b"\n")).decode()
        await self._send(writer, "334 UGFzc3dvcmQ6")
        return self._check(client, user, base64.b64decode(await reader.readuntil(b"\n")).decode())

    def _check(self, client: Client, user: str, password: str) -> str:
        if self.logins.get(user) != password:
            return "535 5.7.8 Error: authentication failed"
        client.login = user
        return "235 2.7.0 Authentication successful"

    async def _message(self, client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: str) -> str:
        await self._send(writer, reply)
        text = (await reader.readuntil(b"\r\n.\r\n")).decode("ascii")
        if self.dot[0] == "2" and self.relays:
            self.sink.deliver(text.replace("\r\n", "\n"))
        return self.dot

    async def _send(self, writer: asyncio.StreamWriter, reply: str) -> None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        await self._write(writer, reply.encode() + b"\r\n")

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        step = self.piece_bytes or len(data) or 1
        for start in range(0, len(data), step):
            writer.write(data[start : start + step])
            await writer.drain()
            if self.piece_bytes:
                await asyncio.sleep(0)


def self_signed(directory: Path) -> ssl.SSLContext:
    """A server's TLS context with a certificate made on the spot."""
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=mx.good.test",
            "-keyout",
            key,
            "-out",
            certificate,
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
