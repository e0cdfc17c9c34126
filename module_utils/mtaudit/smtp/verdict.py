"""Conclude from what a listener answered whether it relays. Pure: observations in; verdict, conditions and reason out.

The rules are those of docs/verdicts.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Optional

from .battery import RELAYING, WITH_LOGIN, Form, Hole
from .wording import Meaning


class Verdict(str, Enum):
    """What the probe concluded about a listener or one class of hole there."""

    PROVEN_OPEN = "proven_open"
    ACCEPTS = "accepts"
    ACCEPTS_BUT_DISCARDS = "accepts_but_discards"
    UNKNOWN = "unknown"
    CLOSED = "closed"


# The verdict on a listener is the first of these that one of its classes has.
_GRAVITY = [Verdict.PROVEN_OPEN, Verdict.ACCEPTS, Verdict.ACCEPTS_BUT_DISCARDS, Verdict.UNKNOWN, Verdict.CLOSED]
REFUSALS = (Meaning.REFUSED, Meaning.RELAY_DENIED, Meaning.AUTH_REQUIRED)
_FOR_LATER = (Meaning.TEMPORARY, Meaning.OVERLOADED, Meaning.TLS_REQUIRED)
_CONCLUSIVE = (Meaning.RELAY_DENIED, Meaning.AUTH_REQUIRED)


class Outcome(str, Enum):
    """What became of a message that was sent through an accepted form."""

    ARRIVED = "arrived"
    MISSING = "missing"
    REFUSED = "refused"  # 5xx at DATA or after the dot
    PUT_OFF = "put_off"  # 4xx there, or the session died
    UNASKED = "unasked"  # sent, but the canary could not be asked


@dataclass(frozen=True)
class Answer:
    """What the server said to one form (or control), at which command."""

    form: Form
    meaning: Meaning
    code: int
    enhanced: str = ""
    text: str = ""
    stage: str = "RCPT"
    in_tls: bool = False
    forward_path: str = ""  # of a 251 or 551: the address that the server says it would send to

    @property
    def quote(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced, self.text) if part)


@dataclass(frozen=True)
class Delivery:
    """One message through one form."""

    form: Form
    outcome: Outcome
    text: str = ""
    without_local_sender: bool = False  # the form's trick also worked with the foreign sender


@dataclass
class Observations:
    """Everything that one listener showed.

    `troubles` are the sessions that ended early, as sentences. `submission`: the listener is for clients that log in (port 465
    or 587, and it offers AUTH). `local_domains` are lower case. `identity_forms` are those that the listener gives an occasion
    for, `login_forms` those that the test login is to try. `canary` is the address that messages are sent to.
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    unanswered: list[Form] = field(default_factory=list)
    identity_forms: list[Form] = field(default_factory=list)
    login_forms: list[Form] = field(default_factory=list)
    canary: str = ""
    positive: Optional[Answer] = None
    negative: Optional[Answer] = None
    deliveries: list[Delivery] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    spoke: bool = False
    submission: bool = False
    tls_was_required: bool = False
    local_domains: tuple[str, ...] = ()
    no_delivery_reason: str = ""
    login: Optional[Answer] = None
    login_problem: str = ""
    gave_up: str = ""

    @property
    def trouble(self) -> str:
        return self.gave_up or (self.troubles[-1] if self.troubles else "was not asked to the end")

    def leads_elsewhere(self, answer: Answer) -> bool:
        """A 251 that names neither the recipient nor the canary: a local alias. One that names the canary is a relay."""
        return answer.forward_path.lower() not in ("", answer.form.recipient.lower(), self.canary.lower())

    def only_local(self, form: Form) -> bool:
        """The recipient may be a mailbox of the server's, and it takes mail for any: a message might reach somebody."""
        return form.may_be_local and self.negative is not None and self.negative.meaning is Meaning.ACCEPTED

    def missing(self, hole: Hole) -> list[Form]:
        """The forms of a class that should have an answer and have none."""
        listed = (*self.unanswered, *self.identity_forms, *self.login_forms)
        open_ones = {form.name: form for form in listed if form.hole is hole}
        return [form for name, form in open_ones.items() if name not in self.answers]


@dataclass(frozen=True)
class Conclusion:
    """Verdict on one class of hole or on a listener. `form` is the envelope that decided, where one did."""

    verdict: Verdict
    conditions: tuple[str, ...] = ()
    reason: str = ""
    form: Optional[Answer] = None

    @property
    def is_open(self) -> bool:
        return self.verdict in (Verdict.PROVEN_OPEN, Verdict.ACCEPTS)


