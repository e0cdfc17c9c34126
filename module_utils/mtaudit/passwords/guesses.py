"""What somebody would try first: the account's own name, what the site is called or hands out, what is common everywhere."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import NamedTuple

from .common import COMMON

EMPTY, NAME, SITE, INITIAL, USUAL = (
    "empty", "made from its own name", "made from the domain or the organisation", "an initial password of the site",
    "among the commonest passwords",
)  # fmt: skip
# Logins of each form that something is made of: what another release makes of them, it makes of accounts.
_EXAMPLES = ("Kim", "root", "Ana-maria_de.la+Cruz9", "kim@Example.co.test", "j.Doe@mail-1.test", "12345", "a")
_TAILS = ("", "1", "12", "123", "1234", "12345", "!", "1!", "123!", "@123")


class Guess(NamedTuple):
    """`kind` is the weakness that it shows: one of the words above."""

    kind: str
    word: str


@dataclass(frozen=True)
class Words:
    """What is tried for every account. `site`: the organisation's names. `initial`: passwords that the site gives to new
    accounts. `common`: how many of the commonest. `year`: this one; the one before is tried, too."""

    site: Sequence[str] = ()
    initial: Sequence[str] = ()
    common: int = 100
    year: int = 0

    def digest(self, salt: str) -> str:
        """Tells these guesses, and their order, from others; with the salt it tells nothing of the initial passwords."""
        text = repr([[guess.word for guess in self.of(user)] for user in _EXAMPLES])
        return hashlib.scrypt(text.encode(), salt=salt.encode(), n=2**14, r=8, p=1, dklen=16).hex()

    def of(self, user: str) -> list[Guess]:
        """All that is tried for an account, in turn what hangs on it and what does not. A name that is common, too, is a name."""
        found: dict[str, Guess] = {}
        for mine, everybodys in zip_longest(self.own(user), self.shared):
            if mine:
                found[mine.word] = mine
            if everybodys:
                found.setdefault(everybodys.word, everybodys)
        return list(found.values())

    @cached_property
    def shared(self) -> list[Guess]:
        """What does not hang on the account, likeliest first."""
        found = [Guess(INITIAL, word) for word in self.initial]
        found += [Guess(SITE, word) for name in self.site for word in self._made_from(name)]
        return _once([*found, *(Guess(USUAL, word) for word in COMMON[: self.common])])

    def own(self, user: str) -> list[Guess]:
        """What hangs on the account: its login, with or without a domain, and its domain's name."""
        name, _, domain = user.partition("@")
        found = [Guess(EMPTY, ""), Guess(NAME, name), *(Guess(NAME, word) for word in self._made_from(name))]
        parts = [part for part in re.split(r"[._+-]", name) if len(part) > 1 and part != name]
        found += [Guess(NAME, part + tail) for part in parts for tail in ("", "1", "123", str(self.year))]
        if len(parts) > 1:
            found += [Guess(NAME, parts[0][0] + parts[-1]), Guess(NAME, "".join(parts))]
        if domain:
            found += [Guess(NAME, user), Guess(SITE, domain)]
            found += [Guess(SITE, word) for word in self._made_from(domain.split(".")[0])]
        return _once(found)

    def _made_from(self, name: str) -> Iterator[str]:
        years = [str(year) for year in (self.year, self.year - 1)] if self.year else []
        for word in dict.fromkeys((name, name.lower(), name.capitalize())):
            yield from (word + tail for tail in (*_TAILS, *years, *(f"{year}!" for year in years)))
        yield from (name.upper(), name[::-1], name + name)


def _once(guesses: Iterable[Guess]) -> list[Guess]:
    first: dict[str, Guess] = {}
    for guess in guesses:
        first.setdefault(guess.word, guess)
    return list(first.values())
