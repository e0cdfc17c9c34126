"""Edit the files of an Exim configuration: one wanted thing at a time, in the line that makes it so now where there is one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from ..readers.exim_syntax import VERBS, Condition, Statement, items, parse_acls
from ..text import printable
from .exim_source import GENERATED, Files, Line, option_of
from .files import ConfigError

# What update-exim4.conf(8) makes a macro from, and what it puts around the value.
_SETTINGS = {
    "MAIN_RELAY_NETS": ("dc_relay_nets", (), ("127.0.0.1", "::1")),
    "MAIN_RELAY_TO_DOMAINS": ("dc_relay_domains", (), ()),
    "MAIN_LOCAL_DOMAINS": ("dc_other_hostnames", ("@", "localhost"), ()),
    "MAIN_LOCAL_INTERFACES": ("dc_local_interfaces", (), ()),
}
_ITEM = re.compile(r"[-0-9a-z/.!*@_~:]+")  # what it leaves as it is, and what is no look-up
_HEADER = "# Made by mtaudit. Yours to edit: what stands here is changed in place.\n"


@dataclass(frozen=True)
class Places:
    """Where new lines go: paths of Debian's, empty where there is one file."""

    macros: str = ""
    options: str = ""
    acls: str = ""
    settings: str = ""
    main: str = ""  # the one file
    sections: Mapping[str, str] = field(default_factory=dict)  # where drivers and retry rules come before all others


def set_option(files: Files, places: Places, key: str, value: Optional[str]) -> None:
    """An option of the main part, or a named list (`hostlist NAME`); None takes it out."""
    lines = [line for line in files.lines() if line.section == "" and line.kind == "other" and option_of(line.text)[0] == key]
    there = next((line for line in lines if line.active), None)
    dormant = next((line for line in lines if not line.active and _macro_alone(line)), None)
    if there is not None:
        macro = _macro_alone(there)
        if value is not None and same(key, option_of(there.text)[1], value):
            return
        if macro and _only_here(files, macro, there) and (value is not None or there.within == f"ifdef {macro}"):
            set_macro(files, places, macro, value)
        elif value is None:
            _remove(files, there)
        else:
            _rewrite(files, there, f"{_left(there)}{_written(key, value)}")
    elif value is None:
        return
    elif dormant is not None and places.macros and dormant.within == f"ifdef {_macro_alone(dormant)}":
        set_macro(files, places, _macro_alone(dormant), value)
    else:
        _add_to_main(files, places.options, places.main, _written(key, value))


def set_macro(files: Files, places: Places, name: str, value: Optional[str]) -> None:
    """A macro, where it is defined for this host; else where it comes before what Debian would take without it."""
    defined = [line for line in files.lines() if line.kind == "macro" and line.active and line.name == name]
    own = next((line for line in defined if line.file != GENERATED and line.within != f"ifndef {name}"), None)
    made = next((line for line in defined if line.file == GENERATED), None)
    if own is not None:
        if value is None:
            _remove(files, own)
        elif own.value != value:
            _rewrite(files, own, f"{name} = {value}")
    elif made is not None and name in _SETTINGS and _by_setting(files, places, name, value or ""):
        return
    elif value is not None and not any(line.value == value for line in defined):
        _add_to_main(files, places.macros, places.main, f"{name} = {value}", first=True)


def set_setting(files: Files, places: Places, name: str, value: str) -> None:
    """A line of Debian's update-exim4.conf.conf, which is a shell's."""
    if not places.settings:
        raise ConfigError(f"Could not set {name}: this Exim is not configured by Debian's update-exim4.conf")
    if not re.fullmatch(r"dc_[a-z_]+|CFILEMODE", name) or "'" in value:
        raise ConfigError(f"Could not set {printable(name)} to {printable(value)!r}: {places.settings} has no such settings")
    lines = files.texts[places.settings].split("\n")
    found = [number for number, line in enumerate(lines) if re.match(rf"\s*{name}=", line)]
    if not found:
        _append(files, places.settings, [f"{name}='{value}'"])
        return
    quoted = re.fullmatch(r"""\s*\w+=(?:'([^']*)'|"([^"$`\\]*)"|([^\s'"$`\\;]*))\s*""", lines[found[-1]])
    if quoted is None or len(found) > 1:
        raise ConfigError(f"Could not set {name} in {places.settings}: it is there twice, or more than a value in quotes")
    if "".join(group or "" for group in quoted.groups()) != value:
        files.edit(places.settings, found[0], 1, [f"{name}='{value}'"])


