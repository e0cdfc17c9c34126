"""Fixes of Exim that are an option or a statement."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Optional

from ..config.exim import Wanted
from ..control import Site
from ..controls.exim_paths import Finder
from ..controls.exim_walk import Answer
from ..controls.limits import number
from ..finding import Finding
from ..fix import fix
from ..listeners import Listener
from ..readers.exim import Exim
from ..readers.exim_syntax import Condition, Statement
from ..readers.local_users import NOBODY
from ..tls_versions import is_gnutls
from .exim_changes import always, before, failing, together, with_conditions
from .exim_login import named_logins

_OLD_TLS = ("-VERS-TLS1.0", "-VERS-TLS1.1")
_OLD_OPENSSL = ("+no_sslv2", "+no_sslv3", "+no_tlsv1", "+no_tlsv1_1")
_SECRET = re.compile(r"\$\{?(?:smtp_command(?:_argument)?|auth[23])\b")
_SCANNERS = ("malware", "spam")

fix("INFO-02", "exim")(always(smtp_banner="$smtp_active_hostname ESMTP"))
fix("AUTH-06", "exim")(always(smtp_accept_max_nonmail=None, smtp_accept_max_nonmail_hosts=None))


@fix("INFO-01", "exim")
def reveal_no_account(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Without their ACLs VRFY tells nothing, and EXPN is refused."""
    told = " ".join(evidence.where for finding in findings for evidence in finding.evidence)
    return Wanted(options=dict.fromkeys(name for name in ("acl_smtp_vrfy", "acl_smtp_expn") if name in told))


