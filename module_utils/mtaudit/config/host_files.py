"""Change small files of the host: settings of `name = value`, pools of php-fpm, copies that logrotate keeps, fail2ban's jails."""

from __future__ import annotations

import configparser
import hashlib
import io
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from ..readers import accounts
from ..readers.accounts import Accounts
from ..readers.fail2ban import DIRECTORY
from ..runner import FileStat, ReadError, Runner
from .files import ConfigError, NewFile

JOURNALD = "/etc/systemd/journald.conf"
_DROP_INS = f"{JOURNALD}.d"
_OURS = "zz-mtaudit"  # behind every other: the last one that sets something counts
SHADOW = "/etc/shadow"
JAILS = f"{DIRECTORY}/jail.d/{_OURS}.local"


def journald(runner: Runner, wanted: Mapping[str, str]) -> list[NewFile]:
    """In a file of our own where there is a directory for such; else in journald's."""
    path = f"{_DROP_INS}/{_OURS}.conf" if Path(_DROP_INS).is_dir() else JOURNALD
    return settings(runner, path, wanted, "# Written by mtaudit.\n[Journal]\n")


def settings(runner: Runner, path: str, wanted: Mapping[str, str], head: str) -> list[NewFile]:
    """A line for each that is not so already: in the place of the one that is there, or at the end; below `head` in a new file.
    Raises ConfigError."""
    existed, before = _text(runner, path)
    text = before if existed else head
    for name, value in wanted.items():
        line = f"{name}={value}"
        there = re.compile(rf"(?m)^[ \t]*{re.escape(name)}[ \t]*=.*$")
        if there.search(text):
            text = there.sub(lambda _, line=line: line, text)  # type: ignore[misc]
        else:
            text += ("" if text.endswith("\n") or not text else "\n") + f"{line}\n"
    return [] if text == before else [_new(path, before, text, existed)]


def jails(runner: Runner, wanted: Mapping[str, Mapping[str, str]]) -> list[NewFile]:
    """Options of fail2ban's jails, in a file of our own. Raises ConfigError."""
    existed, before = _text(runner, JAILS)
    parsed, text = configparser.RawConfigParser(), io.StringIO("# Written by mtaudit.\n")
    text.seek(0, io.SEEK_END)
    try:
        parsed.read_string(before)
        parsed.read_dict(wanted)
    except configparser.Error as exc:
        raise ConfigError(f"Could not change {JAILS}: {' '.join(str(exc).split())}") from exc
    parsed.write(text)
    return [] if text.getvalue() == before else [_new(JAILS, before, text.getvalue(), existed)]


def pools(runner: Runner, wanted: Mapping[str, Mapping[str, str]]) -> list[NewFile]:
    """Settings of pools of php-fpm, each named `FILE [POOL]`, as an administrator's: the first of them counts."""
    files: dict[str, str] = {}
    for where, values in wanted.items():
        path, _, head = where.rpartition(" ")
        if path not in files:
            files[path] = _text(runner, path)[1]
        for name, value in values.items():
            files[path] = _of_pool(path, files[path], head, name, f"php_admin_value[{name}] = {value}")
    return [_new(path, _text(runner, path)[1], text, True) for path, text in files.items() if text != _text(runner, path)[1]]


def _of_pool(path: str, text: str, head: str, name: str, line: str) -> str:
    lines = text.split("\n")
    start = next((n for n, each in enumerate(lines) if each.strip() == head), -1)
    if start < 0:
        raise ConfigError(f"Could not set {name} in {path}: it has no line {head}")
    known = re.compile(rf"\s*php_admin_(?:value|flag)\[\s*{re.escape(name)}\s*\]\s*=")
    for n in range(start + 1, len(lines)):
        if known.match(lines[n]):
            lines[n] = line
            return "\n".join(lines)
        if lines[n].lstrip().startswith("["):
            break
    return "\n".join([*lines[:start + 1], line, *lines[start + 1:]])


