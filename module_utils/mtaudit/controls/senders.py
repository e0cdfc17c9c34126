"""Who owns which sender, by a map from addresses to logins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

NOBODY = "mtaudit-nobody"  # a login, and a mailbox, that nobody has


def everybodys(owned: Mapping[str, Sequence[str]]) -> Optional[tuple[str, str]]:
    """A login and another's address of a map in which every login owns every address; None when it tells people apart."""
    logins = {login.lower() for names in owned.values() for login in names}
    if len(logins) < 2 or len(owned) < 2:
        return None
    if not all({name.lower() for name in names} == logins for names in owned.values()):
        return None
    address = list(owned)[0]
    return next((login, address) for login in sorted(logins) if login.partition("@")[0] != address.partition("@")[0])
