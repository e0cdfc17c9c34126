"""Mail of web applications tells where it comes from."""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, Optional

from ..config import exim, postfix
from ..config.files import ConfigError, NewFile
from ..config.host import Wanted
from ..control import Site
from ..controls.web import handed_in, own_login, ways
from ..finding import Finding
from ..fix import fix
from ..readers.exim import Exim
from ..readers.php import Place
from ..readers.system import Host
from ..readers.web import Handed
from ..text import printable
from .exim_changes import ahead_of_all, together
from .port_wall import closing

_TRACED = {"mail.add_x_header": "On", "mail.log": "syslog"}
_OURS = "zz-mtaudit.ini"  # files of conf.d are read by name: the last one counts
_SUBMITTERS = "authorized_submit_users"
# What Exim asks for a message on standard input, and for a session of sendmail -bs; of both it knows who called it, and no
# option of sendmail(1) says otherwise.
_ASKED_OF_CALLERS = {"acl_not_smtp": "acl_mtaudit_not_smtp", "acl_smtp_connect": "acl_mtaudit_connect"}
_REFUSES = "deny\n  condition = ${{if eq{{$caller_uid}}{{{uid}}}}}\n  message = {account} may hand in no mail without a login"
_NO_LIST = {
    "sendmail": "Sendmail asks nobody about the account that runs sendmail(1); take the right to run it from that account, with "
                "setfacl -m u:{account}:--- on the program, which every update of the package gives back",
    "opensmtpd": "OpenSMTPD is not told which account hands a message to its socket /run/smtpd.sock, and everybody may; keep the "
                 "unit of the web application from it, with InaccessiblePaths=/run/smtpd.sock",
}  # fmt: skip
_LOGINS, _HERE = "/etc/mtaudit/web-mail.msmtprc", "127.0.0.1"
# On loopback nobody is between, and no certificate has that address.
_MSMTPRC = """\
# Written by mtaudit.
defaults
host {server}
port {port}
tls on
tls_starttls {starttls}
tls_certcheck {check}
auth on
allow_from_override off
set_from_header on
syslog LOG_MAIL
"""
_MSMTP_ACCOUNT = """
account {entry.pool}
from {entry.sender}
user {entry.login}
passwordeval "cat {entry.password_file}"
"""
_LOG_IN = """\
import smtplib, ssl, sys
server, port, starttls, login, file = sys.argv[1:]
try:
    context = ssl.create_default_context() if server != "127.0.0.1" else None
    if starttls == "on":
        session = smtplib.SMTP(server, port, timeout=30)
        session.starttls(context=context)
    else:
        session = smtplib.SMTP_SSL(server, port, timeout=30, context=context)
    session.login(login, open(file).readline().rstrip("\\n"))
except Exception as problem:
    sys.exit(f"{login} cannot log in: {problem}")"""


@fix("WEB-01", "os")
def keep_web_accounts_out(host: Host, site: Site, findings: Sequence[Finding]) -> Mapping[str, Any]:
    """Postfix asks a list whose mail it takes from sendmail(1); in front of it they are named as those whose it does not. So they
    are at the top of Exim's ACLs. Ports that ask for no login are closed to them."""
    allowed = [handed for handed in handed_in(host.web) if handed.allowed]
    accounts = [handed.account for handed in allowed]
    wanted: dict[str, Any] = {"os": Wanted(kept_out=tuple(accounts)).then(_closed_ports(host, site))}
    if allowed and _SUBMITTERS in allowed[0].where:
        value = ", ".join([*(f"!{account}" for account in accounts), allowed[0].text])
        wanted["postfix"] = postfix.Wanted(parameters={_SUBMITTERS: value})
    elif allowed and host.web.exims:
        wanted["exim"] = _refusing(allowed)
    elif allowed:
        why = next((text for name, text in _NO_LIST.items() if name in site.servers), "its program has no list of those who may")
        raise ConfigError(f"Could not keep {accounts[0]} from handing in mail: {why.format(account=accounts[0])}")
    return wanted


def _refusing(callers: Sequence[Handed]) -> Callable[[Exim], Optional[exim.Wanted]]:
    unknown = [handed.account for handed in callers if handed.uid < 0]
    if unknown:
        raise ConfigError(f"Could not keep {printable(unknown[0])} from handing in mail: it is not in /etc/passwd")
    texts = [_REFUSES.format(uid=handed.uid, account=handed.account) for handed in callers]

    def wanted(now: Exim) -> Optional[exim.Wanted]:
        found = {option: ahead_of_all(now, option, name, texts) for option, name in _ASKED_OF_CALLERS.items()}
        written = next((option for option, each in found.items() if each is None), "")
        if written:
            raise ConfigError(f"Could not change {written}: its ACL stands in the option or a file of its own; write it into the "
                              "section of ACLs, and name it there")  # fmt: skip
        return together(found.values())

    return wanted


def _closed_ports(host: Host, site: Site) -> Wanted:
    """Every port to every account where one is open: a rule of ours may be what closes the others."""
    known = list(ways(host.web, site))
    if all(way.stopped for way in known):
        return Wanted()
    return closing(known, host.web.filter.nft)


