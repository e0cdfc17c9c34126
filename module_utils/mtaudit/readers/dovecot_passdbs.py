"""What Dovecot's passdbs are: what checks a password, and what is said of whom they let in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..passwords.accounts import Account
from ..passwords.schemes import of_dovecot
from .dovecot_model import Dovecot, Section

# What checks passwords of the host's own accounts.
OF_THE_HOST = ("pam", "passwd", "shadow", "bsdauth")
SETTINGS = (2, 4)  # the release since which a passdb has settings instead of `args`
ADVICE = "put a list of it, `login:hash` or LDIF, below /var/lib/mtaudit/passwords/, readable by root alone"


class Kept(NamedTuple):
    """What a table says of somebody; `free`: `nopassword`."""

    user: str
    text: str
    free: bool

    def __repr__(self) -> str:
        return f"Kept({self.user!r})"


def of_the_host(dovecot: Dovecot) -> list[str]:
    """Dovecot's name, where it lets accounts of the host in."""
    return ["Dovecot"] if any(driver_of(each) in OF_THE_HOST and not yes(each, "deny") for each in passdbs(dovecot)) else []


def passdbs(dovecot: Dovecot) -> list[Section]:
    """Those of a protocol alone among them."""
    return list(of_kind(dovecot.root, "passdb"))


def of_kind(section: Section, kind: str) -> Iterator[Section]:
    yield from section.of_kind(kind)
    for inner in section.sections:
        if inner.kind == "protocol":
            yield from of_kind(inner, kind)


def driver_of(section: Section) -> str:
    return section.settings.get("driver") or section.name


def yes(section: Section, name: str) -> bool:
    return section.settings.get(name, "") in ("yes", "y", "1", "true")


def setting(passdb: Section, name: str) -> str:
    return passdb.settings.get(name) or passdb.settings.get(f"passdb_{name}", "")


def scheme_of(dovecot: Dovecot, passdb: Section) -> str:
    """Of a password without {SCHEME}, since 2.4."""
    return setting(passdb, "default_password_scheme") or dovecot.value("passdb_default_password_scheme") or "PLAIN"


def account_of(kept: Kept, scheme: str, table: str, dovecot: Dovecot) -> Account:
    """`nopassword` lets any password in; 2.3 does not heed it where one is set all the same. Without it an empty one lets in only
    as plain text (tried on 2.3.19 and 2.4.1)."""
    stored = of_dovecot(kept.user, kept.text, scheme)
    free = kept.free and (not kept.text or dovecot.release >= SETTINGS)
    return Account(stored._replace(locked=not free and (stored.locked or not stored.text and not stored.empty)), table, free=free)


def fields_of(passdb: Section) -> dict[str, str]:
    """What is said of everybody: 2.3 has `override_fields`, `default_fields` and, for `static`, `args`; 2.4 has `fields`."""
    names = ("default_fields", "override_fields", *(("args",) if driver_of(passdb) == "static" else ()))
    words = " ".join(passdb.settings.get(name, "") for name in names).split()
    nested = {name: value for each in passdb.of_kind("fields") for name, value in each.settings.items()}
    return {**dict(word.partition("=")[::2] for word in words), **nested}
