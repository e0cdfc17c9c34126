"""Read the effective configuration of rspamd: workers, actions, lists, rates, and what listens now.

`rspamadm configdump` prints what the daemon would read, every include merged (configuration.html, "rspamadm configdump"). What
other controls may want of it: `rates` are the ratelimit module's rules, see Rate; controls get the
whole reading as Site.rspamd (None where it is not installed, or no control of this host looks at it).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ..address import Address, is_address, parse_address
from ..runner import ReadError, Runner
from ..text import printable
from . import network

# One spawn, 0.4 s of CPU on Debian 12 and 13. It also looks up the names of fuzzy servers, which takes its time without DNS.
SECTIONS = ("actions", "worker", "options", "rbl", "surbl", "dmarc", "spf", "dkim", "ratelimit", "redis", "settings",
            "force_actions", "metadata_exporter", "milter_headers", "antivirus", "dkim_signing", "external_services",
            "group", "multimap")  # fmt: skip
_TIMEOUT_S = 40.0
LUA = ("/etc/rspamd/*.lua", "/etc/rspamd/l*/*.lua")
# rspamadm writes compiled patterns to the cache of the daemon (3.4, measured). Without this capability it cannot, and goes on;
# what only root may read, it reads all the same (capabilities(7), CAP_DAC_READ_SEARCH).
_READ_ONLY = ("setpriv", "--bounding-set=-dac_override")
# Of blocks that are there more than once, as `worker`, each is printed: a section that nobody has tells where they end.
MARK = "mtaudit"
BETWEEN = f"Section {MARK} NOT FOUND\n"
COMMAND = ("rspamadm", "configdump", "-j", "-C", *f" {MARK} ".join(SECTIONS).split())
# What some versions do not do when they are told to: only then is the version asked for.
_BY_VERSION = re.compile(r'"quarantine_on_reject": true|"action": "quarantine"')
# From 3.9.0 until before 4.1.1 the milter says `accept` and not `quarantine` where a module gave a message for the client
# (milter.c; https://github.com/rspamd/rspamd/issues/6088; tried on 3.12.1: delivered; what DMARC quarantines is held).
_LETS_GO = ((3, 9), (4, 1, 1))
# Actions that a rule may take whether `actions` name them or not; accept is no action (lua_task_set_pre_result in lua_task.c).
_ACTIONS = {"reject", "soft reject", "rewrite subject", "add header", "greylist", "no action", "accept"}
_DEFAULT_PORTS = {"rspamd_proxy": 11332, "normal": 11333, "controller": 11334}
_MODULES_OF_REDIS = ("ratelimit", "greylist", "replies", "history_redis", "neural")


@dataclass(frozen=True)
class Socket:
    """A place where a worker listens, or a client of it calls: `host` is an address, a name or `*`; a socket file has a path."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return self.path or f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def serves(self, called: Socket) -> bool:
        """Whether who calls there is answered here."""
        if self.path or called.path:
            return self.path == called.path
        return self.port == called.port and (self.host == "*" or bool(set(_hosts(self.host)) & set(_hosts(called.host))))


@dataclass(frozen=True)
class Worker:
    """A `worker` block that is on: `normal` answers HTTP and spamc, `rspamd_proxy` with `milter` answers MTAs by itself."""

    kind: str
    sockets: tuple[Socket, ...] = ()
    milter: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scans(self) -> bool:
        """A proxy that hands on to another host does not scan here."""
        hosts = self.options.get("upstream")
        local = isinstance(hosts, dict) and any(isinstance(u, dict) and u.get("self_scan") for u in hosts.values())
        return self.kind == "normal" or self.kind == "rspamd_proxy" and local


@dataclass(frozen=True)
class DnsList:
    """One list of the rbl module. `checks` are what is looked up there: from (the client), received, urls, helo, rdns, emails,
    dkim, replyto; `selectors` are expressions; `logins` says whether mail of those who logged in is looked up, too."""

    name: str
    zone: str
    checks: frozenset[str] = frozenset()
    selectors: tuple[str, ...] = ()
    whitelist: bool = False
    logins: bool = False


@dataclass(frozen=True)
class Bucket:
    """What may be sent: `rate` as written (`100 / 1h`), or tokens a second; `burst` as written, None when the rate gives it."""

    rate: str
    burst: Optional[float] = None


