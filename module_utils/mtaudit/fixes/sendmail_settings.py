"""How people log in to Sendmail, what it tells and writes, and how much one client may send."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Optional

from ..config.sendmail import Wanted
from ..control import Site
from ..controls.limits import CONNECTIONS, RECIPIENTS, SIZE, most_of
from ..finding import Finding
from ..fix import fix
from ..listeners import SUBMISSION_PORTS
from ..mechanisms import weak
from ..readers.sendmail import Sendmail
from ..readers.sendmail_cf import Rule
from ..readers.sendmail_model import Daemon
from .sendmail_changes import failing, together, with_flags, without_letters

_GOOD = "LOGIN PLAIN"
_LEVEL = "10"  # names who logged in, and no password (Operation Guide, LogLevel; tried)
# As cf/m4/proto.m4 has it, but for those who log in: their account, and not where they are.
_RECEIVED = """\
$?{auth_type}from submission (authenticated as ${auth_authen})
\t$|$?sfrom $s $.$?_($?s$|from $.$_)
\t$.$.by $j$?r with $r$. id $i$?{tls_version} ${tls_version}$.$?u
\tfor $u; $|;
\t$.$b"""
_OLD_TLS = ("SSL_OP_NO_SSLv3", "SSL_OP_NO_TLSv1", "SSL_OP_NO_TLSv1_1")


def _daemons(sendmail: Sendmail, findings: Sequence[Finding]) -> list[Daemon]:
    """The ports that fail, as they are defined."""
    ports = failing(sendmail, findings)
    numbers = {port.port for port in ports}
    return [daemon for daemon in sendmail.daemons if daemon.port in numbers]


@fix("AUTH-01", "sendmail")
def passwords_inside_tls_alone(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """`p` in AuthOptions, and no `C` in srv_features, which takes it back."""
    value = sendmail.cf.option("AuthOptions")
    options = Wanted() if "p" in value else Wanted(defines={"confAUTH_OPTIONS": f"{value} p".strip()})
    return together([options, without_letters(sendmail, "C")])


@fix("AUTH-02", "sendmail")
def take_logins_where_they_belong(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Not on port 25, if there is a port for submission that takes them."""
    if not any(daemon.port in SUBMISSION_PORTS and daemon.login_offered for daemon in sendmail.daemons):
        return None
    found = [with_flags(daemon, add="A") for daemon in _daemons(sendmail, findings) if daemon.login_offered]
    return together([*found, without_letters(sendmail, "a")])


@fix("AUTH-03", "sendmail")
def submission_for_logins_alone(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """A login first (M=a), and no `L` in srv_features, which takes that back. Without a certificate there is no TLS, and so no
    password: only the site can give it one."""
    if not sendmail.cf.option("ServerCertFile"):
        return None
    ports = [daemon for daemon in _daemons(sendmail, findings) if daemon.port in SUBMISSION_PORTS]
    found = [with_flags(d, add="a", drop="A") for d in ports if not d.login_required or not d.login_offered]
    return together([*found, without_letters(sendmail, "L")])


@fix("AUTH-05", "sendmail")
def offer_good_mechanisms(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    names = sendmail.cf.option("AuthMechanisms").upper().replace(",", " ").split()
    gone = set(weak(names))
    return Wanted(defines={"confAUTH_MECHANISMS": " ".join(name for name in names if name not in gone) or _GOOD})


@fix("LOG-01", "sendmail")
@fix("LOG-06", "sendmail")
def log_who_logged_in(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """What the daemon was told on its command line is not in its configuration."""
    told = any(re.match(r"-(?:X|oL|OLogLevel=|O$)", word) for word in sendmail.command)
    return None if told else Wanted(defines={"confLOG_LEVEL": _LEVEL})


@fix("INFO-01", "sendmail")
def tell_nobody_who_is_there(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    flags = [flag for flag in re.split(r"[\s,]+", sendmail.cf.option("PrivacyOptions")) if flag]
    missing = [] if "goaway" in flags else [flag for flag in ("novrfy", "noexpn") if flag not in flags]
    options = Wanted(defines={"confPRIVACY_FLAGS": ",".join([*flags, *missing])}) if missing else Wanted()
    return together([options, without_letters(sendmail, "x")])


@fix("INFO-02", "sendmail")
def greet_without_a_version(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    said, path = " ".join(finding.message for finding in findings), sendmail.cf.option("HelpFile")
    found = [Wanted(defines={"confSMTP_LOGIN_MSG": "$j"})] if "greeting" in said else []
    if "HELP" in said and path.startswith("/"):
        told = [line.strip() for line in sendmail.help.splitlines() for text in [line.partition("\t")[2].strip()]
                if text and any(f"{text[:100]}" in finding.message for finding in findings)]  # fmt: skip
        lines = dict.fromkeys(told, False) or {"#vers\t2": True, "smtp\tSee the documentation of SMTP.": True}
        found.append(Wanted(words={path: lines}))
    return together(found)


@fix("LOG-02", "sendmail")
@fix("INFO-03", "sendmail")
def name_the_account_and_not_the_place(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    return Wanted(defines={"confRECEIVED_HEADER": _RECEIVED})


@fix("RATE-02", "sendmail")
def limit_a_client(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Each limit that is missing or too high; for connections by the access map, which FEATURE(conncontrol) asks."""
    said = " ".join(finding.message for finding in findings)
    found = []
    if "recipients" in said:
        found.append(Wanted(defines={"confMAX_RCPTS_PER_MESSAGE": str(most_of(RECIPIENTS, site))}))
    if "size of a message" in said or "MB a message" in said:
        found.append(Wanted(defines={"confMAX_MESSAGE_SIZE": str(most_of(SIZE, site) * 1024**2)}))
    if "connections" in said and sendmail.access is not None:
        asked = any("{client_connections}" in f"{r.left} {r.right}" for r in _reached(sendmail))
        feature = {} if asked else {"conncontrol": "`nodelay', `terminate'" if sendmail.delays_checks else "`', `terminate'"}
        entry: dict[str, Optional[str]] = {"ClientConn:": str(most_of(CONNECTIONS, site))}
        found.append(Wanted(features=dict(feature), maps={sendmail.access.path: entry}))
    return together(found)


def _reached(sendmail: Sendmail) -> list[Rule]:
    return [rule for rules in sendmail.cf.reached("check_relay").values() for rule in rules]


@fix("MILTER-01", "sendmail")
def let_mail_wait_for_filters(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """F=T for the filters that are told to be open: mail is put off while they do not answer."""
    said = " ".join(finding.message for finding in findings)
    found: dict[str, Optional[str]] = {}
    for name, milter in sendmail.cf.filters.items():
        if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", said) and not set(milter.flags) & set("TR4"):
            fields = {**milter.fields, "F": f"{milter.flags}T"}
            found[name] = ", ".join(f"{key}={value}" for key, value in fields.items())
    return together([Wanted(filters=found)])


@fix("PATCH-02", "sendmail")
def take_whole_line_ends_alone(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Without what srv_features takes back; an old release has to be updated."""
    return together([without_letters(sendmail, "OGFU")])


@fix("TLS-01", "sendmail")
def take_new_tls_alone(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    value = sendmail.cf.option("ServerSSLOptions")
    missing = [f"+{name}" for name in _OLD_TLS if not re.search(rf"\+?{name}\b", value)]
    return together([Wanted(defines={"confSERVER_SSL_OPTIONS": " ".join([value, *missing]).strip()})] if missing else [])

