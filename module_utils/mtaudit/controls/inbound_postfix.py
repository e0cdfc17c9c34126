"""Controls on what a Postfix asks blocklists: postscreen's, smtpd's restrictions, and the milters that it calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from ..control import Site, control
from ..finding import Evidence, Finding, fail, informational, passed
from ..readers.local_users import NOBODY
from ..readers.postfix import Service, SmtpService
from ..readers.postfix_restrictions import POLICY, all_statements
from ..readers.postfix_syntax import unbraced, words
from .blocklists import Zone, no_answer, postfix_zone
from .inbound import Use, of_addresses, of_names
from .postfix_ports import each_listener, listener, seen, setting
from .relay_paths import stranger
from .relay_walk import Answer, Walk
from .scanners import Called, Kind, called, milter_place

_ADDRESS = ("reject_rbl_client", "reject_rbl")
_NAMES = {
    "sender": ("reject_rhsbl_sender",),
    "helo": ("reject_rhsbl_helo",),
    "rdns": ("reject_rhsbl_reverse_client", "reject_rhsbl_client"),
}
HARMLESS_POLICIES = ("spf", "quota", "grey", ":10023")  # what these services decide by is no blocklist


@control("INB-01", "postfix", scanner=True)
@each_listener
def connecting_addresses_are_looked_up(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    nothing = no_mail(smtp, site)
    if nothing:
        yield nothing
        return
    if smtp.postscreen:
        wrong = list(_threshold(smtp))
        yield from wrong
        if wrong:
            return
    uses = [*_postscreen(smtp), *_uses(smtp, site, _ADDRESS)]
    yield from of_addresses(listener(smtp), uses, [*filters(smtp, site), *_policies(smtp)], site, _places(smtp))


@control("INB-02", "postfix", scanner=True)
@each_listener
def names_are_looked_up(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    nothing = no_mail(smtp, site)
    if nothing:
        yield nothing
        return
    uses = {what: list(_uses(smtp, site, names)) for what, names in _NAMES.items()}
    yield from of_names(listener(smtp), uses, [*filters(smtp, site), *_policies(smtp)], site, _places(smtp))


def _places(smtp: SmtpService) -> list[Evidence]:
    """Where restrictions that ask lists stand."""
    return [setting(smtp.smtpd, name) for name in ("smtpd_client_restrictions", "smtpd_recipient_restrictions")]


def _recipient(smtp: SmtpService, site: Site) -> str:
    """A recipient that strangers' mail is for; empty when no domain's mail ends or passes here."""
    known = smtp.smtpd.postfix
    return next((f"{NOBODY}@{domain}" for domain in (*known.local_domains, *known.relayed_domains, *site.local_domains)), "")


def no_mail(smtp: SmtpService, site: Site) -> Optional[Finding]:
    """Why there is no stranger's mail to filter, or another control says what is wrong; None when there is."""
    walk, recipient = _walk(smtp), _recipient(smtp, site)
    if open_to_strangers(smtp, site):
        return informational(listener(smtp), "strangers relay here, whoever they are: another control says so")
    if not recipient or walk.outcome(stranger(smtp, site, recipient=recipient)).answer is Answer.REJECT:
        return passed(listener(smtp), "no stranger's mail is taken here")
    return None


def open_to_strangers(smtp: SmtpService, site: Site) -> bool:
    return _walk(smtp).outcome(stranger(smtp, site)).answer is Answer.OK


def _walk(smtp: SmtpService) -> Walk:
    return Walk(smtp.smtpd, smtp.smtpd.postfix.resolver(smtp.smtpd))


def _uses(smtp: SmtpService, site: Site, names: tuple[str, ...]) -> Iterator[Use]:
    """The lists that these restrictions ask, and whether a client that is listed there is refused."""
    smtpd = smtp.smtpd
    walk, recipient = _walk(smtp), _recipient(smtp, site)
    for word, argument in dict.fromkeys(all_statements(smtpd)):
        if word not in names or not argument:
            continue
        outcome = walk.outcome(stranger(smtp, site, recipient=recipient, blocked=frozenset({(word, argument)})))
        zone = postfix_zone(unbraced(argument))
        shown = seen(smtpd.origin(_parameter(smtp, word, argument)), f"{word} {argument}")
        if outcome.answer is Answer.OK:
            yield Use(zone, shown, "the restriction is never reached, or stands behind warn_if_reject")
        elif outcome.answer is Answer.UNKNOWN:
            yield Use(zone, shown, doubt=outcome.rule.doubt if outcome.rule else "it depends on what could not be evaluated")
        else:
            yield Use(zone, shown)


