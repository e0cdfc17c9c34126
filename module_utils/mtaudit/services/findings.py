"""Turn what was seen of a listener into findings: one function for each control, facts in, a status with its evidence out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Callable, Optional

from ..certificate import Certificate, date_problem, name_problem
from ..finding import Evidence, Finding, Method, Status, Subject
from ..listeners import for_people
from ..mechanisms import PLAIN, weak, why_weak
from ..readers.local_users import ROLES
from .disclosed import disclosed_version
from .seen import Attempt, BareLf, Said, Seen, Service, Target, Trial
from .smtp_questions import MX_PORT

# Beside these, a token that is as good as a password (RFC 7628).
PLAINTEXT = frozenset({*PLAIN, "XOAUTH2", "OAUTHBEARER"})


class Look:
    """One listener that was looked at. `where` names both ends, for the evidence."""

    def __init__(
        self, target: Target, service: Service, seen: Seen, name: str, source: str, vantage: str, now: Optional[datetime] = None
    ) -> None:
        self.target, self.service, self.seen = target, service, seen
        self.subject = Subject("listener", name)
        self.where = f"{name} from {source or vantage}"
        self.address = name.rpartition(":")[0].strip("[]")
        self.source = source
        self._seen_from = f"seen from vantage {vantage}"
        self.now = now or datetime.now(timezone.utc)

    @property
    def is_smtp(self) -> bool:
        return self.service.protocol == "smtp"

    @property
    def tls_is_unknown(self) -> bool:
        """Whether there is TLS that we did not get into."""
        return self.seen.secure is None and (self.service.tls or bool(self.seen.clear and self.seen.clear.starttls))

    def why_no_tls(self) -> str:
        refused = str(self.seen.starttls) if self.seen.starttls else ""
        return self.seen.tls.problem or self.seen.tls.distrust or refused or self.seen.gave_up or _last(self.seen.troubles)

    def finding(self, status: Status, message: str, *evidence: object, reason: str = "") -> Finding:
        """The control's id is filled in by `findings_of`."""
        shown = tuple(Evidence(Method.PROBE, self.where, str(text)) for text in evidence if text)
        shown = () if status is Status.PASS else shown
        return Finding("", self.subject, status, f"{message} ({self._seen_from})", Method.PROBE, shown, reason=reason)

    def passed(self, message: str) -> Finding:
        return self.finding(Status.PASS, message)

    def fail(self, message: str, *evidence: object) -> Finding:
        return self.finding(Status.FAIL, message, *evidence)

    def unknown(self, message: str, reason: str, *evidence: object) -> Finding:
        why = self.seen.gave_up or reason or "the connection ended before"
        return self.finding(Status.UNKNOWN, message, *evidence, reason=why)

    def cut(self, name: str) -> str:
        return _last(self.seen.troubles) if name in self.seen.cut else ""


def _last(texts: list[str]) -> str:
    return texts[-1] if texts else ""


def findings_of(look: Look) -> Iterator[Finding]:
    """One finding at most for each control; about a listener that never spoke, that it could not be found out."""
    for control, answer in CONTROLS.items():
        found = _silent(look, control) if not look.seen.spoke else answer(look)
        if found is not None:
            yield Finding(
                control, found.subject, found.status, found.message, found.method, found.evidence, reason=found.reason
            )


def _silent(look: Look, control: str) -> Optional[Finding]:
    if control in ("AUTH-02", "RCPT-01", "RCPT-02") and not (look.is_smtp and look.service.port == MX_PORT):
        return None
    if control in ("INFO-01", "PATCH-02") and not look.is_smtp:
        return None
    return look.unknown("could not be looked at", look.seen.gave_up or _last(look.seen.troubles))