def refuse_open_secrets(runner: Runner, secrets: Iterable[tuple[str, str]]) -> None:
    """Each a path and the account that needs it. Raises ConfigError for a file that is not there, or that others may use, too."""
    for path, account in secrets:
        try:
            stat, known = runner.stat(path), accounts.read(runner)
        except ReadError as exc:
            raise ConfigError(str(exc)) from exc
        if stat is None or stat.kind != "file":
            raise ConfigError(f"{path} is to hold a password and is no file: put it there, for {account} alone")
        others = _users(stat, known) - {"root", account}
        if others:
            raise ConfigError(f"{path} holds a password, and {', '.join(sorted(others))} may use it (mode {stat.mode:04o}): "
                              f"chown {account} {path} && chmod 400 {path}")  # fmt: skip


def _users(stat: FileStat, known: Accounts) -> set[str]:
    """Who may use a file; a group of which nobody is known by its number."""
    if stat.mode & 0o007:
        return {"everybody"}
    uids = {stat.uid, *(uid for kind, uid, _ in stat.acl if kind == "user")}
    groups = [gid for kind, gid, _ in stat.acl if kind == "group"] + ([stat.gid] if stat.mode & 0o070 else [])
    found = {known.user(uid) for uid in uids.union(*(known.members.get(gid, ()) for gid in groups))}
    return found | {f"group {gid}" for gid in groups if gid not in known.members}


def rotations(runner: Runner, wanted: Mapping[str, int]) -> list[NewFile]:
    """`rotate` of stanzas, each named by the file and line of its closing brace. Raises ConfigError."""
    files: dict[str, str] = {}
    for where, copies in wanted.items():
        path, _, number = where.rpartition(":")
        if path not in files:
            files[path] = _text(runner, path)[1]
        files[path] = _rotated(path, files[path], int(number), copies)
    return [_new(path, _text(runner, path)[1], text, True) for path, text in files.items() if text != _text(runner, path)[1]]


def _rotated(path: str, text: str, closing: int, copies: int) -> str:
    """The number of lines stays: other stanzas are named by theirs."""
    lines = text.split("\n")
    for n in range(closing - 1, -1, -1):
        found = re.fullmatch(r"(\s*rotate[\s=]+)-?\d+(\s*(?:#.*)?)", lines[n])
        if found:
            lines[n] = f"{found[1]}{copies}{found[2]}"
            return "\n".join(lines)
        if "{" in lines[n]:
            break
    text = f"the stanza that ends in line {closing} has no line that says rotate; add one"
    raise ConfigError(f"Could not set rotate {copies} in {path}: {text}")


def _text(runner: Runner, path: str) -> tuple[bool, str]:
    try:
        existed = runner.stat(path) is not None
        text = runner.read(path) if existed else ""
    except ReadError as exc:
        raise ConfigError(str(exc)) from exc
    if "\ufffd" in text:
        raise ConfigError(f"Could not change {path}: it is no text of UTF-8; change it by hand")
    return existed, text


def accounts_changed(runner: Runner, locked: Collection[str], renewed: Collection[str]) -> list[NewFile]:
    """Accounts that are `locked` with a `!` before what is kept of their password; of those `renewed` the day of the last change
    is 0, so that they have to set another at the next login (shadow(5)). Raises ConfigError."""
    lines = _text(runner, SHADOW)[1].split("\n")
    for n, line in enumerate(lines):
        name, *fields = line.split(":")
        if name in locked and fields and not fields[0].startswith("!"):
            fields[0] = f"!{fields[0]}"
        if name in renewed and len(fields) > 1:
            fields[1] = "0"
        lines[n] = ":".join([name, *fields])
    return [replace(changed(runner, SHADOW, "\n".join(lines)), accounts=True)]


def changed(runner: Runner, path: str, text: str) -> NewFile:
    """A file with another text, or a new one. Raises ConfigError."""
    existed, before = _text(runner, path)
    return _new(path, before, text, existed)


def _new(path: str, before: str, after: str, existed: bool) -> NewFile:
    return NewFile(path, after.encode(), planned_on=hashlib.sha256(before.encode()).hexdigest() if existed else "")
