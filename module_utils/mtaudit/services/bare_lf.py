"""Does a message end where CR LF . CR LF does not stand? Then a second one can hide in the first (CVE-2023-51764 and its kin)."""

from __future__ import annotations

import secrets
from typing import Callable

from ..smtp.dialogue import Session
from ..smtp.message import composed
from .seen import BareLf, Mission, Said, Smuggled

ENDINGS = {"LF . LF": b"\n.\n", "LF . CR LF": b"\n.\r\n", "CR LF . LF": b"\r\n.\n"}
_LINE = b"The next line ends this message only where line ends are not checked."
# What would hide there. A server may end a message at a bare LF and yet take nothing that comes with its end (OpenSMTPD).
_HIDDEN = b"NOOP\r\n"
WAIT_S = 2.0  # a server that took the message says so at once


async def smuggle(session: Session, sender: str, mission: Mission, clean: Callable[[str], str]) -> Smuggled:
    """Send one message to the canary: each of the false ends with a command behind, then the true end. Raises SessionEnded."""
    session.delivering = True
    opened = await session.commands([f"MAIL FROM:<{sender}>", f"RCPT TO:<{mission.canary}>"])
    opened += await session.commands(["DATA"]) if all(reply.accepted for reply in opened) else []
    if opened[-1].code != 354:
        told = next(reply for reply in opened if not reply.accepted)
        return Smuggled(reason=f"the canary is not taken from the test login: {clean(str(told))}")
    await session.piece(_content(sender, mission), "(message)", 0)
    for name, ending in ENDINGS.items():
        reply = await session.piece(_LINE + ending + _HIDDEN, f"{name} NOOP", WAIT_S)
        if reply is not None:
            said = Said(name, clean(str(reply)), reply.code, reply.enhanced)
            return Smuggled(BareLf.TAKEN if reply.accepted else BareLf.REFUSED, name, said, "")
    end = await session.message("\r\n")
    said = Said("CR LF . CR LF", clean(str(end)), end.code, end.enhanced)
    return Smuggled(BareLf.IGNORED if end.accepted else BareLf.REFUSED, "", said, "")


def _content(sender: str, mission: Mission) -> bytes:
    token = f"{mission.tag}-{secrets.token_hex(8)}"
    about = "This message tests whether a mail server ends messages where it should."
    body = [f"{about} It was sent by the server's owner with mtaudit."]
    content = composed(token, mission.canary, "mtaudit line end test", body, sender.rpartition("@")[2], sender)
    return content.encode("ascii", "replace")
