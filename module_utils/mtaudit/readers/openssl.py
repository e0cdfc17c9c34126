"""Read what OpenSSL's own configuration tells every program that leaves TLS to it: MinProtocol, CipherString and the like."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..runner import ReadError, Runner
from ..text import printable

FILE = "/etc/ssl/openssl.cnf"
LINE = re.compile(r"(?m)^\s*(?:\[\s*(?P<section>[^\]]+?)\s*\]|(?P<name>[\w.]+)\s*=\s*(?P<value>[^#\n]*))")


def read(runner: Runner) -> tuple[Mapping[str, str], str]:
    """The settings, and why they are not known. Without the file OpenSSL has its defaults."""
    try:
        return (parse(runner.read(FILE)), "") if runner.stat(FILE) else ({}, "")
    except ReadError as exc:
        return {}, printable(str(exc))


def parse(text: str) -> dict[str, str]:
    """The section that openssl_conf, ssl_conf and system_default lead to (config(5)); names in lower case."""
    sections: dict[str, dict[str, str]] = {}
    current = sections.setdefault("", {})
    for match in LINE.finditer(text):
        if match["section"]:
            current = sections.setdefault(match["section"], {})
        else:
            current[match["name"].lower()] = match["value"].strip()
    found = sections[""]
    for step in ("openssl_conf", "ssl_conf", "system_default"):
        found = sections.get(found.get(step, ""), {}) if found.get(step) else {}
    return found
