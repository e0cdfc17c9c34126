"""What Sendmail offers in a session: the modifiers of its port, then what the rule set srv_features says of the client.

A small letter switches on, a capital one off (Installation and Operation Guide, srv_features). Tried on 8.17.1.9 and 8.18.1: `L`
takes back M=a, `a` takes back M=A, `C` takes back the `p` of AuthOptions, `x` offers EXPN in spite of PrivacyOptions; `Y` does
nothing to VRFY.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .sendmail_ask import Told

_LETTER = re.compile(r"(?<![\w])([A-Za-z])(\d?)(?![\w])")


@dataclass(frozen=True)
class Features:
    """What a client is offered otherwise than usual: `letters` maps the small letter to what was given last, such as `u2`.

    `doubt` says why that is not known.
    """

    letters: Mapping[str, str] = field(default_factory=dict)
    doubt: str = ""

    def given(self, wanted: str) -> bool:
        """Whether this is the last word on the letter: `L`, or `u2`."""
        return self.letters.get(wanted[:1].lower()) == wanted

    def __str__(self) -> str:
        return " ".join(self.letters.values())


def features(told: Told) -> Features:
    """What the rule set returned: `$# O u2`, `OK` for nothing, `$# temp` when a map could not be looked up."""
    said = told.said.strip()
    if not said or told.allowed is None:
        return Features(doubt=told.reason or "Sendmail gave no answer")
    if not said.startswith("$#"):
        return Features()
    if re.match(r"\$# *temp", said, re.IGNORECASE):
        return Features(doubt="a map could not be looked up, and such clients are put off")
    return Features({letter.lower(): letter + digit for letter, digit in _LETTER.findall(said[2:])})
