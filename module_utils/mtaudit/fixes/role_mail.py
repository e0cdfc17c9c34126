"""Mail for postmaster and abuse gets the aliases that bring it to a person."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Optional

from ..config import exim, opensmtpd, postfix, sendmail
from ..config.files import ConfigError
from ..config.host import Wanted
from ..control import Site
from ..controls.role_mail import End, Fate, fates
from ..controls.role_steps import Unclear, program
from ..finding import Finding
from ..fix import fix
from ..readers.role_mail import alias_maps
from ..readers.system import Host
from ..text import printable

_READER = re.compile(r"[\w.+-]+(?:@[\w.-]+)?(?:,\s*[\w.+-]+(?:@[\w.-]+)?)*", re.ASCII)


@fix("RCPT-02", "os")
def name_a_reader(host: Host, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """abuse is postmaster's, and postmaster's mail is for whoever `deliver_to` says; else for root."""
    reader = str(site.tunables.get("deliver_to", "")).strip() or "root"
    if not _READER.fullmatch(reader):
        raise ConfigError(f"Could not give postmaster's mail to {printable(reader)!r}: deliver_to is accounts or addresses")
    wanted = Wanted()
    for number, (title, instance) in enumerate(host.roles.instances):
        each = program(title, instance, host.roles)
        try:
            bad = [fate for fate in fates(each, host.roles, site) if fate.end <= End.SYSTEM] if each else []
        except Unclear:
            continue
        tables: dict[str, dict[str, Optional[str]]] = {}
        for table, key, value in _entries(bad, reader):
            tables.setdefault(table, {})[key] = value
        if tables:
            wanted = wanted.then(Wanted(programs={number: _of_program(title, instance, tables)}))
    return wanted if wanted.programs else None


def _entries(bad: Sequence[Fate], reader: str) -> Iterator[tuple[str, str, str]]:
    """Table, key and value. A catch-all stays as it is: the address gets an entry of its own beside it."""
    for fate in bad:
        role, _, domain = fate.address.partition("@")
        step = fate.steps[0] if fate.steps else None
        if step is None or not step.table:
            raise ConfigError(f"Could not give {fate.address} an alias: no table sends its mail on; make it a mailbox")
        key = step.key if step.key.partition("@")[0] == role else fate.address
        value = reader if role == "postmaster" else f"postmaster@{domain}" if "@" in key else "postmaster"
        if role == "postmaster" and step.targets == (value,):
            raise ConfigError(f"Mail for {fate.address} {fate.text}: say in deliver_to of RCPT-02 who reads it")
        yield step.table, key, value


def _of_program(title: str, instance: Any, tables: dict[str, dict[str, Optional[str]]]) -> Any:
    if title == "Postfix":
        return postfix.Wanted(tables={spec.replace("proxy:", ""): entries for spec, entries in tables.items()})
    if title == "Exim":
        return exim.Wanted(tables=tables)
    if title == "OpenSMTPD":
        return opensmtpd.Wanted(tables=tables)
    virtual = instance.cf.maps.get("virtuser")
    files = [path for _, path in alias_maps(instance) if virtual is None or path != virtual.path]
    aliases = {path: entries for path, entries in tables.items() if path in files}
    return sendmail.Wanted(aliases=aliases, maps={path: entries for path, entries in tables.items() if path not in files})
