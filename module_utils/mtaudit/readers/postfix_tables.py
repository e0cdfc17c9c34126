"""Read Postfix lookup tables: text tables from their source, indexed ones by listing them, others by asking sample keys.

The types and what they match: DATABASE_README, cidr_table(5), access(5), postmap(1).
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Optional

from ..address import Address, Network, subtract
from ..runner import ReadError, Runner
from ..text import printable
from . import postfix_samples as samples
from .postfix_syntax import logical_lines, physical_lines, postfix_network, unbraced, words

INDEXED = ("hash", "btree", "lmdb", "cdb", "dbm", "sdbm")
PATTERNS = ("regexp", "pcre")
SUFFIX = {"hash": ".db", "btree": ".db", "lmdb": ".lmdb", "cdb": ".cdb", "dbm": ".pag", "sdbm": ".pag"}
QUERY_TIMEOUT_S = 10.0
_KEYWORD = re.compile(r"(?i)(?P<word>if|endif)(?![a-z0-9])\s*(?P<rest>.*)")
_PATTERN = re.compile(r"(?P<negations>[!\s]*)(?P<network>\S+)\s*(?P<rest>.*)")
_Condition = tuple[bool, Network]  # negated, network
EVERYTHING: tuple[Network, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


class TableProblem(Exception):
    """The table cannot answer: missing, unreadable, or its server did not answer in time."""


@dataclass(frozen=True)
class CidrRule:
    """One line of a cidr: table. `conditions` are (negated, network), outermost `if` first: all must hold."""

    conditions: tuple[_Condition, ...]
    value: str
    line: int

    def matches(self, ip: Address) -> bool:
        # A pattern never says anything about the other address family, negated or not.
        return all(ip.version == n.version and (ip in n) != negated for negated, n in self.conditions)

    def networks(self) -> list[Network]:
        """The addresses that the rule matches."""
        parts = [n for n in EVERYTHING if all(n.version == c.version for _, c in self.conditions)]
        for negated, network in self.conditions:
            if negated:
                parts = [rest for part in parts for rest in subtract(part, [network])]
            else:
                parts = [network if part.supernet_of(network) else part  # type: ignore[arg-type]
                         for part in parts if part.overlaps(network)]
        return parts


@dataclass(frozen=True)
class Table:
    """A lookup table as far as it can be known without the running daemon.

    `entries` has keys and values; of a table that is only sampled (`sampled`), those keys that got an answer. `problem` says
    why it cannot answer at all.
    """

    spec: str
    kind: str
    entries: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[CidrRule, ...] = ()
    value: Optional[str] = None
    sampled: bool = False
    problem: str = ""
    digest: str = ""

    @property
    def partial_keys(self) -> bool:
        """Whether Postfix asks it for parent domains and networks: not when it holds patterns (DICT_FLAG_PATTERN)."""
        return self.kind not in (*PATTERNS, "cidr")

    @property
    def indexed(self) -> bool:
        return self.kind in INDEXED

    @property
    def answers(self) -> bool:
        """Whether it is known to have an answer to anything."""
        return bool(not self.problem and (self.entries or self.rules or self.value is not None))

    def get(self, key: str) -> Optional[str]:
        """The table's answer. Raises TableProblem."""
        if self.problem:
            raise TableProblem(self.problem)
        if self.value is not None:
            return self.value
        if self.kind == "cidr":
            rule = self._rule(key)
            return rule.value if rule else None
        return self.entries.get(key.lower())

    def where(self, key: str) -> str:
        """The entry that answers, for evidence: `cidr:/etc/postfix/clients:3`, `hash:/etc/postfix/access key spam.example`."""
        if self.kind == "cidr":
            rule = self._rule(key)
            return f"{self.spec}:{rule.line if rule else 0}"
        return self.spec if self.value is not None else f"{self.spec} key {key}"

    def _rule(self, key: str) -> Optional[CidrRule]:
        try:
            ip = ipaddress.ip_address(key)
        except ValueError:
            return None
        return next((rule for rule in self.rules if rule.matches(ip)), None)


def load(runner: Runner, spec: str, directory: str, local_domains: Iterable[str]) -> Table:
    """One table: at most one spawn. A `proxy:` prefix is looked through; the proxymap service only works while Postfix runs."""
    written = spec
    while spec.startswith("proxy:"):
        spec = spec[len("proxy:"):]
    kind, _, name = spec.partition(":")
    try:
        table = _text_table(runner, written, kind, name) or _asked(runner, written, kind, spec, directory, local_domains)
    except (ReadError, ValueError) as exc:
        return Table(written, kind, problem=printable(str(exc)))
    return table


def _text_table(runner: Runner, written: str, kind: str, name: str) -> Optional[Table]:
    if kind == "static":
        return Table(written, kind, value=unbraced(name), digest=_digest(name))
    if kind == "inline":
        return Table(written, kind, entries=inline_entries(name), digest=_digest(name))
    if kind == "fail":
        return Table(written, kind, problem=f"{written} fails every lookup by design")
    if kind == "texthash":
        text = runner.read(name)
        return Table(written, kind, entries=text_entries(text), digest=_digest(text))
    if kind == "cidr":
        text = runner.read(name)
        return Table(written, kind, rules=tuple(cidr_rules(text)), digest=_digest(text))
    return None


