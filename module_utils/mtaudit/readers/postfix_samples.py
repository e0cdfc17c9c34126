"""Keys to ask a lookup table that cannot be listed: strangers, foreign domains, senders, and examples of its own patterns."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator

from ..address import Address

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
_EXAMPLES_LIMIT = 50


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
    for address in STRANGERS:
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
    """The patterns of a regexp: or pcre: table (regexp_table(5)): `/pattern/flags result`, with any delimiter."""
    found = []
    for line in text.splitlines():
        match = re.match(r"(?:if\s+)?!?([^\w\s#])((?:\\.|(?!\1).)+)\1", line.strip())
        if match:
            found.append(match.group(2))
    return found


def examples(pattern: str) -> list[str]:
    """Texts that the pattern may match: a guess at simple patterns. The table itself is then asked about each."""
    text = pattern[1:] if pattern.startswith("^") else pattern
    anchored_end = text.endswith("$") and not text.endswith("\\$")
    text = text[:-1] if anchored_end else text
    text = re.sub(r"\((?:\?:)?([^()|]*)(?:\|[^()]*)?\)", r"\1", text)  # the first alternative
    text = re.sub(r"\[\^[^]]*\]", "x", text)
    text = re.sub(r"\[(\\?.)[^]]*\]", r"\1", text)
    text = re.sub(r"(?<!\\)\.(?:[*+?]|\{\d+(?:,\d*)?\})?", "x", text)
    text = text.replace("\\d", "1").replace("\\w", "x")
    text = re.sub(r"\\(.)", r"\1", text)
    text = re.sub(r"[*+?]|\{\d+(?:,\d*)?\}", "", text)
    if not text:
        return []
    guesses = [text]
    if "@" not in text:
        guesses += [f"probe@{text.lstrip('@.')}", f"{text.rstrip('@')}@{FOREIGN_DOMAINS[0]}", f"{LABEL}.{text.lstrip('.')}",
                    f"probe@{LABEL}.{text.lstrip('.')}"]
    elif text.startswith("@"):
        guesses.append(f"probe{text}")
    return [guess.lower() for guess in guesses if " " not in guess]
