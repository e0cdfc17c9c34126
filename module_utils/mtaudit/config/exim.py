"""Change an Exim configuration: wanted settings in; candidate files with which Exim runs, out.

The files are edited as a person would edit them, line by line, and Exim itself says what it makes of the result, before anything
is changed: `exim -bV` is content with a list that answers 451 to everybody, so a session is held with the candidate, too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional

from ..readers.exim import NAMES, read_candidate
from ..readers.exim_model import Exim, other_options
from ..readers.exim_tables import Table
from ..runner import Runner
from ..text import printable
from .entries import changed, refuse
from .exim_edit import AclChange, add_acl, change_acl, same, set_driver, set_macro, set_option, set_retry, set_setting
from .exim_source import Line, option_of
from .exim_trial import Trial, answers, defined, shown
from .files import Candidate, ConfigError, NewFile

__all__ = ["AclChange", "Wanted", "candidate"]


@dataclass(frozen=True)
class Wanted:
    """`options` of the main part; `lists` as `hostlist relay_from_hosts`; `drivers` as `authenticators/plain`, each with options;
    changes of ACLs in their order; whole new ACLs by name; on Debian `settings` of update-exim4.conf.conf, and `macros`;
    entries of the `tables` that routers look into, by path; and `retries`, rules by what they are for. None takes out an option,
    a macro, a driver, an entry or a rule."""

    options: Mapping[str, Optional[str]] = field(default_factory=dict)
    lists: Mapping[str, str] = field(default_factory=dict)
    drivers: Mapping[str, Optional[Mapping[str, Optional[str]]]] = field(default_factory=dict)
    acls: Mapping[str, str] = field(default_factory=dict)
    statements: tuple[AclChange, ...] = ()
    macros: Mapping[str, Optional[str]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Optional[str]]] = field(default_factory=dict)
    retries: Mapping[str, Optional[str]] = field(default_factory=dict)

    @property
    def of_tables_alone(self) -> bool:
        return self == Wanted(tables=self.tables)

    def then(self, later: Wanted) -> Wanted:
        """This, and that afterwards."""
        drivers, tables = dict(self.drivers), dict(self.tables)
        for name, options in later.drivers.items():
            drivers[name] = None if options is None else {**(drivers.get(name) or {}), **options}
        for path, entries in later.tables.items():
            tables[path] = {**tables.get(path, {}), **entries}
        return Wanted(
            {**self.options, **later.options}, {**self.lists, **later.lists}, drivers, {**self.acls, **later.acls},
            (*self.statements, *later.statements), {**self.macros, **later.macros}, {**self.settings, **later.settings},
            tables, {**self.retries, **later.retries},
        )  # fmt: skip


def candidate(runner: Runner, live: Exim, wanted: Wanted, scratch: Path, for_strangers: bool = True) -> Candidate:
    """What changes in a configuration. `scratch` is an empty directory that only root may enter; the copy that is tried stands
    there afterwards. With `for_strangers` it must take mail for the site as it does now. Raises ConfigError when it cannot be
    done, or Exim would not run with it."""
    if live.problem:
        raise ConfigError(f"Could not change Exim's {live.file}: {live.problem}")
    _refuse(live, wanted)
    tables = list(_tables(live, wanted))
    if wanted.of_tables_alone:  # which are read at each look-up
        return Candidate(tuple(tables), reading=_with_tables(live, tables)) if tables else Candidate()
    program = next((name for name in NAMES if runner.which(name)), NAMES[0])
    trial = Trial(runner, program, live, scratch)
    files, places = trial.files, trial.places
    _followed(files.lines(), trial.live_printed, "These files do not make what Exim reads now")
    for name, value in wanted.settings.items():
        set_setting(files, places, name, value)
    for macro, text in wanted.macros.items():
        set_macro(files, places, macro, text)
    for key, text in {**wanted.options, **wanted.lists}.items():
        if text is None or not _is_so(live, files.lines(), key, text):
            set_option(files, places, key, text)
    for driver, options in wanted.drivers.items():
        set_driver(files, places, driver, None if options is None else dict(options))
    for pattern, rule in wanted.retries.items():
        set_retry(files, places, pattern, rule)
    for name, text in wanted.acls.items():
        add_acl(files, places, name, text)
    for change in wanted.statements:
        change_acl(files, change)
    if not files.changed() and not tables:
        return Candidate()
    tried = trial.try_it()
    _followed(files.lines(), trial.printed("-C", tried, *defined(live)), "Exim reads the new files otherwise than they were made")
    _as_wanted(files.lines(), wanted)
    reading = read_candidate(runner, live, tried)
    if reading.problem:
        raise ConfigError(f"Exim cannot read the new configuration: {reading.problem}")
    answers(program, live, reading, tried, for_strangers)
    units = () if live.primary is not None else NAMES  # another daemon than the package's: nobody knows who started it
    checks = ((program, *other_options(live.command), "-bV"),)
    return Candidate((*trial.new_files(), *tables), "reload", units, checks, _with_tables(reading, tables))


def _tables(live: Exim, wanted: Wanted) -> Iterator[NewFile]:
    """The texts that change. Raises ConfigError for one that no router looks into, or that was not read."""
    known = {**live.tables, **live.routing}
    for path, values in wanted.tables.items():
        if path not in known or known[path].problem:
            why = known[path].problem if path in known else "no router looks into it"
            raise ConfigError(f"Could not change {printable(path)}: {why}")
        before = known[path].text
        if "\ufffd" in before:
            raise ConfigError(f"Could not change {path}: it is no text of UTF-8; change it by hand")
        refuse(path, values, colon=True)
        after = changed(before, values, colon=True)
        if after != before:
            yield NewFile(path, after.encode(), planned_on=hashlib.sha256(before.encode()).hexdigest())


def _with_tables(exim: Exim, files: Sequence[NewFile]) -> Exim:
    new = {file.path: Table(file.path, (file.content or b"").decode()) for file in files}
    return replace(exim, memo={}, tables={**exim.tables, **{path: new[path] for path in new if path in exim.tables}},
                   routing={**exim.routing, **{path: new[path] for path in new if path in exim.routing}})  # fmt: skip


def _refuse(live: Exim, wanted: Wanted) -> None:
    texts = [*wanted.options.values(), *wanted.lists.values(), *wanted.macros.values(), *wanted.settings.values()]
    texts += [value for options in wanted.drivers.values() for value in (options or {}).values()]
    for text in texts:
        if text is not None and not isinstance(text, str):
            raise ConfigError(f"Could not change Exim: {text!r} must be text")
        if text and ("\n" in text or "\r" in text or text.rstrip().endswith("\\")):
            raise ConfigError(f"Could not change Exim: a value has more than one line: {printable(text)}")
    for name in wanted.options:
        if name not in live.options:
            raise ConfigError(f"Could not change Exim: version {live.version} has no option {printable(name)}")
    for name in wanted.lists:
        if not re.fullmatch(r"(?:domain|host|address|localpart)list \w+", name):
            raise ConfigError(f"Could not change Exim: {printable(name)!r} is no list; write it as 'hostlist relay_from_hosts'")
    for name in wanted.macros:
        if not re.fullmatch(r"[A-Z]\w*", name):
            raise ConfigError(f"Could not change Exim: {printable(name)!r} is no name of a macro; they begin with a capital")
    for name in [*wanted.acls, *(change.acl for change in wanted.statements)]:
        if not re.fullmatch(r"[A-Za-z][\w.-]*", name):
            raise ConfigError(f"Could not change Exim: {printable(name)!r} is no name of an ACL")
    for name in wanted.drivers:
        if not re.fullmatch(r"(?:authenticators|routers|transports)/[\w.-]+", name):
            raise ConfigError(f"Could not change Exim: {printable(name)!r} is no driver; write it as 'authenticators/plain'")


def _is_so(live: Exim, lines: Sequence[Line], key: str, value: str) -> bool:
    """Whether an option has that value now, by its default even."""
    written = [option_of(x.text) for x in lines if x.active and x.section == "" and x.kind == "other"]
    there = next((text for name, text in written if name == key), None)
    return same(key, live.options.get(key, "") if there is None else there, value) and (there is not None or key in live.options)


def _followed(lines: Sequence[Line], printed: Sequence[str], what: str) -> None:
    """Whether Exim reads what was followed in the files, line by line."""
    ours = [" ".join(x.text.split()) for x in lines if x.active and x.kind in ("label", "other", "begin")]
    theirs = [" ".join(line.split()) for line in printed if line.strip() and not re.match(r"#|\s*_?[A-Z]\w*\s*==?", line)]
    if ours == theirs:
        return
    pairs = [(a, b) for a, b in zip([*ours, ""], [*theirs, ""]) if a != b] or [("", "more lines")]
    raise ConfigError(f"Could not change Exim: {what} ('{shown(pairs[0][0])}', and Exim has '{shown(pairs[0][1])}'). "
                      "On Debian: run update-exim4.conf, look at what is new, and restart exim4")  # fmt: skip


def _as_wanted(lines: Sequence[Line], wanted: Wanted) -> None:
    """The options and lists that were asked for, as Exim reads them from the candidate."""
    found = dict(option_of(x.text) for x in lines if x.active and x.section == "" and x.kind == "other")
    for key, value in {**wanted.options, **wanted.lists}.items():
        if key in found and (value is None or not same(key, found[key], value)):
            what = f"set {key} to {shown(value)!r}" if value is not None else f"take {key} out"
            raise ConfigError(f"Could not {what}: Exim makes {shown(found[key])!r} of it")
