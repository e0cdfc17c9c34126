"""Controls on Sendmail's services: ends of messages, mailboxes that nobody has, filters that are down, submission, senders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Optional

from ..control import Site, control
from ..finding import Finding, fail, informational, notapplicable, passed, unknown
from ..listeners import SUBMISSION_PORTS as PORTS
from ..listeners import Listener
from ..readers.sendmail import Sendmail
from ..readers.sendmail_questions import NO_MAILBOX
from .filters import SIGNING
from .sendmail_filters import judges, named
from .sendmail_login import Client, clients, mechanisms, no_login, offers_login, shown
from .sendmail_paths import Finder
from .sendmail_ports import answer, each_listener, seen, subject
from .submission import elsewhere

# The first release that ends a message at CR LF . CR LF only, and the package of an older one that Debian has repaired (tried).
_FIXED = (8, 18)
_DEBIAN_FIXED = {"8.17.1.9-2+deb12u": 1}


@control("PATCH-02", "sendmail")
@each_listener
def no_half_an_end_ends_a_message(sendmail: Sendmail, port: Listener, site: Site) -> Iterator[Finding]:
    release = seen("sendmail -d0.1 -bt", f"{sendmail.version} {sendmail.package}".strip())
    fixed = refuses_bare_lines(sendmail)
    if not fixed:
        text = f"Sendmail {sendmail.package or sendmail.version} takes a bare line feed for the end of a message: update it"
        reason = sendmail.package_problem or f"Sendmail {sendmail.version} has the defect, unless its packager has repaired it"
        doubtful = unknown(subject(port), "whether this Sendmail has the correction could not be found out", reason, release)
        yield fail(subject(port), text, release) if fixed is False else doubtful
        return
    doubt = ""
    for client in clients(sendmail, port, site):
        wrong = _lifted(client)
        if wrong:
            given = seen("sendmail -bt srv_features", f"{client.whom or 'strangers'}: {client.features}")
            yield fail(subject(port), f"srv_features lets clients{client.named} {wrong}", given, release, clients=client.clients)
            return
        doubt = doubt or client.features.doubt
    if doubt:
        yield unknown(subject(port), "what srv_features takes back could not be told", doubt, release)
    else:
        yield passed(subject(port), "only CR LF . CR LF ends a message, and no command comes before its turn")


def _lifted(client: Client) -> str:
    """What is taken back, as tried on 8.17.1.9-2+deb12u2 and 8.18.1: O does nothing while bare line feeds are refused."""
    given = client.features.given
    if given("G") and given("O"):
        return "end a message with a bare line feed (O and G)"
    if given("F"):
        return "send commands before their turn (F)"
    if given("G") or given("U"):
        what = "line feeds (G)" if given("G") else "carriage returns (U)"
        return f"send bare {what}, which are passed on: the next server may see an end of the message there"
    return ""


def refuses_bare_lines(sendmail: Sendmail) -> Optional[bool]:
    """By the release, else by the revision of Debian's package; None where neither tells."""
    if tuple(int(part) for part in re.findall(r"\d+", sendmail.version)[:2]) >= _FIXED:
        return True
    for prefix, revision in _DEBIAN_FIXED.items():
        if sendmail.package.startswith(prefix):
            found = re.match(r"\d+", sendmail.package[len(prefix):])
            return found is not None and int(found.group()) >= revision
    return False if sendmail.package == "8.17.1.9-2" else None


@control("RCPT-01", "sendmail", scanner=True)
@each_listener
def unknown_recipients_are_refused(sendmail: Sendmail, port: Listener, site: Site) -> Iterator[Finding]:
    finder = Finder(sendmail, port, site)
    if finder.login_required:
        yield passed(subject(port), "nothing is accepted before a login")
        return
    if finder.open_to_anybody():
        yield informational(subject(port), "strangers relay here, whoever the recipient is: another control says so")
        return
    domains = [*finder.questions.local_domains(), *finder.questions.relayed_domains()]
    found = [finding for domain in domains for finding in [_unlisted(sendmail, port, finder, domain, site)] if finding]
    worst = [finding for finding in found if finding.status.value == "fail"] or found
    yield from worst[:1]
    if not found:
        text = "mailboxes that do not exist are refused" if domains else "no domain's mail ends or passes here"
        yield passed(subject(port), text)


def _unlisted(sendmail: Sendmail, port: Listener, finder: Finder, domain: str, site: Site) -> Optional[Finding]:
    """What a stranger hears who writes to a mailbox that nobody has; None when it is refused.

    A mailer with the flag `w` has its recipients looked up among the accounts at RCPT (recipient() in recipient.c).
    """
    told = finder.told(finder.questions.unlisted(domain))
    mailer = sendmail.cf.mailers.get(told.mailer)
    line = seen(f"{sendmail.file}:{mailer.line} M{told.mailer}", f"F={mailer.flags}") if mailer else None
    shows = [seen("sendmail -bt", f"{NO_MAILBOX}@{domain}: {answer(told)}, mailer {told.mailer}"), *([line] if line else [])]
    if told.allowed is False or told.mailer == "error":
        return None
    if told.allowed is None or mailer is None:
        reason = told.reason or f"the mailer {told.mailer} is not defined"
        return unknown(subject(port), _untold(domain), reason, *shows)
    asked = "w" in mailer.flags
    if asked and told.user == NO_MAILBOX and not _luser(sendmail):
        return None
    milters = judges(sendmail, port, site)
    if milters:
        reason = f"the milter {milters} may refuse them; it was not asked"
        return unknown(subject(port), _untold(domain), reason, *shows)
    if asked:
        to = told.user if told.user != NO_MAILBOX else _luser(sendmail)
        return fail(subject(port), f"mail for mailboxes that do not exist at {domain} is accepted: it goes to {to}", *shows)
    text = f"mail for mailboxes that do not exist at {domain} is accepted and bounced: the mailer {told.mailer}"
    return fail(subject(port), f"{text} looks no account up", *shows)


