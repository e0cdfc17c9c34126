"""OpenSMTPD's tables: what they hold, and whether an address, name or mailbox is in one.

How a key is compared depends on what it is (table.c, table_static.c, util.c and to.c of smtpd, 6.8 and 7.6): networks by prefix,
domains with a `*` that never goes back, mailboxes by user and domain, patterns as extended regular expressions.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Optional

from ..address import Network, parse_address

_ENTRIES_LIMIT = 10000  # of a table that is asked again and again


class Doubt(Exception):
    """It cannot be known, and why."""


@dataclass(frozen=True)
class Table:
    """A table of the configuration. `name` is empty for a list in a rule; `where` is file:line of its definition.

    `problem` says why its content is not known: a program answers it, or its file could not be read.
    """

    name: str = ""
    backend: str = "static"
    path: str = ""
    entries: tuple[tuple[str, str], ...] = ()
    where: str = ""
    problem: str = ""
    memo: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def read_at_start(self) -> bool:
        """Whether smtpd has the content of a file in memory, until it is told to read it again (table(5), smtpctl(8))."""
        return bool(self.path) and self.backend in ("file", "static")

    @property
    def keys(self) -> list[str]:
        """Keys as smtpd keeps them: in lower case, each once. Raises Doubt."""
        if self.problem:
            raise Doubt(f"{self}: {self.problem}")
        if len(self.entries) > _ENTRIES_LIMIT:
            raise Doubt(f"{self} has {len(self.entries)} entries, more than are evaluated")
        if "keys" not in self.memo:
            self.memo["keys"] = list(dict.fromkeys(key.lower() for key, _ in self.entries))
        found: list[str] = self.memo["keys"]
        return found

    @property
    def networks(self) -> list[tuple[str, Optional[Network]]]:
        """The keys with the networks that they are. Raises Doubt."""
        keys = self.keys
        if "networks" not in self.memo:
            self.memo["networks"] = [(key, network_of(key)) for key in keys]
        found: list[tuple[str, Optional[Network]]] = self.memo["networks"]
        return found

    def value(self, key: str) -> Optional[str]:
        """Raises Doubt."""
        if self.problem:
            raise Doubt(f"{self}: {self.problem}")
        return next((value for name, value in self.entries if name.lower() == key.lower()), None)

    def __str__(self) -> str:
        if self.name:
            return f"<{self.name}>"
        keys = [f'"{key}"' if re.search(r"[^\w.:/-]", key) else key for key, _ in self.entries[:5]]
        more = ["..."] if len(self.entries) > 5 else []
        return keys[0] if len(self.entries) == 1 else f"{{ {', '.join(keys + more)} }}"


def file_entries(text: str) -> Iterator[tuple[str, str]]:
    """The entries of a table in a text file. The first line that is no comment decides whether there are values (table(5))."""
    kind = ""
    for line in text.splitlines():
        line = line.strip()
        if not kind and line.startswith("#") and line[1:].strip() == "@list":
            kind = "list"
        if not line or line.startswith("#"):
            continue
        found = re.match(r"(\[[^\]]*\]|[^ \t:]*)(?:[ \t:][ \t]*(.*))?$", line)
        if found is None:
            continue  # smtpd refuses the file, and says so when its configuration is checked
        kind = kind or ("list" if found.group(2) is None else "hash")
        yield (line, "") if kind == "list" else (found.group(1), found.group(2) or "")


def network_of(text: str) -> Optional[Network]:
    """What smtpd takes for a network: `10.0.0.0/8`, `10/8`, `[IPv6:2001:db8::]/32`...; None for anything else.

    Without a prefix IPv4 goes by its class, as inet_net_pton(3) does: `198.51` is 198.51.0.0/24, and `0` is 0.0.0.0/8.
    """
    text = re.sub(r"^(?i:IPv6:)", "", text)
    if text.startswith("[") and text.endswith("]"):
        text = re.sub(r"^(?i:IPv6:)", "", text[1:-1])
    if re.fullmatch(r"\d{1,3}(?:\.\d{1,3}){0,3}(?:/\d{1,2})?", text):
        return _ipv4(text)
    try:
        return ipaddress.IPv6Network(text, strict=False) if ":" in text and "%" not in text else None
    except ValueError:
        return None


def _ipv4(text: str) -> Optional[Network]:
    address, _, bits = text.partition("/")
    octets = [int(octet) for octet in address.split(".")]
    if max(octets) > 255 or int(bits or 0) > 32:
        return None
    by_class = 32 if octets[0] >= 240 else 8 if octets[0] >= 224 else 24 if octets[0] >= 192 else 16 if octets[0] >= 128 else 8
    length = int(bits) if bits else max(by_class, 8 * len(octets))
    whole = ".".join(str(octet) for octet in [*octets, 0, 0, 0][:4])
    return ipaddress.IPv4Network(f"{whole}/{length}", strict=False)


def matches_network(address: str, table: Table) -> Optional[str]:
    """The entry that holds a client's address; `local` stands for a program on the host. Raises Doubt."""
    client = None if address == "local" else parse_address(address)
    for key, network in table.networks:
        if key == address.lower() or network and client and client.version == network.version and client in network:
            return key
    return None


