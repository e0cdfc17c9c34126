"""Controls on the rights that daemons keep."""

from __future__ import annotations

from collections.abc import Iterator

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Method, fail, notapplicable, passed, unknown
from ..readers.system import Host
from ..readers.uses import Worker
from ..text import printable


@control("CHROOT-01", "os")
def who_talks_with_strangers_is_not_root(host: Host, site: Site) -> Iterator[Finding]:
    workers = [worker for uses in host.programs for worker in uses.workers]
    problem = next((f"{uses.title}: {uses.problem}" for uses in host.programs if uses.problem), "")
    wrong = [evidence for worker in workers for evidence in _wrong(worker, bool(site.tunables.get("require_chroot", False)))]
    # A daemon that is to change its account after the start may still have been root when it was looked at: it is named, once.
    rooted = [(process, title) for process, title, user in host.running if user == "root"]
    for process, title in rooted:
        wrong.append(Evidence(Method.CONFIG, f"/proc/{process.pid}/status", printable(f"{title}'s {process.name} runs as root")))
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        yield fail(HOST, f"{wrong[0].where}: {wrong[0].text}{more}", *wrong)
    elif problem:
        yield unknown(HOST, "what the daemons may do could not be read", problem)
    elif not workers and not host.running:
        yield notapplicable(HOST, "nothing talks with strangers", "no service is configured for it, and no such process runs")
    else:
        free = sum(1 for worker in workers if not worker.chroot)
        text = f"{len(workers)} services and {len(host.running)} running processes that talk with strangers are not root's"
        yield passed(HOST, f"{text}; {free} services see the whole file system" if free else text)


def _wrong(worker: Worker, require_chroot: bool) -> Iterator[Evidence]:
    if worker.user == "root":
        yield Evidence(Method.CONFIG, printable(worker.where), f"{worker.title} talks with strangers and keeps root's rights")
    elif require_chroot and not worker.chroot:
        yield Evidence(Method.CONFIG, printable(worker.where), f"{worker.title} sees the whole file system")