@dataclass(frozen=True)
class Rate:
    """One rule of the ratelimit module: its name, what its selector counts by (`user.lower`; empty for the named ones of old:
    `user`, `to`, `to_ip_from` ...), and its buckets. Without Redis (Rspamd.needs_redis) none is in force."""

    name: str
    selector: str = ""
    buckets: tuple[Bucket, ...] = ()


@dataclass(frozen=True)
class Rspamd:
    """What rspamd is told, and what listens on this host now. `problem` says why nothing is known.

    `sections` is what configdump printed; `listening` are the TCP ports, `sockets` the files of listening unix sockets; `lua`
    those files of the site's own with rules that look at who logged in; `version` is `3.12.1`, or empty: it was not needed,
    or rspamadm did not say.
    """

    sections: Mapping[str, Any] = field(default_factory=dict)
    listening: tuple[tuple[Address, int], ...] = ()
    sockets: frozenset[str] = frozenset()
    problem: str = ""
    lua: tuple[str, ...] = ()
    version: str = ""

    def section(self, name: str) -> Mapping[str, Any]:
        """One that is written in several places is printed as often, and is all of them to rspamd (tried on 3.4 and 3.12)."""
        found = self.sections.get(name)
        blocks = [block for block in _each(found) if isinstance(block, dict)]
        return blocks[0] if len(blocks) == 1 else {key: block[key] for block in blocks for key in block}

    @property
    def actions(self) -> dict[str, float]:
        """Scores from which something is done; an action that is null is never taken."""
        return {name: float(score) for name, score in self.section("actions").items() if isinstance(score, (int, float))}

    def knows(self, action: str) -> bool:
        """Whether a rule may take the action. One that is not among `actions`, as quarantine and discard are not by default, ends
        the rule ("unknown action" in the log), and the message passes (tried on 3.4 and 3.12)."""
        named = _ACTIONS.union(name.replace("_", " ") for name in self.section("actions"))
        return action.lower().replace("_", " ") in named

    def rules(self, module: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The rules of a module that is on, with their names: those of force_actions below `rules`, of others in the section."""
        section = self.section(module) if self.enabled(module) else {}
        found = section.get("rules") if module == "force_actions" else section
        for name, rule in found.items() if isinstance(found, Mapping) else ():
            if isinstance(rule, Mapping):
                yield str(name), rule

    @property
    def workers(self) -> tuple[Worker, ...]:
        found = self.sections.get("worker")
        blocks = found if isinstance(found, list) else [found]
        named = [(kind, said) for block in blocks if isinstance(block, dict) for kind, said in block.items()]
        return tuple(_worker(kind, one) for kind, said in named for one in _each(said) if _on(one) and one.get("count") != -1)

    @property
    def lets_go(self) -> Optional[bool]:
        """Whether this version lets go what is to be quarantined and has a message for the client; None: not known."""
        return _LETS_GO[0] <= tuple(map(int, self.version.split(".")[:3])) < _LETS_GO[1] if self.version else None

    @property
    def lists(self) -> tuple[DnsList, ...]:
        """The lists that are asked: those of the rbl module, which since 2.0 has the ones for URLs as well."""
        rbl = self.section("rbl")
        if not _on(rbl) or self._off("rbl"):
            return ()
        named = rbl.get("rbls")
        return tuple(
            _list(name, said, rbl) for name, said in (named.items() if isinstance(named, dict) else ())
            if isinstance(said, dict) and _on(said)
        )  # fmt: skip

    @property
    def rates(self) -> tuple[Rate, ...]:
        """The rules of the ratelimit module, whether they are in force or not."""
        limits = self.section("ratelimit")
        named = limits.get("rates")
        if not _on(limits) or self._off("ratelimit") or not isinstance(named, dict):
            return ()
        return tuple(_rate(name, said) for name, said in named.items())

    @property
    def own_resolver(self) -> bool:
        """Whether it asks other name servers than the host's resolv.conf names."""
        return bool(_nested(self.section("options"), "dns").get("nameserver"))

    def enabled(self, module: str) -> bool:
        """Whether a module is on: not switched off, and with its Redis where it needs one."""
        return _on(self.section(module)) and not self._off(module) and not self.needs_redis(module)

    def needs_redis(self, module: str) -> str:
        """Why a module that keeps its state in Redis is inert: `no Redis server is named`, `nothing listens on ...`; or empty."""
        if module not in _MODULES_OF_REDIS:
            return ""
        places = [self.section(module), _nested(self.section("redis"), module), self.section("redis")]
        if module in _words(self.section("redis").get("disabled_modules")):
            return f"redis.conf disables it for {module}"
        named = [w for place in places for key in ("servers", "write_servers", "read_servers") for w in _words(place.get(key))]
        if not named:
            return "no Redis server is named"
        called = socket_of(named[0], 6379)
        return "" if called is None or self.answers(called) is not False else f"nothing listens on {called}"

    def answers(self, called: Socket) -> Optional[bool]:
        """Whether something listens there now; None for another host, which cannot be seen from here."""
        return answers(called, self.listening, self.sockets)

    def worker_at(self, called: Socket) -> Optional[Worker]:
        """The worker that answers who calls there."""
        return next((w for w in self.workers for s in w.sockets if s.serves(called)), None)

    def _off(self, module: str) -> bool:
        return module in _words(self.section("options").get("disabled_modules"))


def read(runner: Runner) -> Optional[Rspamd]:
    """None when rspamd is not installed."""
    if runner.which("rspamadm") is None:
        return None
    listening, sockets = tuple(network.listening(runner)), unix_sockets(runner)
    try:
        guarded = runner.which(_READ_ONLY[0]) is not None
        done = runner.run([*_READ_ONLY, *COMMAND] if guarded else COMMAND, timeout_s=_TIMEOUT_S)
        if guarded and done.returncode and done.stderr.startswith("setpriv:"):
            done = runner.run(COMMAND, timeout_s=_TIMEOUT_S)  # not root, who could write nothing anyway
    except ReadError as exc:
        return Rspamd(listening=listening, sockets=sockets, problem=printable(str(exc)))
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "failed" in line or "error" in line] or done.stderr.splitlines()
        return Rspamd(listening=listening, sockets=sockets, problem=f"rspamadm configdump: {printable(' '.join(said[-1:]))}")
    try:
        version = _version(runner) if _BY_VERSION.search(done.stdout) else ""
        return Rspamd(parse(done.stdout), listening, sockets, lua=tuple(_lua(runner)), version=version)
    except ValueError as exc:
        return Rspamd(listening=listening, sockets=sockets, problem=f"what rspamadm configdump printed is not understood: {exc}")


