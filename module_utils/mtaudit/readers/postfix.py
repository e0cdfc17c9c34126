"""Read the effective Postfix configuration: every instance, every service, with where each value comes from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Optional

from ..address import Network, is_address
from ..listeners import Listener, Server
from ..redact import redact
from ..runner import ReadError, Runner, ToolMissing
from ..text import printable
from . import network, sasl
from .postfix_headers import submitted
from .postfix_match import included, is_table
from .postfix_model import MAPS, MATCH_LISTS, PORTS, RESTRICTION_LISTS, Postfix, Service, SmtpService
from .postfix_recipients import recipient_tables
from .postfix_syntax import main_cf, master_cf, next_hops, physical_lines, words
from .postfix_tables import load

__all__ = ["Postfix", "Service", "SmtpService", "describe", "digest", "parse", "read", "read_instance"]

_FILES_LIMIT = 100
_CYRUS_DIRECTORY = "/etc/postfix/sasl"
_RESOLVE_TIMEOUT_S = 5.0
_VOLATILE = ("process_id", "process_name")


def digest(instances: Iterable[Postfix]) -> str:
    """A fingerprint of everything that decides about relaying: parameters, services with overrides, tables, included files."""
    data = [
        {
            "instance": postfix.config_directory,
            "problem": postfix.problem,
            "parameters": {name: postfix.main.value(name) for name in sorted(postfix.parameters) if name not in _VOLATILE},
            "services": sorted([e.name, e.type, e.command, sorted(e.overrides)] for e in postfix.entries),
            "tables": {spec: table.digest or table.problem for spec, table in sorted(postfix.tables.items())},
            "files": dict(sorted({**postfix.files, **postfix.file_problems}.items())),
        }
        for postfix in instances
    ]
    return "sha256:" + hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def describe(postfix: Postfix) -> Server:
    """An instance as the estate tells of it."""
    trusted_at: dict[int, tuple[Network, ...]] = {}
    for smtp in postfix.smtp_services():
        trusted_at[smtp.port] = (*trusted_at.get(smtp.port, ()), *_trusted(smtp.smtpd))
    return Server(
        version=postfix.version,
        instance=postfix.config_directory,
        listeners=tuple(
            Listener(s.port, s.bind, tuple(s.families), s.name, s.tls_wrapper, s.loopback_only) for s in postfix.smtp_services()
        ),
        local_domains=tuple(postfix.local_domains),
        trusted=_trusted(postfix.main),
        trusted_at=trusted_at,
        helo=postfix.helo_name,
        logins=tuple(s.port for s in postfix.smtp_services() if not s.loopback_only and s.smtpd.on("smtpd_sasl_auth_enable")),
    )


def _trusted(service: Service) -> tuple[Network, ...]:
    return tuple(network for network, _ in service.match_list("mynetworks").trusted().networks)


def read(runner: Runner) -> list[Postfix]:
    """Every instance that may run, the default one first; empty without Postfix.

    Raises ToolMissing when Postfix is there and postconf is not. An instance that cannot be read is returned with `problem` set.
    """
    if runner.which("postconf") is None:
        if runner.which("postfix") is None and runner.stat("/etc/postfix/main.cf") is None:
            return []
        raise ToolMissing("postconf is not installed, though Postfix is")
    primary = read_instance(runner, "")
    found = [primary]
    managed = words(primary.main.value("multi_instance_directories"))
    # `postfix -c` starts an instance that no manager knows of (postconf(5), alternate_config_directories).
    others = [d for d in words(primary.main.value("alternate_config_directories")) if d not in managed]
    for directory in (*managed, *others):
        instance = read_instance(runner, directory, primary)
        enabled = directory in managed and (instance.problem or instance.main.on("multi_instance_enable"))
        if enabled or _running(runner, instance):
            found.append(instance)
    return found


def read_instance(runner: Runner, directory: str, primary: Optional[Postfix] = None) -> Postfix:
    """One instance; an empty directory means Postfix's built-in one. Two spawns, and one per table that is not plain text."""
    option = ["-c", directory] if directory else []
    said: dict[str, None] = {}
    try:
        settings = _postconf(runner, option, said)
        directory = directory or _settings(settings).get("config_directory", "/etc/postfix")
        services = _postconf(runner, [*option, "-M"], said)
        main_text, master_text = runner.read(f"{directory}/main.cf"), runner.read(f"{directory}/master.cf")
    except ReadError as exc:
        return Postfix(directory or "/etc/postfix", primary=primary, problem=printable(str(exc)))
    postfix = parse(directory, settings, services, main_text, master_text, primary)
    postfix.warnings = tuple(said)
    _read_surroundings(runner, postfix)
    _read_references(runner, postfix)
    return postfix


