"""What Dovecot uses of its host: its configuration files, passwords, keys, the master process."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from .dovecot_model import Dovecot, Section
from .uses import CONFIG, SECRET, Around, Daemon, UsedFile, Uses, modified_at

_INCLUDE = re.compile(r"(?m)^\s*!include(?:_try)?\s+(\S+)")
# doveconf hides where 2.3 takes a key from: `ssl_key = </etc/ssl/private/mail.key`.
_KEY = re.compile(r"(?m)^[ \t]*(ssl_key|ssl_alt_key|ssl_server_key_file|ssl_client_key(?:_file)?|key_file)\s*=\s*<?\s*(/\S+)")
_FILE = re.compile(r"(?<![^\s=])(/[^\s=]+)")
_FILES_LIMIT = 200


def uses(around: Around, dovecot: Dovecot) -> Uses:
    """Everything that it reads as root or keeps a secret in, and its master process."""
    found = Uses("Dovecot")
    texts = dict(_files(around, dovecot.config_file))
    for path, text in texts.items():
        found.files.append(UsedFile(path, around.role_of(path), "configuration"))
        found.files += [UsedFile(key, SECRET, f"{name} in {path}") for name, key in _KEY.findall(text)]
    names = ("default_internal_user", "default_login_user")
    found.accounts = [dovecot.value(name) for name in names if dovecot.value(name)]
    for path in dict.fromkeys(_passwords(dovecot.root)):
        # A file of passwords, or one that says how to ask a data base for them.
        settings = path.endswith((".ext", ".conf"))
        found.files.append(UsedFile(path, around.role_of(path) if settings else SECRET, "passdb"))
    found.files += [UsedFile(path, CONFIG, "script-login") for path in (*dovecot.scripts, *dovecot.script_problems)]
    found.daemons = list(_daemons(around, dovecot, tuple(texts))) if around.daemons else []
    return found


def _files(around: Around, path: str) -> Iterator[tuple[str, str]]:
    """The configuration files with their texts; patterns of !include stand for what they match."""
    seen: set[str] = set()
    waiting = [path]
    while waiting and len(seen) < _FILES_LIMIT:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        text = around.text(current)
        yield current, text
        for pattern in _INCLUDE.findall(text):
            waiting += around.runner.glob(posixpath.join(posixpath.dirname(current), pattern))


def _passwords(section: Section) -> Iterator[str]:
    for each in section.of_kind("passdb"):
        for name in ("args", "default_password_file", "passwd_file_path", "ldap_auth_dn_password"):
            yield from _FILE.findall(each.settings.get(name, ""))
    for inner in section.sections:
        yield from _passwords(inner)


def _daemons(around: Around, dovecot: Dovecot, files: tuple[str, ...]) -> Iterator[Daemon]:
    """A reload keeps the master process and makes its sockets anew (tried on 2.3.19 and 2.4.1)."""
    base = dovecot.value("base_dir") or "/run/dovecot"
    master = around.process(around.text(f"{base}/master.pid"), "dovecot")
    if master is None:
        return
    loaded_at = modified_at(around.runner, f"{base}/config")
    tells = f"{base}/config was made then" if loaded_at else f"{base}/config is not there, whose age tells of a reload"
    yield Daemon("Dovecot", master, loaded_at, tells, files, "doveadm reload")
