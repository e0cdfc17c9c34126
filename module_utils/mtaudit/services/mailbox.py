"""Hold one session with a mailbox service, as far as its login: IMAP (RFC 9051), POP3 (RFC 1939), ManageSieve (RFC 5804)."""

from __future__ import annotations

import base64
import re
import ssl
from dataclasses import dataclass
from typing import Optional

from ..redact import MASK
from ..smtp.connection import Connection, Endpoint, SessionEnded
from ..smtp.evidence import Costs, Limits, Transcript

LINE_LIMIT_BYTES = 8192
ANSWER_LIMIT_LINES = 200
_POP3_ANSWER = re.compile(r"(\+OK|-ERR|\+)(?: |$)", re.I)
_SIEVE_END = re.compile(r"(OK|NO|BYE)(?:[ (]|$)", re.I)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Answer:
    """What a service said to one command: `word` is `ok`, `no` (also BAD, -ERR) or `more` (go on with the login)."""

    word: str
    text: str
    lines: tuple[str, ...] = ()


class LineParser:
    """Bytes in, lines out; what is no line of text ends the parsing."""

    def __init__(self) -> None:
        self.error = ""
        self._buffer = b""

    @property
    def pending(self) -> bool:
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[str]:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if max(map(len, (*lines, self._buffer))) > LINE_LIMIT_BYTES:
            self.error, self._buffer = f"a line longer than {LINE_LIMIT_BYTES} bytes", b""
            return []
        return [line.rstrip(b"\r").replace(b"\0", b"").decode("utf-8", "replace") for line in lines]


