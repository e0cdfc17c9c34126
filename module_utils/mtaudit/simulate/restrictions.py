"""Rewrite Postfix restriction lists so that nothing outside Postfix is asked: policy services, blocklists, address probes."""

from __future__ import annotations

from collections.abc import Mapping

from ..readers.postfix_syntax import words

LISTS = (
    "smtpd_client_restrictions",
    "smtpd_helo_restrictions",
    "smtpd_sender_restrictions",
    "smtpd_relay_restrictions",
    "smtpd_recipient_restrictions",
)
CLASSES = "smtpd_restriction_classes"

# postconf(5), the section of each restriction. The word after these is their argument.
_POLICY = {"check_policy_service"}
_ALLOWLISTS = {"permit_dnswl_client", "permit_rhswl_client"}
_BLOCKLISTS = {
    "reject_rbl_client", "reject_rbl", "reject_maps_rbl", "reject_rhsbl_client", "reject_rhsbl_reverse_client",
    "reject_rhsbl_helo", "reject_rhsbl_sender", "reject_rhsbl_recipient",
}
_WITHOUT_ARGUMENT = {"reject_unverified_sender", "reject_unverified_recipient", "reject_maps_rbl"}

# static: tables instead of `permit` and `reject`: smtpd refuses to start when a plain `permit` hides reject_unauth_destination.
_SAYS = {answer: f"check_client_access static:{answer}" for answer in ("OK", "DUNNO", "REJECT")}


def names(parameters: Mapping[str, str]) -> list[str]:
    """The parameters that hold restrictions: the lists, and the site's own classes."""
    return [*LISTS, *words(parameters.get(CLASSES, ""))]


def left_out(parameters: Mapping[str, str], most_permissive: bool) -> dict[str, str]:
    """The lists that would ask somebody outside, with the answer put in their place.

    `most_permissive`: policy services and allow lists say OK, which ends a list with permission; else a policy service rejects
    and an allow list knows nobody. Blocklists and address verification can only refuse, and do not protect against a client that
    is not listed and an address that exists: they say nothing either way.
    """
    changed = {}
    for name in names(parameters):
        before = words(parameters.get(name, ""))
        after = _rewritten(before, most_permissive)
        if after != before:
            changed[name] = " ".join(after)
    return changed


def depends(parameters: Mapping[str, str]) -> list[str]:
    """The policy services and allow lists that the lists name, whose answer may open a list."""
    found = []
    for name in names(parameters):
        listed = words(parameters.get(name, ""))
        found += [f"{a} {b}" for a, b in zip(listed, listed[1:]) if a in _POLICY | _ALLOWLISTS]
    return list(dict.fromkeys(found))


def _rewritten(listed: list[str], most_permissive: bool) -> list[str]:
    result: list[str] = []
    skip = False
    for word in listed:
        if skip:
            skip = False
            continue
        answer = _answer(word, most_permissive)
        result += _SAYS[answer].split() if answer else [word]
        skip = bool(answer) and word not in _WITHOUT_ARGUMENT
    return result


def _answer(word: str, most_permissive: bool) -> str:
    if word in _POLICY:
        return "OK" if most_permissive else "REJECT"
    if word in _ALLOWLISTS:
        return "OK" if most_permissive else "DUNNO"
    return "DUNNO" if word in _BLOCKLISTS | _WITHOUT_ARGUMENT else ""
