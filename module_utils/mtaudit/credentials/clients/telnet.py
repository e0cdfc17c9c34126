"""Telnet (RFC 854): no option is agreed to, the prompts are told by the words that they usually have."""

from __future__ import annotations

import re
from enum import Enum
from typing import Optional

from ..values import Attempt, Credential, Outcome, Service
from .wire import Deadline, Quiet, Shut, Wire

TEXT_BYTES = 4096
SETTLED_S = 0.4  # a prompt is the end of what is said: nothing follows it for so long
_IAC, _SB, _SE = 0xFF, 0xFA, 0xF0
_ANSWERS = {0xFB: 0xFE, 0xFD: 0xFC}  # WILL: DONT; DO: WONT
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[()][A-Z0-9]|.)|[\x00\x07]")


class Prompt(Enum):
    """What a device waits for."""

    NAME = re.compile(r"(?i)(?<!last )\b(?:login|log in|user ?name|user|account|name)[^\n:>]{0,20}[:>]\s*$")
    PASSWORD = re.compile(r"(?i)\b(?:pass(?:word|wd|code|phrase)?|pin)\b[^\n:>]{0,30}[:>]\s*$")
    SHELL = re.compile(r"(?:^|[^\n#$>%])[#$>%] ?$")


_NO = re.compile(
    r"(?i)\bincorrect\b|\binvalid\b|\bfail(?:ed|ure)?\b|\bdenied\b|\bwrong\b|\bbad (?:password|login)|\bnot authori[sz]ed\b"
)

_PAST = re.compile(r"(?i)\b(?:last|previous|since)\b")  # told to who has logged in: "2 failed attempts since the last login"
_SECRET = re.compile(r"(?i)\bpass(?:word|wd|code|phrase)?\b")
_NEW = re.compile(r"(?i)\b(?:new|change|changing|expired|re-?type|old|current)\b")


def wants_new(question: str) -> bool:
    """Whether a prompt asks for a new password, as only who has logged in is asked."""
    return bool(_SECRET.search(question) and _NEW.search(question))


class Options:
    """Telnet's commands taken out of a stream that comes in pieces of any size."""

    def __init__(self) -> None:
        self._rest = b""
        self._answered: set[bytes] = set()

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """The text in `data`, and what to answer: each option is refused once."""
        data = self._rest + data
        text, answer, at = bytearray(), bytearray(), 0
        while at < len(data):
            if data[at] != _IAC:
                text.append(data[at])
                at += 1
                continue
            end = _end_of_command(data, at)
            if end is None:
                break
            command = data[at:end]
            at = end
            if command == b"\xff\xff":
                text.append(_IAC)
            elif len(command) == 3 and command[1] in _ANSWERS and command not in self._answered:
                self._answered.add(command)
                answer += bytes((_IAC, _ANSWERS[command[1]], command[2]))
        self._rest = data[at:]
        return bytes(text), bytes(answer)


def _end_of_command(data: bytes, at: int) -> Optional[int]:
    """Where the command that begins at `at` is over; None when it is not yet."""
    if at + 1 >= len(data):
        return None
    if data[at + 1] == _SB:
        end = data.find(bytes((_IAC, _SE)), at)
        return None if end < 0 else end + 2
    end = at + (3 if 0xFB <= data[at + 1] <= 0xFE else 2)
    return end if end <= len(data) else None


class Dialogue:
    """What a device says up to its next prompt."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._options = Options()
        self._last = ""
        self.text = ""
        self.ended = False  # by the device

    @property
    def line(self) -> str:
        """The last line: where there is a prompt, it is the prompt."""
        return self.text.rstrip(" ").rpartition("\n")[2]

    @property
    def says_no(self) -> bool:
        return any(_NO.search(line) and not _PAST.search(line) for line in self.text.splitlines())

    def say(self, word: str) -> None:
        """Answer a prompt. A device that echoes says the word again: that is no prompt."""
        self._last = word
        self._wire.send(word.encode().replace(b"\xff", b"\xff\xff") + b"\r\n")

    def prompt(self) -> Optional[Prompt]:
        """The next prompt; `text` is what came with it. None when the device ended it or asks for something else."""
        received = b""
        found: Optional[Prompt] = None
        while True:
            try:
                data = self._wire.some(SETTLED_S if found else float("inf"))
            except Shut as end:
                if found and isinstance(end, Quiet):
                    return found
                if self.text:
                    return None
                raise
            if not data:
                self.ended = True
                if self.text:
                    return None
                raise Shut("closed the connection")
            new, answer = self._options.take(data)
            if answer:
                self._wire.send(answer)
            received = (received + new)[-TEXT_BYTES:]
            self.text = self._plain(received)
            found = _prompt(self.text)

    def _plain(self, received: bytes) -> str:
        text = _ESCAPES.sub("", received.decode("utf-8", "replace")).replace("\r", "\n").lstrip("\n ")
        if self._last and text.startswith(self._last):
            text = text[len(self._last) :].lstrip("\n ")
        return text


def _prompt(text: str) -> Optional[Prompt]:
    last = text.rstrip(" ").rpartition("\n")[2]
    return next((prompt for prompt in Prompt if prompt.value.search(last)), None)


def login(service: Service, credential: Optional[Credential], deadline: Deadline) -> Attempt:
    """One login at the prompts. Without a credential: is there a shell that asks for none?"""
    wire = Wire(service.address, service.port, deadline, service.tls)
    try:
        dialogue = Dialogue(wire)
        outcome = _login(dialogue, credential)
        if outcome is Outcome.ACCEPTED:
            wire.send(b"exit\r\n")
        return Attempt(outcome, _told(dialogue.text))
    finally:
        wire.close()


def _told(text: str) -> str:
    return " ".join(text.split())[-400:]


def _login(dialogue: Dialogue, credential: Optional[Credential]) -> Outcome:
    prompt = dialogue.prompt()
    if credential is None:
        return Outcome.UNASKED if prompt is None else Outcome.ACCEPTED if prompt is Prompt.SHELL else Outcome.REFUSED
    # A shell for whoever comes is no answer about a login, and a password that is to be set is not set by us.
    if prompt is None or prompt is Prompt.SHELL or wants_new(dialogue.line):
        return Outcome.UNASKED
    asked = {dialogue.line}
    if prompt is Prompt.NAME:
        dialogue.say(credential.username)
        prompt = dialogue.prompt()
    if prompt is Prompt.PASSWORD and not wants_new(dialogue.line):
        asked.add(dialogue.line)
        dialogue.say(credential.password)
        prompt = dialogue.prompt()
    return _came_of(dialogue, prompt, asked)


def _came_of(dialogue: Dialogue, prompt: Optional[Prompt], asked: set[str]) -> Outcome:
    """What the answer to a login means. `asked` are the prompts of the login: one that comes again is a refusal."""
    if prompt is None:  # what goes on may be a menu that tells of failed logins before
        return Outcome.REFUSED if dialogue.ended and dialogue.says_no else Outcome.UNASKED
    if prompt is not Prompt.SHELL and wants_new(dialogue.line):
        return Outcome.ACCEPTED
    if dialogue.line not in asked and Prompt.SHELL.value.search(dialogue.line):  # also "user@switch> "
        return Outcome.REFUSED if _NO.search(dialogue.line) else Outcome.ACCEPTED
    return Outcome.REFUSED