def conclude(seen: Observations) -> dict[Hole, Conclusion]:
    """The verdict on each class of hole."""
    plain = _class(seen, Hole.PLAIN)
    result = {Hole.PLAIN: plain}
    for_anybody = plain.is_open and not set(plain.conditions) - {"after_starttls"}
    for hole in (Hole.LOCAL_SENDER, Hole.ROUTING, Hole.IDENTITY):
        result[hole] = _class(seen, hole)
        if for_anybody and hole in (Hole.ROUTING, Hole.IDENTITY):
            result[hole] = Conclusion(Verdict.UNKNOWN, reason="relays for anybody, so tricks cannot be told apart")
        elif hole is Hole.IDENTITY and not _of(seen, hole) and not seen.missing(hole):
            result[hole] = _no_identity(plain)
    for hole in WITH_LOGIN:
        tried = seen.login is not None or seen.login_problem
        if _of(seen, hole) or tried and any(form.hole is hole for form in seen.login_forms):
            result[hole] = _authenticated(seen, hole)
    if _of(seen, Hole.LOCAL_RECIPIENT) or seen.missing(Hole.LOCAL_RECIPIENT):
        result[Hole.LOCAL_RECIPIENT] = _to_local(seen, for_anybody)
    return result


def overall(classes: Mapping[Hole, Conclusion]) -> Conclusion:
    """The verdict on a listener for clients without a login: that of its worst relaying class, with the fewest conditions."""
    found = [classes[hole] for hole in classes if hole in RELAYING]
    worst = min((c.verdict for c in found), key=_GRAVITY.index)
    return min((c for c in found if c.verdict is worst), key=lambda c: len(c.conditions))


def _of(seen: Observations, hole: Hole) -> list[Answer]:
    return [answer for answer in seen.answers.values() if answer.form.hole is hole]


def _class(seen: Observations, hole: Hole) -> Conclusion:
    answers = _of(seen, hole)
    delivery = next((d for d in reversed(seen.deliveries) if d.form.hole is hole and d.outcome is Outcome.ARRIVED), None)
    if delivery:
        return Conclusion(Verdict.PROVEN_OPEN, _conditions(seen, delivery), form=seen.answers.get(delivery.form.name))
    accepted = [a for a in answers if a.meaning is Meaning.ACCEPTED]
    judged = [_accepted(seen, answer) for answer in accepted]
    open_ones = [c for c in judged if c.verdict is not Verdict.CLOSED]
    if open_ones:
        return min(open_ones, key=lambda c: (_GRAVITY.index(c.verdict), len(c.conditions)))
    conclusion = _unasked(seen, hole, bool(answers)) or _refused(
        seen, [a for a in answers if a.meaning is not Meaning.ACCEPTED], bool(accepted)
    )
    if conclusion.verdict is Verdict.CLOSED and judged:
        return replace(conclusion, reason="; ".join(dict.fromkeys(c.reason for c in judged)), form=judged[0].form)
    return conclusion


def _to_local(seen: Observations, for_anybody: bool) -> Conclusion:
    """The forged sender to a local mailbox: RCPT is all that is tried, so its answer is the verdict."""
    if for_anybody:
        return Conclusion(Verdict.UNKNOWN, reason="relays for anybody, so no sender is held back")
    answers = _of(seen, Hole.LOCAL_RECIPIENT)
    taken = next((a for a in answers if a.meaning is Meaning.ACCEPTED), None)
    if taken:
        conditions = _conditions(seen, Delivery(taken.form, Outcome.UNASKED))
        return Conclusion(Verdict.ACCEPTS, conditions, "no message is sent there, so a refusal after DATA is not seen", taken)
    return _unasked(seen, Hole.LOCAL_RECIPIENT, bool(answers)) or _refused(seen, answers, False)


def _conditions(seen: Observations, delivery: Delivery) -> tuple[str, ...]:
    extra = ["after_starttls"] if seen.tls_was_required and "after_starttls" not in delivery.form.conditions else []
    if delivery.form.hole is Hole.ROUTING and delivery.form.nmap and not delivery.without_local_sender:
        extra.append("local_sender")
    return (*delivery.form.conditions, *extra)


