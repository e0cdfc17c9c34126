"""The envelopes that the probe tries: forms as data, filled with the names of one server.

The forms with a number are those of nmap's smtp-open-relay.nse (7.93), in its order; the rest are ours. `f` is the sender's local
part, `F` its domain, `t` and `D` those of the canary, `S` the server's name where the inventory vouches for it, `I` its address
as a literal (RFC 5321 4.1.3, so IPv6 carries its tag), `L` a domain declared as its own, `l` a mailbox there, `H` the name that
the server gives itself, for HELO only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Optional


class Hole(str, Enum):
    """Class of hole: the ways in which a foreign message can get through."""

    PLAIN = "plain"
    LOCAL_SENDER = "local_sender"
    ROUTING = "routing"
    IDENTITY = "identity"
    AUTHENTICATED = "authenticated"
    OTHER_SENDER = "other_sender"
    LOCAL_RECIPIENT = "local_recipient"  # no relaying: a forged local sender to a local mailbox


# How a stranger's mail gets to a foreign recipient, and how that of a test login does. Messages are sent through these only.
RELAYING = (Hole.PLAIN, Hole.LOCAL_SENDER, Hole.ROUTING, Hole.IDENTITY)
WITH_LOGIN = (Hole.AUTHENTICATED, Hole.OTHER_SENDER)
# The control that owns each class (docs/architecture.md, "Classes of hole").
CONTROLS = {
    Hole.PLAIN: "RELAY-03",
    Hole.LOCAL_SENDER: "SENDER-03",
    Hole.ROUTING: "RELAY-10",
    Hole.IDENTITY: "RELAY-07",
    Hole.AUTHENTICATED: "RELAY-14",
    Hole.OTHER_SENDER: "SENDER-01",
    Hole.LOCAL_RECIPIENT: "SENDER-03",
}


@dataclass(frozen=True)
class Form:
    """One envelope. `conditions` is what it takes if it is the one that passes.

    `pilot` forms of a class are asked one at a time; the others, which are further spellings of the same tricks, together once
    every pilot was refused. `may_be_local`: the server may take the recipient for a mailbox of its own, so only an arrival proves
    relaying.
    """

    name: str
    hole: Hole
    sender: str
    recipient: str
    conditions: tuple[str, ...] = ()
    nmap: int = 0
    pilot: bool = True
    may_be_local: bool = False
    helo: str = ""
    tls: bool = False
    identity: str = ""

    def envelope(self) -> str:
        return f"MAIL FROM:<{self.sender}> RCPT TO:<{self.recipient}>" + (f" HELO {self.helo}" if self.helo else "")


@dataclass(frozen=True)
class Names:
    """What the templates are filled with.

    `S`, `L` and `H` may be empty: `S` stands in for `L`, and forms that need what is not there are left out.
    """

    f: str
    F: str
    t: str
    D: str
    S: str
    I: str  # noqa: E741 - nmap's letter
    L: str = ""
    l: str = "postmaster"  # noqa: E741
    H: str = ""


_FOREIGN, _CANARY, _LITERAL = "{f}@{F}", "{t}@{D}", "{f}@[{I}]"


def _routing(
    name: str, recipient: str, condition: str, nmap: int = 0, pilot: Optional[bool] = None, may_be_local: bool = False
) -> Form:
    # nmap's routing forms all come from the server's own literal; ours from the foreign sender, in case it is refused.
    return Form(
        name,
        Hole.ROUTING,
        _LITERAL if nmap else _FOREIGN,
        recipient,
        (condition,),
        nmap,
        not nmap if pilot is None else pilot,
        may_be_local,
    )


FORMS: tuple[Form, ...] = (
    Form("foreign_sender", Hole.PLAIN, _FOREIGN, _CANARY, nmap=2),
    Form("local_domain", Hole.LOCAL_SENDER, "{l}@{L}", _CANARY, ("local_sender",)),
    Form("null_sender", Hole.PLAIN, "", _CANARY, ("null_sender",), nmap=1),
    Form("server_name", Hole.LOCAL_SENDER, "{f}@{S}", _CANARY, ("local_sender",), nmap=3),
    Form("server_literal", Hole.LOCAL_SENDER, _LITERAL, _CANARY, ("local_sender",), nmap=4),
    _routing("percent", "{t}%{D}@{L}", "percent", may_be_local=True),
    _routing("quoted", '"{t}@{D}"@{L}', "quoted", may_be_local=True),
    _routing("bang", "{D}!{t}@{L}", "bang", may_be_local=True),
    _routing("source_route", "@{L}:{t}@{D}", "source_route"),
    # Recipients without a domain are mailboxes of its own to many a server: one of them is asked alone.
    _routing("quoted_bare", '"{t}@{D}"', "quoted", 7, pilot=True, may_be_local=True),
    _routing("percent_literal", "{t}%{D}@[{I}]", "percent", 5, may_be_local=True),
    _routing("percent_name", "{t}%{D}@{S}", "percent", 6, may_be_local=True),
    _routing("percent_bare", '"{t}%{D}"', "percent", 8, may_be_local=True),
    _routing("double_at_literal", "{t}@{D}@[{I}]", "double_at", 9, may_be_local=True),
    _routing("quoted_literal", '"{t}@{D}"@[{I}]', "quoted", 10, may_be_local=True),
    _routing("double_at_name", "{t}@{D}@{S}", "double_at", 11, may_be_local=True),
    _routing("source_route_literal", "@[{I}]:{t}@{D}", "source_route", 12),
    _routing("source_route_name", "@{S}:{t}@{D}", "source_route", 13),
    _routing("bang_bare", "{D}!{t}", "bang", 14, may_be_local=True),
    _routing("bang_literal", "{D}!{t}@[{I}]", "bang", 15, may_be_local=True),
    _routing("bang_name", "{D}!{t}@{S}", "bang", 16, may_be_local=True),
    Form("helo_name", Hole.PLAIN, _FOREIGN, _CANARY, ("helo_local",), helo="{H}"),
    Form("helo_literal", Hole.PLAIN, _FOREIGN, _CANARY, ("helo_local",), helo="[{I}]"),
    Form("inside_tls", Hole.PLAIN, _FOREIGN, _CANARY, ("after_starttls",), tls=True),
)
IDENTITY_FORMS: tuple[Form, ...] = (
    Form("xclient", Hole.IDENTITY, _FOREIGN, _CANARY, ("xclient",), identity="xclient"),
    Form("proxy_header", Hole.IDENTITY, _FOREIGN, _CANARY, ("proxy_header",), identity="proxy"),
)


FURTHER_DOMAINS = 3


def literal(address: str) -> str:
    """An address as it stands in the brackets of an address literal."""
    return f"IPv6:{address}" if ipaddress.ip_address(address.partition("%")[0]).version == 6 else address


def fill(forms: Sequence[Form], names: Names) -> list[Form]:
    """The forms with the names filled in; what comes out the same twice is asked once, under the first name."""
    filled: dict[tuple[str, str, str, bool, str], Form] = {}
    values = {**vars(names), "L": names.L or names.S}
    missing = [f"{{{letter}}}" for letter in "SLH" if not values[letter]]
    for form in forms:
        if (form.name == "local_domain" and not names.L) or _needs(form, missing):
            continue
        # replace() would take twice as long, for 24 forms and every listener.
        ready = Form(
            form.name,
            form.hole,
            form.sender.format(**values),
            form.recipient.format(**values),
            form.conditions,
            form.nmap,
            form.pilot,
            form.may_be_local,
            form.helo.format(**values),
            form.tls,
            form.identity,
        )
        key = (ready.sender, ready.recipient, ready.helo, ready.tls, ready.identity)
        if key not in filled:
            filled[key] = ready
    return list(filled.values())


def _needs(form: Form, missing: Sequence[str]) -> bool:
    return any(name in template for name in missing for template in (form.sender, form.recipient, form.helo))


def relayed_domain_forms(names: Names, domains: Sequence[str]) -> list[Form]:
    """The tricks at further domains of the server's: one that it only relays to may be the one it routes on from.

    Observed with Postfix: allow_untrusted_routing=yes lets `t%D@relayed` pass for a relay domain and not for a local one.
    """
    tricks = [form for form in FORMS if form.name in ("percent", "quoted", "bang")]
    forms = []
    for domain in domains[:FURTHER_DOMAINS]:
        filled = fill(tricks, replace(names, L=domain))
        forms += [replace(form, name=f"{form.name}_at_{domain}") for form in filled]
    return forms


def local_recipient_forms(names: Names, known_recipient: str) -> list[Form]:
    """The local sender of `local_domain` to a mailbox of the server's; none without either. The address holds no braces."""
    form = Form("local_recipient", Hole.LOCAL_RECIPIENT, "{l}@{L}", known_recipient, ("local_sender", "local_recipient"))
    return fill([form], names) if names.L and known_recipient else []


def authenticated_forms(names: Names, other_sender: str) -> list[Form]:
    """What a test login may not do: send as a stranger, or as another user. `other_sender` holds no braces."""
    forms = [Form("authenticated_foreign", Hole.AUTHENTICATED, _FOREIGN, _CANARY, ("authenticated",))]
    if other_sender:
        forms.append(Form("authenticated_other", Hole.OTHER_SENDER, other_sender, _CANARY, ("authenticated",)))
    return fill(forms, names)
