"""A message of somebody who logs in, only thought of: who that is, and what is known of the header that it gets."""

from __future__ import annotations

from dataclasses import dataclass

from .postfix_samples import FOREIGN_DOMAINS, STRANGERS

LOGIN = "mtaudit-login"
HELO = f"laptop.{FOREIGN_DOMAINS[0]}"
NAME = f"line.{FOREIGN_DOMAINS[1]}"  # of the client's address, by DNS
ADDRESSES = {family: next(a for a in STRANGERS if a.version == version) for family, version in (("ipv4", 4), ("ipv6", 6))}
CLIENT = (*map(str, ADDRESSES.values()), HELO, NAME)  # what tells where somebody was


@dataclass(frozen=True)
class Written:
    """What stands in the header when the message leaves, as far as it says where it comes from: `text`. `names` are the settings
    that decide it, `doubt` says why it is not known."""

    text: str = ""
    names: tuple[str, ...] = ()
    doubt: str = ""
