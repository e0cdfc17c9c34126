"""Read what nftables does with what this host itself sends, as nft lists it (libnftables-json(5)); one spawn.

A packet that begins a connection is walked through every chain on the hook `output`. What a chain drops is gone; what it accepts,
the next one still sees (nft(8), "Verdict statement").
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from ..runner import ReadError, Runner
from ..text import printable

_LEGACY = ("/proc/net/ip_tables_names", "/proc/net/ip6_tables_names")  # tables that nft does not list
_HARMLESS = ("counter", "log")
_UNSURE = ("limit", "mangle", "xt")  # whether the rest of the rule is reached is not known
_NO_VERDICT = ("CONNMARK", "LOG", "MARK", "NFLOG")  # targets of xt, iptables-extensions(8)
_ANY = frozenset({"drop", "accept", "continue"})
_OTHER = ("an interface to others",)
_DEPTH = 16  # of jumps, as the kernel has it (NFT_JUMP_STACK_SIZE)
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Packet:
    """The first of a TCP connection that an account opens, to this host itself (`loopback`) or to others."""

    account: str
    uid: int
    port: int
    loopback: bool
    family: str = "ip"  # or ip6


@dataclass
class PacketFilter:
    """`nft` is where that program is, empty where it is not. `rules` by family, table and chain; `hooked`: those on `output` with
    their policy. `closed` are accounts and ports that a change would close. `problem`: why it is not known what else is
    stopped."""

    nft: str = ""
    rules: dict[Key, list[list[dict[str, Any]]]] = field(default_factory=dict)
    hooked: dict[Key, str] = field(default_factory=dict)
    closed: frozenset[tuple[str, int]] = frozenset()
    problem: str = ""

    def stops(self, packet: Packet) -> Optional[bool]:
        """None when that hangs on what is not known."""
        if (packet.account, packet.port) in self.closed:
            return True
        ends = [self._end(key, policy, packet) for key, policy in self.hooked.items() if key[0] in ("inet", packet.family)]
        if {"drop"} in ends:
            return True
        return None if self.problem or any("drop" in end for end in ends) else False

    def _end(self, key: Key, policy: str, packet: Packet) -> set[str]:
        return {policy if end == "return" else end for end in self._ends(key, packet, 0)}

    def _ends(self, key: Key, packet: Packet, depth: int) -> set[str]:
        """Everything that a chain may come to: drop, accept, return."""
        found: set[str] = set()
        for rule in self.rules.get(key, ()):
            matches, verdicts = self._rule(key, rule, packet, depth)
            if matches is False:
                continue
            found |= verdicts - {"continue"}
            if matches and "continue" not in verdicts:
                return found
        return found | {"return"}

    def _rule(self, key: Key, rule: Sequence[dict[str, Any]], packet: Packet, depth: int) -> tuple[Optional[bool], set[str]]:
        """Whether it is about the packet, None for perhaps; and what it may say then."""
        matches: Optional[bool] = True
        last = {"continue"}
        for statement in rule:
            ((name, data),) = statement.items()
            if name == "match":
                fits = _fits(data, packet)
                if fits is False:
                    return False, set()
                matches = matches if fits else None
            elif name in _UNSURE:
                matches = None
                if name == "xt" and not _goes_on(data):
                    last = set(_ANY)
            elif name not in _HARMLESS:
                return matches, self._verdicts(key, name, data, packet, depth)
        return matches, last

    def _verdicts(self, key: Key, name: str, data: Any, packet: Packet, depth: int) -> set[str]:
        """What a statement that ends its rule may come to."""
        if name in ("accept", "return"):
            return {name}
        if name in ("drop", "reject"):
            return {"drop"}
        if name in ("jump", "goto") and depth < _DEPTH:
            ends = self._ends((*key[:2], data["target"]), packet, depth + 1)
            return {"continue" if end == "return" and name == "jump" else end for end in ends}
        if name == "vmap" and isinstance(data["data"], dict):
            listed = [verdict for _, each in data["data"]["set"] for verdict in each.items()]
            return {"continue"}.union(*(self._verdicts(key, each, target, packet, depth) for each, target in listed))
        return set(_ANY)


def read(runner: Runner) -> PacketFilter:
    """The rules of now. Without nft and iptables there are none."""
    nft = runner.which("nft") or ""
    try:
        legacy = any(runner.stat(path) and runner.read(path).strip() for path in _LEGACY)
        problem = "rules of iptables-legacy are not read" if legacy else ""
        if not nft:
            lacks = "nft, which lists the rules of iptables, is missing" if runner.which("iptables") else ""
            return PacketFilter(problem=problem or lacks)
        done = runner.run(["nft", "-j", "list", "ruleset"])
    except ReadError as exc:
        return PacketFilter(nft, problem=printable(str(exc)))
    if done.returncode:
        return PacketFilter(nft, problem=printable(f"nft could not list its rules: {done.stderr.strip()}"))
    try:
        return replace(parse(done.stdout), nft=nft, problem=problem)
    except (ValueError, KeyError, TypeError) as exc:
        return PacketFilter(nft, problem=printable(f"what nft lists was not understood: {type(exc).__name__} {exc}"))


def parse(text: str) -> PacketFilter:
    """Raises ValueError, KeyError or TypeError for what is no list of nft's."""
    found = PacketFilter()
    for entry in json.loads(text)["nftables"]:
        if "chain" in entry:
            chain = entry["chain"]
            key = (chain["family"], chain["table"], chain["name"])
            found.rules.setdefault(key, [])
            if chain.get("hook") == "output":
                found.hooked[key] = chain.get("policy", "accept")
        elif "rule" in entry:
            rule = entry["rule"]
            found.rules.setdefault((rule["family"], rule["table"], rule["chain"]), []).append(rule["expr"])
    return found


