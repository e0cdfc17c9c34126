"""What Dovecot uses of its host: its configuration files, passwords, keys, the master process."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from .dovecot_model import Dovecot, Section
from .uses import CONFIG, SECRET, Around, Daemon, Shown, UsedFile, Uses, Worker, modified_at

_INCLUDE = re.compile(r"(?m)^\s*!include(?:_try)?\s+(\S+)")
# doveconf hides where 2.3 takes a key from: `ssl_key = </etc/ssl/private/mail.key`.
_KEY = re.compile(r"(?m)^[ \t]*(ssl_key|ssl_alt_key|ssl_server_key_file|ssl_client_key(?:_file)?|key_file)\s*=\s*<?\s*(/\S+)")
_FILE = re.compile(r"(?<![^\s=])(/[^\s=]+)")
_FACING = ("imap-login", "pop3-login", "submission-login", "managesieve-login", "imap-urlauth-login")
_FILES_LIMIT = 200
_CERTIFICATES = ("ssl_cert", "ssl_alt_cert", "ssl_server_cert_file", "ssl_server_alt_cert_file")


def uses(around: Around, dovecot: Dovecot) -> Uses:
    """Everything that it reads as root or keeps a secret in, and its master process."""
    found = Uses("Dovecot")
    texts = dict(_files(around, dovecot.config_file))
    for path, text in texts.items():
        found.files.append(UsedFile(path, around.role_of(path), "configuration"))
        found.files += [UsedFile(key, SECRET, f"{name} in {path}") for name, key in _KEY.findall(text)]
    found.workers, found.processes = list(_workers(dovecot)), _FACING
    found.certificates = list(_certificates(dovecot))
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


def _certificates(dovecot: Dovecot) -> Iterator[Shown]:
    """`ssl_cert = </path` up to 2.3, the path alone since 2.4, there as a section too. Filters (local_name) are left out."""
    sections = [section.settings for section in dovecot.root.of_kind("ssl_server")]
    for port in dovecot.ports():
        settings = dovecot.scopes(port.protocol)[0]
        if settings.value("ssl") == "no" and not port.listener.tls_wrapper:
            continue
        values = [(name, settings.value(name)) for name in _CERTIFICATES]
        values += [(f"ssl_server {name}", each.get(name, "")) for each in sections for name in ("cert_file", "alt_cert_file")]
        shown = [(name, value.lstrip("<").strip()) for name, value in values if value]
        for name, path in shown or [("ssl", "")]:
            known = path.startswith("/")
            doubt = "" if known else f"{name} names no file" if path else "no certificate is set, and without one nobody gets TLS"
            yield Shown(port.listener, path if known else "", f"doveconf {name}", doubt)


def _workers(dovecot: Dovecot) -> Iterator[Worker]:
    """The services that talk with people who have not logged in: they refuse to run as root (tried on 2.3.19 and 2.4.1). What 2.4
    does not print is as it comes, in a chroot."""
    for service in dovecot.root.of_kind("service"):
        if service.name in _FACING:
            where = f"doveconf service {service.name}"
            yield Worker(f"Dovecot's {service.name}", where, "", bool(service.settings.get("chroot", "login")))


def _daemons(around: Around, dovecot: Dovecot, files: tuple[str, ...]) -> Iterator[Daemon]:
    """A reload keeps the master process and makes its sockets anew (tried on 2.3.19 and 2.4.1)."""
    base = dovecot.value("base_dir") or "/run/dovecot"
    master = around.process(around.text(f"{base}/master.pid"), "dovecot")
    if master is None:
        return
    loaded_at = modified_at(around.runner, f"{base}/config")
    tells = f"{base}/config was made then" if loaded_at else f"it started then; no {base}/config tells of a reload"
    since = loaded_at or master.started_at
    program = around.runner.which("dovecot") or ""
    yield Daemon("Dovecot", master, program, since, tells, files, "doveadm reload", loaded_at is not None)
