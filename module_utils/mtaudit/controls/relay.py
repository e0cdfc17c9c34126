"""Controls on who may relay: foreign mail from strangers, and senders that are not theirs."""

from __future__ import annotations

from collections.abc import Iterator

from ..address import LOOPBACK, subtract
from ..control import Evaluate, Site, control
from ..finding import HOST, Evidence, Finding, fail, informational, notapplicable, passed, unknown
from ..readers.postfix import Postfix, Service, SmtpService
from ..readers.postfix_restrictions import POLICY, access_tables, all_statements
from ..readers.postfix_samples import FINGERPRINT, FOREIGN_SENDER
from ..readers.postfix_syntax import words
from ..readers.postfix_tables import PATTERNS, Table, TableProblem
from .inbound_postfix import filters
from .postfix_login import no_login, takes_logins
from .postfix_ports import PerService, each_listener, listener, seen, setting
from .relay_clients import listed_clients
from .relay_down import why_down
from .relay_keys import pop_before_smtp_tables
from .relay_logins import owners
from .relay_path import Path
from .relay_paths import paths, stranger, trusts
from .relay_walk import Answer, Walk
from .scanners import Kind

_NOBODY = "mtaudit-nobody"  # a login that owns no sender

def _each_listener(function: PerService) -> Evaluate:
    """Evaluate a control for every SMTP port that others can reach and that works."""
    usual = each_listener(function)

    def evaluate(postfix: Postfix, site: Site) -> Iterator[Finding]:
        if "mynetworks mask style" in postfix.problem and function is _style:
            yield unknown(HOST, "mynetworks_style is no style that Postfix knows", postfix.problem)
        else:
            yield from usual(postfix, site)

    return evaluate


def _walk(smtp: SmtpService) -> Walk:
    return Walk(smtp.smtpd, smtp.smtpd.postfix.resolver(smtp.smtpd))


def _evidence(path: Path, service: Service) -> list[Evidence]:
    found = [setting(service, path.rule.parameter)] if path.rule.parameter else []
    return found + ([seen(path.rule.where, path.rule.entry or path.rule.text)] if path.rule.entry or path.rule.where else [])


def _failed(path: Path, text: str, smtp: SmtpService) -> Finding:
    # Of a table that can only be asked for samples nobody knows whom else it lets in.
    sampled = any(_partially(control_id, smtp) for control_id in ("RELAY-01", "RELAY-03"))
    clients = () if sampled else listed_clients(path.networks)
    return fail(listener(smtp), text, *_evidence(path, smtp.smtpd), conditions=path.conditions, clients=clients)


def _from_paths(control_id: str, closed: str) -> PerService:
    """Fail for each path that the control owns; unknown for one that may exist; else pass, saying what is closed."""

    def function(smtp: SmtpService, site: Site) -> Iterator[Finding]:
        found = paths(smtp, site)
        own = [p for p in found if p.control == control_id]
        for path in own:
            if not path.doubt:
                yield _failed(path, path.message, smtp)
        doubtful = next((p for p in own if p.doubt), None)
        if doubtful and all(p.doubt for p in own):
            yield unknown(listener(smtp), doubtful.message, doubtful.doubt, *_evidence(doubtful, smtp.smtpd))
        elsewhere = next((p for p in found if p.control == "RELAY-06" and p.rule.control == control_id), None)
        if elsewhere and not own:
            yield informational(listener(smtp), f"reported as RELAY-06: {elsewhere.message}")
        elif not own:
            yield _closed(control_id, closed, smtp)

    return function


def _closed(control_id: str, closed: str, smtp: SmtpService) -> Finding:
    """A pass, unless a table whose single entries matter can only be asked: samples show a wildcard, not the one who is let in.

    Of patterns the text is read; lists of domains (RELAY-04, RELAY-05) are only open when they hold a wildcard.
    """
    hidden = [table.spec for table in _sampled(control_id, smtp) if table.kind not in PATTERNS]
    if hidden and control_id in ("RELAY-01", "RELAY-03"):
        specs = ", ".join(dict.fromkeys(hidden))
        why = "the table can be asked, but not listed; none of the samples is let in"
        return unknown(listener(smtp), f"whom {specs} lets in cannot be told", why)
    return passed(listener(smtp), closed + _partially(control_id, smtp))


def _partially(control_id: str, smtp: SmtpService) -> str:
    sampled = list(dict.fromkeys(table.spec for table in _sampled(control_id, smtp)))
    return f" (partially evaluated: {', '.join(sampled)} can only be asked for samples)" if sampled else ""


