"""What a host's own log of the last days says: which authenticated messages name no account, and which passwords it holds.

The readers are those that find the probe's tokens. Of each log only the end is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ..finding import HOST, Evidence, Finding, Method, fail, notapplicable, passed, stamped, unknown
from ..redact import redact
from ..runner import Runner
from ..text import printable
from . import exim, opensmtpd, postfix, sendmail
from .outcome import Sent
from .passwords import leaks
from .places import exim_files
from .sources import FILES, Reading, read_files, read_journal

MAX_BYTES = 4 * 1024 * 1024  # of each log
DAYS = 3
TIMEOUT_S = 20.0
_SHOWN = 3
_AUTHENTICATED: Mapping[str, Callable[[bytes, bool], Iterator[Sent]]] = {
    "postfix": postfix.authenticated, "exim": exim.authenticated,
    "sendmail": sendmail.authenticated, "opensmtpd": opensmtpd.authenticated,
}  # fmt: skip
_PROGRAMS = (*_AUTHENTICATED, "dovecot")
ACCOUNTS, PASSWORDS = "LOG-01", "LOG-06"


@dataclass(frozen=True)
class Log:
    """A log that was read, and the programs that write it."""

    programs: tuple[str, ...]
    reading: Reading

    @property
    def cut(self) -> bool:
        """Whether something in front of it is missing: the journal is read from a point in time on, files are whole."""
        return bool(self.reading.reason) or self.reading.source == "journal"


def survey(runner: Runner, instances: Mapping[str, Sequence[Any]], ids: Collection[str]) -> list[Finding]:
    """What the logs of these programs, by component, say about LOG-01 and LOG-06, as far as those are asked for. One spawn where
    the journal has to be read."""
    programs = [name for name in _PROGRAMS if instances.get(name)]
    if not programs or not {ACCOUNTS, PASSWORDS} & set(ids):
        return []
    read = list(logs(runner, programs, instances, DAYS, MAX_BYTES))
    found = []
    if ACCOUNTS in ids and set(programs) & set(_AUTHENTICATED):
        found.append(stamped(_accounts(read), ACCOUNTS, Method.LOG))
    if PASSWORDS in ids:
        found.append(stamped(_passwords(read), PASSWORDS, Method.LOG))
    return found


def logs(
    runner: Runner, programs: Sequence[str], instances: Mapping[str, Sequence[Any]], days: int, max_bytes: int
) -> Iterator[Log]:
    """The last `max_bytes` of each log of these programs. One spawn where the journal has to be read."""
    since = runner.now() - days * 86_400
    syslog = [name for name in programs if name != "exim"]
    for each in instances.get("exim", ()):
        files, to_syslog = exim_files(runner, each.options.get("log_file_path", ""), each.options.get("spool_directory", ""))
        yield Log(("exim",), read_files(files, since, max_bytes))
        syslog += ["exim"] * (to_syslog and "exim" not in syslog)
    own = [d.value(name) for d in instances.get("dovecot", ()) for name in ("log_path", "info_log_path", "debug_log_path")]
    own = list(dict.fromkeys(path for path in own if path.startswith("/")))
    if own:
        yield Log(("dovecot",), read_files(own, since, max_bytes))
    if syslog:
        reading = read_files(FILES, since, max_bytes)
        yield Log(tuple(syslog), reading if reading.log else read_journal(runner, since, max_bytes, TIMEOUT_S))


def _accounts(logs: Sequence[Log]) -> Finding:
    total = 0
    nameless: list[Evidence] = []
    count = 0
    for log in logs:
        for name in log.programs:
            for sent in _AUTHENTICATED[name](log.reading.log, log.cut) if name in _AUTHENTICATED else ():
                total += 1
                count += not sent.account
                if not sent.account and len(nameless) < _SHOWN:
                    nameless.append(Evidence(Method.LOG, log.reading.source, printable(redact(sent.line.rstrip()))))
    if nameless:
        return fail(HOST, f"of {total} authenticated messages in the log {count} name no account", *nameless)
    if total:
        return passed(HOST, f"each of {total} authenticated messages in the log names its account")
    return _nothing(logs, "no authenticated message is in the log")


def _passwords(logs: Sequence[Log]) -> Finding:
    count = 0
    accounts: dict[str, None] = {}
    shown: list[Evidence] = []
    for log in logs:
        for leak in leaks(log.reading.log):
            count += 1
            accounts.update({leak.account: None} if leak.account else {})
            if len(shown) < _SHOWN:
                shown.append(Evidence(Method.LOG, log.reading.source, leak.line))
    if shown:
        names = ", ".join(printable(name, 40) for name in list(accounts)[:5])
        whose = f", of the accounts {names}{' and more' if len(accounts) > 5 else ''}" if names else ""
        return fail(HOST, f"{count} passwords that clients sent stand in the log{whose}: change them, and clean the log", *shown)
    if any(log.reading.log for log in logs):
        return passed(HOST, f"no password was found in the log of the last {DAYS} days (at most {MAX_BYTES >> 20} MiB of each)")
    return _nothing(logs, "there is no log to look for passwords in")


def _nothing(logs: Sequence[Log], message: str) -> Finding:
    """What could not be read is unknown; what is not there concerns nobody here."""
    why = next((r for r in (failed(log.reading) for log in logs) if r), None)
    if why:
        return unknown(HOST, f"{message} as far as it could be read", why)
    read = ", ".join(dict.fromkeys(log.reading.source for log in logs if log.reading.source))
    return notapplicable(HOST, message, f"{read or 'no file, no journal'}, the last {DAYS} days")


def failed(reading: Reading) -> Optional[str]:
    """Why log is missing that is there."""
    return reading.reason if any(word in reading.reason for word in ("Could not", "failed", "did not end")) else None
