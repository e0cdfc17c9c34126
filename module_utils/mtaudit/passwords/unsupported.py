"""Why a stored password cannot be compared with a guess on this host."""

from __future__ import annotations


class Unsupported(Exception):
    """The text says what is missing or malformed; no part of the password is in it."""
