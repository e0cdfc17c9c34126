"""Does smtpd start at all with its restrictions? When it does not, nobody relays, and no mail arrives either."""

from __future__ import annotations

from ..readers.postfix import Service
from ..readers.postfix_syntax import words

_DEPTH_LIMIT = 100

# What smtpd needs to find in its lists before it starts (rcpt_required in smtpd_check.c).
_REJECTING = ("reject_unauth_destination", "defer_unauth_destination", "reject", "defer", "defer_if_permit",
              "check_relay_domains")
# Gone in Postfix 3.9: every client that gets to one of them is answered 451 (unknown restriction).
_GONE_IN_3_9 = ("permit_naked_ip_address", "check_relay_domains", "reject_maps_rbl")


def unknown_names(version: str) -> tuple[str, ...]:
    """Old restrictions that this version of Postfix does not know any more."""
    numbers = [int(part) for part in version.split("-")[0].split(".")[:2] if part.isdigit()]
    return _GONE_IN_3_9 if numbers >= [3, 9] else ()


def why_down(service: Service) -> str:
    """Why smtpd refuses to start with its restrictions, else empty: an outage, not a hole."""
    classes = service.restriction_classes()
    undefined = [name for name, members in classes.items() if not members]
    if undefined:
        return f"restriction class `{undefined[0]}' needs a definition"
    gone = unknown_names(service.postfix.version)
    lists = [[w for w in words(service.value(n)) if w not in gone]
             for n in ("smtpd_recipient_restrictions", "smtpd_relay_restrictions")]
    if not any(_rejects_by_default(members, classes) for members in lists):
        return ("smtpd_relay_restrictions or smtpd_recipient_restrictions must have a working reject_unauth_destination "
                "or another restriction that rejects")
    return ""


def _rejects_by_default(restrictions: list[str], classes: dict[str, list[str]], depth: int = 0) -> bool:
    """has_required(): `permit` ends the search, a restriction after warn_if_reject does not count."""
    skip = False
    for word in restrictions:
        if skip:
            skip = False
        elif word.lower() == "warn_if_reject":
            skip = True
        elif word.lower() == "permit":
            return False
        elif word.lower() in _REJECTING:
            return True
        elif word in classes and depth < _DEPTH_LIMIT and _rejects_by_default(classes[word], classes, depth + 1):
            return True
    return False
