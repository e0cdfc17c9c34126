"""Ask Sendmail itself what its rules say of a session that is not there: the input of `sendmail -bt`, and its answers.

In test mode nothing is opened, queued or delivered (sendmail(8), -bt). The macros that a session would set are set by hand, and
each answer stands between two marks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from ..address import Address
from ..redact import redact
from ..text import printable

# Look-ups of names must not hold up a reader: two seconds, once.
BOUNDED = ("-OTimeout.resolver.retrans=2s", "-OTimeout.resolver.retry=1")
# What may stand in a question: nothing that ends a line or starts another word of test mode.
SAFE = re.compile(r"[\w@%!.:+\-\[\]\"=/,<>*]+")
MARK = "mtaudit-answer"
FOREIGN = "mtaudit.invalid"  # a name that cannot exist (RFC 6761, 6.4)
_RETURNS = re.compile(r"(?P<set>\S+)\s+returns: ?(?P<value>.*)")
_INPUT = re.compile(r"(?P<set>\S+)\s+input: ?(?P<value>.*)")
_REFUSED = re.compile(r"\$# *(?:error|discard)\b(?P<rest>.*)")
_LOOKED_UP = ("A", "D", "E", "F", "U")
# Refusals that say nothing about relaying, in the words of Sendmail's own rule sets (cf/m4/proto.m4).
_UNDECIDED = (
    (re.compile(r"(?i)Temporary system failure"), "a map could not be looked up"),
    (re.compile(r"(?i)Domain of sender address .*does not (?:exist|resolve)"), "the sender's domain does not resolve"),
    (re.compile(r"(?i)Domain name required|Real domain name required"), "the sender's domain is not taken for one"),
    (re.compile(r"(?i)Can not check MX records"), "MX records could not be looked up"),
    (re.compile(r"(?i)Cannot resolve PTR"), "the client's name could not be looked up"),
)


@dataclass(frozen=True)
class Question:
    """A session up to its recipient. `name` is the client's verified name; `login` one that was accepted with `mechanism`;
    `issuer` and `subject` are those of a certificate that was verified. `whole_mail`: ask check_mail, which looks up the
    sender's domain, instead of the site's own part of it; `from_connect`: ask check_relay first, which blocklists are part of;
    `delayed`: check_rcpt asks the other two itself (FEATURE(delay_checks)); `only`: ask this one rule set, about `recipient`."""

    address: str
    recipient: str
    sender: str = ""
    name: str = "mail.mtaudit.invalid."
    helo: str = "mail.mtaudit.invalid"
    login: str = ""
    mechanism: str = ""
    issuer: str = ""
    subject: str = ""
    tls: bool = False
    daemon: str = ""
    port: int = 25
    flags: str = ""
    whole_mail: bool = False
    from_connect: bool = False
    delayed: bool = False
    only: str = ""

    @property
    def usable(self) -> bool:
        """Whether every part of it can be written in one line of test mode."""
        parts = (self.address, self.recipient, self.sender, self.name, self.helo, self.login, self.issuer, self.subject,
                 self.mechanism)  # fmt: skip
        return all(SAFE.fullmatch(part) for part in parts if part)

    def macros(self) -> dict[str, str]:
        """What the session would have set."""
        domain = self.sender.rpartition("@")[2]
        return {
            "{client_addr}": self.address,
            "{client_name}": self.name,
            "{client_ptr}": self.name,
            "{client_resolve}": "OK" if self.name else "FAIL",
            "{auth_type}": self.mechanism if self.login else "",
            "{auth_authen}": self.login,
            "{auth_author}": self.login,
            "{cert_issuer}": self.issuer,
            "{cert_subject}": self.subject,
            "{verify}": "OK" if self.issuer else "NO" if self.tls else "NONE",
            "{tls_version}": "TLSv1.3" if self.tls or self.issuer else "",
            "{daemon_name}": self.daemon,
            "{daemon_port}": str(self.port),
            "{daemon_flags}": spaced(self.flags),
            "{mail_from}": f"<{self.sender}>",
            "{mail_addr}": self.sender,
            "{mail_host}": f"{domain}." if domain else "",
            "f": self.sender,
            "s": self.helo,
        }

    def commands(self) -> tuple[str, ...]:
        """What to ask once they are set. A domain that is there ends in a dot for the rules (not in the macros): a foreign one,
        which must not be looked up, is written with it."""
        if self.only:
            return (f"{self.only} {self.recipient}",)
        asked = [f"check_rcpt <{self.recipient}>", f"canonify,parse {self.recipient}"]
        if self.delayed:
            return tuple(asked)
        relay = f"check_relay {self.name or '[' + self.address + ']'} $| {self.address}"
        dot = "." if self.sender.endswith(f"@{FOREIGN}") else ""
        return (
            *([relay] if self.from_connect else []),
            f"{'check_mail' if self.whole_mail else 'Local_check_mail'} <{self.sender}{dot}>",
            *asked,
        )


@dataclass(frozen=True)
class Told:
    """What Sendmail answered. `allowed` is None when the answer decides nothing; `reason` says why. `ruleset` is the one that
    said yes, `key` what it had looked up last. `mailer` is what would deliver the recipient, by way of `host`, to `user`."""

    allowed: Optional[bool]
    said: str
    reason: str = ""
    ruleset: str = ""
    key: str = ""
    mailer: str = ""
    host: str = ""
    user: str = ""


UNASKED = Told(None, "", "it was not asked")


def in_tag(address: Address) -> str:
    """An address as Sendmail's macros hold it: `198.19.0.1`, `IPv6:2001:db8:0:0:0:0:0:1` (compiled with IPV6_FULL)."""
    if address.version == 4:
        return str(address)
    words = [f"{int(word, 16):x}" for word in address.exploded.split(":")]
    return "IPv6:" + ":".join(words)


