"""Change what policyd-rate-limit is told: wanted parameters in; its file, with which the program's own code reads them, out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..readers.policyd_rate_limit import PROGRAM, PolicydRateLimit, read
from ..runner import Runner
from .files import Candidate, ConfigError, NewFile


@dataclass(frozen=True)
class Wanted:
    """Parameters of its file by name."""

    parameters: Mapping[str, Any] = field(default_factory=dict)

    def then(self, later: Wanted) -> Wanted:
        """This, and that afterwards."""
        return Wanted({**self.parameters, **later.parameters})


def candidate(runner: Runner, live: PolicydRateLimit, wanted: Wanted, scratch: Path) -> Candidate:
    """The daemon is brought up where it is down. Raises ConfigError."""
    if live.problem or not live.file.endswith(".yaml"):
        raise ConfigError(f"Could not change {PROGRAM}: {live.problem or f'{live.file} is no YAML'}")
    try:
        before = Path(live.file).read_bytes()
    except OSError as exc:
        raise ConfigError(f"Could not change {PROGRAM}: {live.file}: {exc.strerror}") from exc
    text = before.decode("utf-8", "surrogateescape")
    for name, value in wanted.parameters.items():
        if live.said.get(name) != value:
            text = _with(text, name, value)
    content = text.encode("utf-8", "surrogateescape")
    check = (PROGRAM, "--get-config", "limits")
    if content == before:
        up = PolicydRateLimit(live.said, up=True)
        return Candidate((), "start", (PROGRAM,), (check,), up) if live.up is False else Candidate()
    copy = scratch / Path(live.file).name
    copy.write_bytes(content)
    new = read(runner, str(copy))
    expected = {**live.said, **wanted.parameters, "config_file": str(copy)}
    if new is None or new.problem or dict(new.said) != expected:
        raise ConfigError(f"Could not change {PROGRAM}: {live.file} is written in a way that mtaudit does not understand")
    reading = PolicydRateLimit({**new.said, "config_file": live.file}, up=True)
    changed = NewFile(live.file, content, planned_on=hashlib.sha256(before).hexdigest())
    return Candidate((changed,), "start", (PROGRAM,), (check,), reading)


def _with(text: str, name: str, value: Any) -> str:
    """With another value of a key at the margin; JSON is YAML."""
    line = f"{name}: {json.dumps(value)}\n"
    # Its own line and what belongs to it: further in, or a list at the margin.
    found = re.search(rf"^{name}[ \t]*:.*\n?(?:^(?:[ \t]+[^\s#].*|-[ \t].*)\n?)*", text, re.MULTILINE)
    if found is None:
        return f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{line}"
    return text[:found.start()] + line + text[found.end():]