def set_driver(files: Files, places: Places, key: str, wanted: Optional[dict[str, Optional[str]]]) -> None:
    """Options of a driver, as `authenticators/plain`; None takes the driver out. One that says what it is driven by (`driver`)
    comes to stand before all others where it is new."""
    section, _, name = key.partition("/")
    if wanted is None:
        block = _driver(files, section, name)
        if block:
            _remove_range(files, block[0], block[-1])
        return
    if not _driver(files, section, name) and wanted.get("driver"):
        options = [f"  {_written(option, value)}" for option, value in wanted.items() if value is not None]
        _add_first(files, places, section, [f"{name}:", *options])
    if not _driver(files, section, name):
        raise ConfigError(f"Could not change Exim: there is no {name} among its {section}")
    for option, value in wanted.items():
        block = _driver(files, section, name)
        there = next((line for line in block[1:] if option_of(line.text)[0] == option), None)
        if there is None and value is not None:
            files.edit(block[-1].file, block[-1].start + block[-1].count, 0, [f"  {_written(option, value)}"])
        elif there is not None and value is None:
            _remove(files, there)
        elif there is not None and value is not None and not same(option, option_of(there.text)[1], value):
            _rewrite(files, there, f"{_indent(there)}{_left(there)}{_written(option, value)}")


def set_retry(files: Files, places: Places, pattern: str, rule: Optional[str]) -> None:
    """When to try again what failed, before all other rules; None takes that out."""
    text = f"{pattern} {rule}"
    found = [line for line in files.lines() if line.active and line.section == "retry" and line.kind == "other"]
    there = next((line for line in found if line.text.startswith(f"{pattern} ")), None)
    if there is None and rule is not None:
        _add_first(files, places, "retry", [text])
    elif there is not None and rule is None:
        _remove(files, there)
    elif there is not None and there.text != text:
        _rewrite(files, there, text)


def _driver(files: Files, section: str, name: str) -> list[Line]:
    """Its label and the options in force."""
    found: list[Line] = []
    for line in files.lines():
        if not line.active or line.section != section or line.kind not in ("label", "other"):
            continue
        if line.kind == "label":
            if found:
                break
            found = [line] if line.name == name else []
        elif found:
            found.append(line)
    return found


# Access control lists


@dataclass(frozen=True)
class AclChange:
    """In the ACL of this name: the statement `old` becomes `new`. Without `new` it goes. Without `old`, `new` comes to stand
    before the statement `before`, or first. A statement is its verb and conditions, a line each, macros expanded."""

    acl: str
    old: str = ""
    new: str = ""
    before: str = ""


@dataclass(frozen=True)
class _Placed:
    """A statement where it stands: a line for each condition, the first of which may be that of the verb."""

    statement: Statement
    verb: Line
    lines: tuple[Line, ...]


def change_acl(files: Files, change: AclChange) -> None:
    """Raises ConfigError where the ACL or the statement is not there."""
    acl = _placed(files, change.acl)
    if acl is None:
        raise ConfigError(f"Could not change Exim: its files have no ACL {printable(change.acl)!r}")
    label, statements = acl
    wished = _parsed(change.new) if change.new else None
    present = wished is not None and any(_equal(p.statement, wished) for p in statements)
    if change.old:
        old = _found(statements, change.old)
        if old is None and (wished is None or present):
            return
        if old is None:
            raise ConfigError(f"Could not change Exim: {change.acl} has no statement '{_shown(change.old)}'")
        if wished is None or present:
            _remove_range(files, old.verb, old.lines[-1] if old.lines else old.verb)
        else:
            _reword(files, old, wished)
    elif not present:
        _insert(files, label, statements, change)


def add_acl(files: Files, places: Places, name: str, text: str) -> None:
    """A new ACL of this name. Raises ConfigError where there is another of that name."""
    acl = _placed(files, name)
    if acl is not None:
        wanted = parse_acls(f"{name}:\n{text}")[name]
        if len(wanted) != len(acl[1]) or not all(_equal(p.statement, s) for p, s in zip(acl[1], wanted)):
            raise ConfigError(f"Could not change Exim: it has an ACL {name} already, which is another one")
        return
    lines = ["", f"{name}:", *_indented(text)]
    if places.acls:
        _append(files, places.acls, lines)
        return
    inside = [line for line in files.lines() if line.section == "acl" and line.active and line.file == places.main]
    if inside:
        last = next(line for line in reversed(inside) if line.kind in ("label", "other", "begin", "directive"))
        files.edit(last.file, last.start + last.count, 0, lines)
    else:
        _append(files, places.main, ["", "begin acl", *lines])


