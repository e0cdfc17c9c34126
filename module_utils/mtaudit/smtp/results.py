"""Turn the conclusions about a listener into findings and into the data that the module returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Optional

from ..finding import Evidence, Finding, Method, Status, Subject
from .battery import CONTROLS, Hole
from .listener import Listener
from .reach import listener_name
from .verdict import Answer, Conclusion, Observations, Verdict, View, device_hints, overall
from .wording import Meaning

STATUS = {
    Verdict.PROVEN_OPEN: Status.FAIL,
    Verdict.ACCEPTS: Status.FAIL,
    Verdict.ACCEPTS_BUT_DISCARDS: Status.INFORMATIONAL,
    Verdict.CLOSED: Status.PASS,
    Verdict.UNKNOWN: Status.UNKNOWN,
}
_WHAT = {
    Hole.PLAIN: "mail from a foreign sender to a foreign recipient",
    Hole.LOCAL_SENDER: "mail with a local sender to a foreign recipient",
    Hole.ROUTING: "mail whose recipient hides the real one to a foreign recipient",
    Hole.IDENTITY: "mail from a client that claims another address to a foreign recipient",
    Hole.AUTHENTICATED: "mail from a login with a foreign sender to a foreign recipient",
    Hole.OTHER_SENDER: "mail from a login with another user's sender to a foreign recipient",
    Hole.LOCAL_RECIPIENT: "mail with a local sender to a local recipient",
}


def findings_of(
    address: str, port: int, source_address: str, classes: Mapping[Hole, Conclusion], vantage: str, allow_foreign_senders: bool
) -> Iterator[Finding]:
    """One finding for each class of hole. The evidence names our own address: whether that one may relay is the site's to say."""
    name = listener_name(address, port)
    for hole, found in classes.items():
        status = STATUS[found.verdict]
        if status is Status.FAIL and hole is Hole.AUTHENTICATED and allow_foreign_senders:
            status = Status.INFORMATIONAL
        evidence: tuple[Evidence, ...] = ()
        if found.form is not None and status is not Status.PASS:
            evidence = (Evidence(Method.PROBE, f"{name} from {source_address}", _line(found.form)),)
        yield Finding(
            CONTROLS[hole],
            Subject("listener", name),
            status,
            _message(hole, found, vantage),
            Method.PROBE,
            evidence,
            found.conditions,
            found.reason if status is Status.UNKNOWN else "",
            found.verdict.value,
        )


def _line(answer: Answer) -> str:
    return f"{answer.form.envelope()} -> {answer.quote}"


def _message(hole: Hole, found: Conclusion, vantage: str) -> str:
    what = _WHAT[hole]
    verb = "accept" if hole is Hole.LOCAL_RECIPIENT else "relay"
    seen_from = f"seen from vantage {vantage}"
    if found.verdict is Verdict.PROVEN_OPEN:
        return f"relays {what}: a message reached the canary ({seen_from})"
    if found.verdict is Verdict.ACCEPTS:
        return f"accepts {what}; unconfirmed: {found.reason} ({seen_from})"
    if found.verdict is Verdict.ACCEPTS_BUT_DISCARDS:
        return f"accepts {what}, but delivers nothing ({seen_from})"
    if found.verdict is Verdict.CLOSED:
        return f"does not {verb} {what}" + (f": {found.reason}" if found.reason else "") + f" ({seen_from})"
    return f"could not find out whether it {verb}s {what} ({seen_from})"


def listener_result(
    target: str,
    address: str,
    port: int,
    seen: Observations,
    classes: Mapping[Hole, Conclusion],
    listener: Optional[Listener],
    message_tokens: list[str],
) -> dict[str, Any]:
    """Everything about one listener as plain data."""
    verdict = overall(classes)
    result: dict[str, Any] = {
        "name": target,
        "host": address,
        "port": port,
        "listener": listener_name(address, port),
        **_conclusion(verdict),
        "classes": {hole.value: _conclusion(found) for hole, found in classes.items()},
        "passed": [name for name, answer in seen.answers.items() if answer.meaning is Meaning.ACCEPTED],
        "forms": [_form(answer) for answer in seen.answers.values()],
        "unanswered": [form.name for form in seen.unanswered],
        "controls": {"positive": _control(seen.positive), "negative": _control(seen.negative)},
        "deliveries": [{"form": d.form.name, "outcome": d.outcome.value, "text": d.text} for d in seen.deliveries],
        "troubles": seen.troubles[-5:],
        "tokens": [listener.token, *message_tokens] if listener is not None else [],
    }
    if listener is not None:
        view = View(listener.banner, listener.capabilities)
        clean = listener.transcript.clean
        result.update(
            banner=listener.banner,
            capabilities=[clean(c) for c in listener.capabilities[:60]],
            capabilities_in_tls=[clean(c) for c in listener.capabilities_in_tls[:60]],
            device_hints=device_hints(view),
            source_address=listener.source_address,
            sender=listener.sender,
            helo=listener.mission.helo,
            costs=dict(vars(listener.costs)),
            dialogue=listener.transcript.lines,
        )
    return result


def _conclusion(found: Conclusion) -> dict[str, Any]:
    return {"verdict": found.verdict.value, "conditions": list(found.conditions), "reason": found.reason}


def _control(answer: Optional[Answer]) -> Optional[dict[str, Any]]:
    if answer is None:
        return None
    return {
        "meaning": answer.meaning.value,
        "stage": answer.stage,
        "code": answer.code,
        "enhanced": answer.enhanced,
        "text": answer.text,
    }


def _form(answer: Answer) -> dict[str, Any]:
    form = answer.form
    return {
        "name": form.name,
        "class": form.hole.value,
        "nmap": form.nmap,
        "mail_from": form.sender,
        "rcpt_to": form.recipient,
        "helo": form.helo,
        "tls": answer.in_tls,
        "stage": answer.stage,
        "code": answer.code,
        "enhanced": answer.enhanced,
        "text": answer.text,
        "meaning": answer.meaning.value,
    }