@fix("LOG-06", "exim")
def log_no_password(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """What names, writes or debugs it goes; then the log's own lines of what clients said."""
    found = together([*(w for w in named_logins(exim)), *_without_secrets(exim)])
    if found is not None:
        return found
    words = re.findall(r"[+-]\s*\w+", exim.options.get("log_selector", ""))
    kept = [word for word in words if "smtp_protocol_error" not in word]
    everything = any(re.fullmatch(r"\+\s*all", word) for word in kept)
    return Wanted(options={"log_selector": " ".join([*kept, *["-smtp_protocol_error"] * everything]) or None})


def _without_secrets(exim: Exim) -> Iterator[Optional[Wanted]]:
    for when in ("connect", "helo", "starttls", "auth"):
        for statement in exim.config.acls.get(exim.options.get(f"acl_smtp_{when}", "").strip(), ()):
            kept = [c for c in statement.conditions if not _tells(c, when)]
            if len(kept) != len(statement.conditions):
                yield with_conditions(exim, statement, kept)


def _tells(condition: Condition, when: str) -> bool:
    if condition.name == "control":
        return bool(re.match(r"debug(?!/(?:stop|kill))", condition.value))
    return when == "auth" and condition.name in ("logwrite", "log_message") and bool(_SECRET.search(condition.value))


@fix("RATE-02", "exim")
def limit_clients(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """What is above the limits becomes the limit. Exim takes no smtp_accept_max_per_host without smtp_accept_max (tried)."""
    wanted: dict[str, Optional[str]] = {}
    connections = int(site.tunables["max_connections"])
    if _over(exim, "recipients_max", int(site.tunables["max_recipients"])):
        wanted["recipients_max"] = str(site.tunables["max_recipients"])
    if _over(exim, "message_size_limit", int(site.tunables["max_message_mb"]) * 1024 * 1024):
        wanted["message_size_limit"] = f"{site.tunables['max_message_mb']}M"
    if _over(exim, "smtp_accept_max", 0) is None:
        wanted["smtp_accept_max"] = None
    elif _over(exim, "smtp_accept_max", connections) and _over(exim, "smtp_accept_max_per_host", connections):
        wanted["smtp_accept_max_per_host"] = str(connections)
    return Wanted(options=wanted) if wanted else None


def _over(exim: Exim, name: str, most: int) -> Optional[bool]:
    """Whether an option allows more; None where it has no limit and it is asked whether it has one."""
    try:
        value = number(exim.options.get(name, ""))
    except ValueError:
        return False  # expanded for each client: nobody's to overwrite
    if value is None:
        return True if most else None
    return value > most


@fix("RCPT-01", "exim")
def know_the_recipients(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Recipients are verified before the statement that takes them. What a router takes, only the site knows."""
    return together(_verified(exim, site, port) for port in failing(exim, findings))


def _verified(exim: Exim, site: Site, port: Listener) -> Optional[Wanted]:
    finder = Finder(exim, port, site)
    asked = [("here", domain, "+local_domains", "recipient") for domain in finder.local_domains]
    asked += [("elsewhere", d, "+relay_to_domains", "recipient/callout=30s,defer_ok") for d in exim.relayed_domains]
    for where, domain, listed, what in asked:
        outcome = finder.outcome(finder.session(recipient=f"{NOBODY}@{domain}", unknown_mailbox=where))
        if outcome.answer is Answer.OK and ("domainlist", listed[1:]) in exim.config.lists:
            return before(exim, outcome.statement, f"deny\n  domains = {listed}\n  !verify = {what}")
    return None


@fix("MILTER-01", "exim")
def wait_for_scanners(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """What asks a scanner waits for it; what was only warned about is refused as well."""
    asked = [(s, c) for acl in exim.config.acls.values() for s in acl for c in s.conditions if c.name in _SCANNERS]
    names = {c.name for _, c in asked for f in findings if f"'{c.name}'" in f.message}
    return together(_waited_for(exim, name, [pair for pair in asked if pair[1].name == name]) for name in sorted(names))


def _waited_for(exim: Exim, name: str, asked: Sequence[tuple[Statement, Condition]]) -> Optional[Wanted]:
    deferred = [s for s, c in asked if "defer_ok" in c.value and s.verb != "warn"]
    if deferred:
        return together(with_conditions(exim, s, [_waiting(c) if c.name == name else c for c in s.conditions]) for s in deferred)
    statement, value = asked[0][0], _waiting(asked[0][1]).value
    # `spam = nobody:true` is true of every message; what is spam the server's own action says, where it has one.
    action = "${if eq{$spam_action}{reject}}" if "variant=rspamd" in exim.options.get("spamd_address", "") else "no"
    more = f"\n  condition = {action}\n  message = this message looks like spam" if name == "spam" else (
        "\n  message = this message holds a virus ($malware_name)"
    )
    return before(exim, statement, f"deny\n  {name} = {value}{more}")


def _waiting(condition: Condition) -> Condition:
    return replace(condition, value=re.sub(r"\s*/\s*defer_ok\b", "", condition.value))


@fix("OUT-01", "exim")
def scan_what_programs_send(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Programs' mail is refused for what mail by SMTP is refused for: the same statements about a scanner's answer."""
    if exim.options.get("acl_not_smtp"):
        return None
    data = exim.config.acls.get(exim.options.get("acl_smtp_data", "").strip(), ())
    scanning = [s for s in data if s.verb == "deny" and {c.name for c in s.conditions} <= {"spam", "condition", "message"}]
    found = [s for s in scanning if any(c.name == "spam" for c in s.conditions)]
    if not found:
        return None
    texts = ["\n".join([s.verb, *map(str, s.conditions)]) for s in found]
    return Wanted(acls={"acl_mtaudit_not_smtp": "\n".join([*texts, "accept"])}, options={"acl_not_smtp": "acl_mtaudit_not_smtp"})


@fix("TLS-01", "exim")
def speak_tls_1_2(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """The protocols alone: a certificate is somebody's to give."""
    if not exim.options.get("tls_certificate"):
        return None
    ciphers = exim.options.get("tls_require_ciphers", "").strip()
    debian = exim.options.get("exim_path", "").endswith("/exim4")
    if is_gnutls(ciphers) or not ciphers and debian:
        missing = [word for word in _OLD_TLS if word not in ciphers.split(":")]
        return Wanted(options={"tls_require_ciphers": ":".join([ciphers or "NORMAL", *missing])}) if missing else None
    words = exim.options.get("openssl_options", "").split()
    missing = [word for word in _OLD_OPENSSL if word not in words]
    return Wanted(options={"openssl_options": " ".join([*words, *missing])}) if missing else None
