"""A change of one path as Ansible shows it: what is there, and what will be."""

from __future__ import annotations

import os
from typing import Optional, Union

from ..text import decode
from .places import Place

_SHOWN_BYTES = 256 * 1024


def diff(now: Place, content_now: str, then: Place, content_then: Union[str, bytes]) -> dict[str, str]:
    """The contents are paths, or the bytes. Text is shown only where everybody on the host may read it, before and after."""
    hidden = any(place.kind == "file" and not place.mode & 0o004 for place in (now, then)) or not _open_to_all(now.path)
    return {
        "before_header": now.path,
        "after_header": then.path,
        "before": _shown(now, content_now, hidden),
        "after": _shown(then, content_then, hidden),
    }


def is_public(path: str) -> bool:
    """Whether everybody on the host may read what is there now."""
    try:
        return bool(os.stat(path).st_mode & 0o004) and _open_to_all(path)
    except OSError:
        return False


def _open_to_all(path: str) -> bool:
    """Whether everybody may enter each directory above."""
    above = os.path.dirname(os.path.realpath(path))
    while True:
        try:
            if not os.stat(above).st_mode & 0o001:
                return False
        except FileNotFoundError:
            pass  # a transaction makes it for everybody
        except OSError:
            return False
        if above == "/":
            return True
        above = os.path.dirname(above)


def _shown(place: Place, content: Union[str, bytes], hidden: bool) -> str:
    """Its text, below a line on the rest."""
    if place.kind == "absent":
        return ""
    about = f"{place.kind} {place.mode:04o} {place.uid}:{place.gid}" + (f" -> {place.target}" if place.kind == "link" else "")
    if place.kind != "file":
        return f"({about})\n"
    if place.unread:
        return f"({about})\n"
    digest = f"(content not shown, SHA-256 {place.sha256[:16]})\n"
    text = None if hidden or place.size_bytes > _SHOWN_BYTES else _text(content)
    return f"({about})\n{digest if text is None else text}"


def _text(content: Union[str, bytes]) -> Optional[str]:
    if isinstance(content, str):
        try:
            with open(content, "rb") as file:
                content = file.read()
        except OSError:
            return None  # a damaged snapshot: nothing will be put back from it
    return None if b"\0" in content else decode(content)