class MailboxSession(Connection[str]):
    """One connection. `protocol` is `imap`, `pop3` or `sieve`. Every method raises SessionEnded when the server ends it."""

    def __init__(
        self, protocol: str, endpoint: Endpoint, limits: Limits, transcript: Transcript, costs: Costs,
        context: Optional[ssl.SSLContext] = None,
    ) -> None:  # fmt: skip
        super().__init__(endpoint, limits, transcript, costs, LineParser, context)
        self.protocol = protocol
        self.banner = ""
        self.capabilities: tuple[str, ...] = ()
        self._tags = 0

    async def connect(self) -> None:
        """Connect and read the greeting; ManageSieve's holds the capabilities. Raises SessionEnded where it is a refusal."""
        await self.open()
        if self.protocol == "sieve":
            greeting = await self._sieve_answer(self.limits.banner_s)
            self._learn(greeting)
            named = [line for line in greeting.lines if line.upper().startswith('"IMPLEMENTATION"')]
            self.banner = " ".join((*named, greeting.text))
        else:
            self.banner = await self._line(self.limits.banner_s)
            pattern = r"\* (OK|PREAUTH)\b" if self.protocol == "imap" else r"\+OK(?: |$)"
            if not re.match(r"\* (OK|PREAUTH|BYE)\b|\+OK|-ERR", self.banner, re.I):
                raise SessionEnded("protocol", f"does not speak {self.protocol}")
            greeting = Answer("ok" if re.match(pattern, self.banner, re.I) else "no", self.banner)
        if greeting.word != "ok":
            raise SessionEnded("closed", f"does not let us in: {self.transcript.clean(greeting.text)}")

    async def _line(self, timeout_s: float) -> str:
        line = await self._next(timeout_s)
        self._add("S:", line)
        return line

    def _say(self, command: str, shown: str = "") -> None:
        self._add("C:", shown or command)
        self._send(f"{command}\r\n".encode("ascii", "replace"))

    async def ask(self, command: str, shown: str = "", many: bool = False) -> Answer:
        """Send a command and read the answer to its end. `many`: lines up to a lone dot follow an +OK (POP3)."""
        if self.protocol == "imap":
            self._tags += 1
            self._say(f"a{self._tags} {command}", f"a{self._tags} {shown}" if shown else "")
        else:
            self._say(command, shown)
        return await self._answer(many)

    async def _answer(self, many: bool = False) -> Answer:
        if self.protocol == "sieve":
            answer = await self._sieve_answer(self.limits.reply_s)
        elif self.protocol == "pop3":
            answer = await self._pop3_answer(many)
        else:
            answer = await self._imap_answer()
        if answer.word == "no":
            self._count_error()
        return answer

    async def _imap_answer(self) -> Answer:
        told: list[str] = []
        while True:
            line = await self._line(self.limits.reply_s)
            start, _space, rest = line.partition(" ")
            if start == "+":
                return Answer("more", line, tuple(told))
            if start.lower() == f"a{self._tags}":
                word = rest.split(" ")[0].upper()
                return Answer("ok" if word == "OK" else "no", rest, tuple(told))
            if re.match(r"\* BYE\b", line, re.I):
                raise SessionEnded("closed", f"ended the session: {self.transcript.clean(line)}")
            self._keep(told, line)

    async def _pop3_answer(self, many: bool) -> Answer:
        line = await self._line(self.limits.reply_s)
        found = _POP3_ANSWER.match(line)
        if not found:
            raise SessionEnded("protocol", "sent a line that is no answer of POP3")
        if found.group(1) == "+":
            return Answer("more", line)
        told: list[str] = []
        good = found.group(1).upper() == "+OK"
        while good and many:
            further = await self._line(self.limits.reply_s)
            if further == ".":
                break
            self._keep(told, further)
        return Answer("ok" if good else "no", line, tuple(told))

    async def _sieve_answer(self, timeout_s: float) -> Answer:
        told: list[str] = []
        while True:
            line = await self._line(timeout_s)
            found = _SIEVE_END.match(line)
            if found:
                if found.group(1).upper() == "BYE":
                    raise SessionEnded("closed", f"ended the session: {self.transcript.clean(line)}")
                return Answer("ok" if found.group(1).upper() == "OK" else "no", line, tuple(told))
            # A challenge to AUTHENTICATE is a lone string: "" or, as a literal, {0} and an empty line.
            if line == '""' or (line == "" and told and re.fullmatch(r"\{\d+\+?\}", told[-1])):
                return Answer("more", line, tuple(told))
            self._keep(told, line)

    def _keep(self, told: list[str], line: str) -> None:
        if len(told) >= ANSWER_LIMIT_LINES:
            raise SessionEnded("protocol", f"sent an answer of more than {ANSWER_LIMIT_LINES} lines")
        told.append(line)

    async def learn_capabilities(self) -> Answer:
        """Ask what the service offers; `capabilities` then holds one entry for each."""
        if self.protocol == "pop3":
            answer = await self.ask("CAPA", many=True)
        else:
            answer = await self.ask("CAPABILITY")
        self._learn(answer)
        return answer

    def _learn(self, answer: Answer) -> None:
        if answer.word != "ok":
            self.capabilities = ()
        elif self.protocol == "imap":
            said = [line[len("* CAPABILITY ") :] for line in answer.lines if line.upper().startswith("* CAPABILITY ")]
            self.capabilities = tuple(" ".join(said).split())
        elif self.protocol == "pop3":
            self.capabilities = answer.lines
        else:
            self.capabilities = tuple(" ".join(_QUOTED.findall(line)) for line in answer.lines if _QUOTED.match(line))

    def mechanisms(self) -> set[str]:
        """The SASL mechanisms on offer, in capitals; LOGIN also where IMAP's LOGIN, PLAIN also where POP3's USER is."""
        found: set[str] = set()
        words = [capability.upper().split() for capability in self.capabilities]
        if self.protocol == "imap":
            names = {word for line in words for word in line}
            found = {name[len("AUTH=") :] for name in names if name.startswith("AUTH=")}
            if names and "LOGINDISABLED" not in names:
                found.add("LOGIN")  # RFC 9051, 6.2.3: the command is there unless the server says that it is not
        for line in words:
            if self.protocol != "imap" and line[:1] == ["SASL"]:
                found.update(line[1:])
            if self.protocol == "pop3" and line[:1] == ["USER"]:
                found.add("PLAIN")
        if self.protocol == "pop3" and re.search(r"<[^<>\s]+@[^<>\s]+>\s*$", self.banner):
            found.add("APOP")  # RFC 1939, 7: a timestamp in the greeting says so
        return found

    def offers_tls(self) -> bool:
        """Whether STARTTLS (POP3: STLS) is offered."""
        wanted = "STLS" if self.protocol == "pop3" else "STARTTLS"
        return wanted in {capability.upper().split(" ")[0] for capability in self.capabilities}

    async def starttls(self) -> Answer:
        """TLS, then the capabilities anew. A refusal is returned."""
        answer = await self.ask("STLS" if self.protocol == "pop3" else "STARTTLS")
        if answer.word != "ok":
            return answer
        await self._upgrade()
        if self.protocol == "sieve":  # the server tells them by itself (RFC 5804, 2.2)
            greeting = await self._sieve_answer(self.limits.banner_s)
            self._learn(greeting)
            return greeting
        return await self.learn_capabilities()

    async def begin_login(self) -> Answer:
        """Ask for a login with PLAIN and without a word of it (RFC 4954, 4): `more` says that the password would be taken."""
        command = {"imap": "AUTHENTICATE PLAIN", "pop3": "AUTH PLAIN", "sieve": 'AUTHENTICATE "PLAIN"'}[self.protocol]
        return await self.ask(command)

    async def cancel_login(self) -> Answer:
        """End it without a password."""
        return await self.go_on("*")

    async def give_login(self, username: str, password: str) -> Answer:
        """End it with one."""
        return await self.go_on(base64.b64encode(f"\0{username}\0{password}".encode()).decode(), MASK)

    async def go_on(self, word: str, shown: str = "") -> Answer:
        """The next line of a login that has begun."""
        quoted = f'"{word}"' if self.protocol == "sieve" else word
        self._say(quoted, shown)
        return await self._answer()

    async def quit(self) -> None:
        """Say goodbye, without a long wait for the answer."""
        self._say("QUIT" if self.protocol == "pop3" else "a0 LOGOUT" if self.protocol == "imap" else "LOGOUT")
        try:
            await self._line(self.limits.quit_s)
        except SessionEnded:
            pass
        self.abort()
