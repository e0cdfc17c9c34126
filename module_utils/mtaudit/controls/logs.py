"""Controls on whether the log of the mail programs is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Method, fail, notapplicable, passed, unknown
from ..readers.log_keeping import Logs
from ..readers.log_places import Place
from ..readers.system import Host
from ..text import printable
from .log_sinks import KEPT, LOSSY, LOST, UNSURE, Sink, sinks

_OUR_LINES_S = 30 * 86_400.0  # for how long a loss that journald has told of is shown


@control("LOG-03", "os")
def what_mail_programs_log_is_kept(host: Host, site: Site) -> Iterator[Finding]:
    logs, least = host.logs, int(site.tunables.get("lines_per_second", 2000))
    wrong: list[Evidence] = []
    doubts: list[str] = list(logs.problems)
    kept: list[str] = []
    for place in logs.places:
        found = list(sinks(logs, place, least))
        broken = list(_broken(place, found))
        wrong += broken
        doubts += [f"{place.title}: {place.problem}"] if place.problem else []
        doubts += [f"{place.title}: {sink.why}" for sink in found if sink.state == UNSURE] if not broken else []
        kept += [f"{place.title} in {sink.name}" for sink in found if sink.state == KEPT]
    wrong = list(dict.fromkeys(wrong))
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        yield fail(HOST, f"{wrong[0].text}{more}", *wrong, *_losses(logs))
    elif not logs.places:
        yield notapplicable(HOST, "nothing logs", "no mail program is read here")
    elif doubts:
        yield unknown(HOST, "whether every line is kept is not known", printable(doubts[0]))
    else:
        yield passed(HOST, printable(f"every line is kept, in a burst too: {', '.join(dict.fromkeys(kept))}"))


def _broken(place: Place, found: list[Sink]) -> Iterator[Evidence]:
    """What somebody set up and does not work; and where no place keeps every line, why none does."""
    if place.problem:
        return
    dead = [sink for sink in found if sink.state == LOST and sink.meant]
    for sink in dead:
        yield _evidence(sink, f"{sink.name} gets no lines of {place.title}, or does not keep them: {sink.why}")
    if dead or any(sink.state in (KEPT, UNSURE) for sink in found):
        return
    rest = [sink for sink in found if sink.state in (LOSSY, LOST)]
    for sink in rest:
        said = "loses lines of" if sink.state == LOSSY else "does not keep the lines of"
        yield _evidence(sink, f"{sink.name} {said} {place.title}: {sink.why}")
    if not rest:
        yield Evidence(Method.CONFIG, place.where, f"nothing takes what {place.title} logs")


def _evidence(sink: Sink, text: str) -> Evidence:
    return Evidence(Method.CONFIG, printable(sink.where), printable(text))


def _losses(logs: Logs) -> Iterator[Evidence]:
    """What journald itself says that it dropped from a mail program, or did not pass on."""
    units = [unit for units in logs.units.values() for unit in units]
    for line in logs.journal.lost[:5]:
        about = any(f"from {unit}" in line.message for unit in units) or line.message.startswith("Forwarding to syslog missed")
        if about and logs.now - line.at < _OUR_LINES_S:
            when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(line.at))
            yield Evidence(Method.LOG, "journal", printable(f"{when} {line.message}"))
