"""What fixes of Exim have in common: the ports that fail, and statements that go, come and change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Optional

from ..config.exim import AclChange, Wanted
from ..config.exim_edit import statement_text
from ..finding import Finding
from ..listeners import Listener
from ..readers.exim import Exim
from ..readers.exim_syntax import Condition, Statement, parse_acls

NOTHING = Wanted()


def failing(exim: Exim, findings: Sequence[Finding]) -> list[Listener]:
    """The ports that the findings are about."""
    names = {finding.subject.name for finding in findings if finding.subject.kind == "listener"}
    return [port for port in exim.listeners if port.name in names]


def together(wanted: Iterable[Optional[Wanted]]) -> Optional[Wanted]:
    """All of them, one after the other, each once; None for nothing."""
    found: list[Wanted] = []
    for one in wanted:
        if one is not None and one not in found:
            found.append(one)
    everything = reduce(lambda a, b: a.then(b), found, NOTHING)
    return None if everything == NOTHING else everything


def always(**options: Optional[str]) -> Callable[[Exim, object, Sequence[Finding]], Optional[Wanted]]:
    """A fix that sets options of the main part."""

    def propose(exim: Exim, site: object, findings: Sequence[Finding]) -> Optional[Wanted]:
        return Wanted(options=options)

    return propose


def acl_of(exim: Exim, statement: Statement) -> str:
    """The named ACL in which a statement stands; empty for one that stands in an option or a file."""
    name = statement.where.rpartition(", statement ")[0]
    return name if name in exim.config.acls else ""


def without(exim: Exim, statement: Optional[Statement]) -> Optional[Wanted]:
    """The statement goes."""
    acl = acl_of(exim, statement) if statement else ""
    return Wanted(statements=(AclChange(acl, old=statement_text(statement)),)) if acl and statement else None


def with_conditions(exim: Exim, statement: Statement, conditions: Sequence[Condition]) -> Optional[Wanted]:
    """The statement gets these conditions instead of its own. A `warn` that would do nothing goes."""
    acl = acl_of(exim, statement)
    if not acl or tuple(conditions) == statement.conditions:
        return None
    if statement.verb == "warn" and not conditions:
        return without(exim, statement)
    new = replace(statement, conditions=tuple(conditions))
    return Wanted(statements=(AclChange(acl, statement_text(statement), statement_text(new)),))


def before(exim: Exim, statement: Optional[Statement], text: str) -> Optional[Wanted]:
    """Another statement comes to stand before one."""
    acl = acl_of(exim, statement) if statement else ""
    if not acl or statement is None:
        return None
    return Wanted(statements=(AclChange(acl, old=text), AclChange(acl, new=text, before=statement_text(statement))))


def first_in(exim: Exim, option: str, name: str, text: str) -> Optional[Wanted]:
    """A statement comes to stand first in the ACL that an option names, behind what mail from the host itself has to itself; in
    an ACL of this name where there is none. None for an ACL that stands in the option or a file."""
    return _at_the_top(exim, option, name, [text], _for_the_host_itself)


def ahead_of_all(exim: Exim, option: str, name: str, texts: Sequence[str]) -> Optional[Wanted]:
    """Statements come to stand there before everything else."""
    return _at_the_top(exim, option, name, texts, lambda statement: False)


def _at_the_top(
    exim: Exim, option: str, name: str, texts: Sequence[str], stays_above: Callable[[Statement], bool]
) -> Optional[Wanted]:
    acl = exim.options.get(option, "").strip()
    if not acl:
        return Wanted(acls={name: "\n".join([*texts, "accept"])}, options={option: name})
    if acl not in exim.config.acls:
        return None
    parsed = [parse_acls(text)[""][0] for text in texts]
    new = [(statement.verb, statement.conditions) for statement in parsed]
    others = [s for s in exim.config.acls[acl] if (s.verb, s.conditions) not in new]
    following = next((s for s in others if not stays_above(s)), None)
    there = statement_text(following) if following else ""
    changes = ((AclChange(acl, old=text), AclChange(acl, new=text, before=there)) for text in texts)
    return Wanted(statements=tuple(change for pair in changes for change in pair))


def _for_the_host_itself(statement: Statement) -> bool:
    """`accept hosts = :` at the top of Debian's ACLs: what programs hand over by SMTP without TCP."""
    names = [c.value for c in statement.conditions if c.name == "hosts" and not c.negated]
    return statement.verb == "accept" and names == [":"]


def written_list(items: Sequence[str]) -> str:
    """A list of Exim's, with a separator that no address holds."""
    return items[0] if len(items) == 1 and ":" not in items[0] else f"<; {' ; '.join(items)}" if items else ""
