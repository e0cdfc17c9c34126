"""Take the restriction lists of smtpd apart: restrictions with their arguments, and the keys that an access table is asked for.

The names are those of postconf(5), the keys those of access(5).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from ..address import Address
from .postfix_model import RESTRICTION_LISTS, Service
from .postfix_syntax import unbraced, words
from .postfix_tables import Table, TableProblem

POLICY = ("check_policy_service",)
ALLOWLISTS = ("permit_dnswl_client", "permit_rhswl_client")
BLOCKLISTS = ("reject_rbl_client", "reject_rbl", "reject_rhsbl_client", "reject_rhsbl_reverse_client", "reject_rhsbl_helo",
              "reject_rhsbl_sender", "reject_rhsbl_recipient")
_WITH_ARGUMENT = (*POLICY, *ALLOWLISTS, *BLOCKLISTS, "sleep")


def statements(restrictions: Iterable[str], parameter: str) -> Iterator[tuple[str, str]]:
    """Restrictions with their arguments; a bare table means check_xxx_access of the list's kind."""
    following = iter(restrictions)
    for word in following:
        if ":" in word:
            yield _default_access(parameter), word
        else:
            yield word, next(following, "") if takes_argument(word) else ""


def takes_argument(word: str) -> bool:
    name = word.lower()
    return name in _WITH_ARGUMENT or name.startswith("check_") and name.endswith("_access")


def _default_access(parameter: str) -> str:
    kind = parameter.split("_")[1]
    return f"check_{'recipient' if kind == 'relay' else kind}_access"


def all_statements(service: Service) -> Iterator[tuple[str, str]]:
    """Every restriction, in lower case, of every list and class, with its argument: what is used at all."""
    lists = [(name, words(service.value(name))) for name in RESTRICTION_LISTS]
    lists += [("smtpd_recipient_restrictions", members) for members in service.restriction_classes().values()]
    for parameter, members in lists:
        yield from ((word.lower(), argument) for word, argument in statements(members, parameter))


def access_tables(service: Service) -> Iterator[tuple[str, Table]]:
    """The access tables that are asked, with the restriction that asks: (`check_client_access`, table)."""
    for word, argument in all_statements(service):
        if word.endswith("_access") and argument:
            yield word, service.table(unbraced(argument))


def names_client(service: Service, address: Address) -> bool:
    """Whether a table of clients may say of a nameless client at this address what it does not say of everybody."""
    for word, table in access_tables(service):
        if not word.startswith(("check_client_", "check_reverse_client_")) or table.kind == "static":
            continue
        if word not in ("check_client_access", "check_reverse_client_hostname_access"):
            return True  # goes by what the DNS says of the client
        try:
            if any(table.get(key) is not None for key in ("unknown", *address_keys(str(address), table.partial_keys))):
                return True
        except TableProblem:
            return True
    return False


def domain_keys(name: str, partial: bool, parents: bool) -> Iterator[str]:
    """What a table is asked for a host or domain: `partial` also for its parents, `parents` without a leading dot."""
    key = name.lower()
    yield key
    try:
        ipaddress.ip_address(key)
        return  # no subdomain magic for numerical names
    except ValueError:
        pass
    while partial:
        dot = key.find(".", 1)
        if dot < 0:
            return
        key = key[dot + 1:] if parents else key[dot:]
        yield key


def address_keys(address: str, partial: bool) -> Iterator[str]:
    """What a table is asked for a client's address."""
    yield address
    separator = ":" if ":" in address else "."
    while partial and separator in address:
        address = address.rpartition(separator)[0]
        yield address


def mail_keys(address: str, partial: bool, parents: bool) -> Iterator[str]:
    """What a table is asked for a mail address."""
    yield address.lower()
    if not partial:
        return
    local_part, _, domain = address.lower().rpartition("@")
    yield from domain_keys(domain, True, parents)
    yield f"{local_part}@"
