"""What an OpenSMTPD uses of its host: its configuration, tables, keys, the daemon."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .opensmtpd_model import OpenSmtpd
from .uses import CONFIG, DATA, SECRET, Around, Daemon, Shown, UsedFile, Uses

_KEY = re.compile(r"(?m)^[ \t]*pki\s+\S+\s+key\s+\"?(/[^\s\"]+)")
_CERTIFICATE = re.compile(r"(?m)^[ \t]*pki\s+\"?([^\s\"]+)\"?\s+cert\s+\"?(/[^\s\"]+)")
_PKI = re.compile(r" pki \"?([^\s\"]+)")
_PASSWORDS = re.compile(r"\bauth(?:-optional)?\s+<([^>\s]+)>")
_SETTINGS = ("file", "db")  # of any other kind of table the file says how to ask a server, with which password
_FACING = ("smtpd: dispatcher", "smtpd: pony express")  # the process that speaks SMTP, since 7.0 and before


def uses(around: Around, smtpd: OpenSmtpd) -> Uses:
    """Everything that it reads as root or keeps a secret in, and its parent process."""
    found = Uses("OpenSMTPD", problem=smtpd.problem)
    files = tuple(dict.fromkeys((smtpd.file, *smtpd.config.files)))
    texts = "\n".join(around.text(path) for path in files)
    found.files = [UsedFile(path, CONFIG, "configuration") for path in files]
    found.files += [UsedFile(path, SECRET, "pki key") for path in _KEY.findall(texts)]
    found.certificates = None if smtpd.problem else list(_certificates(smtpd, texts))
    passwords = set(_PASSWORDS.findall(texts))
    for name, table in smtpd.config.tables.items():
        if table.path:
            role = SECRET if name in passwords else DATA
            if table.backend not in _SETTINGS and around.role_of(table.path) == SECRET:
                role = SECRET
            found.files.append(UsedFile(table.path, role, f"table {name}"))
    found.processes, found.options = ("smtpd",), _FACING
    found.daemons = list(_daemons(around, files, smtpd)) if around.daemons else []
    return found


def _certificates(smtpd: OpenSmtpd, texts: str) -> Iterator[Shown]:
    """`pki NAME cert FILE`, chosen by `pki NAME` of the listen line (smtpd.conf(5))."""
    files = dict(_CERTIFICATE.findall(texts))
    for listener in smtpd.listeners:
        for port in dict.fromkeys(port for port, _version in smtpd.ports_of(listener) if port.listen.tls):
            for name in _PKI.findall(port.listen.text) or [""]:
                doubt = "" if name in files else f"no line 'pki {name} cert' names a file"
                yield Shown(listener, files.get(name, ""), port.listen.where, doubt, port.listen.hostname)


def _daemons(around: Around, files: tuple[str, ...], smtpd: OpenSmtpd) -> Iterator[Daemon]:
    """It has no reload: what it has read, it has read at its start. Only single tables can be read again (smtpctl(8))."""
    tables = {t.path: f"smtpctl update table {t.name}" for t in smtpd.config.tables.values() if t.read_at_start}
    named = {p.pid: p for p in around.processes if p.name == "smtpd"}
    for process in named.values():
        if process.parent not in named and around.command_line(process)[0].startswith("/"):
            program = around.runner.which("smtpd") or ""
            again = "systemctl restart opensmtpd"
            yield Daemon("OpenSMTPD", process, program, process.started_at, "it started then", files, again, tables=tables)
