"""How long what a run left behind is kept: the newest of them stay, and so do all that are young."""

from __future__ import annotations

import time
from collections.abc import Mapping

KEEP, KEEP_DAYS = 10, 90.0
_DAY_S = 86_400


def outdated(made_at: Mapping[str, float], keep: int = KEEP, keep_days: float = KEEP_DAYS) -> list[str]:
    """Of names, each with when it was made (seconds since the epoch), those that need not be kept, the newest first."""
    newest_first = sorted(made_at, key=lambda name: (made_at[name], name), reverse=True)
    limit = time.time() - keep_days * _DAY_S
    return [name for name in newest_first[max(keep, 1):] if made_at[name] < limit]