def _asked(runner: Runner, written: str, kind: str, spec: str, directory: str, local_domains: Iterable[str]) -> Table:
    if kind in INDEXED:
        return _listed(runner, written, kind, spec, directory)
    patterns: list[str] = []
    text = ""
    if kind in PATTERNS:
        text = runner.read(spec.partition(":")[2])
        patterns = samples.pattern_lines(text)
    return _sampled(runner, written, spec, directory, samples.keys(local_domains, patterns), text)


def sampled(runner: Runner, spec: str, directory: str, keys: Iterable[str]) -> Table:
    """What a table that is not listed answers to these keys. One spawn, and its file's text where it holds patterns."""
    written = spec
    while spec.startswith("proxy:"):
        spec = spec[len("proxy:"):]
    kind, _, name = spec.partition(":")
    try:
        return _sampled(runner, written, spec, directory, keys, runner.read(name) if kind in PATTERNS else "")
    except ReadError as exc:
        return Table(written, kind, problem=printable(str(exc)))


def _sampled(runner: Runner, written: str, spec: str, directory: str, keys: Iterable[str], text: str) -> Table:
    kind = spec.partition(":")[0]
    stdin = "".join(f"{key}\n" for key in keys)
    done = runner.run(["postmap", "-c", directory, "-q", "-", spec], stdin=stdin, timeout_s=QUERY_TIMEOUT_S)
    if done.returncode != 0 and done.stderr.strip() or "lookup error" in done.stderr:
        return Table(written, kind, problem=_complaint(done.stderr))
    entries = dict(_tab_lines(done.stdout))
    return Table(written, kind, entries=entries, sampled=True, digest=_digest(text or repr(sorted(entries.items()))))


def _listed(runner: Runner, written: str, kind: str, spec: str, directory: str) -> Table:
    done = runner.run(["postmap", "-c", directory, "-s", spec], timeout_s=QUERY_TIMEOUT_S)
    if done.returncode != 0:
        return Table(written, kind, problem=_complaint(done.stderr) or f"postmap -s {spec} failed")
    entries = {key.lower(): value for key, value in _tab_lines(done.stdout)}
    return Table(written, kind, entries=entries, digest=_digest(repr(sorted(entries.items()))))


def _complaint(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    text = next((line for line in lines if "fatal:" in line or "error:" in line), lines[-1] if lines else "")
    return printable(re.sub(r"^postmap: (?:fatal|error|warning): ", "", text))


def _tab_lines(text: str) -> Iterator[tuple[str, str]]:
    for line in physical_lines(text):
        key, tab, value = line.partition("\t")
        if tab:
            yield key.lower(), value


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def source_files(spec: str) -> list[str]:
    """The files behind a table: its text, and for an indexed one the database beside it."""
    bare = spec[len("proxy:"):] if spec.startswith("proxy:") else spec
    kind, _, name = bare.partition(":")
    if not name.startswith("/"):
        return []
    return [name + SUFFIX[kind], name] if kind in SUFFIX else [name]


def text_entries(text: str) -> dict[str, str]:
    """`key value` lines (postmap(1), TABLE FORMAT); a key alone is skipped. Raises ValueError on a key that stands twice, with
    which Postfix does not open a texthash: table (dict_thash.c)."""
    found: dict[str, str] = {}
    for line in logical_lines(text):
        key, _, value = line.text.replace("\t", " ").partition(" ")
        if not value.strip():
            continue
        if key.lower() in found:
            raise ValueError(f"line {line.number}: duplicate entry '{key}'")
        found[key.lower()] = value.strip()
    return found


def inline_entries(name: str) -> dict[str, str]:
    """`inline:{ key=value, { key = text with spaces } }` (DATABASE_README). Raises ValueError where dict_inline.c refuses it."""
    found = {}
    for item in words(unbraced(name)):
        key, equals, value = unbraced(item).partition("=")
        if not equals or not key.strip():
            raise ValueError(f"missing '=' after '{item}' in inline:{name}")
        found[key.strip().lower()] = value.strip()
    if not found:
        raise ValueError(f"inline:{name} is empty")
    return found


def cidr_rules(text: str) -> Iterator[CidrRule]:
    """The lines of a cidr_table(5), with `!pattern`, `if` and `endif`.

    Bad lines are skipped, as Postfix does after a warning: what follows a bad `if` has no condition (dict_cidr.c).
    """
    nesting: list[_Condition] = []
    for line in logical_lines(text):
        keyword = _KEYWORD.match(line.text)
        if keyword is None:
            pattern = _PATTERN.match(line.text)
            condition = _condition(pattern) if pattern else None
            if condition and pattern and pattern["rest"]:
                yield CidrRule((*nesting, condition), pattern["rest"], line.number)
        elif keyword["word"].lower() == "if":
            pattern = _PATTERN.match(keyword["rest"])
            condition = _condition(pattern) if pattern and not pattern["rest"] else None
            nesting += [condition] if condition else []
        elif not keyword["rest"]:
            del nesting[-1:]


def _condition(pattern: re.Match[str]) -> Optional[_Condition]:
    try:
        return (pattern["negations"].count("!") % 2 == 1, postfix_network(pattern["network"]))
    except ValueError:
        return None