def _accepted(seen: Observations, answer: Answer) -> Conclusion:
    """An accepted recipient whose message did not arrive."""
    form = answer.form
    delivery = next((d for d in reversed(seen.deliveries) if d.form.name == form.name), None)
    conditions = _conditions(seen, delivery or Delivery(form, Outcome.UNASKED))
    if seen.leads_elsewhere(answer):
        return Conclusion(Verdict.CLOSED, (), "is forwarded as a local alias", answer)
    if delivery and delivery.outcome is Outcome.REFUSED:
        return Conclusion(Verdict.CLOSED, (), f"accepted the recipient and refused the message: {delivery.text}", answer)
    if delivery and delivery.outcome is Outcome.PUT_OFF:
        return Conclusion(
            Verdict.UNKNOWN, (), f"accepted the recipient, but the message could not be sent: {delivery.text}", answer
        )
    if delivery and delivery.outcome is Outcome.MISSING:
        if form.may_be_local:
            return Conclusion(
                Verdict.CLOSED, (), "took the recipient for a mailbox of its own; nothing reached the canary", answer
            )
        return Conclusion(Verdict.ACCEPTS_BUT_DISCARDS, conditions, "took the message, but nothing reached the canary", answer)
    if seen.only_local(form):
        return Conclusion(
            Verdict.UNKNOWN, (), "takes any mailbox, perhaps this one; no message was sent, as it could reach somebody", answer
        )
    if seen.negative and seen.negative.meaning is Meaning.ACCEPTED:
        return Conclusion(
            Verdict.UNKNOWN, (), "accepts everything, a random mailbox as well, so only a delivery would tell", answer
        )
    if form.may_be_local and not _cannot_be_local(seen, form):
        return Conclusion(
            Verdict.UNKNOWN, (), "may have taken the recipient for a mailbox of its own; only a delivery would tell", answer
        )
    why = delivery.text if delivery else seen.no_delivery_reason
    return Conclusion(Verdict.ACCEPTS, conditions, f"delivery not confirmed: {why}" if why else "delivery was not tried", answer)


def _cannot_be_local(seen: Observations, form: Form) -> bool:
    """A random mailbox at the same domain was refused: then this one was not taken for a mailbox there."""
    domain = form.recipient.rpartition("@")[2].lower()
    return domain in seen.local_domains and seen.negative is not None and 500 <= seen.negative.code < 600


def _unasked(seen: Observations, hole: Hole, some_answers: bool) -> Optional[Conclusion]:
    """What was not asked, or not answered, was not refused: such a class is never closed."""
    if not seen.spoke:
        return Conclusion(Verdict.UNKNOWN, (), f"no answer: {seen.trouble}")
    blocked = next((a for a in (seen.positive, *_of(seen, hole)) if a and a.meaning is Meaning.BLOCKED), None)
    if blocked:
        return Conclusion(Verdict.UNKNOWN, (), f"prober blocked: {blocked.quote}", blocked)
    put_off = next((a for a in _of(seen, hole) if a.meaning in _FOR_LATER), None)
    if put_off:
        kind = {Meaning.OVERLOADED: "overloaded", Meaning.TLS_REQUIRED: "wants TLS first"}.get(
            put_off.meaning, "still put off after a retry"
        )
        return Conclusion(Verdict.UNKNOWN, (), f"{kind}: {put_off.quote}", put_off)
    missing = seen.missing(hole)
    if missing:
        total = len({form.name for form in missing} | {answer.form.name for answer in _of(seen, hole)})
        why = f"{len(missing)} of {total} envelopes have no answer: {seen.trouble}"
        return Conclusion(Verdict.UNKNOWN, (), why)
    if not some_answers:
        return Conclusion(Verdict.UNKNOWN, (), "none of its envelopes was asked")
    return None


def _refused(seen: Observations, answers: Sequence[Answer], some_accepted: bool) -> Conclusion:
    """A class of which every form was answered and none leads to the canary."""
    refusing_all = _refuses_everything(seen)
    if refusing_all:
        return refusing_all
    if some_accepted or (seen.positive and seen.positive.meaning is Meaning.ACCEPTED):
        return Conclusion(Verdict.CLOSED, form=answers[0] if answers else None)
    main = seen.answers.get("foreign_sender")
    if main is None:
        return Conclusion(Verdict.UNKNOWN, (), f"the plain envelope has no answer: {seen.trouble}")
    if main.meaning in _CONCLUSIVE:
        return Conclusion(Verdict.CLOSED, form=answers[0] if answers else main)
    if seen.positive is None:
        return Conclusion(
            Verdict.UNKNOWN, (), f"refuses, but without a known recipient it may refuse everything: {main.quote}", main
        )
    return Conclusion(Verdict.UNKNOWN, (), f"the known recipient is put off, too: {seen.positive.quote}", seen.positive)


