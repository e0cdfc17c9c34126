"""Where the mail programs write their logs, by their own settings: syslog, or files of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .dovecot_passdbs import driver_of, passdbs
from .exim import NAMES
from .exim_syntax import items
from .rsyslog import Message

_ADDRESS = "198.51.100.7"


@dataclass(frozen=True)
class Place:
    """One program's log: through syslog with a facility (empty when not), and files that it writes itself. `processes` are its
    names in the process table, `samples` what it tells of a message that somebody logged in to send. `pam`: PAM tells syslog of
    failed logins besides; `failed` is how its own line of one begins, where filters may not know that yet. `problem` says why its
    place is not known."""

    title: str
    facility: str = ""
    files: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    samples: tuple[Message, ...] = ()
    where: str = ""
    problem: str = ""
    pam: bool = False
    failed: str = ""


def place_of(title: str, instance: Any) -> Place:
    """Of a program by its title in components.py."""
    if title not in _PLACES:
        return Place(title, problem="where it logs is not known to mtaudit")
    problem = instance.problem if title in ("Postfix", "Exim") else ""  # the others' settings have no part in it
    return Place(title, problem=problem) if problem else _PLACES[title](instance)


def _postfix(postfix: Any) -> Place:
    main = postfix.main
    file, facility = main.value("maillog_file"), (main.value("syslog_facility") or "mail").lower()
    name = main.value("syslog_name") or "postfix"
    name = name if re.fullmatch(r"[\w./-]+", name) else "postfix"
    samples = _samples(
        facility,
        (f"{name}/smtpd", f"4C3B12A0F: client=mail.example[{_ADDRESS}], sasl_method=PLAIN, sasl_username=alice"),
        (f"{name}/submission/smtpd", f"4C3B12A0F: client=mail.example[{_ADDRESS}], sasl_method=PLAIN, sasl_username=alice"),
        (f"{name}/qmgr", "4C3B12A0F: from=<alice@corp.example>, size=512, nrcpt=1 (queue active)"),
        (f"{name}/smtp", "4C3B12A0F: to=<bob@far.example>, relay=mx.far.example, delay=1, dsn=2.0.0, status=sent (250 2.0.0 Ok)"),
        (f"{name}/smtp", "4C3B12A0F: to=<bob@far.example>, relay=none, dsn=4.4.1, status=deferred (connect to mx.far.example)"),
    )
    processes = ("master",)
    if not file:
        return Place("Postfix", facility, (), processes, samples, "maillog_file is empty")
    if not file.startswith("/var/"):
        problem = f"maillog_file is {file}: who keeps that is not to be seen here"
        return Place("Postfix", "", (), processes, samples, "maillog_file", problem)
    if not any(service.entry and service.entry.command == "postlogd" for service in postfix.services()):
        problem = f"maillog_file is {file}, but master.cf has no postlogd that writes it (MAILLOG_README)"
        return Place("Postfix", "", (), processes, samples, "maillog_file", problem)
    return Place("Postfix", "", (file,), processes, samples, "maillog_file")


def _exim(exim: Any) -> Place:
    facility = (exim.options.get("syslog_facility", "") or "mail").lower()
    value = exim.options.get("log_file_path", "")
    built_in = f"{exim.options.get('spool_directory', '/var/spool/exim')}/log/%slog"
    paths = [item.strip() or built_in for item in items(value)] or [built_in]
    files = [path for path in paths if path != "syslog"]
    samples = _samples(
        facility,
        ("exim", f"1aBcDe-000001-AB <= alice@corp.example H=mail.example [{_ADDRESS}] P=esmtpsa A=PLAIN:alice S=512"),
        ("exim", "1aBcDe-000001-AB => bob@far.example R=dnslookup T=remote_smtp H=mx.far.example C=\"250 OK\""),
        ("exim", "1aBcDe-000001-AB Completed"),
    )
    problem = ""
    if any("$" in path or "%D" in path or "%M" in path for path in files):
        problem = f"log_file_path is {value}: which file that is changes by itself"
        files = []
    own = tuple(path.replace("%s", "main") for path in files)
    return Place("Exim", facility if "syslog" in paths else "", own, NAMES, samples, "log_file_path", problem)


def _sendmail(sendmail: Any) -> Place:
    names = ("sm-mta", "sendmail")
    samples = _samples("mail", *((name, text) for name in names for text in (
        f"AUTH=server, relay=mail.example [{_ADDRESS}], authid=alice, mech=PLAIN, bits=0",
        f"6AM7Rc0m000223: from=<alice@corp.example>, size=512, nrcpts=1, proto=ESMTPSA, relay=mail.example [{_ADDRESS}]",
        "6AM7Rc0m000223: to=<bob@far.example>, delay=00:00:01, mailer=esmtp, dsn=2.0.0, stat=Sent (OK)",
    )))
    processes = ("sendmail", "sendmail-mta", "sendmail.sendm")
    return Place("Sendmail", "mail", (), processes, samples, "syslog, always")


def _opensmtpd(smtpd: Any) -> Place:
    samples = _samples(
        "mail",
        ("smtpd", "08c286cf4706ccaf smtp authentication user=alice address=198.51.100.7 host=mail.example result=ok"),
        ("smtpd", "08c286cf4706ccaf smtp message msgid=1a2b3c4d size=512 nrcpt=1 proto=ESMTP"),
        ("smtpd", "08c286cf4706ccb0 mta delivery evpid=1a2b3c4d5e6f from=<alice@corp.example> to=<bob@far.example> result=Ok"),
    )
    return Place("OpenSMTPD", "mail", (), ("smtpd",), samples, "syslog, always")


def _dovecot(dovecot: Any) -> Place:
    facility = (dovecot.value("syslog_facility") or "mail").lower()
    main = dovecot.value("log_path") or "syslog"
    told = dovecot.value("info_log_path") or main
    samples = _samples(facility, ("dovecot", f"imap-login: Login: user=<alice>, method=PLAIN, rip={_ADDRESS}, mpid=7, TLS"))
    place = Place("Dovecot", facility, (), ("dovecot",), samples, "info_log_path",
                  pam=any(driver_of(passdb) == "pam" for passdb in passdbs(dovecot)),
                  failed="Login aborted" if dovecot.release >= (2, 4) else "")  # fmt: skip
    if told == "syslog":
        return place
    if not told.startswith("/var/"):
        return replace(place, facility="", problem=f"info_log_path is {told}: who keeps that is not to be seen here")
    return replace(place, facility="", files=(told,))


def _samples(facility: str, *lines: tuple[str, str]) -> tuple[Message, ...]:
    return tuple(Message(facility, "info", program, text) for program, text in lines)


_PLACES: Mapping[str, Callable[[Any], Place]] = {
    "Postfix": _postfix, "Exim": _exim, "Sendmail": _sendmail, "OpenSMTPD": _opensmtpd, "Dovecot": _dovecot,
}  # fmt: skip
