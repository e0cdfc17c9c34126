"""The test login of a target, and how often it may be used."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Login:
    """A test login at a target. `sender` is its own address."""

    username: str
    password: str
    sender: str
    other_sender: str = ""
    cleartext: bool = False


@dataclass
class LoginBudget:
    """The test login of one target: one attempt at a time, and none after a refusal, so that no account is locked out."""

    refused: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