def _plain_logins(look: Look) -> Optional[Finding]:
    """AUTH-01."""
    if look.service.tls:
        return look.passed("speaks TLS from the first byte")
    clear, attempt = look.seen.clear, look.seen.in_clear
    if attempt.outcome is Trial.TAKEN:
        return look.fail("takes a password without TLS: the test login got in", attempt.said)
    if attempt.outcome is Trial.ASKED:
        return look.fail("asks for the password without TLS", attempt.said)
    offered = sorted(clear.mechanisms & PLAINTEXT) if clear else []
    if offered and attempt.outcome is Trial.REFUSED:
        text = f"offers {', '.join(offered)} without TLS and refuses it then: a client may have sent the password by that time"
        return look.finding(Status.INFORMATIONAL, text, *_offer(look, "before TLS"), attempt.said)
    if attempt.outcome is Trial.REFUSED:
        return look.passed("takes no password without TLS, offered or not")
    return look.unknown("could not find out whether a password is taken without TLS", look.cut("login") or attempt.reason)


def _offer(look: Look, where: str) -> Iterator[str]:
    offer = look.seen.clear if where == "before TLS" else look.seen.secure
    if offer is not None:
        where = "inside TLS" if look.service.tls else where
        yield f"offered {where}: {', '.join(sorted(offer.mechanisms)) or 'no login'}"


def _login_at_port_25(look: Look) -> Optional[Finding]:
    """AUTH-02."""
    if not (look.is_smtp and look.service.port == MX_PORT):
        return None
    for when, offer, attempt in (
        ("before TLS", look.seen.clear, look.seen.in_clear), ("after STARTTLS", look.seen.secure, look.seen.in_tls),
    ):  # fmt: skip
        if offer is not None and offer.mechanisms:
            return look.fail(f"offers AUTH {when}: {', '.join(sorted(offer.mechanisms))}", *_offer(look, when))
        if attempt.outcome in (Trial.ASKED, Trial.TAKEN):
            return look.fail(f"takes AUTH {when}, although it does not offer it", attempt.said)
    if look.tls_is_unknown:
        return look.unknown("offers no AUTH before TLS; could not look inside TLS", look.why_no_tls())
    open_ended = [a for a in _asked(look) if a.outcome is Trial.UNKNOWN]
    if open_ended:
        return look.unknown("offers no AUTH; could not find out whether it takes it", look.cut("login") or open_ended[0].reason)
    return look.passed("offers no AUTH, and takes none")


def _asked(look: Look) -> Iterator[Attempt]:
    if look.seen.clear is not None:
        yield look.seen.in_clear
    if look.seen.secure is not None:
        yield look.seen.in_tls


def _weak_mechanisms(look: Look) -> Optional[Finding]:
    """AUTH-05."""
    offers = [offer for offer in (look.seen.clear, look.seen.secure) if offer is not None]
    offered = frozenset(name for offer in offers for name in offer.mechanisms)
    bad = weak(sorted(offered))
    if bad:
        text = f"offers {', '.join(bad)}: {bad[0]} {why_weak(bad[0])}"
        return look.fail(text, *_offer(look, "before TLS"), *_offer(look, "after STARTTLS"))
    if look.tls_is_unknown:
        return look.unknown("could not look inside TLS for weak mechanisms", look.why_no_tls())
    if not offered:
        return look.finding(Status.NOTAPPLICABLE, "offers no login", reason="there is no mechanism to be weak")
    return look.passed(f"offers no weak mechanism: {', '.join(sorted(offered))}")


def _tls(look: Look) -> Optional[Finding]:
    """TLS-01: the worst of version, dates, names and trust.

    Other servers check neither and would take no encryption instead (RFC 7435): at their ports old versions and trust are told,
    and do not fail.
    """
    tls, certificate = look.seen.tls, look.seen.tls.certificate
    if look.seen.secure is None and not look.tls_is_unknown:
        return look.finding(Status.NOTAPPLICABLE, "offers no TLS", reason="what goes over it in clear is AUTH-01's")
    people = for_people(look.service.protocol, look.service.port)
    bad: list[str] = []
    told: list[str] = []
    doubts: list[str] = []
    if tls.old == "taken":
        (bad if people else told).append(f"takes {tls.old_version}")
    elif tls.old == "unknown":
        doubts.append(f"whether it takes TLS 1.1 or older: {tls.old_reason}")
    if certificate is None:
        doubts.append(f"its certificate: {tls.certificate_problem or look.why_no_tls() or 'none was seen'}")
    else:
        bad += _certificate_problems(look, certificate)
    if tls.trust == "untrusted":
        fails = look.target.untrusted_fails and people
        (bad if fails else told).append(f"its certificate is not trusted: {tls.distrust}")
    evidence = [_certificate_line(certificate)] if certificate else []
    if bad:
        return look.fail("; ".join(bad), *evidence)
    if doubts:
        return look.unknown("the TLS is not fully known", "; ".join(doubts), *evidence)
    return look.passed("; ".join([f"speaks {tls.version} with a certificate for {_first_name(certificate)}", *told]))


