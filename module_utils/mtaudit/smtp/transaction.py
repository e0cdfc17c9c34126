"""Ask envelopes in the mail transactions of one session, and read the replies as answers to them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Optional

from .battery import Form, Hole
from .dialogue import Session
from .evidence import Transcript
from .reply import Reply
from .verdict import Answer
from .wording import Meaning, meaning

POSITIVE = Form("known_recipient", Hole.PLAIN, "", "")
NEGATIVE = Form("random_mailbox", Hole.PLAIN, "", "")


class Transaction:
    """The open mail transaction of a session, and the envelopes asked in it."""

    def __init__(self, session: Session) -> None:
        self.sender: Optional[str] = None
        self._session = session
        self._dirty = False
        self._asked: list[tuple[str, Optional[Form]]] = []

    def reset(self) -> None:
        """EHLO or STARTTLS ended the transaction."""
        self.sender, self._dirty = None, False

    async def ask(self, items: Sequence[tuple[Form, str, str]], last: bool = False) -> list[tuple[Form, Answer]]:
        """Ask (form, sender, recipient) in order, with as few MAIL commands as that allows. `last`: as in Session.commands."""
        self._asked = []
        for form, sender, recipient in items:
            if sender != self.sender:
                if self._dirty:
                    self._asked.append(("RSET", None))
                self._asked.append((f"MAIL FROM:<{sender}>", None))
                self.sender, self._dirty = sender, True
            self._asked.append((f"RCPT TO:<{recipient}>", form))
        replies = await self._session.commands([command for command, _form in self._asked], last=last)
        found = self.answered(replies)
        start = max((n for n, (command, _form) in enumerate(self._asked) if command.startswith("MAIL")), default=0)
        still_open = [form for _command, form in self._asked[start:] if form is not POSITIVE]
        accepted = any(answer.meaning is Meaning.ACCEPTED and form in still_open for form, answer in found)
        if accepted or self._mail_refused(replies):
            self.sender = None  # the next envelope begins with RSET
        return found

    def _mail_refused(self, replies: Sequence[Reply]) -> bool:
        return any(c.startswith("MAIL") and not r.accepted for (c, _form), r in zip(self._asked, replies))

    def answered(self, replies: Sequence[Reply]) -> list[tuple[Form, Answer]]:
        """The answers that the replies so far give. When MAIL was refused, that is the answer to its envelopes."""
        found = []
        mail: Optional[Reply] = None
        for (command, form), reply in zip(self._asked, replies):
            if form is None:
                mail = reply if command.startswith("MAIL") else mail
                continue
            refused = mail is not None and not mail.accepted
            decided = mail if refused and mail is not None else reply
            found.append(
                (form, answer_to(form, decided, "MAIL" if refused else "RCPT", self._session.transcript, self._session.secure))
            )
        return found


def answer_to(form: Form, reply: Reply, stage: str, transcript: Transcript, in_tls: bool) -> Answer:
    """A reply as an answer to a form."""
    path = re.search(r"<([^<>\s]+@[^<>\s]+)>", reply.text) if reply.code in (251, 551) else None
    return Answer(
        form,
        meaning(reply),
        reply.code,
        reply.enhanced,
        transcript.clean(reply.text),
        stage,
        in_tls,
        path.group(1) if path else "",
    )
