"""Register the functions that evaluate controls, and say what they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .address import Network
from .finding import Finding, stamped
from .listeners import Server

Evaluate = Callable[[Any, "Site"], Iterator[Finding]]


@dataclass(frozen=True)
class Site:
    """What the inventory declares about a host, and what the host itself knows of its surroundings.

    `tunables` maps a tunable's name to its value, already of the type that the catalogue gives it. `gateways` are the next
    hops of the host's default routes. `servers` is what every program of the host tells of itself, by its name in the
    catalogue; under an empty name stand the SMTP ports that listen and that no program told of. `rspamd` is what
    readers/rspamd.py read, None where it is not installed or no selected control of the host's programs looks at it; `clamav`
    what readers/clamav.py read, for AV-01; `policyd` what readers/policyd_rate_limit.py read, for RATE-01 of Postfix; `resolver`
    what readers/resolver.py read, for INB-01, INB-02 and INB-03.
    """

    kind: str = ""
    local_domains: tuple[str, ...] = ()
    trusted_networks: tuple[Network, ...] = ()
    proxies: tuple[Network, ...] = ()
    gateways: tuple[str, ...] = ()
    servers: Mapping[str, tuple[Server, ...]] = field(default_factory=dict)
    tunables: Mapping[str, Any] = field(default_factory=dict)
    rspamd: Any = None
    clamav: Any = None
    policyd: Any = None
    resolver: Any = None


@dataclass(frozen=True)
class Control:
    """One function that answers one catalogue entry for one component; `scanner`: it looks at Site.rspamd."""

    id: str
    component: str
    evaluate: Evaluate
    scanner: bool = False


REGISTRY: dict[tuple[str, str], Control] = {}


def control(control_id: str, component: str, scanner: bool = False) -> Callable[[Evaluate], Evaluate]:
    """Register a function: reading and Site in, findings out, no I/O. Its findings get the control's id here."""

    def register(function: Evaluate) -> Evaluate:
        def evaluate(reading: Any, site: Site) -> Iterator[Finding]:
            return (stamped(finding, control_id) for finding in function(reading, site))

        key = (control_id, component)
        if key in REGISTRY:
            raise ValueError(f"{control_id} has two functions for {component}")
        REGISTRY[key] = Control(control_id, component, evaluate, scanner)
        return function

    return register


def controls_for(component: str, ids: Iterable[str]) -> list[Control]:
    """The registered controls of a component among `ids`, in their order."""
    return [REGISTRY[(i, component)] for i in ids if (i, component) in REGISTRY]
