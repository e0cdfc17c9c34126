"""Walk the restriction lists of an smtpd for one envelope: would it take the recipient, and which rule decides?

The order and meaning of the restrictions are those of src/smtpd/smtpd_check.c (generic_checks(), check_table_result()),
postconf(5) and access(5). What a client can satisfy at will (a resolvable sender, a proper HELO, not being on a blocklist) is not
counted as a barrier.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Optional

from ..address import LOOPBACK, Address, contains
from ..readers.postfix import Service
from ..readers.postfix_match import Item
from ..readers.postfix_model import RESTRICTION_LISTS
from ..readers.postfix_restrictions import ALLOWLISTS, BLOCKLISTS, POLICY, address_keys, domain_keys, mail_keys, statements
from ..readers.postfix_samples import FINGERPRINT, FOREIGN_RECIPIENT, FOREIGN_SENDER, HELO, STRANGERS
from ..readers.postfix_syntax import unbraced, words
from ..readers.postfix_tables import Table, TableProblem
from .relay_down import unknown_names
from .relay_logins import refuses_login

_RECURSION_LIMIT = 100

_SKIPPED_PREFIXES = ("reject_unknown_", "reject_invalid_", "reject_non_fqdn_", "reject_unlisted_", "reject_unverified_")
_SKIPPED = ("reject_unauth_pipelining", "reject_plaintext_session", "reject_multi_recipient_bounce", "reject_maps_rbl",
            "defer_if_reject", "permit_tls_clientcerts", "check_recipient_maps")
_DESTINATION_CHECKS = ("reject_unauth_destination", "defer_unauth_destination", "check_relay_domains")
# OK from these is refused by Postfix itself: "not allowed for security reasons" (forbid_allowlist()).
_NO_OK = tuple(f"check_{what}_{kind}_access" for what in ("client", "reverse_client_hostname", "helo", "sender", "recipient")
               for kind in ("a", "ns", "mx"))
# The controls that restrictions belong to by themselves, whatever else they are joined with.
_OWNERS = {"permit_mynetworks": "RELAY-01", "permit_mx_backup": "RELAY-11", "check_ccert_access": "RELAY-12"}


class Answer(Enum):
    """What a restriction, a list or the whole server says."""

    OK = "ok"
    REJECT = "reject"
    DUNNO = "dunno"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Rule:
    """The restriction that decided. `parameter` is the list it stands in, `where` and `entry` point at the line or table entry.

    `control` is the control that the rule belongs to; `doubt` says why an answer is unknown.
    """

    text: str
    parameter: str
    where: str = ""
    entry: str = ""
    control: str = "RELAY-03"
    doubt: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Envelope:
    """A client and what it says. `login` is its SASL name; the flags say what else is true of it."""

    address: Address = STRANGERS[0]
    name: str = "unknown"
    helo: str = HELO
    sender: str = FOREIGN_SENDER
    recipient: str = FOREIGN_RECIPIENT
    login: str = ""
    certificate: bool = False  # a client certificate from a trusted authority
    mx_backup: bool = False  # the recipient's domain names this host as a lower MX
    listed: bool = False  # on the DNS allowlists that the server asks
    blocked: frozenset[tuple[str, str]] = frozenset()  # restrictions that ask a blocklist, with their lists, that find it there


@dataclass(frozen=True)
class Outcome:
    """OK: the recipient is taken, by `rule`. REJECT, or UNKNOWN with the rule's doubt. `discarded`: taken and thrown away."""

    answer: Answer
    rule: Optional[Rule] = None


class _Deferred(Exception):
    """DISCARD or a server error: the evaluation ends here, and nothing is relayed."""


@dataclass
class _State:
    """What one list has met so far."""

    parameter: str
    doubts: list[Rule]
    accepted: Optional[Rule] = None
    defer_if_permit: bool = False
    depth: int = 0


