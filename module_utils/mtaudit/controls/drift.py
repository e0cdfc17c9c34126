"""Controls on whether what runs is what stands on the disk."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Method, fail, notapplicable, passed, unknown
from ..readers.system import Host
from ..readers.uses import Daemon, Made
from ..text import printable

# A start is known to a hundredth of a second, a line of a log to a second.
_TOLERANCE_S = 1.0


@control("DRIFT-01", "os")
def what_runs_is_what_stands_on_the_disk(host: Host, site: Site) -> Iterator[Finding]:
    daemons = [daemon for uses in host.programs for daemon in uses.daemons]
    every = {made.path: made for uses in host.programs for made in reversed(uses.made)}
    made = [made for path, made in every.items() if host.stats.get(path)]
    wrong = [evidence for daemon in daemons for evidence in (*_configuration(daemon, host), *_replaced(daemon, host))]
    wrong += [evidence for each in made for evidence in _stale(each, host)]
    doubts = [*host.problems, *(f"{uses.title}: {uses.problem}" for uses in host.programs if uses.problem)]
    doubts += [doubt for daemon in daemons for doubt in _doubts(daemon, host)]
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        yield fail(HOST, f"{wrong[0].where}: {wrong[0].text}{more}", *wrong)
    elif doubts:
        yield unknown(HOST, "not every daemon could be compared with the disk", doubts[0])
    elif not daemons and not made:
        yield notapplicable(HOST, "nothing to compare", "no mail daemon runs here, and no file is made from another")
    else:
        files = len({path for daemon in daemons for path in daemon.files})
        unseen = any(host.images[daemon.process.pid].problem for daemon in daemons)
        text = f"daemons that run what their files say: {len(daemons)}, files: {files}; made from others and up to date: "
        text += str(len(made))
        yield passed(HOST, f"{text}; which libraries a daemon has was not to be seen, none is newer" if unseen else text)


def _configuration(daemon: Daemon, host: Host) -> Iterator[Evidence]:
    for path in daemon.files if daemon.certain else ():
        changed = _changed_at(path, host)
        if daemon.loaded_at + _TOLERANCE_S < changed <= host.now + _TOLERANCE_S:
            text = (f"changed at {_clock(changed)}; {daemon.title} has it as of {_clock(daemon.loaded_at)} ({daemon.tells}). "
                    f"To put it into force: {daemon.again}")
            yield Evidence(Method.CONFIG, path, printable(text))


def _doubts(daemon: Daemon, host: Host) -> Iterator[str]:
    newer = [path for path in daemon.files if _changed_at(path, host) > daemon.loaded_at + _TOLERANCE_S]
    for path in newer:
        if not daemon.certain:
            yield f"{path} changed at {_clock(_changed_at(path, host))}; {daemon.title}: {daemon.tells}"
        elif _changed_at(path, host) > host.now + _TOLERANCE_S:
            yield f"{path} says that it changed in the future: the clock was set back"
    for path, command in daemon.tables.items():
        if _changed_at(path, host) > daemon.loaded_at + _TOLERANCE_S:
            has = f"{daemon.title} has it as of {_clock(daemon.loaded_at)}"
            yield (f"{path} changed at {_clock(_changed_at(path, host))}; {has}, unless it was told since to read it again, "
                   f"which leaves no trace. To put it into force: {command}")
    image = host.images.get(daemon.process.pid)
    if image and image.newer:
        yield f"{image.newer[0]} is newer than {daemon.title}, which may have the old one; it was not to be seen: {image.problem}"


def _replaced(daemon: Daemon, host: Host) -> Iterator[Evidence]:
    image = host.images.get(daemon.process.pid)
    for path in image.replaced if image else ():
        text = f"was replaced on the disk; {daemon.title} still runs the old one. Restart it"
        yield Evidence(Method.CONFIG, printable(path), printable(text))


def _stale(made: Made, host: Host) -> Iterator[Evidence]:
    sources = [path for path in made.sources if _changed_at(path, host) > _changed_at(made.path, host)]
    if sources:
        more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
        text = f"is older than {sources[0]}{more}, which it is made from. To make it anew: {made.command}"
        yield Evidence(Method.CONFIG, printable(made.path), printable(text))


def _changed_at(path: str, host: Host) -> float:
    stat = host.stats.get(path)
    return stat.mtime_ns / 1e9 if stat else 0.0


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
