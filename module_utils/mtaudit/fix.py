"""Register the functions that propose how a failing control is mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable

from .control import Site
from .finding import Finding

# What is wanted of the program's configuration, as config/<component>.py takes it (`a.then(b)` is both, one after the other); of
# several components at once, by their names; None when no change that is known would help, ConfigError when it is known why.
Propose = Callable[[Any, Site, Sequence[Finding]], Any]


@dataclass(frozen=True)
class Fix:
    """How one control is mended in one component."""

    id: str
    component: str
    propose: Propose


FIXES: dict[tuple[str, str], Fix] = {}


def fix(control_id: str, component: str) -> Callable[[Propose], Propose]:
    """Register a function: a reading, the Site and the control's failing findings in, what is wanted out, no I/O.

    It changes the least that makes the control pass. It may be asked again, with the candidate's reading and what still fails
    there, for a cause that was hidden behind the first.
    """

    def register(function: Propose) -> Propose:
        key = (control_id, component)
        if key in FIXES:
            raise ValueError(f"{control_id} has two fixes for {component}")
        FIXES[key] = Fix(control_id, component, function)
        return function

    return register