def _first_name(certificate: Optional[Certificate]) -> str:
    return next(iter(certificate.names if certificate else ()), "nobody")


def _certificate_line(certificate: Certificate) -> str:
    return f"certificate for {', '.join(certificate.names[:8]) or 'nobody'}, good until {certificate.not_after:%Y-%m-%d}"


def _certificate_problems(look: Look, certificate: Certificate) -> list[str]:
    """The names that clients may know the server by: its own, those declared, and any in a domain that it serves."""
    said = look.seen.banner.split(" ")[0] if look.is_smtp else ""
    names = (look.target.helo_name, said, *look.target.names)
    problems = (
        date_problem(certificate, look.now, look.target.expiry_days),
        name_problem(certificate, names, look.target.local_domains),
    )
    return [f"its certificate {problem}" for problem in problems if problem]


def _accounts(look: Look) -> Optional[Finding]:
    """INFO-01."""
    if not look.is_smtp:
        return None
    cut = ""
    for verb, name, answers in (("VRFY", "verify", look.seen.verify), ("EXPN", "expand", look.seen.expand)):
        if _tells_apart(answers):
            return look.fail(f"{verb} tells a mailbox that exists from one that does not", *answers.values())
        if not answers or (answers["known"].good and "random" not in answers) or answers["known"].code == 421:
            cut = cut or look.cut(name) or look.why_no_tls() or "not answered"
        elif _is_doubtful(look, answers):
            cut = cut or f"{verb} was refused for a mailbox that may not exist: declare one that does (known_recipient)"
    if cut:
        return look.unknown("could not find out what VRFY and EXPN tell", cut)
    return look.passed("VRFY and EXPN say the same whether a mailbox exists or not")


def _tells_apart(answers: Mapping[str, Said]) -> bool:
    known, random = answers.get("known"), answers.get("random")
    return bool(known and random and known.good and (known.code != random.code or known.enhanced != random.enhanced))


def _is_doubtful(look: Look, answers: Mapping[str, Said]) -> bool:
    """550 is the answer for a mailbox that is not there (RFC 5321, 3.5.3): without a declared one, ours may not be."""
    return not look.target.known_recipient and answers["known"].code in (550, 551, 553)


def _versions(look: Look) -> Optional[Finding]:
    """INFO-02."""
    offers = [offer for offer in (look.seen.clear, look.seen.secure) if offer]
    texts = [("greeting", look.seen.banner), ("HELP", look.seen.help.text.partition(" ")[2] if look.seen.help else "")]
    texts += [("capabilities", c) for offer in offers for c in offer.capabilities if "IMPLEMENTATION" in c.upper()]
    for where, text in texts:
        version = disclosed_version(text, (look.address, look.source))
        if version:
            return look.fail(f"its {where} says which version it is: {version}", text)
    if look.is_smtp and look.seen.help is None:
        reason = look.cut("help")
        return look.unknown("its greeting names no version; HELP was not answered", reason) if reason else look.passed(_SILENT)
    return look.passed(_SILENT)


_SILENT = "names no version"


