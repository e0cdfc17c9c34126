"""What an instance of Postfix uses of its host: main.cf, maps and their sources, keys, the master process."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .postfix import describe
from .postfix_model import Postfix
from .postfix_syntax import words
from .uses import DATA, SECRET, Around, Daemon, Made, Shown, UsedFile, Uses, Worker

_SUFFIX = {"hash": ".db", "btree": ".db", "lmdb": ".lmdb", "cdb": ".cdb", "dbm": ".pag", "sdbm": ".pag"}
_TEXT = ("texthash", "regexp", "pcre", "cidr")
_SERVED = ("ldap", "mysql", "pgsql", "sqlite", "mongodb")  # the file says how to ask a server, with which password
_TABLE = re.compile(rf"\b({'|'.join((*_SUFFIX, *_TEXT, *_SERVED))}):(/[^\s,{{}}]+)")
_KEYS = re.compile(r"_(?:key_file|dkey_file|eckey_file|chain_files)\Z")
_PASSWORDS = ("smtp_sasl_password_maps", "lmtp_sasl_password_maps")
_ALIASES = ("alias_maps", "alias_database")
_INCLUDE = re.compile(r"(?<![^\s,:\"]):include:\s*(/[^\s,\"]+)")
_CHAIN = ("smtpd_tls_chain_files",)
_ONE_FOR_EACH_KEY = ("smtpd_tls_cert_file", "smtpd_tls_eccert_file", "smtpd_tls_dcert_file")
_FACING = ("smtpd", "postscreen", "tlsproxy", "qmqpd", "smtp", "lmtp", "dnsblog")
_TABLES_LIMIT = 200


def uses(around: Around, postfix: Postfix) -> Uses:
    """Everything that it reads as root or keeps a secret in, and its master process."""
    found = Uses("Postfix", problem=postfix.problem)
    directory = postfix.config_directory
    for name in ("main.cf", "master.cf"):
        found.files.append(UsedFile(f"{directory}/{name}", around.role_of(f"{directory}/{name}"), "configuration directory"))
    if postfix.problem:
        return found
    found.workers, found.processes = list(_workers(postfix)), _FACING
    found.certificates = list(_certificates(postfix))
    found.files += [UsedFile(path, DATA, "a list in main.cf") for path in (*postfix.files, *postfix.file_problems)]
    for name, value in dict.fromkeys(_values(postfix)):
        _parameter(around, found, name, value)
    if postfix.main.value("smtpd_sasl_type") == "cyrus":
        place = postfix.main.value("cyrus_sasl_config_path") or "/etc/postfix/sasl"
        path = f"{place}/{postfix.main.value('smtpd_sasl_path')}.conf"
        found.files.append(UsedFile(path, around.role_of(path), "smtpd_sasl_path"))
    found.daemons = list(_daemons(around, postfix)) if around.daemons else []
    return found


def _values(postfix: Postfix) -> Iterator[tuple[str, str]]:
    """Every parameter that may name a file, expanded, and the same for each service's own."""
    for service in (postfix.main, *postfix.services()):
        for name in postfix.parameters if service.entry is None else service.overrides:
            raw = service.raw(name) or ""
            if name.startswith(("proxy_read_maps", "proxy_write_maps")):
                continue  # the tables of all the others
            if "/" in raw or ":" in raw or "$" in raw:
                yield name, service.value(name)


def _parameter(around: Around, found: Uses, name: str, value: str) -> None:
    if _KEYS.search(name):
        found.files += [UsedFile(path, SECRET, name) for path in words(value) if path.startswith("/")]
    for kind, path in _TABLE.findall(value)[:_TABLES_LIMIT]:
        role = SECRET if name in _PASSWORDS else DATA
        if kind in _SERVED:
            role = SECRET if around.role_of(path) == SECRET else DATA
        found.files.append(UsedFile(path, role, name))
        if kind in _SUFFIX:
            found.files.append(UsedFile(path + _SUFFIX[kind], role, name))
            command = "newaliases" if name in _ALIASES else f"postmap {kind}:{path}"
            found.made.append(Made(path + _SUFFIX[kind], (path,), command))
        if name in _ALIASES:
            found.files += [UsedFile(listed, DATA, f":include: in {path}") for listed in _INCLUDE.findall(around.text(path))]


def _certificates(postfix: Postfix) -> Iterator[Shown]:
    """smtpd_tls_chain_files, else one file for each kind of key; without any nobody gets TLS (postconf(5))."""
    for smtp, listener in zip(postfix.smtp_services(), describe(postfix).listeners):
        service = smtp.smtpd
        if service.tls_level == "none" and not smtp.tls_wrapper:
            continue
        names = _CHAIN if service.value(_CHAIN[0]) else _ONE_FOR_EACH_KEY
        shown = [(each, path) for each in names for path in words(service.value(each)) if path.startswith("/")]
        yield from (Shown(listener, path, service.origin(each)) for each, path in shown)
        if not shown and (smtp.tls_wrapper or service.tls_level == "encrypt"):
            doubt = f"{names[0]} names no file, and without a certificate nobody gets TLS"
            yield Shown(listener, "", service.origin(names[0]), doubt)


def _workers(postfix: Postfix) -> Iterator[Worker]:
    """The services that talk with strangers: root with `n` in the column `unpriv`, with `y` or `-` mail_owner (master(5))."""
    for service in postfix.services():
        entry = service.entry
        if entry and entry.command in _FACING:
            # smtpd itself refuses to run as root (tried on 3.7 and 3.10): then nobody is served.
            root = entry.unprivileged == "n" and entry.command != "smtpd"
            user = "root" if root else postfix.main.value("mail_owner")
            # Up to 2.11 `-` meant yes; since 3.0 no, but with an old compatibility_level (COMPATIBILITY_README).
            old = postfix.main.value("compatibility_level") in ("", "0")
            where = f"{postfix.config_directory}/master.cf {entry.name}/{entry.type}"
            yield Worker(f"Postfix's {entry.command}", where, user, entry.chroot == "y" or entry.chroot == "-" and old)


def _daemons(around: Around, postfix: Postfix) -> Iterator[Daemon]:
    """`postfix reload` keeps the master process and starts a new queue manager, which ends for no other reason."""
    master = around.process(around.text(f"{postfix.main.value('queue_directory')}/pid/master.pid"), "master")
    if master is None:
        return
    managers = [p for p in around.processes if p.parent == master.pid and p.name in ("qmgr", "nqmgr")]
    files = tuple(f"{postfix.config_directory}/{name}" for name in ("main.cf", "master.cf"))
    loaded_at = max((p.started_at for p in managers), default=master.started_at)
    tells = "its queue manager started then" if managers else "it started then; no queue manager tells of a reload"
    program = f"{postfix.main.value('daemon_directory')}/master"
    title = f"Postfix of {postfix.config_directory}"
    yield Daemon(title, master, program, loaded_at, tells, files, "postfix reload", bool(managers))
