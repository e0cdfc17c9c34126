"""Rewrite Postfix restriction lists so that a simulation asks nobody outside Postfix and sends nothing."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from ..readers.postfix_model import RESTRICTION_LISTS
from ..readers.postfix_restrictions import ALLOWLISTS, BLOCKLISTS, POLICY
from ..readers.postfix_syntax import words

CLASSES = "smtpd_restriction_classes"


class Outside(Enum):
    """What stands in for the answer of a policy service or a DNS allow list."""

    PERMITS = "permits"
    REFUSES = "refuses"
    ASKED = "asked"  # nothing: it is contacted


# These can only refuse, and a sender of spam avoids them with an address, a name or a domain that exists. A simulated client has
# neither, so they would hide what is asked for. reject_unverified_* would even send a probe message: verify(8).
_AVOIDABLE = {
    "reject_maps_rbl", "reject_unverified_sender", "reject_unverified_recipient",
    "reject_unknown_client", "reject_unknown_client_hostname", "reject_unknown_reverse_client_hostname",
    "reject_unknown_forward_client_hostname", "reject_unknown_hostname", "reject_unknown_helo_hostname",
    "reject_unknown_address", "reject_unknown_sender_domain", "reject_unknown_recipient_domain",
}

# static: tables, not `permit` and `reject`: smtpd refuses to start when a plain `permit` hides reject_unauth_destination, and
# would take a plain `reject` for the working instance of it that the site forgot.
_SAYS = {answer: f"check_client_access static:{answer}" for answer in ("OK", "DUNNO", "REJECT")}


def names(parameters: Mapping[str, str]) -> list[str]:
    """The parameters that hold restrictions: the lists, and the site's own classes."""
    return [*RESTRICTION_LISTS, *words(parameters.get(CLASSES, ""))]


def rewritten(parameters: Mapping[str, str], outside: Outside) -> dict[str, str]:
    """The lists that have to change, with what stands in for everything outside.

    Blocklists are left out unless outsiders are asked: they refuse only the client that is listed.
    """
    changed = {}
    for name in names(parameters):
        before = words(parameters.get(name, ""))
        after = _list(before, outside)
        if after != before:
            changed[name] = " ".join(after)
    return changed


def deciders(parameters: Mapping[str, str]) -> list[str]:
    """The policy services and allow lists whose answer may open a list."""
    found = []
    for name in names(parameters):
        listed = words(parameters.get(name, ""))
        found += [f"{a} {b}" for a, b in zip(listed, listed[1:]) if a.lower() in (*POLICY, *ALLOWLISTS)]
    return list(dict.fromkeys(found))


def _list(listed: list[str], outside: Outside) -> list[str]:
    result: list[str] = []
    skip = False
    for word in listed:
        if skip:
            skip = False
            continue
        answer = _answer(word.lower(), outside)
        result += _SAYS[answer].split() if answer else [word]
        skip = bool(answer) and word.lower() not in _AVOIDABLE
    return result


def _answer(word: str, outside: Outside) -> str:
    if word in _AVOIDABLE:
        return "DUNNO"
    if outside is Outside.ASKED:
        return ""
    if word in POLICY:
        return "OK" if outside is Outside.PERMITS else "REJECT"
    if word in ALLOWLISTS:
        return "OK" if outside is Outside.PERMITS else "DUNNO"
    return "DUNNO" if word in BLOCKLISTS else ""