def parse(directory: str, settings: str, services: str, main_text: str, master_text: str,
          primary: Optional[Postfix] = None) -> Postfix:
    """The output of `postconf` and `postconf -M`, and the two files for where things stand; without tables."""
    explicit, printed = main_cf(main_text), _settings(settings)
    parameters = {**{name: value for name, (value, _) in explicit.items()}, **printed}
    written = {(e.name, e.type): e for e in master_cf(master_text)}
    lines = {(*key, name): line for key, entry in written.items() for name, line in entry.lines}
    # `postconf -M` takes a joined option apart wrongly: `-omyhostname=x` becomes `-o myh -o stname=x` (seen on 3.7).
    entries = tuple(replace(e, overrides=written.get((e.name, e.type), e).overrides) for e in master_cf(services))
    return Postfix(directory, parameters, {name: line for name, (_, line) in explicit.items()}, entries, lines, primary=primary,
                   known=frozenset(printed))


def _postconf(runner: Runner, options: list[str], said: dict[str, None]) -> str:
    """What it prints; `said` gets its warnings, each once."""
    done = runner.run(["postconf", *options])
    said.update(dict.fromkeys(map(redact, re.findall(r"(?m)^\S+: warning: (.+)$", done.stderr))))
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        fatal = next((line for line in lines if "fatal:" in line), lines[-1])
        raise ReadError(f"'postconf{''.join(f' {o}' for o in options)}' failed: {redact(fatal)}")
    return done.stdout


def _settings(text: str) -> dict[str, str]:
    pairs = (line.partition(" =") for line in physical_lines(text))
    return {name: value.strip() for name, equals, value in pairs if equals}


def _running(runner: Runner, postfix: Postfix) -> bool:
    try:
        pid = runner.read(f"{postfix.main.value('queue_directory')}/pid/master.pid").strip()
        return pid.isdigit() and runner.read(f"/proc/{pid}/comm").strip() == "master"
    except ReadError:
        return False


def _read_surroundings(runner: Runner, postfix: Postfix) -> None:
    """The host's own addresses, and what the names of ports and interfaces mean; each only where it is needed."""
    try:
        host = network.read(runner)
        postfix.addresses, postfix.links = host.addresses, host.links
    except ReadError:
        pass  # then its own addresses count as foreign, which is the safe side
    inet = [e.name for e in postfix.entries if e.type == "inet"]
    if any(not n.rpartition(":")[2].isdigit() and n.rpartition(":")[2] not in PORTS for n in inet):
        postfix.ports = _tcp_ports(runner)
    hosts = [n.rpartition(":")[0] for n in inet] + words(postfix.main.value("inet_interfaces"))
    hosts += [host for host, _ in next_hops(postfix.main.value("relayhost"))]
    postfix.hosts = {name: found for name in dict.fromkeys(hosts) if _is_name(name)
                     for found in [_host_addresses(runner, name)] if found}


def _tcp_ports(runner: Runner) -> dict[str, int]:
    """The names and aliases of /etc/services (services(5)); the first line of a name counts."""
    found: dict[str, int] = {}
    for name, number, *aliases in _rows(runner, "/etc/services"):
        port, _, protocol = number.partition("/")
        if protocol == "tcp" and port.isdigit():
            for known in (name, *aliases):
                found.setdefault(known, int(port))
    return found


def _is_name(host: str) -> bool:
    return bool(host) and host not in ("all", "loopback-only", "localhost") and not is_address(host)


