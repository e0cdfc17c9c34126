"""Control on the certificates that listeners show, by the files that hold them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timezone

from ..certificate import Certificate, date_problem, name_problem
from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Method, Subject, fail, notapplicable, passed, unknown
from ..listeners import Listener, for_people
from ..readers.system import Host
from ..readers.uses import Shown
from ..text import printable

DAYS_LEFT = 14


@control("TLS-01", "os")
def certificates_are_good(host: Host, site: Site) -> Iterator[Finding]:
    listeners: dict[Listener, list[Shown]] = {}
    for uses in host.programs:
        if uses.certificates is None:
            yield unknown(HOST, f"which certificates {uses.title} shows is not known", uses.problem)
        for shown in uses.certificates or ():
            if not shown.listener.loopback_only:
                listeners.setdefault(shown.listener, []).append(shown)
    if not listeners and all(uses.certificates is not None for uses in host.programs):
        yield notapplicable(HOST, "no certificate is shown", "no listener that others can reach offers TLS")
    for listener, shown_there in listeners.items():
        yield _listener(host, listener, shown_there, site)


def _listener(host: Host, listener: Listener, shown_there: list[Shown], site: Site) -> Finding:
    about = Subject("listener", listener.name)
    # A file of smtpd_tls_chain_files may hold nothing but the key.
    files = [shown for shown in shown_there if host.certificates.get(shown.path) or shown.path in host.certificate_problems]
    doubts = [shown.doubt for shown in shown_there if shown.doubt]
    doubts += [host.certificate_problems[shown.path] for shown in files if shown.path in host.certificate_problems]
    wrong: list[tuple[str, Evidence]] = []
    told: list[str] = []
    for shown in files or shown_there:
        chain = host.certificates.get(shown.path, [])
        problems = list(_problems(chain, shown, host.now, site)) if chain or shown.path else []
        (problems if for_people(listener.protocol, listener.port) else told).extend(_distrust(shown, chain, site))
        wrong += [(problem, _evidence(shown, chain)) for problem in problems if shown.path not in host.certificate_problems]
    if wrong:
        return fail(about, "; ".join(dict.fromkeys(problem for problem, _ in wrong)), *dict.fromkeys(seen for _, seen in wrong))
    if doubts:
        return unknown(
            about, "the certificate could not be read", doubts[0], *(_evidence(shown, []) for shown in shown_there[:4])
        )
    return passed(about, "; ".join(["the certificate is good", *told]))


def _problems(chain: list[Certificate], shown: Shown, now: float, site: Site) -> Iterator[str]:
    if not chain:
        yield "the file holds no certificate"
        return
    days_left, today = int(site.tunables.get("min_days_left", DAYS_LEFT)), datetime.fromtimestamp(now, timezone.utc)
    for number, certificate in enumerate(chain):
        whose = f"the certificate of the authority {number} above" if number else "the certificate"
        problem = date_problem(certificate, today, days_left)
        if problem:
            yield f"{whose} {problem}"
    problem = name_problem(chain[0], [shown.greeting, *_names(site)], _domains(site))
    if problem:
        yield f"the certificate {problem}"


def _distrust(shown: Shown, chain: Iterable[Certificate], site: Site) -> Iterator[str]:
    if not site.tunables.get("untrusted_fails", True) or shown.doubt:
        return
    leaf = next(iter(chain), None)
    if leaf is not None and leaf.self_issued:
        yield "the certificate is signed by itself: nobody trusts it"
    elif not shown.path:
        yield "no certificate is set: one that nobody trusts is made at each start"


def _names(site: Site) -> list[str]:
    """The names that the server is known by: what its programs call themselves, and what the site declares."""
    programs = [server.helo for servers in site.servers.values() for server in servers if server.helo]
    return list(dict.fromkeys([*programs, *map(str, site.tunables.get("names", ()))]))


def _domains(site: Site) -> list[str]:
    found = [domain for servers in site.servers.values() for server in servers for domain in server.local_domains]
    return list(dict.fromkeys([*site.local_domains, *found]))


def _evidence(shown: Shown, chain: Iterable[Certificate]) -> Evidence:
    leaf = next(iter(chain), None)
    text = f"for {', '.join(leaf.names[:8]) or 'nobody'}, good until {leaf.not_after:%Y-%m-%d}" if leaf else shown.doubt
    return Evidence(Method.CONFIG, printable(shown.where), printable(f"{shown.path or '(no file)'}: {text}".rstrip(": ")))
