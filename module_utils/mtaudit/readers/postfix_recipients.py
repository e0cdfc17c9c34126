"""Read the tables that tell Postfix which recipients exist: each once, those that cannot be listed by asking for samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..runner import Runner
from .local_users import NOBODY, ROLES
from .postfix_match import is_table
from .postfix_model import RECIPIENT_MAPS, Postfix, Service, literal_domains
from .postfix_syntax import words
from .postfix_tables import INDEXED, Table, load, sampled

_DOMAINS_LIMIT = 20
_OWN_DOMAINS = ("mydestination", "virtual_alias_domains", "virtual_mailbox_domains", "relay_domains")


def recipient_tables(runner: Runner, postfix: Postfix, services: Iterable[Service]) -> dict[str, Table]:
    """The tables by the names they have in the maps. The system's accounts are no table that a wildcard may stand in: `unix:` is
    left out."""
    specs = dict.fromkeys(spec for service in services for spec in _specs(service) if kind_of(spec) != "unix")
    domains = _asked_domains(postfix)
    found = {}
    for spec in specs:
        known = postfix.tables.get(spec)
        if known is not None and not known.sampled:
            found[spec] = known
        elif kind_of(spec) in INDEXED or kind_of(spec) in ("static", "inline", "texthash", "cidr", "fail"):
            found[spec] = load(runner, spec, postfix.config_directory, domains)
        else:
            found[spec] = sampled(runner, spec, postfix.config_directory, list(_keys(domains)))
    return found


def was_asked(postfix: Postfix, key: str) -> bool:
    """Whether a table that cannot be listed was asked for this key: what it would say to any other is not known."""
    return key in _keys(_asked_domains(postfix))


def _asked_domains(postfix: Postfix) -> list[str]:
    domains = [d for d in literal_domains(postfix.main, _OWN_DOMAINS) if not d.startswith(".")]
    return list(dict.fromkeys((*domains, *words(postfix.main.value("myorigin")))))[:_DOMAINS_LIMIT]


def _specs(service: Service) -> Iterator[str]:
    for name in RECIPIENT_MAPS:
        yield from (word for word in words(service.value(name)) if is_table(word))


def kind_of(spec: str) -> str:
    """The type of a table, `proxy:` looked through."""
    while spec.startswith("proxy:"):
        spec = spec[len("proxy:"):]
    return spec.partition(":")[0]


def _keys(domains: Iterable[str]) -> Iterator[str]:
    """What is asked for a mailbox that nobody has, and for those that every domain must have (mail_addr_find.c)."""
    for local_part in (NOBODY, *ROLES):
        yield local_part
        yield from (f"{local_part}@{domain}" for domain in domains)
    yield from (f"@{domain}" for domain in domains)