def _host_addresses(runner: Runner, name: str) -> tuple[str, ...]:
    """What the resolver makes of a host name, as Postfix does when it starts. One spawn; empty when it knows none."""
    try:
        answer = runner.run(["getent", "ahosts", name], timeout_s=_RESOLVE_TIMEOUT_S).stdout
    except ReadError:
        return ()
    return tuple(dict.fromkeys(line.split()[0] for line in answer.splitlines() if line.strip()))


def _rows(runner: Runner, path: str) -> list[list[str]]:
    try:
        lines = runner.read(path).splitlines()
    except ReadError:
        return []
    return [row for line in lines for row in [line.partition("#")[0].split()] if len(row) >= 2]


def _read_references(runner: Runner, postfix: Postfix) -> None:
    """Included files and lookup tables of everything that decides about relaying."""
    services = [postfix.main] + [s for smtp in postfix.smtp_services() for s in (smtp.smtpd, postfix.resolver(smtp.smtpd))]
    files, problems = _included_files(runner, (s.value(name) for s in services for name in MATCH_LISTS))
    postfix.files, postfix.file_problems = files, problems
    specs = dict.fromkeys(spec for service in services for spec in _table_specs(service, files.values()))
    local = [d for d in words(postfix.main.value("mydestination")) if not is_table(d) and not d.startswith(("/", "!"))]
    local += words(postfix.main.value("myorigin"))
    for name in ("virtual_mailbox_domains", "virtual_alias_domains", "relay_domains"):
        local += [d for d in words(postfix.main.value(name)) if not is_table(d) and not d.startswith(("/", "!"))]
    postfix.tables = {spec: load(runner, spec, postfix.config_directory, list(dict.fromkeys(local))[:20]) for spec in specs}
    postfix.recipients = recipient_tables(runner, postfix, services)
    for service in services:
        service._lists.clear()
    postfix.memo.clear()
    postfix.submitted = submitted(runner, postfix)
    postfix.sasl = {s.label: found for s in services for found in _cyrus(runner, s)}


def _cyrus(runner: Runner, smtpd: Service) -> Iterator[sasl.Sasl]:
    """What Cyrus SASL is told for an smtpd. Debian's Postfix has it look into one directory only, whatever cyrus_sasl_config_path
    says (tried on 3.7); a file elsewhere is a doubt."""
    if not smtpd.on("smtpd_sasl_auth_enable") or smtpd.value("smtpd_sasl_type").lower() != "cyrus":
        return
    name, places = smtpd.value("smtpd_sasl_path"), [p for p in smtpd.value("cyrus_sasl_config_path").split(":") if p]
    found = sasl.read(runner, name, [_CYRUS_DIRECTORY])
    other = sasl.read(runner, name, [*places, *sasl.DIRECTORIES])
    if other.file and other.file != found.file and (places or not found.file):
        found = replace(found, problem=f"whether this Postfix reads {other.file} is not known")
    yield found


def _included_files(runner: Runner, values: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    files: dict[str, str] = {}
    problems: dict[str, str] = {}
    waiting = [path for value in values for path in included(value)]
    while waiting and len(files) + len(problems) < _FILES_LIMIT:
        path = waiting.pop()
        if path in files or path in problems:
            continue
        try:
            files[path] = runner.read(path)
            waiting += [p for line in physical_lines(files[path]) if not line.startswith("#") for p in included(line)]
        except ReadError as exc:
            problems[path] = printable(str(exc))
    return files, problems


def _table_specs(service: Service, included_texts: Iterable[str]) -> Iterator[str]:
    for text in [service.value(name) for name in MATCH_LISTS] + list(included_texts):
        yield from (word.lstrip("!") for word in words(text) if is_table(word.lstrip("!")))
    for name in MAPS:
        yield from (word for word in words(service.value(name)) if is_table(word))
    lists = [words(service.value(name)) for name in RESTRICTION_LISTS] + list(service.restriction_classes().values())
    for restrictions in lists:
        for before, word in zip(["", *restrictions], restrictions):
            if ":" in word and before.lower() != "check_policy_service":
                yield word
