"""Decide which envelope forms are asked next on a connection: no I/O, only what was asked and answered.

The rules that keep a probe gentle stand here: a class of hole stops at its first accepted recipient, its pilot forms are asked
one at a time, and a batch never risks more errors than the connection has left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Optional

from .battery import Form, Hole
from .wording import Meaning

MAIN = "foreign_sender"  # the form that decides whether anybody may relay, anyhow
LATE = (Meaning.TEMPORARY, Meaning.OVERLOADED)
ATTEMPTS = 2  # how often a form is asked again when the session died before its answer


class Plan:
    """The forms of one listener and where each of them stands."""

    def __init__(self, forms: Sequence[Form]) -> None:
        self.single = False  # one form a connection: the server cuts sessions after errors
        self.paused = False  # the server says that it has too much to do: ask no more before the retry
        self.tls_only = False  # the server wants STARTTLS before anything else
        self.answers: dict[str, Meaning] = {}
        self._forms = list(forms)
        self._pending = {form.name: form for form in forms}
        self._in_flight: dict[str, Form] = {}
        self._attempts: dict[str, int] = {}
        self._main = next((form for form in forms if form.name == MAIN), None)
        self._stopped: set[Hole] = set()
        self._retried: set[str] = set()

    def form(self, name: str) -> Form:
        return next(form for form in self._forms if form.name == name)

    @property
    def untried(self) -> list[Form]:
        """Forms that have no answer, though their class is not stopped."""
        return [form for form in self._forms if form.name not in self.answers and form.hole not in self._stopped]

    def take(self, room: int, known_senders: Iterable[str] = (), upgraded: bool = False) -> Optional[list[Form]]:
        """The next batch for a connection with `room` errors left, or None when it has no more use.

        An empty batch means: wait, another connection's answers decide what comes next. `known_senders`: senders that
        the connection already gave in its open transaction. The forms of one batch share HELO name and TLS.
        """
        if self.paused:
            return None
        batch: list[Form] = []
        senders = set(known_senders)
        waiting = False
        # Tricks mean nothing on a server that relays for anybody.
        undecided = {Hole.ROUTING, Hole.IDENTITY} if MAIN in self._pending or MAIN in self._in_flight else set()
        flying = undecided | {form.hole for form in self._in_flight.values()}
        unpiloted = undecided | {f.hole for f in (*self._pending.values(), *self._in_flight.values()) if f.pilot}
        plain_helo_left = any(not form.helo and not form.tls for form in self._pending.values())
        for form in list(self._pending.values()):
            if (
                self._deferred(form)
                or (upgraded and not form.tls and not self.tls_only)  # wants another session
                or (batch and (form.helo, form.tls) != (batch[0].helo, batch[0].tls))
            ):
                continue
            cost = 1 + (form.sender not in senders)  # a refused MAIL makes its RCPT an error, too
            if cost > room:
                continue
            # A HELO of its own comes last: the others would have to say EHLO again.
            if form.hole in (flying if form.pilot else unpiloted) or (form.helo and plain_helo_left):
                waiting = True
                continue
            room -= cost
            senders.add(form.sender)
            flying.add(form.hole)
            batch.append(form)
            self._in_flight[form.name] = self._pending.pop(form.name)
            if self.single:
                break
        return batch if batch or waiting and self._in_flight else None

    def _deferred(self, form: Form) -> bool:
        """Greylisting remembers sender and recipient: until the plain envelope is decided, its variants would only show that
        time passed.
        """
        main = self._main
        if main is None or form is main or self.answers.get(MAIN) not in LATE:
            return False
        return (form.sender, form.recipient) == (main.sender, main.recipient)

    def answer(self, form: Form, meaning: Meaning) -> None:
        """Record what the server said to a form."""
        self._in_flight.pop(form.name, None)
        self.answers[form.name] = meaning
        if meaning is Meaning.ACCEPTED:
            self.stop(form.hole)
            if form.hole is Hole.PLAIN and not form.conditions:
                self.stop(Hole.ROUTING)

    def stop(self, hole: Hole) -> None:
        """Ask no further form of a class."""
        self._stopped.add(hole)
        self._pending = {name: form for name, form in self._pending.items() if form.hole is not hole}

    def give_back(self, forms: Iterable[Form], counts: bool = True) -> None:
        """The session died before these were answered: ask again, a limited number of times."""
        for form in forms:
            if self._in_flight.pop(form.name, None) is None:
                continue
            self._attempts[form.name] = self._attempts.get(form.name, 0) + counts
            if self._attempts[form.name] < ATTEMPTS and form.hole not in self._stopped:
                self._pending = {form.name: form, **self._pending}

    def reopen(self, form: Form) -> None:
        """The accepted form does not lead to the canary: go on with its class, and with what its acceptance made pointless.

        A trick that led nowhere is not asked in its further spellings.
        """
        holes = {form.hole}
        if form.hole is Hole.PLAIN and not form.conditions and not self._passed(Hole.ROUTING):
            holes.add(Hole.ROUTING)
        self._stopped -= holes
        unasked = [other for other in self._forms if other.hole in holes and other.name not in self.answers]
        if form.hole is Hole.ROUTING:
            self.skip(other.name for other in unasked if other.conditions == form.conditions)
        self._pending.update((other.name, other) for other in unasked if other in self._forms)

    def _passed(self, hole: Hole) -> bool:
        return any(form.hole is hole and self.answers.get(form.name) is Meaning.ACCEPTED for form in self._forms)

    def ask_again(self, names: Iterable[str]) -> list[str]:
        """Their answers turned out to be worth nothing. Returns which of them are asked again."""
        again = [form for form in self._forms if form.name in set(names) and form.hole not in self._stopped]
        for form in again:
            self.answers.pop(form.name, None)
            self._pending[form.name] = form
        return [form.name for form in again]

    def retry(self, also: str = "") -> bool:
        """Make the forms that were put off (4xx), and the one named, ready for another round. False when there are none.

        Each form gets one such retry.
        """
        again = [
            form
            for form in self._forms
            # The plain envelope again even if another form of its class passed: that one's condition may not be needed.
            if form.name in self.answers
            and form.name not in self._retried
            and (form.hole not in self._stopped or form is self._main)
            and (self.answers[form.name] in LATE or form.name == also)
        ]
        for form in again:
            del self.answers[form.name]
            self._retried.add(form.name)
        ready = {form.name for form in again} | set(self._pending)
        self._pending = {form.name: form for form in self._forms if form.name in ready}
        self._attempts.clear()
        self.paused = False
        return bool(again)

    def skip(self, names: Iterable[str]) -> None:
        """Drop forms that do not apply to this server."""
        gone = set(names)
        self._forms = [form for form in self._forms if form.name not in gone]
        self._pending = {name: form for name, form in self._pending.items() if name not in gone}
        self._in_flight = {name: form for name, form in self._in_flight.items() if name not in gone}

    @property
    def left(self) -> int:
        """How many forms wait to be asked."""
        return len(self._pending)

    @property
    def waiting(self) -> bool:
        """Whether something is left to ask."""
        return not self.paused and any(not self._deferred(form) for form in self._pending.values())
