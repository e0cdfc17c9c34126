"""What follows from putting the views of the vantages and the host's own log side by side."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from .address import LOOPBACK, Address, Network, contains, parse_address, parse_network
from .controls.source_truth import Connection, Surroundings, source_truth
from .finding import HOST, Evidence, Finding, Method, Status, Subject
from .join import Vantage, clients_of, seen_from
from .listeners import listener_name
from .logs.outcome import Delivery, Trace
from .report.run import HostRun, RunData
from .smtp.battery import CONTROLS, RELAYING, WITH_LOGIN, Hole
from .smtp.verdict import View, compare_views
from .text import printable
from .truth import ACCEPTS, DISCARDS, PROVEN_OPEN

DEVICES = "RELAY-08"
# From an inside vantage the site's own gateway may translate the address, which says nothing about strangers.
_OWN_ADDRESS = ("stranger", "neighbour")


def findings(run: RunData) -> Iterator[tuple[str, Finding]]:
    """For every host: are clients seen by their own address, is something in between, did the log see a delivery."""
    for host in run.hosts:
        try:
            found = list(_of_host(run, host))
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            text = "what the vantages and the log saw could not be put together"
            found = [Finding(DEVICES, HOST, Status.ERROR, text, Method.LOG, reason=f"{type(exc).__name__}: {exc}")]
        yield from ((host.name, finding) for finding in found)


def _of_host(run: RunData, host: HostRun) -> Iterator[Finding]:
    traces = _traces(run, host)
    yield from _source_truth(run, host, traces)
    yield from _devices(run, host)
    yield from _delivered(run, host, traces)


def _traces(run: RunData, host: HostRun) -> Mapping[str, Trace]:
    found = {}
    for data in run.traces.get(host.name, {}).get("traces") or ():
        try:
            trace = Trace.from_dict(data)
        except (KeyError, TypeError):
            continue
        found[trace.token] = trace
    return found


def _listeners(run: RunData, host: HostRun) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What each vantage saw of this host, with the vantage's word."""
    for name, answer in run.probes.items():
        for listener in answer.get("listeners") or ():
            if isinstance(listener, dict) and listener.get("name") == host.name:
                yield str(answer.get("vantage") or name), listener


def _name(host: HostRun, listener: Mapping[str, Any]) -> str:
    address, port = str(listener.get("host", "")), str(listener.get("port", ""))
    return listener_name(host.estate, address, port) or str(listener.get("listener", ""))


def _source_truth(run: RunData, host: HostRun, traces: Mapping[str, Trace]) -> Iterator[Finding]:
    if host.name not in run.traces:
        return
    sessions = []
    for vantage, listener in _listeners(run, host):
        source = _address(listener.get("source_address"))
        # A listener that believes what clients assert logs what our own probe asserted.
        believes = (listener.get("classes") or {}).get(Hole.IDENTITY.value, {}).get("verdict") not in (None, "closed")
        if vantage in _OWN_ADDRESS and source and not believes:
            sessions += [Connection(str(t), _name(host, listener), vantage, (source,)) for t in listener.get("tokens") or ()]
    here = Surroundings(
        own=tuple(filter(None, map(_address, host.estate.get("addresses") or ()))),
        gateways=tuple(filter(None, map(_address, host.estate.get("gateways") or ()))),
        proxies=_networks(host.declared.get("proxies")),
        mynetworks=_networks(host.estate.get("mynetworks")),
    )
    trace_file = run.traces[host.name]
    yield from source_truth(sessions, traces.values(), here, str(trace_file.get("reason") or trace_file.get("error") or ""))


def _address(text: Any) -> Optional[Address]:
    try:
        return parse_address(str(text))
    except ValueError:
        return None


def _networks(texts: Any) -> tuple[Network, ...]:
    found = []
    for text in texts or ():
        try:
            found.append(parse_network(str(text)))
        except ValueError:
            continue
    return tuple(found)


def _devices(run: RunData, host: HostRun) -> Iterator[Finding]:
    """What a stranger is shown, against what is shown closer to the server."""
    views: dict[tuple[str, str, str], View] = {}
    for vantage, listener in _listeners(run, host):
        if listener.get("banner"):
            view = View(str(listener["banner"]), tuple(map(str, listener.get("capabilities") or ())))
            views[(_name(host, listener), str(listener.get("host")), vantage)] = view
    for (name, address, vantage), outside in views.items():
        inside = next((views[k] for v in ("neighbour", "inside", "local") if (k := (name, address, v)) in views), None)
        hints = compare_views(outside, inside) if vantage == "stranger" and inside else []
        if hints:
            text = f"a device in front changes what strangers see: {printable('; '.join(hints))}"
            seen = Evidence(Method.PROBE, f"{address} from the stranger", printable(outside.banner))
            yield Finding(DEVICES, Subject("listener", name), Status.INFORMATIONAL, text, Method.PROBE, evidence=(seen,))


def _delivered(run: RunData, host: HostRun, traces: Mapping[str, Trace]) -> Iterator[Finding]:
    """A foreign message that did not reach the canary, though the server's own log says that it went there."""
    for name, answer in run.probes.items():
        vantage = Vantage(name, str(answer.get("vantage") or name))
        for listener in answer.get("listeners") or ():
            if listener.get("name") == host.name:
                yield from _by_log(run, host, vantage, listener, traces)


def _by_log(
    run: RunData, host: HostRun, vantage: Vantage, listener: Mapping[str, Any], traces: Mapping[str, Trace]
) -> Iterator[Finding]:
    recipients = {str(f.get("rcpt_to")) for f in listener.get("forms") or () if f.get("class") == Hole.PLAIN.value}
    found = [traces[token] for token in listener.get("tokens") or () if token in traces]
    sent = [d for trace in found for d in trace.deliveries if d.status == "sent" and d.recipient in recipients and _away(d, host)]
    classes = listener.get("classes") or {}
    relaying = (*RELAYING, *WITH_LOGIN)
    undecided = [hole for hole in relaying if classes.get(hole.value, {}).get("verdict") in (ACCEPTS, DISCARDS)]
    if sent and undecided:
        text = f"the server's own log says that a foreign message was delivered (seen from vantage {vantage.place})"
        line = f"to=<{sent[0].recipient}> relay={sent[0].relay} status=sent ({sent[0].text})"
        finding = Finding(
            CONTROLS[undecided[0]],
            Subject("listener", str(listener.get("listener"))),
            Status.FAIL,
            text,
            Method.PROBE,
            (Evidence(Method.LOG, f"log of {host.name}", printable(line)),),
            tuple(classes[undecided[0].value].get("conditions") or ()),
            verdict=PROVEN_OPEN,
        )
        clients = clients_of(run, host, vantage.host, str(listener.get("listener")))
        yield from seen_from(finding, vantage, clients, host)


def _away(delivery: Delivery, host: HostRun) -> bool:
    """Whether the message left for another host: `name[address]`, in most logs with its port; no mailbox, filter or nowhere."""
    match = re.fullmatch(r"\S*\[([0-9A-Fa-f:.]+)\](?::\d+)?", delivery.relay)
    address = _address(match.group(1)) if match else None
    return address is not None and not contains(LOOPBACK, address) and str(address) not in (host.estate.get("addresses") or ())
