"""Follow Exim's routers for one address: is it one that mail is taken for, by which router, or can that not be known? And
which host does a message for somebody elsewhere go to?

The order of what is asked of a router is that of the specification, chapter "Generic options for routers".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Optional

from ..address import is_address
from ..readers.exim import Exim
from ..readers.exim_expand import Doubt, Expander, ForcedFailure, Known, Session, truth
from ..readers.exim_lists import Lists
from ..readers.exim_syntax import items

_REMOTE = ("dnslookup", "manualroute", "ipliteral", "iplookup")
_Looking = tuple[str, Mapping[str, str], Expander, Lists]


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
    local_part = address.rpartition("@")[0]
    for name, options, expander, _ in _looking(exim, Session("198.51.100.1", recipient=address), verifying=True):
        found = _taken(name, options, expander)
        if found is not None:
            return found
    return Route(Routed.REFUSED, target=local_part)


def next_hosts(exim: Exim, session: Session) -> tuple[str, list[tuple[str, str]]]:
    """The router that takes a message of this session for its recipient elsewhere, and the hosts with their ports that it is
    given to: none for those of the recipient's domain. No router: it stays. Raises Doubt."""
    for name, options, expander, lists in _looking(exim, session, verifying=False):
        driver, transport = options.get("driver", ""), exim.config.transports.get(options.get("transport", ""), {})
        text = _routed_to(options, expander, lists, session.recipient.rpartition("@")[2]) if driver == "manualroute" else ""
        if driver in ("ipliteral", "redirect") or driver == "manualroute" and not text:
            continue  # no address elsewhere is one of theirs
        if driver not in ("manualroute", "dnslookup", "accept"):
            raise Doubt(f"the router {name} ({driver}) is not followed")
        if transport.get("driver", "smtp") != "smtp":
            raise Doubt(f"what the transport {options['transport']} ({transport['driver']}) does is not known")
        if "hosts_override" in transport or driver == "accept":
            text = expander.expand(_unquoted(transport.get("hosts", "")))
        return name, [_with_port(item, transport.get("port", "")) for item in items(text)]
    return "", []


def _with_port(item: str, port: str) -> tuple[str, str]:
    """Host and port of `host`, `host/mx`, `host:port` and `[address]:port`; an address may have colons of its own."""
    found = None if is_address(item) else re.fullmatch(r"\[?(.*?)\]?:(\d+)", item)
    host, number = (found[1], found[2]) if found else (item.strip("[]"), port)
    return host.partition("/")[0].lower(), number


def _routed_to(options: Mapping[str, str], expander: Expander, lists: Lists, domain: str) -> str:
    """The list of hosts of a manualroute router for the domain; empty when it passes it on."""
    if "route_data" in options:
        try:
            return expander.expand(_unquoted(options["route_data"])).partition(" ")[0]
        except ForcedFailure:
            return ""
    for rule in _unquoted(options.get("route_list", "")).split(";"):
        pattern, _, hosts = rule.strip().partition(" ")
        if pattern and lists.domains(_unquoted(pattern), domain):
            hosts = hosts.strip()
            chosen = hosts[1:].partition('"')[0] if hosts.startswith('"') else hosts.partition(" ")[0]
            return expander.expand(chosen)
    return ""


def _looking(exim: Exim, session: Session, verifying: bool) -> Iterator[_Looking]:
    """The routers that look at the recipient, in their order, with what is known of the session. Raises Doubt."""
    known = exim.known()
    lists: list[Lists] = []
    variables = {**known.variables, **_of_account(exim, session.recipient.rpartition("@")[0])}
    expander = Expander(Known(variables, known.exists, known.lookup, lambda *asked: lists[0].by_name(*asked)), session)
    lists.append(Lists(exim, session, expander))
    for name, options in exim.config.routers.items():
        if _concerned(exim, lists[0], expander, options, session, verifying):
            yield name, options, expander, lists[0]
            if "no_more" in options or options.get("more") == "false":
                return


def _concerned(exim: Exim, lists: Lists, expander: Expander, options: Mapping[str, str], session: Session,
               verifying: bool) -> bool:
    """Whether the router looks at the recipient at all. Raises Doubt."""
    local_part, _, domain = session.recipient.rpartition("@")
    no_verify = {"no_verify", "no_verify_recipient"} & set(options) or "false" in (options.get("verify"),
                                                                                   options.get("verify_recipient"))
    if no_verify if verifying else {"verify_only", "unseen"} & set(options):
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
        if not verifying and "senders" in options and not lists.addresses(_unquoted(options["senders"]), session.sender):
            return False
        asked = next((name for name in ("senders", "require_files")[not verifying:] if name in options), "")
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
