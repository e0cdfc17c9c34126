"""How clients may log in to Sendmail: what a port offers them, with which mechanisms, inside TLS and before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from ..address import Network, parse_network, routed_parts
from ..control import Site
from ..finding import Evidence
from ..listeners import Listener
from ..readers.sasl import banned
from ..readers.sendmail import Sendmail
from ..readers.sendmail_features import Features, features
from ..readers.sendmail_questions import Questions
from .sendmail_ports import seen

_RULESET = "srv_features"
# What is offered where AuthMechanisms does not say (conf.h; tried on 8.17.1.9 and 8.18.1).
_USUAL = "EXTERNAL GSSAPI KERBEROS_V4 DIGEST-MD5 CRAM-MD5"
# The letters of AuthOptions that take mechanisms away, and what they are to SASL (Operation Guide, AuthOptions).
_OPTIONS = {"p": "plaintext", "a": "active", "d": "dictionary", "y": "anonymous"}


@dataclass(frozen=True)
class Client:
    """Whom a port offers something of their own: `whom` is empty for strangers, else a network or a domain."""

    whom: str
    features: Features

    @property
    def clients(self) -> tuple[str, ...]:
        return (self.whom,) if self.whom else ()

    @property
    def named(self) -> str:
        return f" from {self.whom}" if self.whom else ""


def clients(sendmail: Sendmail, listener: Listener, site: Site) -> Iterator[Client]:
    """Strangers, over each family of the port, and those whom the access map gives features of their own."""
    questions = Questions(sendmail, sendmail.daemon_of(listener))
    if _RULESET not in sendmail.cf.rules:
        yield Client("", Features())
        return
    outside = questions.unasked(_RULESET)
    if outside:
        doubt = f"srv_features asks something outside of Sendmail, the map {outside}, which was not contacted"
        yield Client("", Features(doubt=doubt))
        return
    own = [parse_network(str(address)) for address in sendmail.addresses]
    for whom, question in questions.offers(_RULESET):
        network = _network(whom)
        family = "ipv6" if question.address.startswith("IPv6:") else "ipv4"
        outsiders = network is None or bool(routed_parts(network, (*site.trusted_networks, *own)))
        if family in listener.families and outsiders:
            yield Client(whom, features(sendmail.told(question)))


def _network(whom: str) -> Optional[Network]:
    try:
        return parse_network(whom)
    except ValueError:
        return None


def offers_login(sendmail: Sendmail, listener: Listener, client: Client) -> bool:
    """Whether AUTH is answered: M=A takes it away from a port; `a` and `A` of srv_features have the last word."""
    if "SASLv2" not in sendmail.compiled or not mechanisms(sendmail, client, tls=True) and not sendmail.sasl.doubt:
        return False
    if client.features.given("A"):
        return False
    return client.features.given("a") or sendmail.daemon_of(listener).login_offered


def no_login(sendmail: Sendmail, listener: Listener) -> str:
    """Why nobody can log in here."""
    if "SASLv2" not in sendmail.compiled:
        return "Sendmail was built without SASL"
    if not sendmail.daemon_of(listener).login_offered:
        return "DaemonPortOptions has M=A"
    return "no mechanism is left, or srv_features says A"


def mechanisms(sendmail: Sendmail, client: Client, tls: bool) -> list[str]:
    """What a session is offered: AuthMechanisms, as far as SASL has them and AuthOptions leave them; without SASL's answer all of
    them. EXTERNAL is for clients with a certificate."""
    wanted = sendmail.cf.option("AuthMechanisms", _USUAL).upper().replace(",", " ").split()
    known = sendmail.sasl.mechanisms
    names = [name for name in dict.fromkeys(wanted) if (known is None or name in known) and name != "EXTERNAL"]
    options = sendmail.cf.option("AuthOptions")
    flags = {flag for letter, flag in _OPTIONS.items() if letter in options}
    # `p` counts outside TLS only; C of srv_features takes it back, c asks for it.
    if tls or client.features.given("C"):
        flags.discard("plaintext")
    elif client.features.given("c"):
        flags.add("plaintext")
    gone = banned(names, flags)
    return [name for name in names if name not in gone]


def shown(sendmail: Sendmail, listener: Listener, client: Client) -> list[Evidence]:
    """Where that is written."""
    daemon = sendmail.daemon_of(listener)
    found = [seen(f"{sendmail.file}:{daemon.line} DaemonPortOptions", daemon.text)]
    found += [seen(sendmail.origin(name), sendmail.cf.option(name) or "(unset)") for name in ("AuthOptions", "AuthMechanisms")]
    found.append(seen(sendmail.sasl.origin, " ".join(sendmail.sasl.mechanisms or ()) or sendmail.sasl.problem or "(nothing)"))
    if client.features.letters:
        found.append(seen("sendmail -bt srv_features", f"{client.whom or 'strangers'}: {client.features}"))
    return found
