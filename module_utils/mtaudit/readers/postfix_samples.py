"""Keys to ask a lookup table that cannot be listed: strangers, foreign domains, senders, and examples of its own patterns."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator

from ..address import NOBODYS, Address
from .postfix_syntax import physical_lines

# Domains that nobody owns, one under each kind of top-level domain, so that a table which answers one of them answers strangers.
LABEL = "mtaudit-7f3a9c"
FOREIGN_DOMAINS = tuple(
    f"{LABEL}.{tld}" for tld in ("com", "net", "org", "info", "de", "fr", "co.uk", "ru", "cn", "com.br", "io", "eu", "example")
)
FOREIGN_SENDER = f"probe@{FOREIGN_DOMAINS[0]}"
FOREIGN_RECIPIENT = f"probe@{FOREIGN_DOMAINS[1]}"
HELO = f"mail.{FOREIGN_DOMAINS[0]}"
FINGERPRINT = ":".join(["7F", "3A", "9C", "00"] * 8)  # of a client certificate that nobody registered

# Spread over the address space; the first that no table mentions stands for "anybody".
STRANGERS: tuple[Address, ...] = tuple(
    ipaddress.ip_address(text)
    for text in ("198.19.0.201", "45.67.89.10", "93.184.215.14", "141.95.12.34", "187.45.6.7", "203.0.113.201", "212.227.126.3",
                 "5.188.10.76", "2001:db8:19::c9", "2a00:1450:4001::5e", "2607:f8b0:4004::71", "2400:cb00:2048::68")
)
_EXAMPLES_LIMIT = 200  # patterns of a table
_ALTERNATIVES_LIMIT = 30  # of a pattern
_GROUP = re.compile(r"(?<!\\)\((?:\?:)?((?:\\.|[^()\\])*)(?<!\\)\)[*+?]?")
_REFUSING = re.compile(r"(?i)\s*(?:REJECT|DEFER|DUNNO|[45]\d\d)\b")


def address_keys(address: Address) -> list[str]:
    """An address and the partial keys that an indexed access table is asked for (access(5), HOST NAME/ADDRESS PATTERNS)."""
    text = str(address)
    separator = ":" if ":" in text else "."
    keys = [text]
    while separator in text:
        text = text.rpartition(separator)[0]
        keys.append(text)
    return keys


def domain_keys(domain: str) -> Iterator[str]:
    """A domain and its parents, plain and with a leading dot."""
    yield domain
    labels = domain.split(".")
    for start in range(1, len(labels)):
        parent = ".".join(labels[start:])
        yield parent
        yield f".{parent}"


def keys(local_domains: Iterable[str], patterns: Iterable[str] = ()) -> list[str]:
    """What to ask a table whose entries cannot be listed; each key once."""
    found: dict[str, None] = {}
    for address in (*STRANGERS, *NOBODYS):
        found.update(dict.fromkeys(address_keys(address)))
    for domain in FOREIGN_DOMAINS:
        found.update(dict.fromkeys(domain_keys(domain)))
        found[f"probe@{domain}"] = None
        found[f"@{domain}"] = None
    for domain in local_domains:
        found.update(dict.fromkeys([domain, f"@{domain}", f"root@{domain}", f"postmaster@{domain}"]))
    found.update(dict.fromkeys([HELO, FINGERPRINT, "<>", "probe@", "root@", "unknown", f"host.{LABEL}.example"]))
    for pattern in list(patterns)[:_EXAMPLES_LIMIT]:
        found.update(dict.fromkeys(examples(pattern)))
    return [key for key in found if key and "\n" not in key]


def pattern_lines(text: str) -> list[str]:
    """The patterns of a regexp: or pcre: table (regexp_table(5)): `/pattern/flags result`, with any delimiter. Those whose result
    is no refusal come first: of a long table only so many are tried."""
    found = []
    for line in physical_lines(text):
        match = re.match(r"(?:if\s+)?!?([^\w\s#])((?:\\.|(?!\1).)+)\1\w*(.*)", line.strip())
        if match:
            found.append((bool(_REFUSING.match(match.group(3))), match.group(2)))
    return [pattern for _, pattern in sorted(found, key=lambda one: one[0])]


def examples(pattern: str) -> list[str]:
    """Texts that the pattern may match: a guess at simple patterns. The table itself is then asked about each."""
    text = pattern[1:] if pattern.startswith("^") else pattern
    anchored_end = text.endswith("$") and not text.endswith("\\$")
    text = text[:-1] if anchored_end else text
    found = (guess for one in _alternatives(text) for guess in _completed(_literal(one)))
    return list(dict.fromkeys(guess.lower() for guess in found if guess and " " not in guess))


def _alternatives(pattern: str) -> list[str]:
    """The pattern once for each choice between its `(a|b)` and at its outermost `|`, innermost first."""
    finished: list[str] = []
    waiting = [pattern]
    while waiting and len(waiting) + len(finished) <= _ALTERNATIVES_LIMIT:
        text = waiting.pop(0)
        group = _GROUP.search(text)
        if group:
            before, after = text[: group.start()], text[group.end() :]
            waiting += [f"{before}{choice}{after}" for choice in group.group(1).split("|")]
        else:
            finished += text.split("|")
    return [text.lstrip("^") for text in (*finished, *waiting)]


def _literal(text: str) -> str:
    """One text for the pattern's classes, dots, repetitions and what is left of its groups."""
    while _GROUP.search(text):
        text = _GROUP.sub(lambda group: group.group(1).partition("|")[0], text)
    text = re.sub(r"\[\^[^]]*\]", "x", text)
    text = re.sub(r"\[(\\?.)[^]]*\]", r"\1", text)
    text = re.sub(r"(?<!\\)\.(?:[*+?]|\{\d+(?:,\d*)?\})", "x", text)  # a dot by itself stands for a dot, too
    text = text.replace("\\d", "1").replace("\\w", "x")
    text = re.sub(r"\\(.)", r"\1", text)
    return re.sub(r"[*+?]|\{\d+(?:,\d*)?\}", "", text)


def _completed(text: str) -> Iterator[str]:
    """The text, and whole keys that it can be a part of: addresses of clients, of mailboxes, and names of hosts."""
    yield text
    if re.fullmatch(r"\d{1,3}(?:\.\d{1,3}){0,3}\.?", text):
        octets = text.strip(".").split(".")
        yield ".".join([*octets, "7", "7", "7"][:4])
        if len(octets) < 4 and not text.endswith("."):
            yield ".".join([*octets[:-1], f"{octets[-1]}7", "7", "7", "7"][:4])  # `198.1` may begin 198.17 as well
    elif re.fullmatch(r"[0-9a-f]{1,4}(?::[0-9a-f]{0,4}){1,7}", text) and "::" not in text:
        yield f"{text.rstrip(':')}::7"
    elif re.fullmatch(r"\w\.[\w-]+", text):
        yield f"{LABEL}{text[1:]}"  # a name of any kind below a top level
    if "@" not in text:
        yield from (f"probe@{text.lstrip('@.')}", f"{text.rstrip('@')}@{FOREIGN_DOMAINS[0]}", f"{LABEL}.{text.lstrip('.')}",
                    f"probe@{LABEL}.{text.lstrip('.')}")
    elif text.startswith("@"):
        yield f"probe{text}"
