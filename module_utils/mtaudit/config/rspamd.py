"""Change what rspamd is told: wanted settings of modules in; files of local.d with which it runs, out.

What the site wrote stays. rspamd itself reads the copy: `LOCAL_CONFDIR` says where its local.d is (rspamadm, --var).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from ..readers.rspamd import Rspamd, read
from ..runner import ReadError, Runner
from ..text import printable
from .files import Candidate, ConfigError, NewFile
from .overlay import Overlay
from .ucl import changed

DIRECTORY = Path("/etc/rspamd")
_TEST = ("rspamadm", "configtest")
_TIMEOUT_S = 40.0


@dataclass(frozen=True)
class Wanted:
    """Settings of local.d/<module>.conf, by module and then by the names of the blocks around them and their own, with blanks
    between; as libucl writes them. None takes one out."""

    modules: Mapping[str, Mapping[str, Optional[str]]] = field(default_factory=dict)

    def then(self, later: Wanted) -> Wanted:
        """This, and that afterwards."""
        every = {**self.modules, **later.modules}
        return Wanted({name: {**self.modules.get(name, {}), **later.modules.get(name, {})} for name in every})


def candidate(runner: Runner, live: Rspamd, wanted: Wanted, scratch: Path) -> Candidate:
    """`scratch` is an empty directory that only root may enter; the copy stands there afterwards. Raises ConfigError when it
    cannot be done, or rspamd would not run with it."""
    if live.problem:
        raise ConfigError(f"Could not change rspamd: {live.problem}")
    local = scratch / "local.d"
    files = []
    try:
        _linked(DIRECTORY, scratch, {"local.d"})
        names = {f"{module}.conf" for module in wanted.modules}
        local.mkdir()
        _linked(DIRECTORY / "local.d", local, names)
        for module, settings in wanted.modules.items():
            files += _edited(DIRECTORY / f"local.d/{module}.conf", settings, local)
    except OSError as exc:
        raise ConfigError(f"Could not copy {DIRECTORY} to {scratch}: {exc.strerror}") from exc
    if not files:
        return Candidate()
    return Candidate(tuple(files), "reload", ("rspamd",), (_TEST,), _tried(runner, scratch))


def _linked(source: Path, target: Path, but: set[str]) -> None:
    for path in source.iterdir() if source.is_dir() else ():
        if path.name not in but:
            (target / path.name).symlink_to(path)


def _edited(path: Path, settings: Mapping[str, Optional[str]], local: Path) -> list[NewFile]:
    before = path.read_bytes() if path.exists() else None
    text = now = (before or b"").decode("utf-8", "surrogateescape")
    for name, value in settings.items():
        text = changed(text, name.split(), value)
    content = text.encode("utf-8", "surrogateescape")
    (local / path.name).write_bytes(content)
    planned_on = "" if before is None else hashlib.sha256(before).hexdigest()
    return [NewFile(str(path), content, planned_on=planned_on)] if text != now else []


def _tried(runner: Runner, scratch: Path) -> Rspamd:
    def command(argv: Sequence[str]) -> Sequence[str]:
        at = list(argv).index("rspamadm") + 1 if "rspamadm" in argv else 0
        return [*argv[:at], f"--var=LOCAL_CONFDIR={scratch}", *argv[at:]] if at else argv

    overlay = Overlay(runner, {}, command)
    try:
        done = overlay.run(_TEST, timeout_s=_TIMEOUT_S)
        new = read(overlay)
    except ReadError as exc:
        raise ConfigError(f"Could not change rspamd: {exc}") from exc
    if done.returncode or "syntax OK" not in done.stdout + done.stderr:
        said = printable((done.stderr or done.stdout).strip()[-300:])
        raise ConfigError(f"rspamd would not run with the new configuration: {said}")
    if new is None or new.problem:
        raise ConfigError(f"rspamd cannot read the new configuration: {new.problem if new else 'it is gone'}")
    return new
