"""What was seen of one listener: facts for the findings, no judgement."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Optional

from ..smtp.evidence import Limits
from ..smtp.login import Login
from .tls import TlsSeen


class Trial(str, Enum):
    """What became of a login that was tried, advertised or not."""

    TAKEN = "taken"  # the test login was accepted
    ASKED = "asked"  # the server asked for the password; none was sent
    REFUSED = "refused"
    UNKNOWN = "unknown"


class BareLf(str, Enum):
    """Whether a message ends at a line that CR LF does not end (RFC 5321, 2.3.8 and 4.1.1.4)."""

    TAKEN = "taken"
    REFUSED = "refused"
    IGNORED = "ignored"  # the message went on until CR LF . CR LF
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Target:
    """A server, as the inventory has it. `names` are those that its certificate may carry, beside its own name."""

    name: str
    known_recipient: str = ""
    local_domains: tuple[str, ...] = ()
    helo_name: str = ""
    names: tuple[str, ...] = ()
    login: Optional[Login] = None
    expiry_days: int = 14
    untrusted_fails: bool = True


@dataclass(frozen=True)
class Mission:
    """What all listeners of one call share. `canary` is empty where no message may be sent; `foreign` is asked for at RCPT only;
    `no_old_tls` says why this host cannot ask for old TLS."""

    sender: str
    helo: str
    canary: str = ""
    no_message: str = "no canary is declared"
    tag: str = "mtaudit"
    no_old_tls: str = ""
    limits: Limits = field(default_factory=Limits)
    foreign: str = ""


@dataclass(frozen=True)
class Service:
    """A port and what is spoken there: smtp, imap, pop3 or sieve. `tls`: from the first byte."""

    port: int
    protocol: str = "smtp"
    tls: bool = False


@dataclass(frozen=True)
class Said:
    """A question and its answer, clean; `code` is 0 where the protocol has none."""

    question: str
    text: str
    code: int = 0
    enhanced: str = ""

    @property
    def good(self) -> bool:
        return 200 <= self.code < 300

    def __str__(self) -> str:
        return f"{self.question} -> {self.text}"


@dataclass(frozen=True)
class Offer:
    """What a service offers on a connection, in clear or inside TLS."""

    capabilities: tuple[str, ...]
    mechanisms: frozenset[str]
    starttls: bool = False


@dataclass
class Attempt:
    """A login that was tried: what became of it, and the answer that says so."""

    outcome: Trial = Trial.UNKNOWN
    said: Optional[Said] = None
    reason: str = "was not tried"


@dataclass
class Smuggled:
    """What became of the message with other line ends; `ending` is the one that was taken for its end."""

    outcome: BareLf = BareLf.UNKNOWN
    ending: str = ""
    said: Optional[Said] = None
    reason: str = "was not tried"


@dataclass
class Seen:
    """Everything about one listener. `clear` and `secure` are None where it did not come to that."""

    banner: str = ""
    clear: Optional[Offer] = None
    secure: Optional[Offer] = None
    in_clear: Attempt = field(default_factory=Attempt)
    in_tls: Attempt = field(default_factory=Attempt)
    starttls: Optional[Said] = None
    recipients: dict[str, Said] = field(default_factory=dict)  # "known", "random", "foreign", "postmaster", "abuse"
    verify: dict[str, Said] = field(default_factory=dict)
    expand: dict[str, Said] = field(default_factory=dict)
    help: Optional[Said] = None
    smuggled: Smuggled = field(default_factory=Smuggled)
    tls: TlsSeen = field(default_factory=TlsSeen)
    cut: list[str] = field(default_factory=list)  # questions that ended the connection
    troubles: list[str] = field(default_factory=list)
    logins: int = 0
    gave_up: str = ""

    @property
    def spoke(self) -> bool:
        return self.clear is not None or self.secure is not None