def _goes_on(xt: Any) -> bool:
    """Whether a match or target of iptables has no verdict of its own; an old nft does not tell which it is."""
    return bool(xt) and (xt["type"] == "match" or xt["name"] in _NO_VERDICT)


def _fits(match: dict[str, Any], packet: Packet) -> Optional[bool]:
    names = _names(match["left"], packet)
    held = _held(match["right"], names) if names else None
    if held is None or match["op"] not in ("==", "in", "!="):
        return None
    return held is not (match["op"] == "!=")


def _names(left: dict[str, Any], packet: Packet) -> tuple[Any, ...]:
    """What the packet has there, in each way that nft may say it; nothing where that is not known."""
    ((kind, data),) = left.items()
    if kind == "meta":
        known: dict[str, tuple[Any, ...]] = {
            "skuid": (packet.uid, packet.account) if packet.uid >= 0 else (),
            "l4proto": ("tcp", 6),
            "nfproto": ("ipv4" if packet.family == "ip" else "ipv6",),
        }
        out = ("lo",) if packet.loopback else _OTHER
        return out if data["key"] in ("oif", "oifname") else known.get(data["key"], ())
    if kind == "payload" and (data.get("protocol"), data.get("field")) in (("tcp", "dport"), ("th", "dport")):
        return (packet.port,)
    if kind == "payload" and (data.get("protocol"), data.get("field")) in (("ip", "protocol"), ("ip6", "nexthdr")):
        return ("tcp", 6) if data["protocol"] == packet.family else ()
    return ("new",) if kind == "ct" and data.get("key") == "state" else ()


def _held(right: Any, names: tuple[Any, ...]) -> Optional[bool]:
    """Whether one of the names is among what stands right."""
    if isinstance(right, dict) and "range" in right:
        ends = (*right["range"], names[0])
        return bool(ends[0] <= ends[2] <= ends[1]) if all(type(end) is int for end in ends) else None
    listed = right.get("set") if isinstance(right, dict) else right
    if isinstance(listed, list):
        answers = {_held(each, names) for each in listed}
        return True if True in answers else None if None in answers else False
    if not isinstance(right, (int, str)) or str(right).startswith("@") or str(right).endswith("*"):
        return None
    return None if names == _OTHER and right != "lo" else bool(right in names)
