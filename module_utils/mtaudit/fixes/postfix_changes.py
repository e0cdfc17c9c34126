"""What fixes of Postfix have in common: the ports that fail, and parameters put right where they are set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Optional

from ..config.postfix import Wanted
from ..finding import Finding
from ..readers.postfix import Postfix, Service, SmtpService
from ..readers.postfix_syntax import words

NOTHING = Wanted()


def failing(postfix: Postfix, findings: Sequence[Finding]) -> list[SmtpService]:
    """The ports that the findings are about."""
    names = {finding.subject.name for finding in findings if finding.subject.kind == "listener"}
    return [smtp for smtp in postfix.smtp_services() if smtp.listener in names]


def services(ports: Iterable[SmtpService]) -> list[Service]:
    """The smtpd of each, once."""
    return list({smtp.smtpd.label: smtp.smtpd for smtp in ports}.values())


def put_right(service: Service, name: str, value: Optional[str]) -> Wanted:
    """The parameter as it shall be for a service: an override of it goes, so that main.cf counts; else main.cf is changed."""
    if name in service.overrides:
        return Wanted(options={service.label: {name: None}})
    return Wanted(parameters={name: value})


def for_service(service: Service, name: str, value: Optional[str]) -> Wanted:
    """The parameter for this service alone."""
    return Wanted(options={service.label: {name: value}})


def set_here(service: Service, name: str, value: Optional[str]) -> Wanted:
    """The parameter changed in the place where it is set for a service."""
    return for_service(service, name, value) if name in service.overrides else Wanted(parameters={name: value})


def as_written(service: Service, name: str) -> str:
    """A list as it stands there, unless a variable stands for whole items of it."""
    raw = service.raw(name) or ""
    return service.value(name) if any(word.lstrip("!").startswith("$") for word in words(raw)) else raw


def listed(service: Service, name: str, items: Sequence[str]) -> str:
    """The items as a list in the manner of the one that is there; one that holds commas cannot stand between commas."""
    commas = "," in (service.raw(name) or "") and not any("," in item for item in items)
    # In `check_client_access hash:x` a blank stands between the restriction and its argument.
    return (", " if commas else " ").join(items)


def together(wanted: Iterable[Wanted]) -> Optional[Wanted]:
    """All of them, one after the other; None for nothing."""
    found = reduce(lambda a, b: a.then(b), wanted, NOTHING)
    return None if found == NOTHING else found


def everywhere(name: str, value: Optional[str]) -> Callable[[Postfix, object, Sequence[Finding]], Optional[Wanted]]:
    """A fix that puts one parameter right for every port that fails."""

    def propose(postfix: Postfix, site: object, findings: Sequence[Finding]) -> Optional[Wanted]:
        ports = failing(postfix, findings)
        found = [put_right(service, name, value) for service in services(ports)]
        return together(found or [Wanted(parameters={name: value})])

    return propose
