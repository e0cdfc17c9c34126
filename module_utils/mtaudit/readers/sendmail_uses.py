"""What a Sendmail uses of its host: its configuration and what it is made from, maps, aliases, keys, passwords, the daemon."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from .sendmail import NAMES, running
from .sendmail_model import Sendmail
from .uses import CONFIG, DATA, SECRET, Around, Daemon, Made, Process, Shown, UsedFile, Uses, Worker, modified_at

_SUFFIX = {"hash": ".db", "btree": ".db", "cdb": ".cdb", "dbm": ".pag", "implicit": ".db"}
_TEXT = ("text", "stab")
_KEYS = ("ServerKeyFile", "ClientKeyFile")
_CERTIFICATES = ("ServerCertFile", "CACertFile")
# What `make` in a directory of m4 sources takes besides them, as root.
_MAKES = ("Makefile", "databases", "submit.cf", "submit.mc", "sendmail.mc")
_INCLUDE = re.compile(r"(?<![^\s,:\"]):include:\s*(/[^\s,\"]+)")
_LISTENS = re.compile(r"\b(?:accepting|rejecting) connections\b| -b[dD]\b")
_PROCESSES = ("sendmail-mta", "sendmail", "sendmail.sendma")  # the last cut to the 15 characters of a process's name


def uses(around: Around, sendmail: Sendmail) -> Uses:
    """Everything that it reads as root or keeps a secret in, and the daemon that runs with this configuration."""
    found = Uses("Sendmail", problem=sendmail.problem)
    directory, config = posixpath.dirname(sendmail.file), _role_of_settings(sendmail)
    role = around.role_of(sendmail.file)
    found.files.append(UsedFile(sendmail.file, SECRET if role == SECRET else config, "configuration"))
    if sendmail.problem:
        return found
    found.certificates = list(_certificates(sendmail))
    found.files += [UsedFile(f"{directory}/{name}", config, "what the configuration is made from") for name in _MAKES]
    source = re.sub(r"\.cf\Z", ".mc", sendmail.file)
    found.made.append(Made(sendmail.file, (source,), f"make -C {directory}"))
    for name in (*_KEYS, "DefaultAuthInfo"):
        # Since 8.15 a second key may stand behind a comma (Operation Guide, ServerKeyFile).
        paths = [path.strip() for path in sendmail.cf.option(name).split(",")]
        found.files += [UsedFile(path, SECRET, name) for path in paths if path.startswith("/")]
    for name, path in [(name, path) for name, paths in sendmail.cf.class_files.items() for path in paths]:
        # `Fw|/path`: a program whose output is the class.
        found.files.append(UsedFile(path.lstrip("|"), config if path.startswith("|") else DATA, f"class {name}"))
    _maps(sendmail, found)
    _aliases(around, sendmail, found)
    if sendmail.sasl.file:
        role = around.role_of(sendmail.sasl.file)
        found.files.append(UsedFile(sendmail.sasl.file, SECRET if role == SECRET else config, "Cyrus SASL"))
        if "saslauthd" in sendmail.sasl.settings.get("pwcheck_method", ""):
            found.files.append(UsedFile("/etc/saslauthd.conf", SECRET, "saslauthd"))
            found.files.append(UsedFile("/etc/default/saslauthd", CONFIG, "saslauthd"))
    found.workers = [_worker(sendmail)] if any(not port.loopback_only for port in sendmail.listeners) else []
    if around.daemons:
        read_at_start = tuple(path for path in _at_start(sendmail) if path.startswith("/"))
        found.daemons = list(_daemons(around, sendmail, read_at_start))
    return found


def _certificates(sendmail: Sendmail) -> Iterator[Shown]:
    """Without a certificate there is no TLS (Operation Guide, 5.1.1). A second file, for another kind of key, stands behind a
    comma."""
    paths = [path.strip() for path in sendmail.cf.option("ServerCertFile").split(",")]
    for port in sendmail.listeners:
        yield from (Shown(port, path, sendmail.origin("ServerCertFile")) for path in paths if path.startswith("/"))


def _role_of_settings(sendmail: Sendmail) -> str:
    """Whoever writes them becomes root. TrustedUser may have them, as on Debian, for it runs nothing; unless RunAsUser makes it
    the account that talks with strangers."""
    trusted, runs = (sendmail.cf.option(name).partition(":")[0] for name in ("TrustedUser", "RunAsUser"))
    return DATA if trusted and trusted != runs else CONFIG


def _maps(sendmail: Sendmail, found: Uses) -> None:
    logins = any(entry.tag == "authinfo" for entry in sendmail.entries("authinfo"))
    for source in sendmail.cf.maps.values():
        if not source.path or source.kind not in (*_SUFFIX, *_TEXT):
            continue
        secret = "authinfo" in f"{source.name} {source.path}".lower() or source.name == "access" and logins
        role, where = SECRET if secret else DATA, f"map {source.name}"
        found.files.append(UsedFile(source.path, role, where))
        if source.kind in _SUFFIX:
            compiled = source.path + _SUFFIX[source.kind]
            found.files.append(UsedFile(compiled, role, where))
            found.made.append(Made(compiled, (source.path,), f"makemap {source.kind} {source.path} < {source.path}"))


def _aliases(around: Around, sendmail: Sendmail, found: Uses) -> None:
    """`AliasFile=/etc/mail/aliases, hash:/etc/lists`; a class may come with flags of its own: `hash -o:/etc/lists`."""
    for word in filter(None, (word.strip() for word in sendmail.cf.option("AliasFile").split(","))):
        kind, colon, rest = word.partition(":")
        kind, path = (kind.split()[0], rest.strip()) if colon else ("implicit", word)
        if path.startswith("/") and kind in _SUFFIX:
            compiled = path + _SUFFIX[kind]
            found.files += [UsedFile(path, DATA, "AliasFile"), UsedFile(compiled, DATA, "AliasFile")]
            found.made.append(Made(compiled, (path,), "newaliases"))
            found.files += [UsedFile(each, DATA, f":include: in {path}") for each in _INCLUDE.findall(around.text(path))]


def _worker(sendmail: Sendmail) -> Worker:
    """Who speaks with clients: a child of the daemon, which takes the account of RunAsUser (tried on 8.17.1.9 and 8.18.1)."""
    user = sendmail.cf.option("RunAsUser").partition(":")[0].strip()
    return Worker("Sendmail's SMTP server", sendmail.origin("RunAsUser"), "root" if user in ("", "0") else user, False)


def _at_start(sendmail: Sendmail) -> Iterator[str]:
    """What the daemon reads once. Maps are opened anew by each session; the certificate is not."""
    yield sendmail.file
    yield from (path for paths in sendmail.cf.class_files.values() for path in paths)
    for name in (*_CERTIFICATES, *_KEYS[:1]):
        yield from (path.strip() for path in sendmail.cf.option(name).split(","))


def _daemons(around: Around, sendmail: Sendmail, files: tuple[str, ...]) -> Iterator[Daemon]:
    """SIGHUP makes a daemon execute itself anew (tried: as a new process; with -bD its number stays). The pid file is written
    then, and tells which configuration is whose; a daemon that no pid file names counts for the default one."""
    known = {each.pid: each for each in running(around.runner)}
    for process in _listening(around):
        told = known.get(process.pid)
        file = told.own_file if told else ""
        if (file or sendmail.file) != sendmail.file or not file and sendmail.primary is not None:
            continue
        since = max(process.started_at, (modified_at(around.runner, told.path) if told else None) or 0.0)
        program = next((path for name in NAMES for path in [around.runner.which(name)] if path), "")
        tells = "it started then" if told else "it started then; no pid file names it"
        yield Daemon(f"Sendmail, process {process.pid}", process, program, since, tells, files, "systemctl restart sendmail")


def _listening(around: Around) -> Iterator[Process]:
    """A daemon's title takes the place of its arguments (setproctitle()); its children are sessions and queue runners."""
    named = {p.pid: p for p in around.processes if p.name in _PROCESSES}
    for process in named.values():
        command = around.text(f"/proc/{process.pid}/cmdline").replace("\0", " ")
        if process.parent not in named and _LISTENS.search(command):
            yield process