class Walk:
    """Evaluates envelopes against one smtpd service. `resolver` is the trivial-rewrite that classifies domains for it."""

    def __init__(self, service: Service, resolver: Service) -> None:
        self.service = service
        self.resolver = resolver
        self.classes = service.restriction_classes()
        self.classes.setdefault(
            "reject_sender_login_mismatch",
            ["reject_authenticated_sender_login_mismatch", "reject_unauthenticated_sender_login_mismatch"],
        )
        self._lists = {name: words(service.value(name)) for name in RESTRICTION_LISTS}

    def outcome(self, envelope: Envelope) -> Outcome:
        """What becomes of the envelope's recipient. A recipient is taken only when no list rejects it."""
        permits: list[Rule] = []
        doubts: list[Rule] = []
        defer = False
        for parameter, restrictions in self._lists.items():
            state = _State(parameter, [])
            try:
                answer, rule = self._walk(restrictions, envelope, state)
            except _Deferred:
                return Outcome(Answer.REJECT)
            if answer is Answer.REJECT:
                return Outcome(Answer.REJECT, rule)
            defer = defer or state.defer_if_permit
            if answer is Answer.UNKNOWN:
                doubts += state.doubts
            elif parameter in ("smtpd_relay_restrictions", "smtpd_recipient_restrictions"):
                permits += [r for r in (rule, state.accepted) if r]
        if defer:
            return Outcome(Answer.REJECT)
        if doubts:
            return Outcome(Answer.UNKNOWN, doubts[0])
        # The rule that opens the door is the one that comes before a reject: a closing `permit` explains nothing.
        telling = [r for r in permits if r.text != "permit"] or permits
        return Outcome(Answer.OK, telling[0] if telling else Rule("end of the list", "smtpd_relay_restrictions"))

    def _walk(self, restrictions: list[str], envelope: Envelope, state: _State) -> tuple[Answer, Optional[Rule]]:
        """One list to its first decision. An unknown answer is followed: what comes after may decide the same either way."""
        state.depth += 1
        if state.depth > _RECURSION_LIMIT:
            raise _Deferred
        warn_only, may_permit, may_reject = False, False, False
        for word, argument in statements(restrictions, state.parameter):
            if word.lower() == "warn_if_reject":
                warn_only = True
                continue
            deferring = state.defer_if_permit
            answer, rule = self._restriction(word.lower(), word, argument, envelope, state)
            if answer is Answer.UNKNOWN:
                state.doubts += [rule] if rule and rule.doubt else []
                only_rejects = word.lower().startswith(("reject_", "defer_")) or word.lower() == "check_relay_domains"
                may_permit = may_permit or not only_rejects
                may_reject = may_reject or only_rejects or word in self.classes or word.lower().endswith("_access")
            elif answer is Answer.OK:
                return (Answer.UNKNOWN if may_reject else Answer.OK), rule
            elif answer is Answer.REJECT and not warn_only:
                return (Answer.UNKNOWN if may_permit else Answer.REJECT), rule
            if warn_only:
                state.defer_if_permit = deferring
            warn_only = False
        state.depth -= 1
        return (Answer.UNKNOWN if may_reject else Answer.DUNNO), None

    def _restriction(self, name: str, word: str, argument: str, envelope: Envelope,
                     state: _State) -> tuple[Answer, Optional[Rule]]:
        rule = Rule(f"{word} {argument}".strip(), state.parameter, self.service.origin(state.parameter))
        if (name, argument) in envelope.blocked:
            return Answer.REJECT, rule
        try:
            if name.startswith("check_") and name.endswith("_access"):
                return self._access(name, argument, envelope, state, rule)
            if name.endswith("sender_login_mismatch") and word not in self.classes:
                refused = refuses_login(name, self.service, envelope.login, envelope.sender)
                return (Answer.REJECT if refused else Answer.DUNNO), rule
            return self._simple(name, word, envelope, state, rule)
        except TableProblem as exc:
            control = _OWNERS.get(name, rule.control)
            return Answer.UNKNOWN, replace(rule, control=control, doubt=str(exc))

    def _simple(self, name: str, word: str, envelope: Envelope, state: _State, rule: Rule) -> tuple[Answer, Optional[Rule]]:
        if name in unknown_names(self.service.postfix.version):
            raise _Deferred
        if name == "permit":
            return Answer.OK, rule
        if name in ("reject", "defer"):
            return Answer.REJECT, rule
        if name == "defer_if_permit":
            state.defer_if_permit = True
            return Answer.DUNNO, None
        if name == "permit_mynetworks":
            return self._mynetworks(envelope, rule)
        if name == "permit_inet_interfaces":
            own = contains(LOOPBACK, envelope.address) or envelope.address in self.service.postfix.addresses
            return (Answer.OK if own else Answer.DUNNO), rule
        if name == "permit_sasl_authenticated":
            return (Answer.OK if envelope.login and self.service.on("smtpd_sasl_auth_enable") else Answer.DUNNO), rule
        if name == "permit_tls_all_clientcerts":
            return (Answer.OK if envelope.certificate else Answer.DUNNO), replace(rule, control="RELAY-12")
        if name == "permit_naked_ip_address":
            naked = bool(envelope.helo) and not envelope.helo.strip("0123456789.:")
            return (Answer.OK if naked else Answer.DUNNO), rule
        if name in ALLOWLISTS:
            return (Answer.OK if envelope.listed else Answer.DUNNO), rule
        if name in (*_DESTINATION_CHECKS, "permit_auth_destination", "permit_mx_backup"):
            return self._destination(name, envelope, state, rule)
        if name in POLICY:
            return Answer.UNKNOWN, replace(rule, doubt=f"depends on a policy service ({rule.text}), which was not asked")
        if name in _SKIPPED or name in (*BLOCKLISTS, "sleep") or name.startswith(_SKIPPED_PREFIXES):
            return Answer.DUNNO, None
        if word in self.classes:
            return self._walk(self.classes[word], envelope, state)
        raise _Deferred  # unknown smtpd restriction: 451 4.3.5 Server configuration error

    def _mynetworks(self, envelope: Envelope, rule: Rule) -> tuple[Answer, Optional[Rule]]:
        item = self.service.match_list("mynetworks").match_client(envelope.name, str(envelope.address))
        if item is None:
            return Answer.DUNNO, None
        entry = _item_place(self.service, "mynetworks", item, str(envelope.address))
        return Answer.OK, replace(rule, control="RELAY-01", entry=entry)

    def _destination(self, name: str, envelope: Envelope, state: _State, rule: Rule) -> tuple[Answer, Optional[Rule]]:
        accepted = self.accepts(envelope.recipient)
        if accepted and accepted.doubt:
            return Answer.UNKNOWN, accepted
        if name in ("reject_unauth_destination", "defer_unauth_destination"):
            if accepted:
                state.accepted = accepted
                return Answer.DUNNO, None
            return Answer.REJECT, rule
        if accepted:
            return Answer.OK, accepted
        if name == "permit_mx_backup" and envelope.mx_backup:
            return Answer.OK, replace(rule, control="RELAY-11")
        return (Answer.REJECT if name == "check_relay_domains" else Answer.DUNNO), rule

    def accepts(self, recipient: str) -> Optional[Rule]:
        """The domain list that makes the recipient's domain one of ours, in trivial-rewrite's order; a rule with a doubt when
        that cannot be known."""
        domain = recipient.rpartition("@")[2].lower()
        for parameter, control in (("mydestination", ""), ("virtual_alias_domains", "RELAY-05"),
                                   ("virtual_mailbox_domains", "RELAY-05"), ("relay_domains", "RELAY-04")):
            matches = self.resolver.match_list(parameter)
            rule = Rule(parameter, parameter, self.resolver.origin(parameter), control=control)
            try:
                item = matches.match_domain(domain) if parameter == "relay_domains" else matches.match_string(domain)
            except TableProblem as exc:
                return replace(rule, control=control or "RELAY-04", doubt=str(exc))
            if item:
                return replace(rule, text=f"{parameter} {item.text}", entry=_item_place(self.resolver, parameter, item, domain))
        return None

    def _access(self, name: str, spec: str, envelope: Envelope, state: _State, rule: Rule) -> tuple[Answer, Optional[Rule]]:
        if name in _NO_OK or name == "check_etrn_access":
            return Answer.DUNNO, None
        table = self.service.table(unbraced(spec))
        key = next((key for key in self._keys(name, table, envelope) if table.get(key) is not None), None)
        value = None if key is None else table.get(key)
        if key is None or value is None:
            return Answer.DUNNO, None
        rule = replace(rule, control=_OWNERS.get(name, rule.control), entry=f"{table.where(key)} -> {value}")
        answer, inner = self._result(value, envelope, state, rule)
        if name == "check_reverse_client_hostname_access" and answer is Answer.OK:
            raise _Deferred  # 451: not allowed for security reasons
        return answer, inner

    def _result(self, value: str, envelope: Envelope, state: _State, rule: Rule) -> tuple[Answer, Optional[Rule]]:
        """What a table's result means (access(5), ACCEPT and REJECT ACTIONS)."""
        action, _, rest = value.strip().partition(" ")
        action = action.upper()
        if action in ("DUNNO", "INFO", "WARN", "FILTER", "HOLD", "REDIRECT", "BCC", "PREPEND", "DEFER_IF_REJECT"):
            return Answer.DUNNO, None
        if action in ("REJECT", "DEFER") or (len(action) == 3 and action.isdigit() and action[0] in "45" and rest.strip()):
            return Answer.REJECT, rule
        if action in ("DISCARD", "HANGUP"):
            raise _Deferred
        if action == "DEFER_IF_PERMIT":
            state.defer_if_permit = True
            return Answer.DUNNO, None
        # All digits is what POP-before-SMTP writes; an empty result is OK as well.
        if action in ("OK", "RELAY", "") or value.strip().isdigit():
            return Answer.OK, rule
        if ":" in value:
            raise _Deferred  # "do not specify lookup tables inside SMTPD access maps"
        answer, inner = self._walk(words(value), envelope, state)
        if answer is Answer.OK and inner:
            inner = replace(inner, text=f"{rule.text} -> {inner.text}", entry=rule.entry if not inner.entry else inner.entry)
        return answer, inner

    def _keys(self, name: str, table: Table, envelope: Envelope) -> Iterator[str]:
        """The keys that Postfix looks up, in order."""
        partial = table.partial_keys
        parents = "smtpd_access_maps" in words(self.service.value("parent_domain_matches_subdomains"))
        if name == "check_client_access":
            yield from domain_keys(envelope.name, partial, parents)
            yield from address_keys(str(envelope.address), partial)
        elif name == "check_reverse_client_hostname_access":
            yield from domain_keys(envelope.name, partial, parents)
        elif name == "check_helo_access":
            yield from domain_keys(envelope.helo, partial, parents)
        elif name == "check_sender_access":
            if not envelope.sender:
                yield self.service.value("smtpd_null_access_lookup_key") or "<>"
            else:
                yield from mail_keys(envelope.sender, partial, parents)
        elif name == "check_recipient_access":
            yield from mail_keys(envelope.recipient, partial, parents)
        elif name == "check_sasl_access" and envelope.login:
            yield envelope.login
        elif name == "check_ccert_access" and envelope.certificate:
            yield FINGERPRINT


def _item_place(service: Service, parameter: str, item: Item, key: str) -> str:
    where = item.where or service.origin(parameter)
    return f"{where} {item.table.where(key)}" if item.table else f"{where} {item.text}"
