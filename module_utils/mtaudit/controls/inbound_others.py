"""Controls on what Sendmail and OpenSMTPD ask blocklists: Sendmail's rules for who connects, and the scanner that mail passes.

Neither looks up a name by itself, and OpenSMTPD no address either: there it is the scanner, or a program in front, that does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial

from ..control import Site, control
from ..finding import Finding
from ..listeners import Listener
from ..readers.opensmtpd import OpenSmtpd
from ..readers.sendmail import Sendmail
from ..readers.sendmail_cf import Rule
from . import opensmtpd_ports, sendmail_ports
from .blocklists import Zone
from .filtered_mail import strangers_of_opensmtpd, strangers_of_sendmail
from .filtering import Way, judged
from .inbound import Use, of_addresses, of_names
from .sendmail_ports import seen

# One token, some, any number (Sendmail Installation and Operation Guide, 5.1.1).
_TOKENS = {"$-": "[^.]+", "$+": ".+", "$*": r"(?:\b.*\b|)"}
# What FEATURE(`dnsbl') and FEATURE(`enhdnsbl') make (cf/feature/dnsbl.m4, enhdnsbl.m4 of 8.17 and 8.18).
_ASKED = re.compile(r"\$\(\s*\w+\s+\$4\.\$3\.\$2\.\$1\.(\S+?)\.?\s+\$:")


@control("INB-01", "sendmail", scanner=True)
@sendmail_ports.each_listener
def addresses_of_sendmail(sendmail: Sendmail, port: Listener, site: Site) -> Iterator[Finding]:
    uses = list(lists_of(sendmail))
    yield from judged(strangers_of_sendmail(sendmail, port, site), site, partial(_addresses, uses))


@control("INB-02", "sendmail", scanner=True)
@sendmail_ports.each_listener
def names_of_sendmail(sendmail: Sendmail, port: Listener, site: Site) -> Iterator[Finding]:
    yield from judged(strangers_of_sendmail(sendmail, port, site), site, _names)


@control("INB-01", "opensmtpd", scanner=True)
@opensmtpd_ports.each_listener
def addresses_of_opensmtpd(smtpd: OpenSmtpd, port: Listener, site: Site) -> Iterator[Finding]:
    yield from judged(strangers_of_opensmtpd(smtpd, port, site), site, partial(_addresses, ()))


@control("INB-02", "opensmtpd", scanner=True)
@opensmtpd_ports.each_listener
def names_of_opensmtpd(smtpd: OpenSmtpd, port: Listener, site: Site) -> Iterator[Finding]:
    yield from judged(strangers_of_opensmtpd(smtpd, port, site), site, _names)


def _addresses(uses: Sequence[Use], way: Way, site: Site) -> Iterator[Finding]:
    yield from of_addresses(way.subject, uses, way.filters, site, way.shown)


def _names(way: Way, site: Site) -> Iterator[Finding]:
    yield from of_names(way.subject, {}, way.filters, site, way.shown)


def lists_of(sendmail: Sendmail) -> Iterator[Use]:
    """The lists that check_relay asks; the rules behind each say which answers refuse."""
    for rules in sendmail.cf.reached("check_relay", "check_rcpt").values():
        asking = [number for number, rule in enumerate(rules) if _ASKED.search(rule.right)]
        for number, end in zip(asking, [*asking[1:], len(rules)]):
            rule, answers = rules[number], _refused(rules[number + 1 : end])
            match = _ASKED.search(rule.right)
            zone = Zone(match.group(1).lower() if match else "", partial(_listed, answers))
            idle = "" if answers else "no rule refuses what it answers"
            yield Use(zone, seen(sendmail.where(rule), f"{rule.left} {rule.right}"), idle)


def _refused(rules: Sequence[Rule]) -> list[str]:
    """The answers that end in an error, as patterns of Sendmail; `<TMP>` is a list that does not answer."""
    lefts = [rule.left.strip() for rule in rules if rule.right.lstrip().startswith("$#error")]
    return [left[3:].strip() for left in lefts if left.startswith("<?>") and "<TMP>" not in left]


def _listed(patterns: Sequence[str], answer: str) -> bool:
    """Several answers stand side by side since 8.18 (`$* 127.0.0.2. $*`); spaces between tokens say nothing."""
    written = ["".join(_TOKENS.get(part, re.escape(part)) for part in re.split(r"(\$[-+*])|\s+", p) if part) for p in patterns]
    return any(re.fullmatch(one, form) for one in written for form in (answer, f"{answer}."))
