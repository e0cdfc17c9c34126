"""Read PAM's stacks, and tell which of their modules are asked and what comes of it (pam.conf(5), pam.d(5)).

How a stack is walked follows libpam's pam_dispatch.c; tests compare it with the library.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Callable, Optional

from ..runner import ReadError, Runner

DIRECTORIES = ("/etc/pam.d", "/usr/lib/pam.d")
SUCCESS, IGNORE, _DENIED = "success", "ignore", "perm_denied"
_OPEN: tuple[Optional[bool], str] = (None, _DENIED)  # whether for or against, None as yet undecided, and the result
_DEEPEST = 32  # PAM_SUBSTACK_MAX_LEVEL
_WORDS: Mapping[str, Mapping[str, str]] = {
    "required": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "bad"},
    "requisite": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "die"},
    "sufficient": {"success": "done", "new_authtok_reqd": "done", "default": "ignore"},
    "optional": {"success": "ok", "new_authtok_reqd": "ok", "default": "ignore"},
}
_LINE = re.compile(r"(-?)(auth|account|password|session)\s+(\[[^\]]*\]|\S+)\s+(\S+)\s*(.*)", re.IGNORECASE)
_ARGUMENT = re.compile(r"\[((?:[^\]\\]|\\.)*)\]|(\S+)")


@dataclass(frozen=True)
class Step:
    """One line of a stack. `actions`: what is done for what the module returns. `level`: how many substacks it is in; a step
    without a module begins one. `where` is file:line."""

    actions: Mapping[str, str]
    module: str
    arguments: tuple[str, ...]
    where: str
    level: int = 0

    @property
    def name(self) -> str:
        """`pam_unix`, wherever it lies."""
        return self.module.rpartition("/")[2].partition(".so")[0]

    def argument(self, name: str) -> Optional[str]:
        """The last `name=value`, "" for the name alone; None without it."""
        found = [value for each in self.arguments for key, _, value in [each.partition("=")] if key == name]
        return found[-1] if found else None

    def action(self, returned: str) -> str:
        return self.actions.get(returned, self.actions.get("default", "bad"))


@dataclass(frozen=True)
class Stack:
    """What a service does for one kind of question. `problems`: what could not be read, and what was not understood."""

    service: str
    kind: str
    steps: tuple[Step, ...] = ()
    problems: tuple[str, ...] = ()


def read(runner: Runner, service: str, kind: str) -> Stack:
    """`kind`: auth, account, password or session. A service without a file has that of `other`. No spawn."""
    problems: list[str] = []
    name = service if _file(runner, service) else "other"
    steps = tuple(_steps(runner, name, kind, 0, 0, problems))
    return Stack(service, kind, steps, tuple(problems))


def _file(runner: Runner, name: str) -> str:
    if name.startswith("/"):
        return name
    return next((path for directory in DIRECTORIES for path in runner.glob(f"{directory}/{name}")), "")


def _steps(runner: Runner, name: str, kind: str, level: int, depth: int, problems: list[str]) -> Iterator[Step]:
    path = _file(runner, name)
    if not path or depth > _DEEPEST:
        problems.append(f"there is no file {name} in {DIRECTORIES[0]}" if not path else f"{path} is included too deeply")
        return
    try:
        text = runner.read(path)
    except ReadError as exc:
        problems.append(str(exc))
        return
    for number, line in _lines(text):
        included = re.fullmatch(r"@include\s+(\S+)", line)
        found = _LINE.fullmatch(line)
        if included:
            yield from _steps(runner, included[1], kind, level, depth + 1, problems)
        elif not found:
            problems.append(f"{path}:{number} is no line of PAM's")
        elif found[2].lower() == kind:
            yield from _of_line(runner, found, f"{path}:{number}", level, depth, problems)


def _of_line(runner: Runner, found: re.Match[str], where: str, level: int, depth: int, problems: list[str]) -> Iterator[Step]:
    _, kind, control, module, rest = found.groups()
    arguments = tuple(one.replace("\\]", "]") or other for one, other in _ARGUMENT.findall(rest))
    if control == "include":
        yield from _steps(runner, module, kind.lower(), level, depth + 1, problems)
    elif control == "substack":
        yield Step({}, "", (), where, level)
        yield from _steps(runner, module, kind.lower(), level + 1, depth + 1, problems)
    elif control.startswith("["):
        pairs = [pair.partition("=") for pair in re.sub(r"\s*=\s*", "=", control[1:-1]).split()]
        yield Step({name: action for name, _, action in pairs}, module, arguments, where, level)
    elif control.lower() in _WORDS:
        yield Step(_WORDS[control.lower()], module, arguments, where, level)
    else:
        problems.append(f"{where}: {control} is no control of PAM's")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Each with the number of its first line; without comments, continued lines as one."""
    begun, number = "", 0
    for n, line in enumerate(text.splitlines(), 1):
        line = re.sub(r"(?<!\\)#.*", "", line).strip()
        number = number or n
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        if (begun + line).strip():
            yield number, (begun + line).strip()
        begun, number = "", 0


@dataclass
class Walk:
    """What came of a stack: libpam's result, and the steps that were asked, in their order."""

    result: str = ""
    asked: list[Step] = field(default_factory=list)


def walk(stack: Stack, returns: Callable[[Step], str]) -> Walk:
    """`returns`: what a module answers, as libpam names it. A new password is asked for in two rounds; each is a walk."""
    walked, outcome = Walk(), _OPEN
    states = {0: _OPEN}
    steps, n = stack.steps, 0
    while n < len(steps):
        step, n = steps[n], n + 1
        if not step.module:
            states[step.level + 1] = outcome
            continue
        walked.asked.append(step)
        returned = returns(step)
        action = step.action(returned)
        if action == "reset":
            outcome = states[step.level]
        elif action in ("ok", "done") and outcome in (_OPEN, (True, SUCCESS)):
            outcome = (True, returned)
        elif action in ("bad", "die") and outcome[0] is not False:
            outcome = (False, returned if returned != IGNORE else _DENIED)
        elif action.isdigit():
            n, beyond = _jumped(steps, n, int(action), step.level)
            outcome = (False, _DENIED) if beyond else outcome
        if action == "die" or (action == "done" and outcome[0]):
            n = _behind(steps, n, step.level)
    favour, walked.result = outcome
    if walked.result == SUCCESS and not favour:
        walked.result = _DENIED
    return walked


def _behind(steps: tuple[Step, ...], n: int, level: int) -> int:
    """The next step after the substack; with none around it, the end."""
    while n < len(steps) and (level == 0 or steps[n].level >= level):
        n += 1
    return n


def _jumped(steps: tuple[Step, ...], n: int, count: int, level: int) -> tuple[int, bool]:
    """The step after so many, and whether there are not so many. A substack counts as one, and nobody jumps out of one."""
    while count and n < len(steps) and steps[n].level >= level:
        n, count = n + 1, count - 1
        while n < len(steps) and steps[n].level > level:
            n += 1
    return n, bool(count)
