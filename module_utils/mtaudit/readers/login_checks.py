"""What checks the passwords of people who log in to a mail program, and whether a name and a password that are nobody's get in.

Nothing is tried: Dovecot's passdbs are read, PAM's stacks are walked, the conditions of Exim's authenticators are expanded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from ..runner import Runner
from ..text import printable
from .dovecot_model import Dovecot, Section
from .dovecot_passdbs import driver_of, fields_of, passdbs, setting, yes
from .exim import Exim
from .exim_expand import Doubt, Expander, ForcedFailure, Known, Session, braced
from .exim_model import server_side
from .pam_logins import any_password
from .sasl import Sasl, saslauthd

_USER, _PASSWORD = "mtaudit-nobody", "mtaudit-no-password"  # nothing is looked up outside of this process
# With what it was told, each of these denies somebody who is in none of its tables.
_TABLES = ("passwd-file", "passwd", "shadow", "bsdauth", "sql", "ldap", "dict")
_LETS_IN = ("return-ok", "continue-ok")
_EXACT = re.compile(r"lsearch|iplsearch|dbm(?:nz|jz)?|cdb|dsearch|nis|nisplus")
_SASLAUTHD = ("shadow", "getpwent", "sasldb", "ldap", "kerberos5")
# Authenticators of Exim that compare with a secret, or ask what is looked at elsewhere.
_EXIM_DRIVERS = ("cram_md5", "dovecot", "spa", "tls", "heimdal_gssapi", "gsasl")


@dataclass(frozen=True)
class LoginCheck:
    """What asks for a password: `program`, and `where` that is said. `open` says why anybody gets in; `doubt` why that is not
    known; neither: nobody does."""

    program: str
    where: str
    open: str = ""
    doubt: str = ""


def read(runner: Runner, programs: Sequence[tuple[str, Any, Sequence[Any]]]) -> tuple[LoginCheck, ...]:
    """No spawn. Raises nothing."""
    found: list[LoginCheck] = []
    for title, _, instances in programs:
        for instance in instances:
            found += [replace(each, where=printable(each.where), open=printable(each.open), doubt=printable(each.doubt))
                      for each in _READERS.get(title, _nothing)(runner, instance)]  # fmt: skip
    return tuple(dict.fromkeys(found))


def _nothing(_runner: Runner, _instance: Any) -> Iterator[LoginCheck]:
    yield from ()


# Dovecot

def _dovecot(runner: Runner, dovecot: Dovecot) -> Iterator[LoginCheck]:
    for passdb in passdbs(dovecot):
        if not yes(passdb, "deny"):
            yield LoginCheck("Dovecot", f"passdb {driver_of(passdb)}", *_passdb(runner, passdb))


def _passdb(runner: Runner, passdb: Section) -> tuple[str, str]:
    """`result_failure`: what a passdb does with a login that it denies (2.3 and 2.4, passdb settings)."""
    driver = driver_of(passdb)
    for name in ("result_failure", "result_internalfail"):
        if passdb.settings.get(name) in _LETS_IN:
            return f"{name} = {passdb.settings[name]}: who is denied gets in", ""
    if driver != "static" and "nopassword" in fields_of(passdb):
        return f"nopassword stands in the fields of passdb {driver}: whom it names gets in with any password", ""
    if driver == "pam":
        service = _pam_service(passdb)
        if "%" in service or service == "*":
            found = [any_password(runner, each) for each in ("imap", "pop3", "smtp", "sieve")]
            return next(filter(any, sorted(found, reverse=True)), ("", ""))
        return any_password(runner, service)
    if driver == "static":
        return _static(passdb)
    if driver == "sql" and "nopassword" in " ".join(passdb.settings.values()):
        return "", "its query names nopassword, for whom it does not say"
    return ("", "") if driver in _TABLES else ("", f"what {driver} answers is not known here")


def _pam_service(passdb: Section) -> str:
    words = [word for word in passdb.settings.get("args", "").split() if "=" not in word and not word.startswith("-")]
    return setting(passdb, "service_name") or setting(passdb, "pam_service_name") or (words[-1] if words else "dovecot")


def _static(passdb: Section) -> tuple[str, str]:
    """`nopassword` lets anybody in, but where a host behind it checks the password."""
    fields = fields_of(passdb)
    if "proxy" in fields or "proxy_maybe" in fields:
        return "", "another host checks the password"
    if "nopassword" in fields and ("allow_nets" in fields or passdb.settings.get("mechanisms")):
        return "", f"nopassword holds for some logins: {'allow_nets' if 'allow_nets' in fields else 'mechanisms'}"
    return ("any name gets in, with any password (nopassword)", "") if "nopassword" in fields else ("", "")


# Cyrus SASL, for Postfix and Sendmail

def _postfix(runner: Runner, postfix: Any) -> Iterator[LoginCheck]:
    for sasl in {each.file: each for each in postfix.sasl.values()}.values():
        yield _cyrus(runner, "Postfix", sasl)


def _sendmail(runner: Runner, sendmail: Any) -> Iterator[LoginCheck]:
    if sendmail.sasl.file or sendmail.sasl.mechanisms:
        yield _cyrus(runner, "Sendmail", sendmail.sasl)


def _cyrus(runner: Runner, program: str, sasl: Sasl) -> LoginCheck:
    """Each method is asked in turn, and one that agrees is enough (auxprop and pwcheck_method in Cyrus SASL's options)."""
    where = f"{sasl.file or 'Cyrus SASL'} pwcheck_method"
    methods = sasl.methods
    if "alwaystrue" in methods:
        return LoginCheck(program, where, "alwaystrue: any name gets in, with any password")
    if sasl.problem or "saslauthd" not in methods:
        return LoginCheck(program, where, doubt=sasl.problem)
    return LoginCheck(program, where, *_saslauthd(runner))


def _saslauthd(runner: Runner) -> tuple[str, str]:
    asked = saslauthd(runner)
    if asked is None:
        return "", "saslauthd checks the passwords, and does not run"
    if asked == "pam":
        return any_password(runner, "smtp")
    return "", "" if asked in _SASLAUTHD else f"saslauthd asks {asked or 'somebody'}"


# Exim

def _exim(runner: Runner, exim: Exim) -> Iterator[LoginCheck]:
    for name, options in exim.config.authenticators.items():
        if server_side(options):
            yield LoginCheck("Exim", f"{exim.file} authenticator {name}", *_authenticator(runner, exim, options))


def _authenticator(runner: Runner, exim: Exim, options: Mapping[str, str]) -> tuple[str, str]:
    """Of `plaintext` server_condition is the whole check (specification, chapter 34); the others compare with a secret."""
    driver = options.get("driver", "")
    if driver != "plaintext":
        return "", "" if driver in _EXIM_DRIVERS else f"{driver} checks the passwords"
    told = [_condition_of(runner, exim, options, password) for password in (_PASSWORD, "")]
    return next((each for each in told if each[0]), next(filter(any, told), ("", "")))


def _condition_of(runner: Runner, exim: Exim, options: Mapping[str, str], password: str) -> tuple[str, str]:
    plain = options.get("public_name", "").strip('"').upper() == "PLAIN"
    given = ("", _USER, password) if plain else (_USER, password, "")
    expander = _Login(exim.known(), given, lambda: any_password(runner, "exim"))
    try:
        answer = expander.expand(options["server_condition"]).strip().lower()
    except ForcedFailure:
        return "", ""
    except Doubt as exc:
        return "", str(exc)
    if answer in ("", "0", "no", "false"):
        return "", ""
    if answer in ("1", "yes", "true"):
        return f"its server_condition is {answer} for any name and {'any' if password else 'an empty'} password", ""
    return "", "Exim would put off whoever logs in: its server_condition is neither true nor false"


class _Login(Expander):
    """In a session where somebody logs in whom nobody knows. `pam` says what PAM answers."""

    def __init__(self, known: Known, given: tuple[str, str, str], pam_says: Callable[[], tuple[str, str]]) -> None:
        variables = {**known.variables, **{f"auth{n}": text for n, text in enumerate(given, 1)}}
        super().__init__(replace(known, variables=variables, lookup=self._nobody), Session("198.51.100.1", port=587, tls=True))
        self._captures = ["", *given]  # $1 and so on, as of old
        self._pam_says, self._looked_up = pam_says, known.lookup

    def _nobody(self, kind: str, path: str, key: str) -> Optional[str]:
        """A table of passwords is not read: this name is in none, unless it stands for any."""
        try:
            return self._looked_up(kind, path, key)
        except Doubt:
            if _USER not in key or not _EXACT.fullmatch(kind):
                raise
        return None

    def _condition(self, text: str, position: int) -> tuple[bool, int]:
        found = re.compile(r"\s*(!?)\s*(pam|saslauthd|ldapauth|radius|pwcheck)\s*(?=\{)").match(text, position)
        if not found:
            return super()._condition(text, position)
        _, end = braced(text, found.end())
        if found[2] != "pam":
            raise Doubt(f"{found[2]} checks the passwords")
        lets_in, doubt = self._pam_says()
        if doubt:
            raise Doubt(doubt)
        return bool(lets_in) is not bool(found[1]), end

    def _simple(self, name: str, arguments: list[str]) -> bool:
        """No hash is that of this password, and what is too short for a hash is none (tried with Exim 4.96)."""
        if name == "crypteq":
            return False
        return super()._simple(name, arguments)


# OpenSMTPD

def _opensmtpd(runner: Runner, smtpd: Any) -> Iterator[LoginCheck]:
    """With a table its entries are compared; without one PAM is asked as `smtpd`, as Debian builds it."""
    for listen in smtpd.config.listens:
        if listen.auth and listen.logins is not None:
            backend = listen.logins.backend
            doubt = "" if backend in ("file", "static", "db", "") else f"what {backend} answers is not known here"
            yield LoginCheck("OpenSMTPD", f"table {listen.logins}", doubt=doubt)
        elif listen.auth:
            yield LoginCheck("OpenSMTPD", "accounts of the host", *any_password(runner, "smtpd"))


_READERS: Mapping[str, Callable[[Runner, Any], Iterator[LoginCheck]]] = {
    "Dovecot": _dovecot, "Postfix": _postfix, "Sendmail": _sendmail, "Exim": _exim, "OpenSMTPD": _opensmtpd,
}  # fmt: skip
