"""Read the effective Dovecot configuration: what doveconf of the installed version says, and what listens because of it.

Dovecot 2.3 and 2.4 name things differently, and each refuses the other's names; doveconf prints both in one syntax.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator

from ..listeners import Server
from ..redact import redact
from ..runner import ReadError, Runner, ToolMissing
from ..text import printable
from .dovecot_model import Dovecot, Section

__all__ = ["Dovecot", "Section", "describe", "digest", "parse", "read"]

_SCRIPTS_LIMIT = 5
# 2.4 also writes these as `protocols { imap = yes }` (boolean lists).
_LISTS = ("auth_mechanisms", "haproxy_trusted_networks", "listen", "login_trusted_networks", "mail_plugins", "protocols")
# Settings that decide what the controls find; mailboxes, quotas and the like do not.
_TELLING = re.compile(r"auth_|ssl|disable_plaintext_auth|login_|haproxy_|listen|protocols|submission_|mail_plugins|last_login")


def read(runner: Runner) -> list[Dovecot]:
    """The one Dovecot of this host; empty where none is installed. One spawn. Raises ReadError."""
    if runner.which("doveconf") is None:
        if runner.which("dovecot") is None:
            return []
        raise ToolMissing("doveconf is not installed, though Dovecot is")
    # -a: 2.3 shows a default only when asked for all; passwords stay hidden without -P.
    done = runner.run(["doveconf", "-a"])
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        fatal = next((line for line in lines if "Fatal:" in line), lines[-1])
        raise ReadError(f"'doveconf -a' failed: {printable(redact(fatal))}")
    dovecot = parse(done.stdout)
    for path in _post_login_scripts(dovecot.root)[:_SCRIPTS_LIMIT]:
        try:
            dovecot.scripts[path] = runner.read(path)
        except ReadError as exc:
            dovecot.script_problems[path] = printable(str(exc))
    return [dovecot]


def parse(text: str) -> Dovecot:
    """The output of doveconf. Raises ReadError when it is not one."""
    heading = re.match(r"# (\d+\.\d+\S*)[^:]*: (\S+)", text)
    if not heading:
        raise ReadError(f"'doveconf -a' gave no version: {printable(text[:80])}")
    return Dovecot(heading.group(1), heading.group(2), _section("", "", iter(text.splitlines())))


def describe(dovecot: Dovecot) -> Server:
    """Dovecot as the estate tells of it."""
    listeners = tuple(port.listener for port in dovecot.ports())
    logins = tuple(listener.port for listener in listeners if not listener.loopback_only and listener.protocol != "lmtp")
    return Server(dovecot.version, dovecot.config_file, listeners, mechanisms=dovecot.mechanisms, logins=logins)


def digest(instances: Iterable[Dovecot]) -> str:
    """A fingerprint of the settings that decide what the controls find."""
    data = [[d.version, list(_telling(d.root)), sorted(d.scripts.items()), sorted(d.script_problems)] for d in instances]
    return "sha256:" + hashlib.sha256(json.dumps(data).encode()).hexdigest()


def _telling(section: Section, inside: str = "") -> Iterator[str]:
    listening = section.kind in ("service", "inet_listener")
    for name, value in section.settings.items():
        if listening or _TELLING.match(name):
            yield f"{inside}{name} = {value}"
    for each in section.sections:
        yield from _telling(each, f"{inside}{each.kind} {each.name} / ")


def _section(kind: str, name: str, lines: Iterator[str]) -> Section:
    """The lines up to the closing brace, or to the end."""
    settings: dict[str, str] = {}
    sections: list[Section] = []
    for line in lines:
        line = line.strip()
        if line == "}":
            break
        setting = re.match(r"([^\s={}]+) =(?: (.*))?\Z", line)
        if setting:
            settings[setting.group(1)] = _unquoted((setting.group(2) or "").strip())
        elif line.endswith("{") and not line.startswith("#"):
            of_kind, _, named = line[:-1].strip().partition(" ")
            inner = _section(of_kind, _unquoted(named.strip()), lines)
            if of_kind in _LISTS:
                members = [member for member, value in inner.settings.items() if value == "yes"]
                settings[of_kind] = " ".join([*settings.get(of_kind, "").split(), *members])
            else:
                sections.append(inner)
    return Section(kind, name, settings, tuple(sections))


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def _post_login_scripts(root: Section) -> list[str]:
    """The files that run after each login: `executable = script-login /usr/local/bin/after-login`."""
    commands = [service.settings.get("executable", "").split() for service in root.of_kind("service")]
    found = [w for words in commands if any(w.endswith("script-login") for w in words) for w in words if w.startswith("/")]
    return [path for path in dict.fromkeys(found) if not path.endswith("script-login")]