def parse(text: str) -> dict[str, Any]:
    """What COMMAND printed: between marks the JSON text of each section, of repeated blocks each. Raises ValueError."""
    parts, found, decoder = text.split(BETWEEN), {}, json.JSONDecoder()
    if len(parts) != len(SECTIONS) or not text.strip():
        raise ValueError(f"{len(parts)} sections instead of {len(SECTIONS)}")
    for name, part in zip(SECTIONS, parts):
        left, blocks = part.strip(), []
        while left and left != f"Section {name} NOT FOUND":
            block, end = decoder.raw_decode(left)
            blocks.append(block)
            left = left[end:].lstrip()
        if blocks:
            found[name] = blocks if len(blocks) > 1 else blocks[0]
    return found


def _version(runner: Runner) -> str:
    """`Rspamadm 3.12.1`, of the installed program."""
    try:
        found = re.search(r"\d+(\.\d+)+", runner.run(("rspamadm", "--version"), timeout_s=_TIMEOUT_S).stdout)
    except ReadError:
        return ""
    return found.group() if found else ""


def _lua(runner: Runner) -> Iterator[str]:
    """rules/rspamd.lua reads rspamd.local.lua, lua/rspamd.local.lua, lua.local.d/*.lua and local.d/rspamd.lua."""
    for path in (path for pattern in LUA for path in runner.glob(pattern)):
        try:
            if "get_user" in runner.read(path):
                yield path
        except ReadError:
            yield path


def unix_sockets(runner: Runner) -> frozenset[str]:
    """The files of unix sockets that listen (flag __SO_ACCEPTCON, 0x10000, in /proc/net/unix)."""
    try:
        lines = [line.split() for line in runner.read("/proc/net/unix").splitlines()[1:]]
    except ReadError:
        return frozenset()
    return frozenset(words[7] for words in lines if len(words) == 8 and int(words[3], 16) & 0x10000)


