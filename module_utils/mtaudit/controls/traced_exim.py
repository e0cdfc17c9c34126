"""Controls on the header that Exim writes for people who log in: received_header_text, what ACLs add, what transports change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ..control import Site, control
from ..finding import Finding
from ..listeners import Listener
from ..readers.exim import Exim
from ..readers.exim_expand import Doubt, Expander, ForcedFailure, Known, Session
from ..readers.exim_syntax import Condition, Statement
from ..readers.submitted import ADDRESSES, HELO, LOGIN, NAME, Written
from .exim_login import each_port_with_logins
from .exim_paths import Finder
from .exim_ports import option, seen, subject
from .exim_walk import Trail, Walk
from .traced import Judge, hides_the_client, names_the_account

_STAGES = ("acl_smtp_mail", "acl_smtp_rcpt", "acl_smtp_predata", "acl_smtp_data")
_OUTSIDE = ("dnslookup", "manualroute", "ipliteral")  # routers to other hosts
_ACCOUNT = re.compile(r"authenticated_(?:id|sender)|sender_host_authenticated|authresults|auth[123]\b")


class _Adds(Walk):
    """Keeps what statements add to the header whose conditions before it hold."""

    def __init__(self, exim: Exim, session: Session) -> None:
        super().__init__(exim, session)
        self.added: list[str] = []
        self._unsure: list[Statement] = []

    def _holds(self, condition: Condition, verb: str, trail: Trail, depth: int) -> bool:
        statement = self.reached[-1][0]
        try:
            if condition.name == "add_header" and statement not in self._unsure:
                self.added.append(self._expander.expand(condition.value))
            return super()._holds(condition, verb, trail, depth)
        except Doubt:
            self._unsure.append(statement)
            raise


def _written(exim: Exim, session: Session) -> Iterator[Written]:
    """One for each transport to other hosts, where transports change headers."""
    try:
        text = _expand(exim, session, exim.options.get("received_header_text", ""))
        walk = _Adds(exim, session)
        for stage in _STAGES:
            walk.stage(stage)
        for options in _ways(exim):
            whole = [_expand(exim, session, options["headers_add"])] if options.get("headers_add") else []
            removed = re.split(r"[\s:]+", _expand(exim, session, options.get("headers_remove", "")).lower())
            yield Written("\n".join(([] if "received" in removed else [text]) + walk.added + whole))
    except (Doubt, ForcedFailure) as exc:
        yield Written(doubt=str(exc) or "received_header_text fails to expand")


def _ways(exim: Exim) -> Sequence[Mapping[str, str]]:
    """The options of the ways to other hosts that say something about headers."""
    found = [
        {**exim.config.transports.get(options.get("transport", ""), {}), **options}
        for options in exim.config.routers.values() if options.get("driver") in _OUTSIDE and options.get("transport")
    ]  # fmt: skip
    named: list[Mapping[str, str]] = [{n: one[n] for n in ("headers_add", "headers_remove") if n in one} for one in found]
    return [one for number, one in enumerate(named) if one not in named[:number]] or [{}]


def _expand(exim: Exim, session: Session, text: str) -> str:
    """With what is known once the message is there (specification, "Expansion variables")."""
    known = exim.known()
    host = f"{session.name} ([{session.address}] helo={session.helo})"
    later = {
        "sender_rcvhost": host, "sender_fullhost": f"{session.name} ({session.helo}) [{session.address}]", "sender_ident": "",
        "received_protocol": "esmtpsa", "tls_in_cipher_std": "TLS_AES_256_GCM_SHA384", "tls_in_ver": "TLS1.3", "tls_in_sni": "",
        "message_exim_id": "1xV5cl-00007S-0g", "message_id": "1xV5cl-00007S-0g", "received_for": "", "tod_full": "",
    }  # fmt: skip
    return Expander(Known({**known.variables, **later}, known.exists, known.lookup), session).expand(text)


def _judged(exim: Exim, port: Listener, site: Site, methods: Sequence[str], judge: Judge) -> Iterator[Finding]:
    written: list[Written] = []
    for family in port.families:
        session = Finder(exim, port, site).session(
            tls=True, login=LOGIN, method=methods[0], address=str(ADDRESSES[family]), name=NAME, helo=HELO
        )
        for one, other in zip(_written(exim, session), _written(exim, replace(session, login=f"other-{LOGIN[::-1]}"))):
            # An account's own token is as good as its name.
            opaque = one.text != other.text and LOGIN not in one.text
            written.append(replace(one, text=f"{one.text} ({LOGIN})") if opaque else one)
    adds = [(s, c) for acl in exim.config.acls.values() for s in acl for c in s.conditions if c.name == "add_header"]
    shown = [option(exim, "received_header_text"), *(seen(f"{exim.file} {s.where}", f"{s.verb} {c}") for s, c in adds)]
    unreached = next((c for _, c in adds if _ACCOUNT.search(c.value)), None)
    stranger = f"whether a message of a login comes to {unreached} is not known" if unreached else ""
    yield judge(subject(port), written, shown, stranger if judge is names_the_account else "")


@control("LOG-02", "exim")
@each_port_with_logins
def exim_names_the_account(exim: Exim, port: Listener, site: Site, methods: Sequence[str]) -> Iterator[Finding]:
    yield from _judged(exim, port, site, methods, names_the_account)


@control("INFO-03", "exim")
@each_port_with_logins
def exim_hides_the_client(exim: Exim, port: Listener, site: Site, methods: Sequence[str]) -> Iterator[Finding]:
    yield from _judged(exim, port, site, methods, hides_the_client)