def _placed(files: Files, name: str) -> Optional[tuple[Line, list[_Placed]]]:
    label: Optional[Line] = None
    found: list[tuple[Line, list[Line]]] = []
    for line in files.lines():
        if not line.active or line.section != "acl" or line.kind not in ("label", "other"):
            continue
        if line.kind == "label":
            if label is not None:
                break
            label = line if line.name == name else None
        elif label is not None:
            word, _, rest = line.text.partition(" ")
            if word in VERBS:
                found.append((line, [line] if rest.strip() else []))
            elif found:
                found[-1][1].append(line)
    if label is None:
        return None
    return label, [_Placed(_parsed("\n".join([v.text, *(x.text for x in c if x is not v)])), v, tuple(c)) for v, c in found]


def _parsed(text: str) -> Statement:
    found = parse_acls(text).get("", ())
    if len(found) != 1:
        raise ConfigError(f"Could not change Exim: '{_shown(text)}' is not one statement of an ACL")
    return found[0]


def _equal(one: Statement, other: Statement) -> bool:
    return (one.verb, list(map(_plain, one.conditions))) == (other.verb, list(map(_plain, other.conditions)))


def _plain(condition: Condition) -> str:
    return " ".join(condition_text(condition).split())


def condition_text(condition: Condition) -> str:
    """A condition as it is written."""
    return condition.name if condition.name == "endpass" else str(condition)


def statement_text(statement: Statement) -> str:
    """A statement as AclChange takes it."""
    return "\n".join([statement.verb, *map(condition_text, statement.conditions)])


def _found(statements: Sequence[_Placed], text: str) -> Optional[_Placed]:
    wanted = _parsed(text)
    return next((p for p in statements if _equal(p.statement, wanted)), None)


def _insert(files: Files, label: Line, statements: Sequence[_Placed], change: AclChange) -> None:
    before = _found(statements, change.before) if change.before else None
    if change.before and before is None:
        raise ConfigError(f"Could not change Exim: {change.acl} has no statement '{_shown(change.before)}'")
    lines = _indented(change.new)
    if before is None:
        files.edit(label.file, label.start + label.count, 0, [*lines, ""])
    else:
        files.edit(before.verb.file, _above(files, before.verb), 0, [*lines, ""])


def _above(files: Files, verb: Line) -> int:
    """Above the comments and the `.ifdef` that a statement begins with: it may stand there for itself alone."""
    number = verb.start
    before = [line for line in files.lines() if line.file == verb.file and line.start < verb.start]
    for line in reversed(before):
        opens = line.kind == "directive" and line.name in ("ifdef", "ifndef")
        if not opens and not (line.kind == "blank" and files.texts[line.file].split("\n")[line.start].strip()):
            break
        number = line.start
    return number


def _reword(files: Files, old: _Placed, new: Statement) -> None:
    """The lines of conditions that stay are left as they are written."""
    if old.statement.verb != new.verb or len(old.lines) != len(old.statement.conditions):
        raise ConfigError(f"Could not change Exim: '{_shown(str(old.statement))}' is not a condition a line")
    was, now = [_plain(c) for c in old.statement.conditions], [_plain(c) for c in new.conditions]
    for tag, a, b, c, d in reversed(difflib.SequenceMatcher(None, was, now, autojunk=False).get_opcodes()):
        if tag != "equal":
            _exchange(files, old, range(a, b), [f"    {condition_text(condition)}" for condition in new.conditions[c:d]])


def _exchange(files: Files, old: _Placed, gone: range, fresh: Sequence[str]) -> None:
    """Put these lines in the place of some of a statement's conditions."""
    lines, verb, a = list(old.lines), old.verb, gone.start
    on_verb = a == 0 and lines[:1] == [verb]
    for number in reversed(gone):
        if not (on_verb and number == 0):
            _remove(files, lines[number])
    if on_verb:
        kept = [] if gone else [f"    {condition_text(old.statement.conditions[0])}"]
        files.edit(verb.file, verb.start, verb.count, [f"{_indent(verb)}{old.statement.verb}", *fresh, *kept])
    elif gone:
        files.edit(lines[a].file, lines[a].start, 0, fresh)
    else:
        last = lines[a - 1] if a else verb
        files.edit(last.file, last.start + last.count, 0, fresh)


