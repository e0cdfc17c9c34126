"""Ask the host's own resolver for the entries that blocklists keep for tests: two look-ups, one spawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..runner import Runner, ToolTimeout

# Always listed (RFC 5782, 5; docs.spamhaus.com, "How to test"). Of lists that want a key each site has names of its own.
ENTRIES = {"2.0.0.127.zen.spamhaus.org": "zen.spamhaus.org", "dbltest.com.dbl.spamhaus.org": "dbl.spamhaus.org"}
COMMAND = ("getent", "ahostsv4", *ENTRIES)
_TIMEOUT_S = 10.0  # without an answer libc takes as long for each


@dataclass(frozen=True)
class Resolver:
    """What was answered, by list; a list without an answer is not there."""

    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read(runner: Runner) -> Resolver:
    """Raises ReadError where getent could not be asked; no answer in time is none."""
    try:
        return Resolver(parse(runner.run(COMMAND, timeout_s=_TIMEOUT_S).stdout))
    except ToolTimeout:
        return Resolver()


def parse(text: str) -> dict[str, tuple[str, ...]]:
    """`127.0.0.2  STREAM 2.0.0.127.zen.spamhaus.org`: the name stands in the first line of each alone."""
    found: dict[str, tuple[str, ...]] = {}
    asked = ""
    for address, kind, *name in map(str.split, text.splitlines()):
        asked = ENTRIES.get(name[0], "") if name else asked
        if asked and kind == "STREAM":
            found[asked] = (*found.get(asked, ()), address)
    return found
