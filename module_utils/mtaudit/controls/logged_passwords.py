"""Controls on passwords in the log: what makes a program write what its clients send with a login."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Method, error, fail, informational, passed, unknown
from ..readers.dovecot_model import Dovecot
from ..readers.exim import Exim
from ..readers.exim_expand import Doubt
from ..readers.exim_model import server_side
from ..readers.opensmtpd import OpenSmtpd
from ..readers.postfix import Postfix, Service
from ..readers.postfix_syntax import words
from ..readers.sendmail import Sendmail
from ..text import printable
from . import dovecot_ports, exim_ports, opensmtpd_ports, postfix_ports, sendmail_ports
from .logged_accounts import SECRET, log_level, set_id, shown_set_id

_LOGS_COMMANDS = 15  # from this level on Sendmail logs "<-- AUTH PLAIN ..." (tried on 8.17 and 8.18: not at 14)
_GIVEN = re.compile(r"\$\{?(?:smtp_command(?:_argument)?|auth[23])\b")
_SHA1_KEPT = 8  # hexadecimal digits: enough to see whether two tries were the same, too few to find the password


@control("LOG-06", "postfix")
def postfix_logs_no_password(postfix: Postfix, site: Site) -> Iterator[Finding]:
    """With -v each line of a session is logged, AUTH and what follows it, too (tried on 3.7 and 3.10)."""
    if postfix.problem:
        yield error(HOST, f"the configuration in {postfix.config_directory} could not be read", postfix.problem)
        return
    found = [evidence for service in postfix.services() for evidence in _talkative(service)]
    if found:
        yield fail(HOST, f"passwords are logged: {found[0].where} logs every line of a session", *found)
    else:
        yield passed(HOST, "no service logs what its clients say")


def _talkative(service: Service) -> Iterator[Evidence]:
    entry = service.entry
    if entry is None or entry.command not in ("smtpd", "smtp", "lmtp"):
        return
    # A client's own password, which it gives its relay host.
    if entry.command != "smtpd" and not service.on(f"{entry.command}_sasl_auth_enable"):
        return
    where = f"{service.postfix.config_directory}/master.cf:{entry.number} {service.label}"
    if entry.verbose:
        yield postfix_ports.seen(where, f"{entry.command} -{'v' * entry.verbose}")
    if words(service.value("debug_peer_list")) and service.value("debug_peer_level") != "0":
        yield postfix_ports.setting(service, "debug_peer_list")


@control("LOG-06", "exim")
def exim_logs_no_password(exim: Exim, site: Site) -> Iterator[Finding]:
    if exim.problem:
        yield error(HOST, f"the configuration of Exim ({exim.file}) could not be read", exim.problem)
        return
    written = [*_set_ids(exim), *_acl_texts(exim)]
    if written:
        yield fail(HOST, f"what a client sends with its login is logged: {written[0].where}", *written)
        return
    if not _protocol_errors(exim.options.get("log_selector", "")):
        yield passed(HOST, "no line of the log holds what a client sends with its login")
        return
    text = "a password that is sent where no login is offered is logged (log_selector +smtp_protocol_error)"
    if any(server_side(options) for options in exim.config.authenticators.values()):
        yield fail(HOST, text, exim_ports.option(exim, "log_selector"))
    else:
        yield informational(HOST, f"{text}; nobody logs in here", exim_ports.option(exim, "log_selector"))


def _protocol_errors(selector: str) -> bool:
    """Whether `SMTP protocol error in "AUTH PLAIN ..."` is logged (tried on 4.96 and 4.98, with Debian's own selector)."""
    on = False
    for word in re.findall(r"[+-]\s*\w+", selector):
        if re.sub(r"\W", "", word) in ("all", "smtp_protocol_error"):
            on = word[0] == "+"
    return on


def _set_ids(exim: Exim) -> Iterator[Evidence]:
    for name, options in exim.config.authenticators.items():
        try:
            leaks = server_side(options) and SECRET in set_id(exim, options)
        except Doubt:
            continue  # LOG-01 says that it could not be told
        if leaks:
            yield shown_set_id(exim, name)


def _acl_texts(exim: Exim) -> Iterator[Evidence]:
    """Only while the command is AUTH do these variables hold a password: in the ACL for it. Debugging that was switched on before
    writes the command and what is in it to debuglog (tried on 4.96)."""
    for when in ("connect", "helo", "starttls", "auth"):
        for statement in exim.config.acls.get(exim.options.get(f"acl_smtp_{when}", "").strip(), ()):
            for condition in statement.conditions:
                text = when == "auth" and condition.name in ("logwrite", "log_message") and _GIVEN.search(condition.value)
                if text or condition.name == "control" and re.match(r"debug(?!/(?:stop|kill))", condition.value):
                    yield exim_ports.seen(f"{exim.file} {statement.where}", str(condition))


@control("LOG-06", "sendmail")
def sendmail_logs_no_password(sendmail: Sendmail, site: Site) -> Iterator[Finding]:
    if sendmail.problem:
        yield error(HOST, f"the configuration of Sendmail ({sendmail.file}) could not be read", sendmail.problem)
        return
    traffic = next((word for word in sendmail.command if word.startswith("-X")), "")
    level = log_level(sendmail)
    if traffic:
        text = "the daemon was started with -X: it writes all that its clients say to a file, passwords too"
        yield fail(HOST, text, sendmail_ports.seen("the daemon's command line", " ".join(sendmail.command)))
    elif level is None:
        shown = sendmail_ports.seen(sendmail.origin("LogLevel"), sendmail.cf.option("LogLevel"))
        yield unknown(HOST, "the level of the log is not known", "LogLevel is no number", shown)
    elif level >= _LOGS_COMMANDS:
        text = f"at LogLevel {level} every command is logged, AUTH with its password too; it is from {_LOGS_COMMANDS} on"
        yield fail(HOST, text, sendmail_ports.seen(sendmail.origin("LogLevel"), str(level)))
    else:
        yield passed(HOST, "commands are not logged")


@control("LOG-06", "opensmtpd")
def opensmtpd_logs_no_password(smtpd: OpenSmtpd, site: Site) -> Iterator[Finding]:
    if smtpd.problem:
        yield error(HOST, f"the configuration of OpenSMTPD ({smtpd.file}) could not be read", smtpd.problem)
        return
    given = smtpd.command
    values = [w[2:] or after for w, after in zip(given, (*given[1:], "")) if w.startswith("-T")]
    if any(value in ("smtp", "all") for value in values):
        shown = opensmtpd_ports.seen("the daemon's command line", " ".join(given))
        yield fail(HOST, "the daemon was started with -T: it logs every line of a session, AUTH too", shown)
        return
    silent = [port for port in smtpd.ports if not port.listen.auth]
    if silent:
        text = "a password that is sent where no login is offered is logged; no setting changes that (failed-command)"
        yield informational(HOST, text, opensmtpd_ports.line(silent[0]))
    else:
        yield passed(HOST, "no line of the log holds what a client sends with its login")


@control("LOG-06", "dovecot")
def dovecot_logs_no_password(dovecot: Dovecot, site: Site) -> Iterator[Finding]:
    everybody = dovecot.scopes("")[0]
    found = []
    if everybody.on("auth_debug_passwords"):
        found.append(dovecot_ports.setting(everybody, "auth_debug_passwords"))
    kind, _, kept = everybody.value("auth_verbose_passwords").partition(":")
    short = kind == "sha1" and kept.isdigit() and int(kept) <= _SHA1_KEPT
    if kind not in ("", "no") and not short:
        # The value itself; redact() would take the word for a password.
        shown = Evidence(Method.CONFIG, "doveconf auth_verbose_passwords", printable(f"{kind}:{kept}" if kept else kind))
        found.append(shown)
    if found:
        yield fail(HOST, f"passwords that clients send are logged ({found[0].where.rpartition(' ')[2]})", *found)
    else:
        yield passed(HOST, "passwords that clients send are not logged")