def _unknown_recipients(look: Look) -> Optional[Finding]:
    """RCPT-01: of services that take mail from strangers."""
    answers = look.seen.recipients
    known, random, foreign = (answers.get(which) for which in ("known", "random", "foreign"))
    at_mx = look.service.port == MX_PORT
    if not look.is_smtp or (not at_mx and not (known and known.good)):
        return None
    if random is None:
        why = look.cut("recipients") or "no local domain is known to try a random mailbox in"
        return look.unknown("could not find out whether unknown recipients are refused", why)
    if known is None:
        return look.unknown("could not find out whether unknown recipients are refused",
                            "no mailbox that exists is declared (known_recipient)", random)
    if not known.good:
        return look.unknown("refuses the mailbox that exists, too", f"the known recipient was refused: {known.text}", known)
    if random.good and foreign is not None and foreign.good:
        text = "takes mail for every address, of other domains, too: the controls on relaying say so"
        return look.finding(Status.INFORMATIONAL, text, random, foreign)
    if random.good:
        return look.fail("takes mail for a mailbox that does not exist, and must bounce it", random, known)
    if random.code < 500:
        if _is_unknown_user(random):
            text = "puts off mail for a mailbox that does not exist: senders try again for days"
            return look.finding(Status.INFORMATIONAL, text, random)
        return look.unknown("could not find out whether unknown recipients are refused", f"put off: {random.text}", random)
    return look.passed("refuses a mailbox that does not exist at RCPT")


def _is_unknown_user(said: Said) -> bool:
    text = said.text.lower()
    return said.enhanced.endswith(".1.1") or any(words in text for words in ("user unknown", "unknown user", "no such user"))


def _role_mailboxes(look: Look) -> Optional[Finding]:
    """RCPT-02: of services that take mail from strangers. A mailbox for everything takes these as well, whoever reads it."""
    if not look.is_smtp or look.service.port != MX_PORT:
        return None
    answers = look.seen.recipients
    roles, known, random = [answers.get(role) for role in ROLES], answers.get("known"), answers.get("random")
    said = [answer for answer in roles if answer is not None]
    if len(said) < len(ROLES):
        why = look.cut("recipients") or "no local domain is known to ask for them in"
        return look.unknown("could not find out whether mail for postmaster and abuse is taken", why)
    refused = [answer for answer in said if answer.code >= 500]
    if refused and known is not None and known.good:
        return look.fail(f"refuses mail for {', '.join(_asked_for(answer) for answer in refused)}", *refused)
    if not all(answer.good for answer in said):
        why = "the mailbox that exists was refused as well" if known else "no mailbox that exists is declared (known_recipient)"
        why = next((f"put off: {answer.text}" for answer in said if 400 <= answer.code < 500), why)
        return look.unknown("could not find out whether mail for postmaster and abuse is taken", why, *said)
    if random is not None and random.good:
        why = "every mailbox is taken: that these are says nothing"
        return look.unknown("could not find out whether mail for postmaster and abuse is read", why, random)
    return look.passed("takes mail for postmaster and abuse")


def _asked_for(said: Said) -> str:
    return said.question.partition("<")[2].rstrip(">")


def _smuggling(look: Look) -> Optional[Finding]:
    """PATCH-02."""
    smuggled = look.seen.smuggled
    if not look.is_smtp:
        return None
    if smuggled.outcome is BareLf.TAKEN:
        return look.fail(f"takes {smuggled.ending} for the end of a message: a second one can hide behind it", smuggled.said)
    if smuggled.outcome is BareLf.UNKNOWN:
        return look.unknown("whether a message can end at a bare LF", look.cut("smuggle") or smuggled.reason)
    if smuggled.outcome is BareLf.REFUSED:
        return look.passed("refuses a message with a false end and a command behind it")
    return look.passed("ends a message at CR LF . CR LF only")


CONTROLS: Mapping[str, Callable[[Look], Optional[Finding]]] = {
    "AUTH-01": _plain_logins, "AUTH-02": _login_at_port_25, "AUTH-05": _weak_mechanisms, "TLS-01": _tls, "INFO-01": _accounts,
    "INFO-02": _versions, "RCPT-01": _unknown_recipients, "RCPT-02": _role_mailboxes,
    "PATCH-02": _smuggling,
}  # fmt: skip
