"""Expand Exim's strings for a session that is only thought of: what is known is evaluated, anything else is a doubt.

The syntax is that of the Exim specification, chapter "String expansions". Nothing is run, looked up over a network or asked of
another program: `${run`, `${readsocket` and lookups in anything but text files raise Doubt.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Optional

_VARIABLE = re.compile(r"\{?([A-Za-z][A-Za-z0-9_]*|\d+)\}?")
_HEADER = re.compile(r"(\{)?[blr]?h(?:eader)?_([\w-]+):?(?(1)\})")
_OPERATOR = re.compile(r"\{([a-z][a-z0-9_]*):")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_OPERATORS: Mapping[str, Callable[[str], str]] = {
    "lc": str.lower,
    "uc": str.upper,
    "domain": lambda text: text.rpartition("@")[2] if "@" in text else "",
    "local_part": lambda text: text.rpartition("@")[0] if "@" in text else text,
    "address": lambda text: text.strip("<> "),
    "addresses": lambda text: text.strip("<> "),
    "quote": lambda text: text,
    "quote_local_part": lambda text: text,
    "strlen": lambda text: str(len(text)),
    "md5": lambda text: hashlib.new("md5", text.encode(), usedforsecurity=False).hexdigest(),
    "sha1": lambda text: hashlib.new("sha1", text.encode(), usedforsecurity=False).hexdigest().upper(),
    "sha256": lambda text: hashlib.sha256(text.encode()).hexdigest().upper(),
}


class Doubt(Exception):
    """A value that cannot be known here; the text says which and why."""


class ForcedFailure(Exception):
    """`fail` in an expansion: the condition that wanted the value is skipped."""


@dataclass(frozen=True)
class Caller:
    """A program of the host that runs sendmail(1): the account and its number, -1 when that is not known. One that is `trusted`
    (trusted_users) also says from which host, port and login its message comes: -oMa, -oMi, -oMai, -oMt."""

    account: str
    uid: int
    trusted: bool = False

    def variables(self, usual: Mapping[str, str]) -> dict[str, str]:
        """Those that are not what it likes."""
        chosen = ("sender_address", "sender_helo", "h_") + _SAID_BY_TRUSTED * self.trusted
        kept = {name: value for name, value in usual.items() if not name.startswith(chosen)}
        own = {} if self.trusted else {"sender_ident": self.account, "authenticated_id": self.account}
        number = {} if self.uid < 0 else dict.fromkeys(("caller_uid", "originator_uid"), str(self.uid))
        return {**kept, **own, **number, "message_size": "1000", "max_received_linelength": "80"}


_SAID_BY_TRUSTED = ("sender_", "authenticated_", "received_", "interface_")


@dataclass(frozen=True)
class Session:
    """A client that is only thought of, and its envelope. `login` is what it authenticated as, empty for nobody.

    `name` is its host name by DNS, forward and reverse. `login` needs `method`, the authenticator's name. `unknown_mailbox`: the
    recipient is nobody's mailbox, at a domain of this host (`here`) or of another that it passes mail on to (`elsewhere`).
    `blocked` are the texts of `dnslists` conditions that find it on their lists. `from_header`: the address of its message's From
    header; empty before there is a message. `caller`: who hands it in without TCP/IP.
    """

    address: str
    name: str = ""
    helo: str = ""
    sender: str = ""
    recipient: str = ""
    port: int = 25
    login: str = ""
    method: str = ""
    tls: bool = False
    certificate: bool = False
    mx_backup: bool = False  # the recipient's domain names this host as an MX
    unknown_mailbox: str = ""
    blocked: frozenset[str] = frozenset()
    from_header: str = ""
    caller: Optional[Caller] = None

    @property
    def variables(self) -> dict[str, str]:
        """The variables of the specification that such a session has."""
        local_part, _, domain = self.recipient.rpartition("@")
        sender_local_part, _, sender_domain = self.sender.rpartition("@")
        cipher = "TLS1.3:ECDHE_X25519__RSA_PSS_RSAE_SHA256__AES_256_GCM:256" if self.tls else ""
        plain = {
            "sender_host_address": self.address, "sender_host_name": self.name, "sender_helo_name": self.helo,
            "sender_address": self.sender, "sender_address_local_part": sender_local_part,
            "sender_address_domain": sender_domain, "domain": domain, "local_part": local_part,
            "received_port": str(self.port), "interface_port": str(self.port), "tls_in_cipher": cipher, "tls_cipher": cipher,
            "tls_in_peerdn": "CN=mtaudit.invalid" if self.certificate else "", "sender_host_port": "40000",
            "tls_in_peercert": "mtaudit: nobody's certificate" if self.certificate else "",
            "tls_in_certificate_verified": str(int(self.certificate)), "tls_certificate_verified": str(int(self.certificate)),
            "authenticated_id": self.login, "sender_host_authenticated": self.method,
            "rcpt_count": "1", "recipients_count": "0", "rcpt_defer_count": "0", "rcpt_fail_count": "0",
            "mailauth": "", "authenticated_sender": "", "smtp_command_argument": "", "message_size": "-1",
            "caller_uid": "0",  # whoever started the daemon
        }  # fmt: skip
        if self.caller:
            return self.caller.variables(plain)
        if self.from_header:
            plain.update({"h_from": self.from_header, "max_received_linelength": "80", "message_size": "1000"})
        return {**plain, "tls_peerdn": plain["tls_in_peerdn"]}


@dataclass
class Known:
    """What a reader found on the host that expansions may ask for.

    `lists(kind, text, key)` evaluates an Exim list; `table(kind, path)` gives a text table's lookup function.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    exists: Mapping[str, Optional[bool]] = field(default_factory=dict)
    lookup: Callable[[str, str, str], Optional[str]] = lambda kind, path, key: None
    matches: Callable[[str, str, str], bool] = lambda kind, text, key: False