def answers(called: Socket, listening: tuple[tuple[Address, int], ...], sockets: frozenset[str]) -> Optional[bool]:
    """Whether something on this host listens at the place; None for another host's, or a relative path."""
    if called.path:
        paths = {path.replace("/var/run/", "/run/", 1) for path in sockets}
        return called.path.replace("/var/run/", "/run/", 1) in paths if called.path.startswith("/") else None
    found = [address for address, port in listening if port == called.port]
    if any(int(address) == 0 or str(address) in _hosts(called.host) for address in found):
        return True
    loopback = all(is_address(h) and parse_address(h).is_loopback for h in _hosts(called.host))
    return False if loopback else None


def socket_of(text: str, port: int = 0) -> Optional[Socket]:
    """`localhost:11332`, `*:11332`, `[::1]:11332`, `/run/rspamd/milter.sock mode=0660`, `127.0.0.1`; None for what is none."""
    word = (text.split() or [""])[0]
    if word.startswith("systemd:"):
        return None
    if word.startswith(("/", "unix:")):
        return Socket(path=word[5:] if word.startswith("unix:") else word)
    match = re.fullmatch(r"(\[[^\]]+\]|\*v?[46]?|[^:\[\]]+|[0-9a-fA-F:]+?)(?::(\d+))?(?::\d+)?", word)
    if match is None:
        return None
    host = match.group(1).strip("[]")
    return Socket("*" if host in ("*", "*v4", "*v6", "0.0.0.0", "::") else host, int(match.group(2) or port))


def _hosts(host: str) -> tuple[str, ...]:
    return ("127.0.0.1", "::1") if host == "localhost" else (host,)


def _worker(kind: str, said: Mapping[str, Any]) -> Worker:
    places = [socket_of(text, _DEFAULT_PORTS.get(kind, 0)) for text in _words(said.get("bind_socket"))]
    return Worker(kind, tuple(p for p in places if p), bool(said.get("milter")), said)


def _list(name: str, said: Mapping[str, Any], rbl: Mapping[str, Any]) -> DnsList:
    # Each check may also be a switch of its own, as before 2.0 (rbl.lua, convert_checks; default_options).
    defaults = {} if said.get("ignore_defaults") else {check: rbl.get(f"default_{check}") for check in _CHECKS}
    checks = {check for check in _CHECKS if said.get(check, defaults.get(check)) is True}
    checks |= set(_words(said.get("checks"))) - set(_words(said.get("exclude_checks")))
    selectors = said.get("selector")
    texts = selectors.values() if isinstance(selectors, dict) else [selectors] if isinstance(selectors, str) else []
    usual = False if said.get("ignore_defaults") else rbl.get("default_exclude_users", False)
    return DnsList(name, str(said.get("rbl", "")).lower(), frozenset(checks), tuple(map(str, texts)),
                   bool(said.get("is_whitelist")), not said.get("exclude_users", usual))  # fmt: skip


_CHECKS = ("from", "received", "urls", "content_urls", "images", "helo", "rdns", "emails", "dkim", "replyto")


def _rate(name: str, said: Any) -> Rate:
    if isinstance(said, dict):
        buckets = said.get("bucket", said.get("rate"))
        return Rate(name, str(said.get("selector", "")), tuple(_bucket(b) for b in _each(buckets)))
    if isinstance(said, list) and len(said) == 2 and isinstance(said[0], (int, float)):
        return Rate(name, "", (Bucket(str(said[1]), float(said[0])),))
    return Rate(name, "", tuple(_bucket(b) for b in _each(said)))


def _bucket(said: Any) -> Bucket:
    if isinstance(said, dict):
        burst = said.get("burst")
        return Bucket(str(said.get("rate", "")), float(burst) if isinstance(burst, (int, float)) else None)
    return Bucket(str(said))


def _each(said: Any) -> list[Any]:
    return said if isinstance(said, list) else [] if said is None else [said]


def _words(said: Any) -> list[str]:
    """A list, or a text with commas: libucl takes both for most settings."""
    return [word.strip() for text in _each(said) for word in str(text).split(",") if word.strip()]


def _nested(section: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = section.get(name)
    return found if isinstance(found, dict) else {}


def _on(said: Any) -> bool:
    return isinstance(said, dict) and said.get("enabled", True) not in (False, "false", "no", "off")
