"""Read what PHP does with mail, by version, server interface and pool, as it merges its files. No spawn.

php.ini first, then conf.d/*.ini by name, the last wins; a pool of php-fpm sets its own on top (php.net, "The configuration file"
and "FPM configuration"). Debian's places: /etc/php/VERSION/INTERFACE.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..runner import Runner

_NAMES = ("sendmail_path", "mail.add_x_header", "mail.log", "disable_functions")
_PROGRAMS = {"fpm": "php-fpm{}", "cli": "php{}", "cgi": "php-cgi{}"}
_SECTION = re.compile(r"\[(HOST|PATH)=", re.IGNORECASE)
_POOL = re.compile(r"(?m)^\s*\[([^\]]+)\]\s*$")
_CHROOT = re.compile(r"(?m)^\s*chroot[ \t]*=[ \t]*(.+)")
_POOL_VALUE = re.compile(r"(?m)^\s*php_(admin_)?(?:value|flag)\[\s*([\w.]+)\s*\]\s*=\s*(.*?)\s*$")
# What PHP has when no file says anything (main/main.c); Debian's sendmail_path is the same.
_DEFAULTS = {"sendmail_path": "/usr/sbin/sendmail -t -i"}


@dataclass(frozen=True)
class Value:
    """A setting and where it was made."""

    text: str
    where: str


@dataclass(frozen=True)
class Place:
    """Where PHP runs: its version, its interface (fpm, apache2, cgi, cli), for fpm the pool, its file and the
    directory that it sees as the root, and the account that it runs as."""

    version: str
    interface: str
    pool: str
    user: str
    values: dict[str, Value] = field(default_factory=dict)
    file: str = ""
    chroot: str = ""

    def __str__(self) -> str:
        return f"PHP {self.version} {self.interface}{f' pool {self.pool}' if self.pool else ''}"

    def value(self, name: str) -> Value:
        return self.values.get(name) or Value(_DEFAULTS.get(name, ""), "PHP's own default")

    @property
    def site(self) -> str:
        """What it is called where somebody names it: the pool, or the interface."""
        return self.pool or self.interface

    @property
    def mails(self) -> bool:
        """Whether it has the function mail()."""
        return "mail" not in re.split(r"[\s,]+", self.value("disable_functions").text)


def read(runner: Runner) -> list[Place]:
    """Every place where PHP runs. Raises ReadError."""
    found: list[Place] = []
    for path in runner.glob("/etc/php/*/*/php.ini"):
        directory = posixpath.dirname(path)
        version, interface = directory.split("/")[-2:]
        if not _installed(runner, version, interface):
            continue
        values: dict[str, Value] = {}
        for each in (path, *runner.glob(f"{directory}/conf.d/*.ini")):
            values.update(parse_ini(runner.read(each), each))
        if interface == "fpm":
            found += _pools(runner, version, directory, values)
        else:
            found.append(Place(version, interface, "", "" if interface == "cli" else _apache_user(runner), values))
    return found


def _installed(runner: Runner, version: str, interface: str) -> bool:
    """Packages that are removed leave their files in /etc."""
    if interface == "apache2":
        return bool(runner.glob(f"/usr/lib/apache2/modules/libphp{version}.so"))
    return interface in _PROGRAMS and runner.which(_PROGRAMS[interface].format(version)) is not None


def parse_ini(text: str, path: str) -> dict[str, Value]:
    """The settings about mail of one file. What stands below [HOST=...] or [PATH=...] is for a part of the requests."""
    found: dict[str, Value] = {}
    everybody = True
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            everybody = not _SECTION.match(stripped)
        name, equals, value = stripped.partition("=")
        if equals and everybody and name.strip() in _NAMES:
            found[name.strip()] = Value(_unquoted(value), f"{path}:{number}")
    return found


def _unquoted(text: str) -> str:
    """A value without its quotes, or up to the comment behind it; `Off` and its like are empty (Zend/zend_ini_scanner.l)."""
    text = text.strip()
    quoted = re.match(r"\"((?:[^\"\\]|\\.)*)\"|'([^']*)'", text)
    if quoted:
        return quoted.group(1) if quoted.group(1) is not None else quoted.group(2)
    word = text.partition(";")[0].strip()
    return "" if word.lower() in ("off", "no", "false", "none", "null") else word


def _pools(runner: Runner, version: str, directory: str, values: dict[str, Value]) -> Iterator[Place]:
    main = runner.read(f"{directory}/php-fpm.conf")
    patterns = re.findall(r"(?m)^\s*include\s*=\s*(\S+)", main)
    for path in (f"{directory}/php-fpm.conf", *(path for pattern in patterns for path in runner.glob(pattern))):
        text = "\n".join(line for line in runner.read(path).splitlines() if not line.lstrip().startswith(";"))
        parts = _POOL.split(text)
        for name, body in zip(parts[1::2], parts[2::2]):
            if name != "global":
                user = re.search(r"(?m)^\s*user\s*=\s*(\S+)", body)
                account = (user.group(1) if user else "").replace("$pool", name)
                chroot = _CHROOT.search(body)
                own = _own(body, f"{path} [{name}]", name)
                yield Place(version, "fpm", name, account, {**values, **own}, path, _unquoted(chroot[1]) if chroot else "")


def _own(body: str, where: str, pool: str) -> dict[str, Value]:
    """What a pool sets: an administrator's values before others, and of two the first (measured with 8.2 and 8.4)."""
    rows = sorted(_POOL_VALUE.findall(body), key=lambda row: not row[0])
    return {name: Value(_unquoted(text).replace("$pool", pool), f"{where} php_{kind}value[{name}]")
            for kind, name, text in rows[::-1] if name in _NAMES}  # fmt: skip


def _apache_user(runner: Runner) -> str:
    found = re.search(r"(?m)^\s*export\s+APACHE_RUN_USER=(\S+)", runner.read("/etc/apache2/envvars"))
    return found.group(1) if found else "www-data"
