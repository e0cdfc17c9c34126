"""Follow Exim's routers for one address: is it one that mail is taken for, by which router, or can that not be known?

The order of what is asked of a router is that of the specification, chapter "Generic options for routers".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Optional

from ..readers.exim import Exim
from ..readers.exim_expand import Doubt, Expander, ForcedFailure, Known, Session, truth
from ..readers.exim_lists import Lists

_REMOTE = ("dnslookup", "manualroute", "ipliteral", "iplookup")
# What a router may ask that is not followed here.
_NOT_FOLLOWED = ("senders", "require_files")


class Routed(Enum):
    """What becomes of an address."""

    HERE = "here"  # a mailbox, a file or a program
    ALIAS = "alias"  # another address takes its place
    ELSEWHERE = "elsewhere"
    REFUSED = "refused"


@dataclass(frozen=True)
class Route:
    """The answer, the router that gave it and, for an alias, what it stands for."""

    answer: Routed
    router: str = ""
    target: str = ""


def route(exim: Exim, address: str) -> Route:
    """How a stranger's mail to the address is routed when Exim verifies it. Raises Doubt."""
    session = Session("198.51.100.1", recipient=address)
    known = exim.known()
    lists: list[Lists] = []
    local_part = address.rpartition("@")[0]
    variables = {**known.variables, **_of_account(exim, local_part)}
    expander = Expander(Known(variables, known.exists, known.lookup, lambda *asked: lists[0].by_name(*asked)), session)
    lists.append(Lists(exim, session, expander))
    for name, options in exim.config.routers.items():
        if not _concerned(exim, lists[0], expander, options, address):
            continue
        found = _taken(name, options, expander)
        if found is not None:
            return found
        if "no_more" in options or options.get("more") == "false":
            break
    return Route(Routed.REFUSED, target=local_part)


def _concerned(exim: Exim, lists: Lists, expander: Expander, options: Mapping[str, str], address: str) -> bool:
    """Whether the router looks at the address at all. Raises Doubt."""
    local_part, _, domain = address.rpartition("@")
    if {"no_verify", "no_verify_recipient"} & set(options) or "false" in (options.get("verify"), options.get("verify_recipient")):
        return False
    for affix in ("local_part_prefix", "local_part_suffix"):
        if options.get(affix) and f"{affix}_optional" not in options:
            return False  # none of the addresses that we ask about has one
    try:
        if "domains" in options and not lists.domains(_unquoted(options["domains"]), domain):
            return False
        if "local_parts" in options and not lists.local_parts(_unquoted(options["local_parts"]), local_part):
            return False
        if "check_local_user" in options and not _has_account(exim, local_part):
            return False
        asked = next((name for name in _NOT_FOLLOWED if name in options), "")
        if asked:
            raise Doubt(f"{asked} = {options[asked]} of a router is not followed")
        return "condition" not in options or truth(expander.expand(_unquoted(options["condition"])))
    except ForcedFailure:
        return False


def _of_account(exim: Exim, name: str) -> dict[str, str]:
    """What check_local_user sets, for a router with it; one without it does not ask for these."""
    users = exim.local_users
    number = users.numbers.get(name)
    return {} if number is None else {"local_user_uid": str(number), "home": users.homes[name], "local_part_data": name}


def _has_account(exim: Exim, name: str) -> bool:
    if name in exim.local_users.homes:
        return True
    if exim.local_users.doubt:
        raise Doubt(exim.local_users.doubt)
    return False


def _taken(name: str, options: Mapping[str, str], expander: Expander) -> Optional[Route]:
    """What the router makes of the address; None where it passes it on to the next. Raises Doubt."""
    driver = options.get("driver", "")
    if driver == "accept":
        return Route(Routed.HERE, name)
    if driver in _REMOTE:
        return Route(Routed.ELSEWHERE, name)
    if driver != "redirect":
        raise Doubt(f"the router {name} ({driver}) is not followed")
    if "data" not in options:
        raise Doubt(f"the router {name} looks into a file of its own")
    try:
        target = expander.expand(_unquoted(options["data"])).strip()
    except ForcedFailure:
        return None
    if not target:
        return None
    if target.startswith((":fail:", ":defer:")):
        return Route(Routed.REFUSED, name, target)
    return Route(Routed.HERE if target.startswith(("/", "|", ":blackhole:")) else Routed.ALIAS, name, target)


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