@fix("WEB-02", "os")
def give_each_site_a_login(host: Host, site: Site, findings: Sequence[Finding]) -> Wanted:
    """msmtp with a login of `sites`, as what no script changes. Its password stays in the file that the site keeps it in. Mail of
    what is not named there is left as it is."""
    known = {entry.pool: entry for entry in site.tunables.get("sites", ())}
    failing = list(_without_own_login(host))
    places = [place for place in failing if place.site in known]
    if not places:
        missing = sorted({place.site for place in failing})
        raise ConfigError(f"Could not give mail of {', '.join(missing)} a login: which one, only the site knows; name its pool, "
                          "login, sender and password_file in sites of WEB-02 (mta_web_mail_sites)")  # fmt: skip
    if not host.web.wrapper:
        raise ConfigError("Could not give web applications a login: msmtp is missing; install it (mta_harden_install)")
    for place in places:
        if place.chroot:
            raise ConfigError(f"Could not give {place} a login: its mail() runs in {place.chroot}, where msmtp is not; let the "
                              "application log in by itself, and put mail into disable_functions")  # fmt: skip
    server, port = _submission(host, site)
    starttls = "off" if port == "465" else "on"
    text = _MSMTPRC.format(server=server, port=port, starttls=starttls, check="off" if server == _HERE else "on")
    text += "".join(_MSMTP_ACCOUNT.format(entry=entry) for entry in known.values())
    wanted = Wanted(texts={_LOGINS: NewFile(_LOGINS, text.encode(), 0o644)})
    for place in places:
        entry = known[place.site]
        values = {"sendmail_path": f'"{host.web.wrapper} -C {_LOGINS} -a {entry.pool} -t"'}
        check = ("runuser", "-u", place.user, "--", sys.executable, "-I", "-c", _LOG_IN,
                 server, port, starttls, entry.login, entry.password_file)  # fmt: skip
        wanted = wanted.then((_in_pool if place.pool else _in_conf_d)(place, values))
        wanted = wanted.then(Wanted(secrets=((entry.password_file, place.user),), checks=(check,)))
    return wanted


def _without_own_login(host: Host) -> Iterator[Place]:
    places = [place for place in host.web.sites if place.mails]
    users: dict[str, set[str]] = {}
    for place in places:
        users.setdefault(own_login(host.web, place) or "", set()).add(place.user)
    for place in places:
        login = own_login(host.web, place)
        if login == "" or (login and len(users[login]) > 1):
            yield place


def _submission(host: Host, site: Site) -> tuple[str, str]:
    """The server and port that take mail after a login."""
    given = str(site.tunables.get("submission", ""))
    if given and not re.fullmatch(r"[\w.-]+:\d{1,5}", given, re.ASCII):
        raise ConfigError(f"submission of WEB-02 is a host and a port, as mail.example.org:587, not {printable(given)!r}")
    here = any(port.port == 587 for servers in site.servers.values() for server in servers for port in server.smtp)
    if not given and not here:
        raise ConfigError("Could not give web applications a login: nothing here listens on port 587; name what takes "
                          "their mail in submission of WEB-02 (mta_web_mail_submission)")  # fmt: skip
    server, _, port = (given or f"{_HERE}:587").partition(":")
    if any(way.port == int(port) for way in ways(host.web, site)):
        raise ConfigError(f"Could not give web applications a login at {given}: WEB-01 closes port {port} to them; name a port "
                          "for submission, 587 or 465, in submission of WEB-02 (mta_web_mail_submission)")  # fmt: skip
    return server, str(int(port))


@fix("WEB-03", "os")
def name_the_script(host: Host, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """In conf.d of every interface; in a pool that says otherwise, there."""
    wanted = Wanted()
    for place in (place for place in host.web.places if place.mails):
        values = {name: value for name, value in _TRACED.items() if place.value(name).text in ("", "0")}
        of_pool = {name: value for name, value in values.items() if "value[" in place.value(name).where}
        others = {name: value for name, value in values.items() if name not in of_pool}
        wanted = wanted.then(_in_pool(place, of_pool)).then(_in_conf_d(place, others))
    return wanted if wanted.php or wanted.pools else None


def _in_pool(place: Place, values: Mapping[str, str]) -> Wanted:
    return Wanted(pools={f"{place.file} [{place.pool}]": values}, told=_told(place)) if values else Wanted()


def _in_conf_d(place: Place, values: Mapping[str, str]) -> Wanted:
    path = posixpath.join("/etc/php", place.version, place.interface, "conf.d", _OURS)
    return Wanted(php={path: values}, told=_told(place)) if values else Wanted()


def _told(place: Place) -> dict[str, str]:
    """Who has read the files at its start; programs that are started for each request have none."""
    unit = {"fpm": f"php{place.version}-fpm", "apache2": "apache2"}.get(place.interface, "")
    return {unit: "restart"} if unit else {}