def _sampled(control_id: str, smtp: SmtpService) -> list[Table]:
    """The tables behind a control that can be asked but not listed."""
    resolver = smtp.smtpd.postfix.resolver(smtp.smtpd)
    lists = {
        "RELAY-01": [smtp.smtpd.match_list("mynetworks")],
        "RELAY-04": [resolver.match_list("relay_domains")],
        "RELAY-05": [resolver.match_list(name) for name in ("virtual_alias_domains", "virtual_mailbox_domains")],
    }.get(control_id, [])
    tables = [item.table for matches in lists for item in matches.items if item.table]
    tables += [table for _, table in access_tables(smtp.smtpd)] if control_id == "RELAY-03" else []
    return [table for table in tables if table.sampled]


_style = _from_paths("RELAY-02", "no neighbour is trusted because of the interface's network")


def _path_control(control_id: str, closed: str) -> None:
    control(control_id, "postfix")(_each_listener(_from_paths(control_id, closed)))


_path_control("RELAY-01", "mynetworks trusts no stranger")
control("RELAY-02", "postfix")(_each_listener(_style))
_path_control("RELAY-05", "no pattern makes a foreign domain a local one")
_path_control("RELAY-06", "no weaker policy than main.cf of the default instance")
_path_control("RELAY-09", "IPv6 clients may do no more than IPv4 clients")


@control("RELAY-03", "postfix")
def a_reject_comes_before_any_permit(postfix: Postfix, site: Site) -> Iterator[Finding]:
    """Also the one control that tells of an smtpd that cannot start: nobody relays, but no mail arrives either."""
    for smtp in [] if postfix.problem else postfix.smtp_services():
        down = why_down(smtp.smtpd)
        if down and not smtp.loopback_only:
            lists = [setting(smtp.smtpd, n) for n in ("smtpd_relay_restrictions", "smtpd_recipient_restrictions")]
            yield informational(listener(smtp), f"service down, not open: smtpd does not start ({down})", *lists)
    findings = _each_listener(_from_paths("RELAY-03", "strangers reach a reject before anything permits"))(postfix, site)
    yield from (f for f in findings if "service down, not open" not in f.reason)


