"""Which answers of a blocklist are listings, of the lists of which that is known (docs.spamhaus.com, "DNSBL return codes")."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..config.files import ConfigError

_WITH_A_KEY = re.compile(r"(?:zen|dbl)\.dq\.spamhaus\.net")  # a name that nobody may ask as it is
# SBL, CSS, XBL, DROP and PBL; of the DBL spam, phishing, malware and botnets, and not what is good and abused (127.0.1.102 on).
ANSWERS = {
    "zen": tuple(f"127.0.0.{n}" for n in (2, 3, 4, 5, 6, 7, 9, 10, 11)),
    "dbl": tuple(f"127.0.1.{n}" for n in (2, 4, 5, 6)),
}


def kind_of(name: str) -> str:
    """`zen`, `dbl`; empty for a list whose answers are not known."""
    return "" if _WITH_A_KEY.fullmatch(name) else next((k for k in ANSWERS if re.search(rf"(?:^|\.){k}\.", name)), "")


def first_known(names: Sequence[str]) -> str:
    """The list to ask. Raises ConfigError."""
    found = next((name for name in names if kind_of(name)), "")
    if not found:
        raise ConfigError(f"Could not ask a blocklist: which answers of {', '.join(names)} are listings is not known")
    return found
