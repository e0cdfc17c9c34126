"""One way in: who may go it, by which rule of the program's, and which control owns it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Optional, TypeVar

from ..control import Site
from ..listeners import Listener

R = TypeVar("R")


@dataclass(frozen=True)
class Path(Generic[R]):
    """One way in. `control` owns it; `conditions` say what it takes; with `doubt` it may or may not exist.

    `rule` lets it through, str(rule) being its text; `networks` are the clients it is open to, empty for anybody's.
    """

    control: str
    message: str
    rule: R
    conditions: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    doubt: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two ways of different ports the same."""
        return self.control, str(self.rule), self.networks, self.conditions, bool(self.doubt)


def remembered(memo: dict[Any, Any], listener: Listener, site: Site, found: Iterable[Path[R]]) -> list[Path[R]]:
    """The ways of one port, looked for once: `found` is gone through only when the program's memo does not hold them yet."""
    key = ("paths", listener, site.trusted_networks, site.proxies, site.gateways, site.local_domains)
    if key not in memo:
        memo[key] = list(found)
    ways: list[Path[R]] = memo[key]
    return ways


def usual_of(listeners: Iterable[Listener], otherwise: Listener) -> Listener:
    """The port whose policy the others are measured by: 25, else the first that others than the host can reach."""
    reachable = [listener for listener in listeners if not listener.loopback_only]
    return next((listener for listener in reachable if listener.port == 25), next(iter(reachable), otherwise))


def relaxed(
    own: Iterable[Path[R]], usual: Optional[Sequence[Path[R]]], source: str, kept: Sequence[str] = ("SENDER-03",)
) -> Iterator[Path[R]]:
    """The ways of one port, RELAY-06 owning those that the usual one does not have; `usual` is None where it is that one.

    `source` relaxes the policy then. Ways of the controls `kept` stay with them on every port: the probe tells those apart.
    """
    shared = {path.key for path in usual or ()}
    for path in own:
        if usual is None or path.key in shared or path.control in kept:
            yield path
            continue
        if path.doubt:
            yield path  # what the probe proves there is found under the control that a plain session belongs to
        yield replace(path, control="RELAY-06", message=f"{source} relaxes the policy: {path.message}")


def routes(foreign: str) -> tuple[tuple[str, str, str], ...]:
    """Local parts that the next host may take for an address elsewhere: the trick, the local part, and how it is told."""
    return (("percent", f"probe%{foreign}", "user%foreign"), ("bang", f"{foreign}!probe", "foreign!user"),
            ("quoted", f"probe@{foreign}", '"user@foreign"'))  # fmt: skip