class Expander:
    """Expands strings for one session; `acl_variables` are what the ACLs `set` on the way."""

    def __init__(self, known: Known, session: Session) -> None:
        self._known = known
        self._variables = {**known.variables, **session.variables}
        self._captures: list[str] = []
        self.acl_variables: dict[str, Optional[str]] = {}

    def expand(self, text: str) -> str:
        """The text with everything replaced. Raises Doubt, and ForcedFailure."""
        if len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1]
        result, position = "", 0
        while position < len(text):
            character = text[position]
            if character == "\\":
                piece, position = _escape(text, position)
            elif character == "$":
                piece, position = self._reference(text, position + 1)
            else:
                piece, position = character, position + 1
            result += piece
        return result

    def _reference(self, text: str, position: int) -> tuple[str, int]:
        operator = _OPERATOR.match(text, position)
        if text.startswith("{if", position) and not text[position + 3 : position + 4].isalnum():
            return self._if(text, position)
        if text.startswith("{lookup", position) and not text[position + 7 : position + 8].isalnum():
            return self._lookup(text, position)
        if operator:
            inner, end = braced(text, position)
            return self._operated(operator.group(1), inner.partition(":")[2]), end
        header = _HEADER.match(text, position)
        if header:
            return self.variable(f"h_{header.group(2).lower()}"), header.end()
        match = _VARIABLE.match(text, position)
        if not match or match.group(0).startswith("{") != match.group(0).endswith("}"):
            raise Doubt(f"'${text[position:position + 60]}' is not evaluated")
        return self.variable(match.group(1)), match.end()

    def variable(self, name: str) -> str:
        """A variable's value. Raises Doubt for one that depends on what is not known."""
        if name.isdigit():
            number = int(name)
            return self._captures[number] if number < len(self._captures) else ""
        if re.match(r"acl_[cm]", name):
            value = self.acl_variables.get(name, "")
            if value is None:
                raise Doubt(f"${name} could not be evaluated")
            return value
        if name not in self._variables:
            raise Doubt(f"${name} is not known before there is a session")
        return self._variables[name]

    def _operated(self, name: str, inner: str) -> str:
        value = self.expand(inner)
        if name == "eval":
            if not re.fullmatch(r"[\d\s+*/()-]+", value):
                raise Doubt(f"${{eval:{value[:40]}}} is not evaluated")
            return _arithmetic(value)
        if name not in _OPERATORS:
            raise Doubt(f"the operator ${{{name}:}} is not evaluated")
        return _OPERATORS[name](value)

    def _if(self, text: str, position: int) -> tuple[str, int]:
        inner, end = braced(text, position)
        kept = list(self._captures)
        truth, at = self._condition(inner, 2)
        yes, no = _branches(inner, at, "true", "")
        chosen = yes if truth else no
        value = self._branch(chosen)
        self._captures = kept
        return value, end

    def _branch(self, chosen: Optional[str]) -> str:
        if chosen is None:
            raise ForcedFailure
        return self.expand(chosen)

    def _lookup(self, text: str, position: int) -> tuple[str, int]:
        inner, end = braced(text, position)
        match = re.match(r"lookup\s*(?=\{)", inner)
        if not match:
            raise Doubt(f"'{inner[:60]}' asks a data base, which is not done here")
        key, at = braced(inner, match.end())
        kind = re.compile(r"\s*([\w*@,=-]+)\s*(?=\{)").match(inner, at)
        if not kind:
            raise Doubt(f"'{inner[:60]}' is not evaluated")
        path, at = braced(inner, kind.end())
        found = self._known.lookup(kind.group(1), self.expand(path).strip(), self.expand(key))
        yes, no = _branches(inner, at, "", "")
        if found is None:
            return self._branch(no), end
        outside, self._variables["value"] = self._variables.get("value", ""), found
        value = self.expand(yes) if yes else found
        self._variables["value"] = outside
        return value, end

    # conditions

    def _condition(self, text: str, position: int) -> tuple[bool, int]:
        """The truth of the condition that begins at the position, and where it ends."""
        match = re.compile(r"\s*(!?)\s*([a-z][a-z0-9_]*:?|[<>=]=?)").match(text, position)
        if not match:
            raise Doubt(f"the condition '{text[position:position + 60].strip()}' is not evaluated")
        negated, name = bool(match.group(1)), match.group(2)
        if name == "def:":
            header = _HEADER.match(text, match.end())
            if header:
                return bool(self._defined(f"h_{header.group(2).lower()}")) is not negated, header.end()
            variable = re.compile(r"\w+").match(text, match.end())
            if variable is None:
                raise Doubt(f"the condition '{text[:60]}' is not evaluated")
            return bool(self._defined(variable.group(0))) is not negated, variable.end()
        if name in ("and", "or"):
            inner, end = braced(text, match.end())
            return self._joined(name, inner) is not negated, end
        count = 1 if name in ("exists", "isip", "isip4", "isip6", "bool", "bool_lax") else 2
        arguments, end = [], match.end()
        for _ in range(count):
            argument, end = braced(text, end)
            arguments.append(argument)
        return self._simple(name, arguments) is not negated, end

    def _defined(self, name: str) -> str:
        try:
            return self.variable(name)
        except Doubt:
            if name.startswith("h_") and "h_from" not in self._variables:
                return ""  # there are no headers before the message
            raise

    def _joined(self, name: str, inner: str) -> bool:
        """All of `and`, one of `or`; a doubt counts only where the rest does not decide."""
        position, doubt = 0, None
        while inner[position:].strip():
            part, position = braced(inner, position)
            try:
                if self._condition(part, 0)[0] is (name == "or"):
                    return name == "or"
            except Doubt as exc:
                doubt = exc
        if doubt:
            raise doubt
        return name == "and"

    def _simple(self, name: str, arguments: list[str]) -> bool:
        first, second = self.expand(arguments[0]).strip(), arguments[1] if len(arguments) > 1 else ""
        if name == "match":
            return self._regex(first, self.expand(second).strip())
        if name in ("match_ip", "match_domain", "match_address", "match_local_part"):
            return self._known.matches(name, self.expand(second), first)
        if name == "exists":
            found = self._known.exists.get(first)
            if found is None:
                raise Doubt(f"whether {first} exists was not looked at")
            return found
        if name in ("bool", "bool_lax"):
            return truth(first)
        if name.startswith("isip"):
            return _is_ip(first, name[4:])
        return _compared(name, first, self.expand(second).strip())

    def _regex(self, text: str, pattern: str) -> bool:
        try:
            found = re.search(pattern, text)
        except re.error as exc:
            raise Doubt(f"the pattern '{pattern}' is not understood: {exc}") from None
        if found:
            self._captures = [found.group(0), *(group or "" for group in found.groups())]
        return bool(found)


