"""Ask the real Sendmail what it would do with clients at any address: check_relay, check_mail and check_rcpt in `sendmail -bt`.

One process for all clients and envelopes of a port. No port is opened, nothing is queued, delivered or logged. Sendmail does look
up the domains of the envelopes and what its rules ask the DNS. Maps that reach other programs stop the simulation, unless the
site allows it. Clients have no name here: what is trusted by name, and encryption, are not seen.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Optional

from ..control import Site
from ..finding import Finding
from ..listeners import Listener
from ..readers.network import HostNetwork
from ..readers.sendmail_ask import BOUNDED, Question, Told, answers, in_tag, script
from ..readers.sendmail_model import Daemon, Sendmail, network_of
from ..readers.sendmail_questions import reaching_out
from ..smtp.reply import Reply
from ..text import decode
from .envelopes import Client, Declared, Envelope, clients, envelopes, for_client
from .session import PATH, Budget
from .verdict import Answer, Simulated, findings, no_verdict

TIMEOUT_S = 30.0
TOTAL_TIMEOUT_S = 60.0
OUTPUT_LIMIT_BYTES = 16 * 1024 * 1024
BUDGET = 10
PROGRAMS = ("/usr/libexec/sendmail/sendmail", "/usr/sbin/sendmail-mta", "/usr/sbin/sendmail.sendmail")

_LOGIN_FIRST = "530 5.7.0 Authentication required (M=a in DaemonPortOptions)"
_REPLY = re.compile(r"(?P<code>[245]\d\d)[ -](?P<text>.*)")


class Stopped(Exception):
    """There are no answers, or not all; the text says why."""


def simulate_all(
    instances: Sequence[Sendmail],
    site: Site,
    network: Optional[HostNetwork],
    declared: Declared,
) -> Simulated:
    """Every port of every configuration that others than the host itself can reach.

    Bounded by BUDGET processes, TOTAL_TIMEOUT_S seconds and OUTPUT_LIMIT_BYTES for each process; what could not be asked is
    `unknown` with the reason. Where no rule can tell ports apart, one is asked for all.
    """
    budget, deadline = Budget(BUDGET), time.monotonic() + TOTAL_TIMEOUT_S
    found: list[Finding] = []
    for sendmail in (s for s in instances if not s.problem):
        ports = [listener for listener in sendmail.listeners if not listener.loopback_only]
        tried = envelopes(declared, [*sendmail.local_domains, *site.local_domains], sendmail.relayed_domains)
        whom = _clients(sendmail, site, network)
        for group in _groups(sendmail, ports):
            said, stopped = _ask_all(sendmail, group[0], whom, tried, budget, deadline, declared.contact_policy_services)
            for listener in group:
                reachable = [a for a in said if f"ipv{a.client.address.version}" in listener.families]
                found += findings(listener.name, reachable, site.trusted_networks, stopped, program="Sendmail")
    return Simulated(tuple(found), budget.used)


def _groups(sendmail: Sendmail, ports: Sequence[Listener]) -> list[list[Listener]]:
    """The ports that give the same answers."""
    if sendmail.by_daemon:
        return [[port] for port in ports]
    found: dict[bool, list[Listener]] = {}
    for port in ports:
        found.setdefault(sendmail.login_required(sendmail.daemon_of(port)), []).append(port)
    return list(found.values())


def _clients(sendmail: Sendmail, site: Site, network: Optional[HostNetwork]) -> list[Client]:
    here = network or HostNetwork((), (), ())
    listed = [network_of(e.key) for e in sendmail.entries("connect", "") if e.relays]
    listed += [network_of(member) for member in sendmail.classes.get("R", ())]
    return clients(here.addresses, here.links, here.gateways, site.trusted_networks, [n for n in listed if n is not None])


def obstacle(sendmail: Sendmail, contact: bool) -> str:
    """Why this Sendmail is not asked, or an empty string. Costs no spawn."""
    if os.geteuid() != 0:
        return "not root: the maps of Sendmail can be read by root only"
    if not _program():
        return "the sendmail program was not found"
    outside = reaching_out(sendmail.cf.maps_of(sendmail.cf.checks()))
    if outside and not contact:
        return f"the rules ask something outside of Sendmail, the map {outside}, which was not contacted"
    return ""


def _program() -> str:
    return next((path for path in PROGRAMS if os.access(path, os.X_OK)), "")


def _ask_all(
    sendmail: Sendmail,
    listener: Listener,
    whom: Sequence[Client],
    tried: Sequence[Envelope],
    budget: Budget,
    deadline: float,
    contact: bool,
) -> tuple[list[Answer], str]:
    """The answers of one port, and why some are missing."""
    daemon = sendmail.daemon_of(listener)
    pairs = [(client, envelope) for client in whom for envelope in for_client(client, tried)]
    if sendmail.login_required(daemon):
        return [Answer(client, envelope, False, _LOGIN_FIRST) for client, envelope in pairs], ""
    stopped = obstacle(sendmail, contact)
    if not stopped and not budget.take():
        stopped = f"the budget of {budget.limit} processes for simulations is used up"
    if stopped:
        return [], stopped
    asked = {pair: _question(*pair, daemon, sendmail.delays_checks) for pair in pairs}
    usable = list(dict.fromkeys(question for question in asked.values() if question.usable))
    try:
        output = _run(_command(sendmail), script(usable), min(time.monotonic() + TIMEOUT_S, deadline))
    except Stopped as exc:
        return [], str(exc)
    told = answers(output, usable)
    found = [_answer(*pair, told[question]) for pair, question in asked.items() if question in told]
    if len(found) == len(pairs):
        return found, ""
    written = len(usable) == len(set(asked.values()))
    return found, f"sendmail -bt {'ended before it had answered everything' if written else 'cannot be asked for every address'}"


def _question(client: Client, envelope: Envelope, daemon: Daemon, delayed: bool) -> Question:
    return Question(
        address=in_tag(client.address), recipient=envelope.recipient, sender=envelope.sender, name="", helo=envelope.helo,
        daemon=daemon.name, port=daemon.port, flags=daemon.flags, whole_mail=True, from_connect=True,
        delayed=delayed,
    )  # fmt: skip


def _answer(client: Client, envelope: Envelope, told: Told) -> Answer:
    said = told.said or told.reason
    if told.allowed and told.mailer == "error":
        return Answer(client, envelope, False, f"{said}, but nothing delivers it (mailer error)")
    if told.allowed and envelope.at_local_domain and told.mailer == "local":
        # Only a delivery asks whether there is such a mailbox: the local part was not followed elsewhere.
        return Answer(client, envelope, False, f"{said}, for a mailbox here (mailer local)")
    match = _REPLY.match(said) if told.allowed is False else None
    blocked = no_verdict(Reply(int(match["code"]), "", (match["text"],)), "Sendmail") if match else ""
    return Answer(client, envelope, None if blocked else told.allowed, said, told.reason or blocked)


def _command(sendmail: Sendmail) -> list[str]:
    return [_program(), *(["-C", sendmail.file] if sendmail.primary else []), *BOUNDED, "-bt"]


def _run(argv: Sequence[str], stdin: str, deadline: float) -> str:
    """The output of a program that is given its input from memory. Raises Stopped: too slow, too much, or not to be started."""
    limit_s = max(int(deadline - time.monotonic()) + 5, 5)
    source = os.memfd_create("mtaudit")
    try:
        os.write(source, stdin.encode())
        os.lseek(source, 0, os.SEEK_SET)
        process = subprocess.Popen(
            list(argv), stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/",
            env={"PATH": PATH, "LC_ALL": "C.UTF-8"},
            preexec_fn=lambda: signal.alarm(limit_s),  # ends the child should we be killed before we can
        )  # fmt: skip
    except OSError as exc:
        raise Stopped(f"Could not start sendmail: {exc.strerror}") from exc
    finally:
        os.close(source)
    try:
        return decode(_output(process, deadline))
    finally:
        process.kill()
        process.communicate()


def _output(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    assert process.stdout is not None
    parts: list[bytes] = []
    size = 0
    while True:
        if not select.select([process.stdout], [], [], max(deadline - time.monotonic(), 0))[0]:
            raise Stopped("sendmail -bt did not answer in time")
        data = os.read(process.stdout.fileno(), 65536)
        if not data:
            return b"".join(parts)
        parts.append(data)
        size += len(data)
        if size > OUTPUT_LIMIT_BYTES:
            raise Stopped(f"sendmail -bt printed more than {OUTPUT_LIMIT_BYTES} bytes")
