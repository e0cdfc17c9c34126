"""What fixes of Sendmail have in common: the ports that fail, entries of maps, and flags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import Optional

from ..config.sendmail import Wanted
from ..finding import Finding
from ..listeners import Listener
from ..readers.sendmail import Sendmail
from ..readers.sendmail_cf import Rule
from ..readers.sendmail_model import Daemon, Entry

# What lets a session through, in the site's own rule sets.
_SAYS_YES = re.compile(r"\$# *(?!error\b|discard\b|TEMP\b)\S|\$@ *RELAY\b", re.IGNORECASE)
_FLAGS = re.compile(r"(,\s*M(?:odifiers?)?=)([A-Za-z]*)")


def failing(sendmail: Sendmail, findings: Sequence[Finding]) -> list[Listener]:
    """The ports that the findings are about."""
    names = {finding.subject.name for finding in findings if finding.subject.kind == "listener"}
    return [listener for listener in sendmail.listeners if listener.name in names]


def together(wanted: Iterable[Wanted]) -> Optional[Wanted]:
    """All of them, one after the other; None for nothing."""
    found = reduce(lambda a, b: a.then(b), wanted, Wanted())
    return None if found == Wanted() else found


def without(sendmail: Sendmail, entries: Iterable[Entry]) -> Wanted:
    """The access map without these entries."""
    keys: dict[str, Optional[str]] = {_key(entry): None for entry in entries}
    return Wanted(maps={sendmail.tables["access"].path: keys}) if keys else Wanted()


def _key(entry: Entry) -> str:
    return f"{entry.tag}:{entry.key}" if entry.tag else entry.key


def without_letters(sendmail: Sendmail, letters: str) -> Wanted:
    """The access map without these letters of srv_features, whomever it gives them."""
    path, found = sendmail.tables["access"].path if sendmail.access else "", {}
    for entry in sendmail.entries("srv_features"):
        kept = [word for word in entry.value.split() if word[:1] not in letters]
        if kept != entry.value.split():
            found[_key(entry)] = " ".join(kept) or None
    return Wanted(maps={path: found}) if found else Wanted()


def own_accepts(sendmail: Sendmail) -> Iterator[Rule]:
    """The rules of the site's own sets that let a session through, each with what stands in its line."""
    for name, rules in sendmail.cf.reached("check_relay", "check_mail", "check_rcpt").items():
        if name.startswith("Local_"):
            yield from (rule for rule in rules if _SAYS_YES.search(rule.right))


def out(rules: Iterable[Rule]) -> Wanted:
    """Without these rules."""
    lines: dict[str, Optional[str]] = {str(rule): None for rule in rules}
    return Wanted(lines=lines) if lines else Wanted()


def with_flags(daemon: Daemon, add: str = "", drop: str = "") -> Wanted:
    """A port's modifiers (M=) with and without letters. The port that Sendmail has by itself is written out for that."""
    kept = "".join(letter for letter in daemon.flags if letter not in drop)
    flags = kept + "".join(letter for letter in add if letter not in kept)
    found = _FLAGS.search(daemon.text)
    text = daemon.text[: found.start(2)] + flags + daemon.text[found.end(2) :] if found else f"{daemon.text}, M={flags}"
    # FEATURE(no_default_msa): without it a port 587 of the default comes on top (cf/README, DAEMON_OPTIONS).
    return Wanted(daemons={daemon.name: text}, features={"no_default_msa": ""} if daemon.name == "MSA" else {})