def truth(text: str) -> bool:
    """What a `condition` holds (specification, "ACL conditions"). Raises Doubt for what Exim takes for an error."""
    word = text.strip().lower()
    if word in ("", "no", "false"):
        return False
    if word in ("yes", "true"):
        return True
    if re.fullmatch(r"-?\d+", word):
        return int(word) != 0
    raise Doubt(f"the condition gives '{text[:40]}', which is neither yes nor no")


def braced(text: str, position: int) -> tuple[str, int]:
    """The inside of the braces that begin at the position, after white space, and where they end. Raises Doubt."""
    while position < len(text) and text[position].isspace():
        position += 1
    if not text.startswith("{", position):
        raise Doubt(f"'{text[position:position + 60]}' is not evaluated")
    depth, at = 0, position
    while at < len(text):
        if text[at] == "\\":
            at = _escape(text, at)[1]
            continue
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        at += 1
        if depth == 0:
            return text[position + 1 : at - 1], at
    raise Doubt(f"'{text[position:position + 60]}' has no closing brace")


def _branches(text: str, position: int, default_yes: str, default_no: str) -> tuple[Optional[str], Optional[str]]:
    """The two strings that may follow a condition or a lookup; None for the word `fail`."""
    rest = text[position:].strip()
    if not rest:
        return default_yes, default_no
    yes, at = braced(rest, 0)
    rest = rest[at:].strip()
    if rest == "fail":
        return yes, None
    return yes, braced(rest, 0)[0] if rest else default_no