def _untold(domain: str) -> str:
    return f"whether mailboxes that do not exist at {domain} are refused could not be told"


def _luser(sendmail: Sendmail) -> str:
    """Who gets the mail of those that have no account (LUSER_RELAY, macro L)."""
    return sendmail.cf.macros.get("L", ("", 0))[0]


@control("MILTER-01", "sendmail")
@each_listener
def no_milter_fails_open(sendmail: Sendmail, port: Listener, site: Site) -> Iterator[Finding]:
    listed, where = named(sendmail, port)
    missing = [name for name in listed if name not in sendmail.cf.filters]
    defined = [sendmail.cf.filters[name] for name in listed if name in sendmail.cf.filters]
    # T puts mail off, R refuses it, 4 ends the session; without a flag mail passes (Operation Guide, 5.11).
    opened = [each for each in defined if not set(each.flags) & set("TR4")]
    lines = [seen(f"{sendmail.file}:{e.line} X{e.name}", f"S={e.fields.get('S', '')}, F={e.flags}") for e in opened]
    filtering = [each for each in opened if not SIGNING.search(f"{each.name} {each.fields.get('S', '')}")]
    if filtering:
        text = f"while {', '.join(each.name for each in filtering[:3])} does not answer, mail is taken unfiltered: no F=T or F=R"
        yield fail(subject(port), text, where, *lines)
    elif missing:
        text = f"the filter {missing[0]} is called and nowhere defined"
        reason = "Sendmail does not start with that (tried on 8.18.1): a daemon that runs was given something else"
        yield unknown(subject(port), text, reason, where)
    elif opened:
        text = f"while {opened[0].name} does not answer, mail is taken without what it adds; it seems to sign, not to filter"
        yield informational(subject(port), text, *lines)
    elif defined:
        yield passed(subject(port), "mail waits or is refused while a milter does not answer")
    else:
        yield passed(subject(port), "InputMailFilters names no milter")


@control("AUTH-03", "sendmail")
def submission_of_sendmail(sendmail: Sendmail, site: Site) -> Iterator[Finding]:
    if sendmail.problem or any(port.port in PORTS and not port.loopback_only for port in sendmail.listeners):
        yield from each_listener(_submission_port)(sendmail, site)
    else:
        ports = ", ".join(port.name for port in sendmail.listeners) or "none"
        yield elsewhere(site, seen(f"{sendmail.file} DaemonPortOptions", ports))


def _submission_port(sendmail: Sendmail, port: Listener, site: Site) -> Iterator[Finding]:
    if port.port not in PORTS:
        return
    strangers = next(iter(clients(sendmail, port, site)), None)
    if strangers and not strangers.features.doubt and not offers_login(sendmail, port, strangers):
        text = f"nobody can log in on this port: {no_login(sendmail, port)}"
        yield fail(subject(port), text, *shown(sendmail, port, strangers))
        return
    if strangers and not (sendmail.cf.option("ServerCertFile") or mechanisms(sendmail, strangers, tls=False)):
        text = "nobody can log in on this port: passwords are for TLS, and without ServerCertFile there is none"
        yield fail(subject(port), text, *shown(sendmail, port, strangers))
        return
    finder = Finder(sendmail, port, site)
    for domain in finder.questions.local_domains() if not finder.login_required else ():
        told = finder.told(finder.questions.submitted(domain))
        daemon = sendmail.daemon_of(port)
        shows = [seen(f"{sendmail.file}:{daemon.line} DaemonPortOptions", daemon.text), seen("sendmail -bt", answer(told))]
        if told.allowed:
            yield fail(subject(port), f"mail for {domain} is taken without a login, as on port 25", *shows)
            return
        if told.allowed is None:
            text = f"whether mail for {domain} is taken without a login could not be told"
            yield unknown(subject(port), text, told.reason, *shows)
            return
    yield passed(subject(port), "only for those who log in")


@control("SENDER-01", "sendmail", scanner=True)
@each_listener
def logins_use_their_own_sender(sendmail: Sendmail, port: Listener, site: Site) -> Iterator[Finding]:
    """Sendmail has no option for it: rules of the site's own, or a milter, compare the sender with ${auth_authen}."""
    strangers = next(iter(clients(sendmail, port, site)), None)
    if strangers and not strangers.features.doubt and not offers_login(sendmail, port, strangers):
        yield notapplicable(subject(port), "no login here", no_login(sendmail, port))
        return
    finder, milters = Finder(sendmail, port, site), judges(sendmail, port, site)
    for domain in finder.questions.local_domains():
        for question in finder.questions.impostors(domain):
            told = finder.told(question)
            shows = seen("sendmail -bt", f"check_mail <{question.sender}> of the login {question.login}: {answer(told)}")
            if told.allowed and not milters:
                text = f"a login may send as other people, such as {question.sender}: no rule refuses what it does not own"
                yield fail(subject(port), text, shows, conditions=("authenticated",))
                return
            if told.allowed is not False:
                reason = told.reason or f"the milter {milters} may refuse it; it was not asked"
                yield unknown(subject(port), "which senders a login may use could not be told", reason, shows)
                return
    yield passed(subject(port), "a login is held to its own senders")