def matches_domain(name: str, pattern: str) -> bool:
    """A `*` takes what comes before the next character of the pattern, and never more: `*.org` is not `a.b.org`."""
    name, pattern = name.lower(), pattern.lower()
    i = j = 0
    while i < len(name) and j < len(pattern):
        if pattern[j] == "*":
            while j < len(pattern) and pattern[j] == "*":
                j += 1
            while i < len(name) and not (j < len(pattern) and name[i] == pattern[j]):
                i += 1
        elif pattern[j] != name[i]:
            return False
        else:
            i, j = i + 1, j + 1
    return i == len(name) and j == len(pattern)


def matches_mailbox(mailbox: str, pattern: str, delimiter: str = "+") -> bool:
    """`user@domain`, `@domain`, `user`, or `@` for every sender and recipient; without a tag in the pattern those are cut off."""
    user, _, domain = mailbox.rpartition("@") if "@" in mailbox else (mailbox, "", "")
    wanted_user, _, wanted = pattern.rpartition("@") if "@" in pattern else (pattern, "", "")
    if not wanted_user and not wanted:
        return True
    if wanted and not matches_domain(domain, wanted):
        return False
    if delimiter not in wanted_user:
        user = user.partition(delimiter)[0]
    return not wanted_user or user.lower() == wanted_user.lower()


def matches_pattern(text: str, pattern: str) -> bool:
    """An extended regular expression (regex(7)). One that regcomp(3) refuses matches nothing. Raises Doubt."""
    flags = re.IGNORECASE if pattern.startswith("(?i)") else 0
    pattern = pattern[4:] if flags else pattern
    for name, characters in _CLASSES.items():
        pattern = pattern.replace(f"[:{name}:]", characters)
    if "[[." in pattern or "[[=" in pattern or "[:" in pattern or re.search(r"\\[\w<>`']|\(\?", pattern):
        raise Doubt(f"the pattern '{pattern}' is not evaluated")
    if len(pattern) > 200 or re.search(r"[*+}]\)*[*+{]", pattern):
        raise Doubt(f"the pattern '{pattern[:60]}' is too long or too costly to be evaluated")
    try:
        # In a bracket expression of POSIX a backslash is itself.
        compiled = re.compile(re.sub(r"\[\^?\]?[^\]]*\]", lambda found: found.group(0).replace("\\", "\\\\"), pattern), flags)
    except re.error:
        return False
    return bool(compiled.search(text))


_CLASSES = {"alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "lower": "a-z", "upper": "A-Z", "space": " \\t",
            "xdigit": "0-9a-fA-F", "punct": "!-/:-@\\[-`{-~"}  # fmt: skip

MATCHERS: dict[str, Callable[[str, str], bool]] = {
    "domain": matches_domain, "mailbox": matches_mailbox, "pattern": matches_pattern,
    "text": lambda text, key: text.lower() == key.lower(),
}  # fmt: skip


def found_in(table: Table, kind: str, key: str) -> Optional[str]:
    """The table's entry that matches, None when there is none. Raises Doubt."""
    if kind == "network":
        return matches_network(key, table)
    doubt: Optional[Doubt] = None
    for entry in table.keys:
        try:
            if MATCHERS[kind](key.lower(), entry):
                return entry
        except Doubt as exc:
            doubt = exc
    if doubt is not None:
        raise doubt
    return None
