"""What follows from putting the views of the vantages and the host's own log side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Optional

from .address import Address, Network, parse_address, parse_network
from .controls.source_truth import Connection, Surroundings, source_truth
from .finding import Evidence, Finding, Method, Status, Subject
from .listeners import listener_name
from .logs.postfix import Delivery, Trace
from .report.run import HostRun, RunData
from .smtp.battery import CONTROLS, Hole
from .smtp.verdict import View, compare_views
from .text import printable

DEVICES = "RELAY-08"
# From an inside vantage the site's own gateway may translate the address, which says nothing about strangers.
_OWN_ADDRESS = ("stranger", "neighbour")


def findings(run: RunData) -> Iterator[tuple[str, Finding]]:
    """For every host: are clients seen by their own address, is something in between, did the log see a delivery."""
    for host in run.hosts:
        traces = _traces(run, host)
        for finding in (*_source_truth(run, host, traces), *_devices(run, host), *_delivered(run, host, traces)):
            yield host.name, finding


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
    for vantage, listener in _listeners(run, host):
        found = [traces[token] for token in listener.get("tokens") or () if token in traces]
        sent = [delivery for trace in found for delivery in trace.deliveries if delivery.status == "sent"]
        for hole, about in (listener.get("classes") or {}).items():
            if sent and about.get("verdict") in ("accepts", "accepts_but_discards") and hole in {h.value for h in Hole}:
                yield _by_log(CONTROLS[Hole(hole)], _name(host, listener), vantage, about, sent[0])


def _by_log(control: str, listener: str, vantage: str, about: Mapping[str, Any], sent: Delivery) -> Finding:
    text = f"the server's own log says that a foreign message was delivered (seen from vantage {vantage})"
    line = f"to=<{sent.recipient}> relay={sent.relay} status=sent ({sent.text})"
    evidence = Evidence(Method.LOG, f"log of {listener}", printable(line))
    return Finding(
        control,
        Subject("listener", listener),
        Status.FAIL,
        text,
        Method.PROBE,
        (evidence,),
        tuple(about.get("conditions") or ()),
        verdict="proven_open",
    )