def _escape(text: str, position: int) -> tuple[str, int]:
    if text.startswith("\\N", position):
        end = text.find("\\N", position + 2)
        end = len(text) if end < 0 else end
        return text[position + 2 : end], end + 2
    following = text[position + 1 : position + 2]
    return _ESCAPES.get(following, following), position + 2


def _is_ip(text: str, family: str) -> bool:
    try:
        return family in ("", str(ipaddress.ip_address(text).version))
    except ValueError:
        return False


def _compared(name: str, first: str, second: str) -> bool:
    if name in ("eq", "eqi"):
        return first == second if name == "eq" else first.lower() == second.lower()
    if name in ("inlist", "inlisti"):
        from .exim_syntax import items

        listed = items(second)
        return first in listed if name == "inlist" else first.lower() in [item.lower() for item in listed]
    try:
        left, right = int(first or 0), int(second or 0)
    except ValueError:
        raise Doubt(f"'{first}' {name} '{second}' is not evaluated") from None
    compare = {"<": left < right, ">": left > right, "=": left == right, "==": left == right, "<=": left <= right,
               ">=": left >= right}  # fmt: skip
    if name not in compare:
        raise Doubt(f"the condition {name} is not evaluated")
    return compare[name]


def _arithmetic(text: str) -> str:
    """Whole numbers with + - * / from the left to the right of each rank; no parentheses."""
    if "(" in text or not re.fullmatch(r"\s*-?\d+(?:\s*[-+*/]\s*\d+)*\s*", text):
        raise Doubt(f"${{eval:{text[:40]}}} is not evaluated")
    total = 0
    for sign, term in re.findall(r"([-+]?)\s*(\d+(?:\s*[*/]\s*\d+)*)", text):
        factors = re.findall(r"([*/]?)\s*(\d+)", term)
        value = int(factors[0][1])
        for operation, number in factors[1:]:
            if operation == "/" and int(number) == 0:
                raise Doubt("division by zero")
            value = value * int(number) if operation == "*" else value // int(number)
        total += -value if sign == "-" else value
    return str(total)
