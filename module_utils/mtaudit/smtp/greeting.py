"""What a listener's greeting tells: the server's name, how far it may be used, and that a PROXY header is wanted."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .dialogue import Session
from .reply import Reply

_NAME = re.compile(r"([a-z0-9](?:[a-z0-9_.-]*[a-z0-9])?)(?=[\s,;]|$)", re.I)


def server_name(reply: Reply) -> str:
    """The name that a banner or an EHLO reply begins with; empty when its first word is not one."""
    found = _NAME.match(reply.lines[0] if reply.lines else "")
    name = found.group(1) if found else ""
    return name if "." in name or name.lower() == "localhost" else ""


def vouched(said: str, helo_name: str, local_domains: Sequence[str]) -> tuple[str, str]:
    """The server's name for envelopes and for HELO, as far as the inventory allows.

    A banner says what it likes: mail for a name in it may be routed to, or bounce to, somebody else's server. HELO is said to
    the server alone, so its own word is good enough there, if the inventory says anything about the server at all.
    """
    if helo_name:
        return helo_name, helo_name
    name = said.lower()
    at_home = any(name == domain.lower() or name.endswith("." + domain.lower()) for domain in local_domains if domain)
    return said if at_home else "", said if local_domains else ""


def offers(capabilities: Sequence[str], keyword: str) -> bool:
    """Whether an EHLO reply held the keyword."""
    return any(capability.split(" ")[0].upper() == keyword for capability in capabilities)


def may_want_proxy_header(session: Session) -> bool:
    """No banner; or, from Postfix, 421 after waiting 5 s for the header (smtpd_upstream_proxy_timeout)."""
    return session.banner is None or (session.banner.code == 421 and session.banner_wait_s > 3)


def proxy_header(source: str, destination: str, port: int) -> bytes:
    """A PROXY protocol header, version 1."""
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source.partition('%')[0]} {destination.partition('%')[0]} 40000 {port}\r\n".encode("ascii")
