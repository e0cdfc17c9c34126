"""Controls on who reads the logs of mail programs, and on whether their times are right."""

from __future__ import annotations

from collections.abc import Iterator

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Method, fail, notapplicable, passed, unknown
from ..readers.system import Host
from ..text import printable
from .files import wrongly_open

_TELL_THE_KERNEL = ("systemd-timesyn",)  # chronyd does so with rtcsync only, OpenNTPD not at all


@control("LOG-05", "os")
def only_administrators_read_logs_and_the_clock_is_right(host: Host, site: Site) -> Iterator[Finding]:
    logs = host.logs
    administrators = frozenset(str(name) for name in site.tunables.get("administrators", ()))
    wrong = [evidence for seen in host.log_files for evidence in wrongly_open(seen, host.accounts, administrators)]
    late = list(_clock(host))
    wrong += [evidence for status, evidence in late if status == "fail"]
    doubts = [*logs.problems, *(evidence.text for status, evidence in late if status == "unknown")]
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        yield fail(HOST, f"{wrong[0].where.partition(' (')[0]}: {wrong[0].text}{more}", *wrong)
    elif doubts:
        yield unknown(HOST, "who reads the logs, or whether their times are right, is not known", doubts[0])
    elif not host.log_files:
        yield notapplicable(HOST, "no log is kept here", "no file and no journal here holds lines of a mail program")
    else:
        clock = "; ".join(evidence.text for status, evidence in late if status in ("pass", "elsewhere"))
        yield passed(HOST, printable(f"{len(host.log_files)} files are read by administrators only; {clock}"))


def _clock(host: Host) -> Iterator[tuple[str, Evidence]]:
    """fail, unknown, pass, or elsewhere: a container has the clock of the machine that runs it."""
    logs = host.logs
    if logs.container:
        text = f"the clock is that of the machine that runs this container ({logs.container}), and is not judged here"
        yield "elsewhere", Evidence(Method.CONFIG, logs.container, text)
    elif logs.clock is None:
        yield "unknown", Evidence(Method.CONFIG, "adjtimex(2)", logs.clock_problem)
    elif logs.clock.synchronised:
        yield "pass", Evidence(Method.CONFIG, "adjtimex(2)", "the kernel's clock is synchronised")
    else:
        silent = [name for name in logs.time_daemons if name not in _TELL_THE_KERNEL]
        text = "the kernel's clock is not synchronised"
        if silent:
            text += f"; {silent[0]} runs, and may keep it right without telling the kernel (chrony without rtcsync, OpenNTPD)"
            yield "unknown", Evidence(Method.CONFIG, "adjtimex(2)", text)
        else:
            running = f"{logs.time_daemons[0]} runs, but has no time yet" if logs.time_daemons else "nothing here sets it"
            yield "fail", Evidence(Method.CONFIG, "adjtimex(2)", f"{text}: {running}")
