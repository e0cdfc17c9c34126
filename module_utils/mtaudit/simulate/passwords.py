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
from ..runner import ReadError, Runner
from ..text import printable

CONTROL = "PASS-02"
STATE = "/var/lib/mtaudit/guessed.json"  # how many guesses were tried in vain, by a digest of account and password
_SHOWN = 5
_INITIAL_LIMIT, _INITIAL_BYTES = 1000, 64 * 1024


def guessed(
    runner: Runner, passwords: Passwords, tunables: Mapping[str, Any], domains: Sequence[str], state: Path
) -> list[Finding]:
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
        words = _words(runner, tunables, domains)
    except ReadError as exc:
        return [_found(Status.ERROR, "the site's initial passwords could not be read", reason=printable(str(exc)))]
    before = _remembered(state, words)
    result = guess((account for account in passwords.accounts if account.usable), words, budget_s, before=before)
    _remember(state, words, result)
    return [_judged(result, passwords, words)]


def _found(status: Status, message: str, *evidence: Evidence, reason: str = "") -> Finding:
    return Finding(CONTROL, HOST, status, message, Method.SIMULATION, evidence, reason=reason)


def _words(runner: Runner, tunables: Mapping[str, Any], domains: Sequence[str]) -> Words:
    """Raises ReadError."""
    path = str(tunables.get("initial_passwords", ""))
    names = [str(name) for name in tunables.get("organisation", ())]
    labels = [domain.partition(".")[0] for domain in domains]
    return Words(tuple(dict.fromkeys([*names, *labels])), _initial(runner, path) if path else (), int(tunables.get("common", 0)),
                 time.gmtime().tm_year)  # fmt: skip


def _initial(runner: Runner, path: str) -> tuple[str, ...]:
    """One on a line. They are secrets: what others than root may read is told instead of used. Raises ReadError."""
    failed, found = f"Could not read {printable(path)} (initial_passwords of {CONTROL})", runner.stat(path)
    if found is None:
        raise ReadError(f"{failed}: there is no such file")
    if found.kind != "file":
        raise ReadError(f"{failed}: not a regular file, but a {found.kind}")
    if found.mode & 0o077 or found.acl or found.uid not in (0, os.geteuid()):
        raise ReadError(f"{failed}: others than root may read these passwords (mode {found.mode:04o}, owner {found.uid}); "
                        f"chown root and chmod 600 it, and give new accounts other ones")  # fmt: skip
    raw = runner.piece(path, 0, _INITIAL_BYTES + 1)
    try:
        lines = list(filter(None, raw.decode("utf-8-sig").splitlines()))
    except UnicodeDecodeError as exc:
        raise ReadError(f"{failed}: byte {exc.start} is not UTF-8") from None
    if len(raw) > _INITIAL_BYTES or len(lines) > _INITIAL_LIMIT:
        raise ReadError(f"{failed}: larger than {_INITIAL_LIMIT} lines or {_INITIAL_BYTES // 1024} KiB; take a shorter list")
    return tuple(dict.fromkeys(lines))


def _judged(result: Guessed, passwords: Passwords, words: Words) -> Finding:
    tries, fallen = result.tries, [each for each in result.tries if each.weakness]
    untried = [each for each in tries if each.problem]
    if fallen:
        first, more = fallen[0], f", and {len(fallen) - 1} more" if len(fallen) > 1 else ""
        shown = printable(f"that of {first.account.stored.user} is {first.weakness}{more}")
        return _found(Status.FAIL, f"{len(fallen)} of {len(tries)} passwords were guessed: {shown}",
                      *_evidence(fallen), *_evidence(untried, "not tried"))  # fmt: skip
    doubts = [table.problem for table in passwords.tables if table.problem] + _why_untried(untried)
    unfinished = [each for each in tries if not each.over]
    tried, (planned, whole) = sum(each.tried for each in tries), result.planned
    if unfinished:
        done = len(tries) - len(unfinished) - len(untried)
        share = f"{tried} of {'' if whole else 'about '}{planned} guesses were tried"
        share = f"{share}; the next audit goes on, and guess_seconds of {CONTROL} is how long"
        reason = printable("; ".join((share, *doubts[:1])))
        return _found(Status.UNKNOWN, f"{done} of {len(tries)} passwords have withstood all guesses so far",
                      *_evidence(untried, "not tried"), reason=reason)  # fmt: skip
    if doubts:
        seen = _evidence(untried, "not tried")
        return _found(Status.UNKNOWN, "some passwords cannot be guessed here", *seen, reason=printable(doubts[0]))
    what = f"names, and the {words.common} commonest"
    return _found(Status.PASS, f"none of {len(tries)} passwords is one of {planned} guesses: {what}")


def _why_untried(untried: Sequence[Tries]) -> list[str]:
    more = f" and {len(untried) - 1} more" if len(untried) > 1 else ""
    return [f"that of {each.account.stored.user}{more} was not tried: {each.problem}" for each in untried[:1]]


def _evidence(tries: Sequence[Tries], what: str = "") -> Iterator[Evidence]:
    """By table and by what is the matter with the passwords, whose they are."""
    groups: dict[tuple[str, str], list[str]] = {}
    for each in tries:
        groups.setdefault((each.account.table, each.weakness or f"{what}: {each.problem}"), []).append(each.account.stored.user)
    for (table, matter), users in groups.items():
        more = f" and {len(users) - _SHOWN} more" if len(users) > _SHOWN else ""
        yield Evidence(Method.SIMULATION, printable(table), printable(f"{matter}: {', '.join(users[:_SHOWN])}{more}"))


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