def spaced(flags: str) -> str:
    """${daemon_flags}: separated by spaces, capitals doubled (Operation Guide, 5.2)."""
    return " ".join(flag * 2 if flag.isupper() else flag for flag in flags)


def script(questions: Sequence[Question]) -> str:
    """The input of test mode for all of them, a mark before each and one at the end. Macros stay as they were set."""
    lines = [f".D{{mtaudit}}{MARK}"]
    known: dict[str, str] = {}
    for question in questions:
        macros = question.macros()
        lines += [f".D{name}{value}" for name, value in macros.items() if known.get(name) != value]
        lines += ["${mtaudit}", *question.commands()]
        known = macros
    return "".join(f"{line}\n" for line in [*lines, "${mtaudit}"])


def answers(output: str, questions: Sequence[Question]) -> dict[Question, Told]:
    """What was said to each. One that has no mark behind it, because Sendmail ended, is left out."""
    parts = output.split(MARK)[1:]
    pairs = zip(questions, parts[:-1])
    return {question: _alone(text, question.only) if question.only else told(text) for question, text in pairs}


def _alone(text: str, ruleset: str) -> Told:
    """What one rule set returned; `said` is that."""
    value = _returned(text, (ruleset,))
    if value is None:
        return Told(None, "", "Sendmail gave no answer")
    refused, doubt = bool(_REFUSED.match(value)), _undecided(value)
    return Told(None if doubt else not refused, printable(redact(value)), doubt)


def told(text: str) -> Told:
    """The output for one question."""
    recipient = _returned(text, ("check_rcpt",))
    routed = _returned(text, ("parse",)) or ""
    mailer = re.match(r"\$# *(\S+)(?: *\$@ *(.*?))?(?: *\$: *(.*))?$", routed)
    named, host, user = (printable(re.sub(r"\s+", "", part or "")) for part in (mailer.groups() if mailer else ("", "", "")))
    way = {"mailer": named, "host": host}
    undecided: Optional[Told] = None
    before = [_returned(text, names) for names in (("check_relay",), ("check_mail", "Local_check_mail"))]
    for value in filter(None, (*before, recipient)):
        if _REFUSED.match(value):
            said, reason = printable(redact(_message(value))), _undecided(value)
            if not reason:
                return Told(False, said, **way)
            undecided = undecided or Told(None, said, reason, **way)
    if undecided:
        return undecided  # what comes later does not refuse: with a better sender it would have been taken
    if recipient is None:
        return Told(None, "", "Sendmail gave no answer", **way)
    ruleset, key = _decisive(text)
    return Told(True, printable(redact(recipient)), ruleset=ruleset, key=key, user=user, **way)


def _returned(text: str, names: Sequence[str]) -> Optional[str]:
    """What a rule set returned in the end."""
    found = (_RETURNS.match(line.lstrip("> ")) for line in text.splitlines())
    values = [match["value"].strip() for match in found if match and match["set"] in names]
    return values[-1] if values else None


def _message(value: str) -> str:
    found = re.search(r"\$: *(.*)", value)
    return (found.group(1) if found else value).strip().strip('"')


def _undecided(value: str) -> str:
    for pattern, reason in _UNDECIDED:
        if pattern.search(value):
            return reason
    return "refused for the moment only" if re.search(r'\$@ *4 *\.|\$: *"?4\d\d', value) else ""


def _decisive(text: str) -> tuple[str, str]:
    """The first rule set that returned RELAY after check_rcpt began, but for look-ups, and the key that was looked up last."""
    key = ""
    begun = False
    for line in text.splitlines():
        line = line.lstrip("> ")
        given, back = _INPUT.match(line), _RETURNS.match(line)
        if given and given["set"] == "check_rcpt":
            begun = True
        elif given and begun and given["set"] in _LOOKED_UP:
            found = re.match(r"< *([^>]*?) *>", given["value"])
            key = re.sub(r"\s+", "", found.group(1)) if found else key
        elif back and begun and back["set"] not in _LOOKED_UP and re.fullmatch(r"(?:\$# *)?RELAY", back["value"].strip()):
            return back["set"], key
    return "", ""