@control("RELAY-04", "postfix")
@_each_listener
def domains_are_a_closed_list(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    accepted = _walk(smtp).accepts(FOREIGN_SENDER)
    if accepted and accepted.parameter == "mydestination" and not accepted.doubt:
        text = "mydestination matches every domain: no relay, but all outgoing mail ends here as unknown user"
        yield informational(listener(smtp), text, seen(accepted.where, accepted.entry))
    yield from _from_paths("RELAY-04", "relay_domains holds no foreign domain")(smtp, site)


@control("RELAY-07", "postfix")
@_each_listener
def only_proxies_assert_an_identity(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    name = "smtpd_authorized_xclient_hosts"
    trusted = smtp.smtpd.match_list(name).trusted()
    allowed = (*LOOPBACK, *site.proxies)
    wide = [str(n) for n, _ in trusted.networks if subtract(n, allowed)] + [item.text for item in trusted.names]
    header = smtp.proxy_protocol
    if wide:
        text = f"clients in {', '.join(wide[:3])}{' and more' if len(wide) > 3 else ''} may claim any address with XCLIENT"
        yield fail(listener(smtp), text, setting(smtp.smtpd, name), conditions=("xclient",))
    if header and not site.proxies:
        text = f"{header} = {smtp.front.value(header)}: whoever connects claims any address, and no proxy is declared"
        yield fail(listener(smtp), text, setting(smtp.front, header), conditions=("proxy_header",))
    if wide or header and not site.proxies:
        return
    if trusted.doubts:
        reason, item = trusted.doubts[0]
        yield unknown(listener(smtp), f"{name} could not be evaluated: {item.text}", reason, setting(smtp.smtpd, name))
    elif header:
        reason = "only a packet filter keeps others than the declared proxies away; the configuration does not show it"
        text = f"clients introduce themselves with a PROXY header ({header})"
        yield unknown(listener(smtp), text, reason, setting(smtp.front, header))
    else:
        yield passed(listener(smtp), "nobody but a declared proxy may claim another address")


@control("RELAY-08", "postfix")
@_each_listener
def no_device_hides_clients(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    if smtp.proxy_protocol:
        yield passed(listener(smtp), "the proxy in front hands on the clients' addresses")
    else:
        yield from _from_paths("RELAY-08", "no gateway or proxy is trusted")(smtp, site)


@control("RELAY-10", "postfix")
@_each_listener
def routing_in_the_local_part_is_refused(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    service = smtp.smtpd
    if not service.on("allow_untrusted_routing"):
        yield passed(listener(smtp), "allow_untrusted_routing = no")
        return
    resolver = service.postfix.resolver(service)
    relayed = resolver.match_list("relay_domains").items
    shown = [setting(service, "allow_untrusted_routing"), setting(resolver, "relay_domains")]
    broken = next((i for i in relayed if i.problem or i.table and i.table.problem), None)
    # Sender-specified routing is passed on to destinations in relay_domains only (postconf(5)).
    if any(not i.negated and not i.problem and (i.table is None or i.table.answers) for i in relayed):
        text = "allow_untrusted_routing = yes: user%foreign@relayed and foreign!user@relayed are passed on to the next host"
        yield fail(listener(smtp), text, *shown, conditions=("percent",))
    elif broken:
        reason = broken.problem or (broken.table.problem if broken.table else "")
        yield unknown(listener(smtp), "allow_untrusted_routing = yes, and relay_domains could not be read", reason, *shown)
    else:
        yield informational(listener(smtp), "allow_untrusted_routing = yes has no effect while relay_domains is empty", *shown)


@control("RELAY-11", "postfix")
@_each_listener
def mx_records_do_not_permit_relaying(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    service = smtp.smtpd
    outcome = _walk(smtp).outcome(stranger(smtp, site, mx_backup=True))
    if outcome.rule is None or outcome.rule.control != "RELAY-11":
        yield passed(listener(smtp), "permit_mx_backup permits nobody")
        return
    bounds = service.match_list("permit_mx_backup_networks")
    trusted = bounds.trusted()
    shown = [setting(service, outcome.rule.parameter), setting(service, "permit_mx_backup_networks")]
    # An eighth of all addresses: 2000::/3 is all of the IPv6 Internet.
    shares = [sum(2.0**-n.prefixlen for n, _ in trusted.networks if n.version == version) for version in (4, 6)]
    if not bounds.items or max(shares) >= 1 / 8:
        text = "permit_mx_backup without bounds: whoever names this host as backup MX may relay through it"
        yield fail(listener(smtp), text, *shown, conditions=("mx_backup",))
    elif trusted.doubts:
        yield unknown(listener(smtp), "permit_mx_backup_networks could not be evaluated", trusted.doubts[0][0], *shown)
    else:
        yield passed(listener(smtp), "permit_mx_backup is bounded by permit_mx_backup_networks")


@control("RELAY-12", "postfix")
@_each_listener
def certificates_permit_by_fingerprint(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    service = smtp.smtpd
    used = {word for word, _ in all_statements(service)}
    asks = service.on("smtpd_tls_ask_ccert") or service.on("smtpd_tls_req_ccert")
    outcome = _walk(smtp).outcome(stranger(smtp, site, certificate=True))
    rule = outcome.rule
    if rule and rule.control == "RELAY-12":
        names = (rule.parameter, "smtpd_tls_ask_ccert", "smtpd_tls_CAfile", "smtpd_tls_CApath")
        shown = [setting(service, name) for name in names]
        everybody = "every certificate of a trusted authority" if rule.text == "permit_tls_all_clientcerts" else "any certificate"
        if not asks:
            text = f"{rule.text} has no effect: no client is asked for a certificate"
            yield informational(listener(smtp), text, *shown[:2])
        elif outcome.answer is Answer.UNKNOWN:
            yield unknown(listener(smtp), f"{rule.text} could not be evaluated", rule.doubt, *shown)
        else:
            yield fail(listener(smtp), f"{rule.text}: {everybody} may relay", *shown, conditions=("client_certificate",))
    elif "permit_tls_clientcerts" in used and asks:
        yield from _fingerprints(smtp)
    else:
        yield passed(listener(smtp), "no certificate permits relaying")


def _fingerprints(smtp: SmtpService) -> Iterator[Finding]:
    shown = setting(smtp.smtpd, "relay_clientcerts")
    for table in (smtp.smtpd.table(spec) for spec in words(smtp.smtpd.value("relay_clientcerts"))):
        try:
            if table.get(FINGERPRINT) is not None:
                text = f"relay_clientcerts answers for a fingerprint that nobody registered: {table.where(FINGERPRINT)}"
                yield fail(listener(smtp), text, shown, conditions=("client_certificate",))
                return
        except TableProblem as exc:
            yield unknown(listener(smtp), "relay_clientcerts could not be read", str(exc), shown)
            return
    yield passed(listener(smtp), "certificates permit by fingerprint only")


@control("RELAY-13", "postfix")
@_each_listener
def reading_mail_does_not_permit_relaying(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    closed = "no table of client addresses that something else writes permits relaying"
    findings = list(_from_paths("RELAY-13", closed)(smtp, site))
    suspects = list(pop_before_smtp_tables(smtp.smtpd))
    if suspects and not any(f.status.value == "fail" for f in findings):
        parameter, table = suspects[0]
        if not table.problem:
            text = f"{table.spec} is where a POP-before-SMTP daemon writes the clients that may relay"
            findings = [fail(listener(smtp), text, setting(smtp.smtpd, parameter), conditions=("pop_before_smtp",))]
    yield from findings


@control("RELAY-14", "postfix")
@_each_listener
def logins_use_senders_of_the_site(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    service = smtp.smtpd
    if not takes_logins(service):
        yield notapplicable(listener(smtp), "no login here", no_login(service))
        return
    tables = [service.table(spec) for spec in words(service.value("smtpd_sender_login_maps"))]
    shown = [setting(service, n) for n in ("smtpd_sender_login_maps", "smtpd_sender_restrictions")]
    for login in _logins(tables, service):
        outcome = _walk(smtp).outcome(stranger(smtp, site, login=login, sender=FOREIGN_SENDER))
        if outcome.answer is Answer.OK:
            unchecked = "no list refuses a sender that the login does not own"
            why = unchecked if login == _NOBODY else f"the maps give {login} all of them"
            yield fail(listener(smtp), f"a login may send with any foreign sender: {why}", *shown, conditions=("authenticated",))
            return
        if outcome.answer is Answer.UNKNOWN and outcome.rule:
            yield unknown(listener(smtp), "which senders a login may use could not be evaluated", outcome.rule.doubt, *shown)
            return
    yield passed(listener(smtp), "a login with a foreign sender is refused")


def _logins(tables: list[Table], service: Service) -> list[str]:
    """Logins to try: one that owns nothing, who owns the foreign sender, and some that the maps name."""
    values = [value for table in tables for value in ([table.value] if table.value else table.entries.values())]
    named = [owner for value in values for owner in words(value)]
    try:
        own = owners(service, FOREIGN_SENDER) or []
    except TableProblem:
        own = []  # the walk meets the same problem, and tells it
    return list(dict.fromkeys((_NOBODY, *own, *named[:20])))


@control("SENDER-03", "postfix", scanner=True)
@_each_listener
def strangers_use_no_local_sender(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    own = [p for p in paths(smtp, site) if p.control == "SENDER-03"]
    for path in own:
        text = f"a stranger relays with a sender of this site: {path.message}"
        if path.doubt:
            yield unknown(listener(smtp), text, path.doubt, *_evidence(path, smtp.smtpd))
        else:
            yield _failed(path, text, smtp)
    if own:
        return
    if site.tunables.get("protect_local_recipients", True):
        yield from _local_recipients(smtp, site)
    else:
        yield passed(listener(smtp), "a local sender does not let a stranger relay")


def _local_recipients(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    """Whether a stranger's mail with a sender of a local domain is taken for a local mailbox."""
    postfix, walk = smtp.smtpd.postfix, _walk(smtp)
    if trusts(smtp, stranger(smtp, site)):
        yield informational(listener(smtp), "every client counts as trusted, so no local sender is protected")
        return
    shown = [setting(smtp.smtpd, n) for n in ("smtpd_sender_restrictions", "smtpd_recipient_restrictions")]
    for domain in dict.fromkeys((*site.local_domains, *postfix.local_domains)):
        outcomes = [walk.outcome(stranger(smtp, site, sender=f"{user}@{domain}", recipient=f"postmaster@{domain}"))
                    for user in ("postmaster", "root")]
        taken = next((o for o in outcomes if o.answer is Answer.OK), None)
        doubtful = next((o.rule for o in outcomes if o.answer is Answer.UNKNOWN and o.rule), None)
        judges = _other_judges(smtp, site)
        if taken and not judges:
            text = f"a stranger may send to local mailboxes as anybody at {domain}: nothing asks for a login"
            yield fail(listener(smtp), text, *shown, conditions=("local_sender", "local_recipient"))
            return
        if taken or doubtful:
            reason = f"{judges} may refuse such senders; it was not asked" if judges else doubtful.doubt if doubtful else ""
            text = f"whether strangers may send as {domain} to local mailboxes cannot be told from Postfix's lists"
            yield unknown(listener(smtp), text, reason, *shown)
            return
    yield passed(listener(smtp), "strangers with a local sender are refused")


def _other_judges(smtp: SmtpService, site: Site) -> str:
    """What outside of Postfix's own tables may judge a sender: milters (SPF, DMARC), policy services, a proxy filter."""
    strange = [c for c in filters(smtp, site) if c.kind is not Kind.RSPAMD]  # that one judges what is in the message
    if strange:
        return f"smtpd_milters {strange[0].address}"
    if words(smtp.smtpd.value("smtpd_proxy_filter")):
        return f"smtpd_proxy_filter {smtp.smtpd.value('smtpd_proxy_filter')}"
    return next((f"the policy service {a}" for w, a in all_statements(smtp.smtpd) if w in POLICY), "")