def _parameter(smtp: SmtpService, word: str, argument: str) -> str:
    """The list of restrictions that holds this one."""
    for name in (n for n in smtp.smtpd.postfix.parameters if n.startswith("smtpd_") and n.endswith("_restrictions")):
        found = [w.lower() if n == 0 else w for n, w in enumerate(words(smtp.smtpd.value(name)))]
        if argument in found and word in [w.lower() for w in found]:
            return name
    return "smtpd_restriction_classes"


def _weighted(smtp: SmtpService) -> list[tuple[Zone, int]]:
    """postscreen_dnsbl_sites: `zone[=pattern][*weight]` (postconf(5))."""
    found = []
    for word in words(smtp.front.value("postscreen_dnsbl_sites")):
        text, star, weight = unbraced(word).rpartition("*")
        number = weight.lstrip("-")
        plain = not star or not number.isdigit()
        found.append((postfix_zone(unbraced(word) if plain else text), 1 if plain else int(weight)))
    return found


def _limit(smtp: SmtpService) -> int:
    value = smtp.front.value("postscreen_dnsbl_threshold")
    return int(value) if value.isdigit() else 1


def _acts(smtp: SmtpService) -> bool:
    return smtp.front.value("postscreen_dnsbl_action").lower() in ("enforce", "drop")


def _evidence(smtp: SmtpService) -> list[Evidence]:
    names = ("postscreen_dnsbl_sites", "postscreen_dnsbl_threshold", "postscreen_dnsbl_action")
    return [setting(smtp.front, name) for name in names]


def _threshold(smtp: SmtpService) -> Iterator[Finding]:
    """Weights whose errors add up to the threshold refuse everybody; weights that do not reach it refuse nobody."""
    sites, limit = _weighted(smtp), _limit(smtp)
    if not sites or not _acts(smtp):
        return
    unfiltered = [(zone, weight) for zone, weight in sites if zone.errors and weight > 0]
    if sum(weight for _, weight in unfiltered) >= limit:
        named = ", ".join(str(zone) for zone, _ in unfiltered)
        error = unfiltered[0][0].errors[0]
        text = f"an error of {named} (such as {error}) reaches postscreen_dnsbl_threshold and refuses all mail"
        yield fail(listener(smtp), f"{text}: no reply filter", *_evidence(smtp))


def _postscreen(smtp: SmtpService) -> Iterator[Use]:
    if not smtp.postscreen:
        return
    sites, limit = [(zone, weight) for zone, weight in _weighted(smtp) if weight > 0], _limit(smtp)
    total = sum(weight for zone, weight in sites if not zone.closed)
    shown = seen("; ".join(e.where for e in _evidence(smtp)), "; ".join(e.text for e in _evidence(smtp)))
    for zone, weight in sites:
        if not _acts(smtp):
            yield Use(zone, shown, f"postscreen_dnsbl_action = {smtp.front.value('postscreen_dnsbl_action')} only logs")
        elif total < limit:
            yield Use(zone, shown, f"all lists together weigh {total}, postscreen_dnsbl_threshold is {limit}")
        elif zone.errors and weight < limit:
            yield Use(Zone(zone.name, no_answer), shown)  # an error alone does not reach the threshold
        else:
            yield Use(zone, shown)


def filters(smtp: SmtpService, site: Site) -> list[Called]:
    """The milters that this port calls."""
    smtpd = smtp.smtpd
    if "no_milters" in words(smtpd.value("receive_override_options")):
        return []
    if words(smtpd.value("smtpd_milter_maps")):
        reason = "a table says by the client's address which milters are called, and it was not read"
        return [Called("smtpd_milter_maps", setting(smtpd, "smtpd_milter_maps"), Kind.UNKNOWN, reason)]
    return milters(smtpd, site, "smtpd_milters")


def milters(service: Service, site: Site, name: str) -> list[Called]:
    """Those that a parameter names."""
    shown, directory = setting(service, name), service.value("queue_directory")
    found = [_address(word) for word in words(service.value(name))]
    return [called(site, address, milter_place(address, directory), shown, milter=True) for address in found]


def _address(word: str) -> str:
    return (words(unbraced(word)) or [""])[0] if word.startswith("{") else word


def _policies(smtp: SmtpService) -> Iterator[Called]:
    """Policy services may ask blocklists, as postfwd and policyd-weight do."""
    for word, argument in dict.fromkeys(all_statements(smtp.smtpd)):
        if word in POLICY and not any(name in argument.lower() for name in HARMLESS_POLICIES):
            shown = seen(smtp.smtpd.origin(_parameter(smtp, word, argument)), f"{word} {argument}")
            yield Called(argument, shown, Kind.UNKNOWN, f"what the policy service {argument} asks is not known")