def _indented(text: str) -> list[str]:
    lines = [line.strip() for line in text.strip().splitlines()]
    return [f"  {line}" if line.split(" ", 1)[0] in VERBS or line.startswith("#") else f"    {line}" for line in lines]


def _shown(text: str) -> str:
    return printable(" ".join(text.split()))


# Lines


def same(key: str, one: str, other: str) -> bool:
    """Whether two values of an option or a named list are the same to Exim, as far as that can be told from their text."""
    if "list " in key:
        return [i for i in items(one) if i] == [i for i in items(other) if i]
    truth = {"yes": "true", "no": "false"}
    return truth.get(one, " ".join(one.split())) == truth.get(other, " ".join(other.split()))


def _written(key: str, value: str) -> str:
    return f"{key} = {value}"


def _left(line: Line) -> str:
    return "hide " if line.bare.lstrip().startswith("hide ") else ""


def _indent(line: Line) -> str:
    return line.bare[: len(line.bare) - len(line.bare.lstrip())]


def _macro_alone(line: Line) -> str:
    """The macro that is all of an option's value; empty for anything else."""
    return line.value if re.fullmatch(r"[A-Z]\w*", line.value) else ""


def _only_here(files: Files, macro: str, line: Line) -> bool:
    """Whether nothing else in force is made from a macro, and the value is the macro's."""
    users = [x for x in files.lines() if x.active and x.kind not in ("directive", "blank") and macro in x.bare]
    return any(x.name == macro for x in users) and [x.start for x in users if x.name != macro] == [line.start]


def _by_setting(files: Files, places: Places, macro: str, value: str) -> bool:
    """Say it in update-exim4.conf.conf; False where that cannot say it."""
    name, first, last = _SETTINGS[macro]
    listed = [item for item in items(value) if item]
    if tuple(listed[: len(first)]) != first or tuple(listed[len(listed) - len(last) :]) != last or not places.settings:
        return False
    listed = listed[len(first) : len(listed) - len(last)]
    if not all(_ITEM.fullmatch(item) for item in listed):
        return False
    set_setting(files, places, name, " ; ".join(listed))
    return True


def _rewrite(files: Files, line: Line, text: str) -> None:
    files.edit(line.file, line.start, line.count, [text])


def _remove(files: Files, line: Line) -> None:
    files.edit(line.file, line.start, line.count, [])


def _remove_range(files: Files, first: Line, last: Line) -> None:
    """All lines from one to another, with the `.ifdef` between them."""
    between = [x for x in files.lines() if x.file == first.file and first.start <= x.start <= last.start]
    words = [x.name for x in between if x.kind == "directive"]
    depth, lowest = 0, 0
    for word in words:
        depth += {"ifdef": 1, "ifndef": 1, "endif": -1}.get(word, 0)
        lowest = min(lowest, depth - (word.startswith("el")))
    if first.file != last.file or depth or lowest < 0:
        lines = f"lines {first.start + 1} to {last.start + 1} of {first.file}"
        raise ConfigError(f"Could not change Exim: {lines} are cut by an .ifdef; edit them by hand")
    files.edit(first.file, first.start, last.start + last.count - first.start, [])


def _add_first(files: Files, places: Places, section: str, lines: Sequence[str]) -> None:
    begin = next((x for x in files.lines() if x.active and x.kind == "begin" and x.name == section), None)
    if section in places.sections:
        _append(files, places.sections[section], lines)
    elif begin is not None:
        files.edit(begin.file, begin.start + begin.count, 0, ["", *lines])
    else:
        _append(files, places.main, ["", f"begin {section}", *lines])


def _append(files: Files, path: str, lines: Sequence[str]) -> None:
    text = files.texts.get(path, "") or _HEADER
    files.texts[path] = f"{text}{'' if text.endswith(chr(10)) else chr(10)}{chr(10).join(lines)}{chr(10)}"


def _add_to_main(files: Files, path: str, main: str, text: str, first: bool = False) -> None:
    """In Debian's own place for it; in one file behind the last line of the main part, or before the first."""
    if path:
        _append(files, path, [text])
        return
    lines = [x for x in files.lines() if x.file == main and x.section == "" and x.active and x.kind not in ("blank", "begin")]
    if not lines:
        files.edit(main, 0, 0, [text])
    elif first:
        files.edit(main, lines[0].start, 0, [text])
    else:
        files.edit(main, lines[-1].start + lines[-1].count, 0, [text])