def _refuses_everything(seen: Observations) -> Optional[Conclusion]:
    """The positive control was refused for good."""
    positive, main = seen.positive, seen.answers.get("foreign_sender")
    if positive is None or positive.meaning not in REFUSALS:
        return None
    if main is not None and main.meaning in REFUSALS:
        if positive.meaning is Meaning.AUTH_REQUIRED and main.meaning is Meaning.AUTH_REQUIRED:
            return Conclusion(Verdict.CLOSED, (), f"takes mail only after a login: {main.quote}", main)
        if seen.submission:
            return Conclusion(
                Verdict.CLOSED, (), f"a submission service that refuses every client without a login: {main.quote}", main
            )
    return Conclusion(
        Verdict.UNKNOWN, (), f"refuses everything, or the prober is blocked: the known recipient got {positive.quote}", positive
    )


def _no_identity(plain: Conclusion) -> Conclusion:
    if plain.verdict is Verdict.UNKNOWN:
        return Conclusion(Verdict.UNKNOWN, reason=plain.reason)
    # A form that the server gives no occasion for is the one kind that may stay unasked.
    return Conclusion(Verdict.CLOSED, reason="offers no XCLIENT and expects no PROXY header")


def _authenticated(seen: Observations, hole: Hole) -> Conclusion:
    if seen.login_problem and not _of(seen, hole):  # a session that ended later takes nothing back
        return Conclusion(Verdict.UNKNOWN, (), seen.login_problem)
    if seen.login is None or seen.login.meaning is not Meaning.ACCEPTED:
        why = seen.login.quote if seen.login else seen.trouble
        return Conclusion(Verdict.UNKNOWN, (), f"the test login may not send even as itself: {why}", seen.login)
    # Here the positive control is the login's own sender; that unknown mailboxes are accepted without a login says nothing.
    return _class(replace(seen, positive=seen.login, negative=None), hole)


@dataclass(frozen=True)
class Place:
    """Where a listener is, as the cross-listener conditions need it. `port` is the declared one."""

    target: str
    version: int
    port: int


Classes = Mapping[Hole, Conclusion]


def with_place(listeners: Sequence[tuple[Place, Classes]]) -> list[dict[Hole, Conclusion]]:
    """Add `ipv6` where the same port over IPv4 was closed, and `port:N` where port 25 of the same target was closed."""
    places: dict[Place, list[Classes]] = {}
    for place, classes in listeners:
        places.setdefault(place, []).append(classes)
    return [{hole: _placed(place, hole, found, places) for hole, found in classes.items()} for place, classes in listeners]


def _placed(place: Place, hole: Hole, found: Conclusion, places: Mapping[Place, Sequence[Classes]]) -> Conclusion:
    if found.verdict in (Verdict.CLOSED, Verdict.UNKNOWN) or hole in WITH_LOGIN:
        return found

    def closed(others: Iterable[Place]) -> bool:
        verdicts = [classes[hole].verdict for other in others for classes in places.get(other, ()) if hole in classes]
        return bool(verdicts) and all(v is Verdict.CLOSED for v in verdicts)

    extra = []
    if place.version == 6 and closed([replace(place, version=4)]):
        extra.append("ipv6")
    if place.port != 25 and closed(replace(place, port=25, version=v) for v in (4, 6)):
        extra.append(f"port:{place.port}")
    return replace(found, conditions=(*found.conditions, *extra))


@dataclass(frozen=True)
class View:
    """What a listener shows of itself: banner text, and capability keywords before TLS."""

    banner: str
    capabilities: tuple[str, ...]


def device_hints(view: View) -> list[str]:
    """Signs of a device in between that one view alone shows."""
    hints = []
    text = view.banner.replace(" ", "")
    if len(text) >= 8 and sum(c in "X*" for c in text) >= 0.5 * len(text):
        hints.append("the banner is overwritten with X or *")
    if any(
        len(c) >= 4 and set(c.split(" ")[0]) <= set("X*") | {"A", "B", "C", "D"} and c.count("X") >= 4 for c in view.capabilities
    ):
        hints.append("a capability is overwritten with X")
    return hints


def compare_views(outside: View, inside: View) -> list[str]:
    """What an inside view of the same listener shows that the outside one does not: a device in between takes it away."""
    hints = device_hints(outside)
    shown = {c.split(" ")[0].upper() for c in outside.capabilities}
    offered = {c.split(" ")[0].upper() for c in inside.capabilities}
    hints += [
        f"{keyword} is offered inside but not outside" for keyword in ("STARTTLS", "PIPELINING") if keyword in offered - shown
    ]
    if outside.banner and inside.banner and not hints and _name(outside.banner) != _name(inside.banner):
        hints.append(
            f"the banner names {_name(outside.banner) or 'nobody'} outside and {_name(inside.banner) or 'nobody'} inside"
        )
    return hints


def _name(banner: str) -> str:
    return (banner.split() or [""])[0].lower()
