"""Controls on ports of mail that no program answers which mtaudit reads."""

from __future__ import annotations

from collections.abc import Iterator

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Method, Subject, fail, notapplicable, passed, unknown
from ..listeners import tells_of
from ..readers.sockets import Socket
from ..readers.system import Host
from ..readers.uses import DAEMONS
from ..text import printable

# They pass connections on: what that lets pass is known where they lead to.
_BALANCERS = ("haproxy", "nginx", "stunnel4", "docker-proxy", "envoy", "traefik")
_DAEMONS = [name for names in DAEMONS.values() for name in names]


@control("RELAY-06", "os")
def every_mail_port_is_of_a_known_program(host: Host, site: Site) -> Iterator[Finding]:
    if not host.sockets:
        yield notapplicable(HOST, "no port of mail is open here", "nothing listens on a port of SMTP that others can reach")
        return
    strange = [finding for socket in host.sockets for finding in _strange(socket, host, site)]
    yield from strange
    if not strange:
        names = ", ".join(sorted({socket.listener.name for socket in host.sockets}))
        yield passed(HOST, f"what listens on {names} is a mail program that was read")


def _strange(socket: Socket, host: Host, site: Site) -> Iterator[Finding]:
    subject, holder = Subject("listener", socket.listener.name), socket.holder
    programs = [name for name, servers in site.servers.items()
                if name and any(tells_of(told, socket.listener) for server in servers for told in server.listeners)]  # fmt: skip
    theirs = [program for program in programs if holder and holder.name in DAEMONS[program]]
    if holder is None:
        # Each of them opens its ports as root, and Postfix and OpenSMTPD do not start when one is taken.
        if not socket.of_root or not any(name in host.names for program in programs for name in DAEMONS[program]):
            reason = "it is not seen to be a running mail program's that is configured for it, nor whose process it is"
            yield unknown(subject, "what listens here is not known", reason)
    elif programs != theirs or not programs:
        who = printable(f"{holder.name} (process {holder.pid})")
        also = f", which {' and '.join(p for p in programs if p not in theirs)} is configured for" if programs else ""
        if not programs and holder.name in _BALANCERS:
            yield unknown(subject, "what answers here is not known", f"{who} passes connections on to it")
        elif not programs and holder.name in _DAEMONS:
            yield unknown(subject, "its policy is not known", f"{who} listens, and what was read of it names no such port")
        else:
            text = f"{who} listens here{also}: its policy is not the one that was read"
            yield fail(subject, text, Evidence(Method.CONFIG, f"/proc/{holder.pid}/fd", f"{who} {socket.listener.name}"))
