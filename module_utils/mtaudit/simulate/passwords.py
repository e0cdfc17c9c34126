"""Guess the passwords that a host keeps, as somebody would who has stolen them: nothing of a password leaves this process."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..finding import HOST, Evidence, Finding, Method, Status
from ..passwords.guesses import Words
from ..passwords.guessing import Guessed, Tries, guess
from ..readers.password_tables import Passwords
from ..text import printable

CONTROL = "PASS-02"
STATE = "/var/lib/mtaudit/guessed.json"  # how many guesses were tried in vain, by a digest of account and password
_SHOWN = 5
_INITIAL_LIMIT = 100


def guessed(passwords: Passwords, tunables: Mapping[str, Any], domains: Sequence[str], state: Path) -> list[Finding]:
    """PASS-02. `tunables` are that control's, `domains` the site's own."""
    budget_s = float(tunables.get("guess_seconds", 0))
    if not any(account.usable for account in passwords.accounts):
        unread = [table.problem for table in passwords.tables if table.problem]
        if unread:
            return [_found(Status.UNKNOWN, "whether passwords are kept here is not known", reason=unread[0])]
        return [_found(Status.NOTAPPLICABLE, "no password is kept here", reason="no table of this host holds one")]
    if budget_s <= 0:
        return [_found(Status.UNKNOWN, "passwords are not guessed", reason="guess_seconds of PASS-02 is 0")]
    try:
        words = _words(tunables, domains)
    except OSError as exc:
        return [_found(Status.ERROR, "the site's initial passwords could not be read", reason=printable(str(exc)))]
    before = _remembered(state, words)
    result = guess((account for account in passwords.accounts if account.usable), words, budget_s, before=before)
    _remember(state, words, result)
    return [_judged(result, passwords, words)]


def _found(status: Status, message: str, *evidence: Evidence, reason: str = "") -> Finding:
    return Finding(CONTROL, HOST, status, message, Method.SIMULATION, evidence, reason=reason)


def _words(tunables: Mapping[str, Any], domains: Sequence[str]) -> Words:
    """Raises OSError. Initial passwords stand in a file of the host, one on a line: they are secrets."""
    path = str(tunables.get("initial_passwords", ""))
    initial = Path(path).read_text(encoding="utf-8").splitlines()[:_INITIAL_LIMIT] if path else []
    names = [str(name) for name in tunables.get("organisation", ())]
    labels = [domain.partition(".")[0] for domain in domains]
    return Words(tuple(dict.fromkeys([*names, *labels])), tuple(filter(None, initial)), int(tunables.get("common", 0)),
                 time.gmtime().tm_year)  # fmt: skip


def _judged(result: Guessed, passwords: Passwords, words: Words) -> Finding:
    tries, fallen = result.tries, [each for each in result.tries if each.weakness]
    if fallen:
        first, more = fallen[0], f", and {len(fallen) - 1} more" if len(fallen) > 1 else ""
        shown = printable(f"that of {first.account.stored.user} is {first.weakness}{more}")
        return _found(Status.FAIL, f"{len(fallen)} of {len(tries)} passwords were guessed: {shown}", *_evidence(fallen))
    doubts = [table.problem for table in passwords.tables if table.problem] + [each.problem for each in tries if each.problem]
    unfinished = [each for each in tries if not each.over]
    tried, (planned, whole) = sum(each.tried for each in tries), result.planned
    if unfinished:
        done = len(tries) - len(unfinished)
        share = f"{tried} of {'' if whole else 'about '}{planned} guesses were tried"
        reason = f"{share}; the next audit goes on, and guess_seconds of {CONTROL} is how long"
        return _found(Status.UNKNOWN, f"{done} of {len(tries)} passwords have withstood all guesses so far", reason=reason)
    if doubts:
        return _found(Status.UNKNOWN, "some passwords cannot be guessed here", reason=printable(doubts[0]))
    what = f"names, and the {words.common} commonest"
    return _found(Status.PASS, f"none of {len(tries)} passwords is one of {planned} guesses: {what}")


def _evidence(fallen: Sequence[Tries]) -> Iterator[Evidence]:
    """By table and kind of guess, whose passwords fell."""
    groups: dict[tuple[str, str], list[str]] = {}
    for each in fallen:
        groups.setdefault((each.account.table, each.weakness), []).append(each.account.stored.user)
    for (table, weakness), users in groups.items():
        more = f" and {len(users) - _SHOWN} more" if len(users) > _SHOWN else ""
        yield Evidence(Method.SIMULATION, printable(table), printable(f"{weakness}: {', '.join(users[:_SHOWN])}{more}"))


def _remembered(state: Path, words: Words) -> Mapping[str, int]:
    """Of an earlier run that tried the same guesses; nothing where that is not so, or cannot be read."""
    try:
        kept = json.loads(state.read_text(encoding="utf-8"))
        tried = kept["tried"] if kept["words"] == words.digest(kept["salt"]) else {}
        return {str(key): int(count) for key, count in tried.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _remember(state: Path, words: Words, result: Guessed) -> None:
    """What cannot be written is guessed again."""
    salt = os.urandom(16).hex()
    tried = {each.account.key: each.tried for each in result.tries if each.tried and not each.weakness}
    try:
        state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=state.parent, prefix=".guessed")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"words": words.digest(salt), "salt": salt, "tried": tried}, file)
        os.replace(temporary, state)
    except OSError:
        return
