"""Controls on relaying, as far as Dovecot has a part in it: who may claim another address, and what a login of it permits."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Method, fail, passed, unknown
from ..readers.dovecot_model import Dovecot, Port, Scope
from ..text import printable
from .dovecot_ports import each_port, outsiders, setting, subject

# Programs that let the address of a mailbox's reader relay for a while.
_POP_BEFORE_SMTP = re.compile(r"pop-?before-?smtp|pop-?auth|poprelay|relay-?ctrl|\bdrac|whoson|vchkpw", re.IGNORECASE)
# The environment in which Dovecot runs a script after a login (doc: PostLoginScripting): IP is the client's address.
_CLIENTS_ADDRESS = re.compile(r"\$\{?IP\b|ENV\W+IP\b|environ\W+IP\b|getenv\W+IP\b")


@control("RELAY-07", "dovecot")
@each_port
def only_proxies_assert_an_identity(dovecot: Dovecot, port: Port, site: Site) -> Iterator[Finding]:
    asked = [("login_trusted_networks", "xclient", "with XCLIENT or ID")]
    if port.haproxy:
        asked.append(("haproxy_trusted_networks", "proxy_header", "with a PROXY header"))
    found = []
    for name, condition, how in asked:
        for scope in dovecot.scopes(port.protocol):
            wide, doubtful = outsiders(scope.value(name), site)
            if wide and not doubtful:
                text = f"clients in {', '.join(wide[:3])}{' and more' if len(wide) > 3 else ''} may claim any address {how}"
                found.append(fail(subject(port), text, setting(scope, name), conditions=(condition, "authenticated")))
            elif doubtful:
                text = f"{name} holds '{printable(doubtful[0])}'"
                reason = "this is no network, so who is trusted cannot be told"
                found.append(unknown(subject(port), text, reason, setting(scope, name)))
    worst = [f for f in found if f.status.value == "fail"] or found
    yield from worst[:1]
    if not worst:
        yield passed(subject(port), "nobody but a declared proxy may claim another address")


@control("RELAY-13", "dovecot")
def reading_mail_does_not_permit_relaying(dovecot: Dovecot, site: Site) -> Iterator[Finding]:
    findings = [*_plugins(dovecot), *_scripts(dovecot)]
    yield from findings or [passed(HOST, "no login at a mailbox lets its address relay")]


def _plugins(dovecot: Dovecot) -> Iterator[Finding]:
    for protocol in sorted(dovecot.protocols & {"imap", "pop3"}):
        scope: Scope = dovecot.scopes(protocol)[0]
        if "drac" in scope.value("mail_plugins").split():
            text = f"the plugin drac lets the address of whoever reads mail by {protocol.upper()} relay for a while"
            yield fail(HOST, text, setting(scope, "mail_plugins"), conditions=("pop_before_smtp",))


def _scripts(dovecot: Dovecot) -> Iterator[Finding]:
    for path, text in dovecot.scripts.items():
        line = next((line.strip() for line in text.splitlines() if _POP_BEFORE_SMTP.search(line)), "")
        if line or _POP_BEFORE_SMTP.search(path):
            shown = Evidence(Method.CONFIG, printable(path), printable(line))
            message = f"{path}, which runs after each login, lets the address of whoever reads mail relay"
            yield fail(HOST, printable(message), shown, conditions=("pop_before_smtp",))
            continue
        line = next((line.strip() for line in text.splitlines() if _CLIENTS_ADDRESS.search(line)), "")
        if line:
            shown = Evidence(Method.CONFIG, printable(path), printable(line))
            reason = "what becomes of it the script does not show: if the mail server lets it relay, this is POP before SMTP"
            yield unknown(HOST, printable(f"{path} takes the client's address at each login"), reason, shown)
    for path, problem in dovecot.script_problems.items():
        yield unknown(HOST, printable(f"{path} runs after each login and could not be read"), problem)
