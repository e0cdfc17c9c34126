"""Read which packages of the mail stack are installed, and which newer ones apt's lists of the security suite hold.

No spawn, but for `version`. Debian's only: dpkg's status (deb-control(5)) and the lists that apt keeps uncompressed below
/var/lib/apt/lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

from ..runner import ReadError, Runner
from ..text import printable

_STATUS = "/var/lib/dpkg/status"
_LISTS = "/var/lib/apt/lists"
# What a stranger's mail passes through, and the libraries that do its cryptography and logins.
_MAIL = re.compile(
    r"(?:postfix|exim4|sendmail|opensmtpd|dovecot|cyrus|courier|rspamd|spamassassin|clamav|amavisd|opendkim|opendmarc|milter|sasl2-bin"
    r"|openssl|libssl|libcrypto|libgnutls|libsasl2|libmilter|libspf2|libc6|libdb5|libpam|libclamav)[\w.+-]*"
)
# An installed package, and one of a list: name and version of a paragraph.
_INSTALLED = re.compile(r"(?m)^Package: (\S+)\nStatus: \w+ ok installed\n(?:.+\n)*?Version: (\S+)$")
_LISTED = re.compile(r"(?m)^Package: (\S+)\n(?:.+\n)*?Version: (\S+)$")


_Pair = tuple[list[int], int]


@dataclass(frozen=True)
class Pending:
    """A package of the mail stack of which the security suite has a newer version."""

    name: str
    installed: str
    newer: str
    path: str


@dataclass
class Packages:
    """`release` is Debian's number; `fetched_at` when apt last looked for lists; `lists` the security suite's that were read."""

    release: str = ""
    installed: dict[str, str] = field(default_factory=dict)
    lists: list[str] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    fetched_at: float = 0.0
    valid_until: float = 0.0
    problem: str = ""


def version(runner: Runner, package: str) -> tuple[str, str]:
    """The version of one of Debian's packages, or why it is not known, as dpkg says."""
    try:
        done = runner.run(["dpkg-query", "-W", "-f", "${Version}\n", package])
    except ReadError as exc:
        return "", printable(str(exc))
    lines = done.stdout.split()
    return (lines[0], "") if done.returncode == 0 and lines else ("", f"dpkg knows no {package}")


def read(runner: Runner) -> Packages:
    """What cannot be read is said in `problem`."""
    found = Packages()
    try:
        system = runner.read("/etc/os-release")
        number = re.search(r'(?m)^VERSION_ID="?(\d+)', system) if re.search(r"(?m)^ID=\"?debian", system) else None
        found.release = number.group(1) if number else ""
        found.installed = {name: version for name, version in _INSTALLED.findall(runner.read(_STATUS)) if _MAIL.fullmatch(name)}
        _read_lists(runner, found)
    except ReadError as exc:
        found.problem = printable(str(exc))
    return found


def _read_lists(runner: Runner, found: Packages) -> None:
    # A list that did not change is not written anew; but apt puts what it fetches into `partial` first.
    stamps = [runner.stat(path) for path in (_LISTS, f"{_LISTS}/partial", "/var/lib/apt/periodic/update-success-stamp")]
    found.fetched_at = max((stat.mtime_ns / 1e9 for stat in stamps if stat), default=0.0)
    for head in [*runner.glob(f"{_LISTS}/*_InRelease"), *runner.glob(f"{_LISTS}/*_Release")]:
        text = runner.read(head)
        if not re.search(r"(?m)^(?:Label: Debian-Security|(?:Suite|Codename): \S+-security)$", text):
            continue
        until = re.search(r"(?m)^Valid-Until: (.+)$", text)
        try:
            found.valid_until = parsedate_to_datetime(until.group(1)).timestamp() if until else 0.0
        except (TypeError, ValueError):
            pass  # then only the day of the last look counts
        stem = re.sub(r"_(?:In)?Release\Z", "", head)
        for path in runner.glob(f"{stem}_*_binary-*_Packages"):
            found.lists.append(path)
            found.pending += _pending(found.installed, runner.read(path), path)
    if not found.lists:
        found.problem = f"{_LISTS} holds no list of a security suite (or only compressed ones)"


def _pending(installed: dict[str, str], text: str, path: str) -> Iterator[Pending]:
    newest: dict[str, str] = {}
    for name, version in _LISTED.findall(text):
        if name in installed and newer(version, newest.get(name, installed[name])):
            newest[name] = version
    for name, version in newest.items():
        yield Pending(name, installed[name], version, path)


def newer(one: str, other: str) -> bool:
    """Whether a version is newer than another (deb-version(7))."""
    return _key(one) > _key(other)


def _key(version: str) -> tuple[int, list[_Pair], list[_Pair]]:
    epoch, colon, rest = version.partition(":")
    upstream, dash, revision = (rest if colon else version).rpartition("-")
    if not dash:
        upstream, revision = revision, ""
    return int(epoch) if colon and epoch.isdigit() else 0, _pairs(upstream), _pairs(revision)


def _pairs(text: str) -> list[_Pair]:
    """What is no digit, and the number behind it, by turns; lists and tuples compare as dpkg does. The end comes after `~` and
    before all else."""
    found = [(_weights(letters), int(digits or 0)) for letters, digits in re.findall(r"([^\d]*)(\d*)", text) if letters or digits]
    return [*found, ([0], 0)]


def _weights(text: str) -> list[int]:
    return [-1 if c == "~" else ord(c) if c.isalpha() else ord(c) + 256 for c in text] + [0]
