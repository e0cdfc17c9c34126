"""Change what is asked of a new password: settings of pam_pwquality, and PAM's stack of passwd so that its refusal is heeded.

A stack that is wrong keeps everybody from changing a password, and what services share keeps everybody out: libpam itself tries
the candidate, with a copy of all stacks in which nothing sets a password, before and after it is in force.
"""

from __future__ import annotations

import re
import sys
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha512
from pathlib import Path
from typing import Callable, Optional

from ..passwords import libcrypt
from ..passwords.schemes import SLOW, Stored
from ..passwords.unsupported import Unsupported
from ..readers import pam, password_policy
from ..readers.pam import Stack, Step
from ..readers.password_policy import ASKERS, HASHES, HISTORY, LOGIN_DEFS, SETTERS, asks_less, installed
from ..runner import ReadError, Runner
from ..text import printable
from .files import ConfigError, NewFile
from .host_files import changed
from .overlay import Overlay

MODULE, PACKAGE = "pam_pwquality", "libpam-pwquality"
_LINE = "password\trequisite\t\t\tpam_pwquality.so {}"
_HISTORY_LINE = "password\trequisite\t\t\tpam_pwhistory.so {}"
_YESCRYPT = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7"  # of crypt(5)'s form
_MAIN, _DROP_IN = "/etc/security/pwquality.conf", ".d/"
_OTHERS = ("pam_cracklib", "pam_passwdqc")
# Long enough for any policy, made of no word, and the same each time.
_ACCEPTED = b64encode(sha512(b"mtaudit").digest()).decode()
_TRIAL = r"""
import ctypes, os, re, shutil, sys, tempfile
directories, accepted, refused = sys.argv[1].split(":"), sys.argv[2], sys.argv[3:]
copy, asks_nothing = tempfile.mkdtemp(), r"\bpam_(?:unix|ldap|sss|krb5|winbind|pwhistory)\.so\b"
def prepared(line):
    line = re.sub(r"^(\s*(?:@include|-?\w+\s+(?:include|substack))\s+)(?=[^/\s])", lambda m: m[1] + copy + "/", line)
    return re.sub(asks_nothing, "pam_permit.so", line) if re.match(r"\s*-?password\s", line, re.I) else line
try:
    for directory in directories:
        for name in os.listdir(directory) if os.path.isdir(directory) else ():
            with open(os.path.join(directory, name), encoding="latin-1") as file:
                lines = [prepared(line) for line in file]
            with open(os.path.join(copy, name), "w", encoding="latin-1") as file:
                file.writelines(lines)
    pam, libc = ctypes.CDLL("libpam.so.0"), ctypes.CDLL(None)
    libc.calloc.restype = libc.strdup.restype = ctypes.c_void_p
    pam.pam_strerror.restype = ctypes.c_char_p
    class Response(ctypes.Structure):
        _fields_ = [("text", ctypes.c_void_p), ("code", ctypes.c_int)]
    class Message(ctypes.Structure):
        _fields_ = [("style", ctypes.c_int), ("text", ctypes.c_char_p)]
    TYPE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.POINTER(Message)),
                            ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)
    class Conversation(ctypes.Structure):
        _fields_ = [("talk", TYPE), ("data", ctypes.c_void_p)]
    said = []
    def answers(password):
        def talk(count, messages, responses, _):
            given = libc.calloc(count, ctypes.sizeof(Response))
            for n in range(count):
                if messages[n].contents.style in (1, 2):
                    Response.from_address(given + n * ctypes.sizeof(Response)).text = libc.strdup(password.encode())
                else:
                    said.append((messages[n].contents.text or b"").decode("utf-8", "replace"))
            responses[0] = given
            return 0
        return Conversation(TYPE(talk), None)
    def started(password):
        handle, conversation = ctypes.c_void_p(), answers(password)
        code = pam.pam_start_confdir(b"passwd", b"nobody", ctypes.byref(conversation), copy.encode(), ctypes.byref(handle))
        if code:
            sys.exit("libpam does not take the stack of passwd: %d" % code)
        return handle, conversation
    trials = [(password, started(password)) for password in (accepted, *refused)]
finally:
    shutil.rmtree(copy)
os.setgid(65534); os.setuid(65534)
for n, (password, (handle, conversation)) in enumerate(trials):
    code = pam.pam_chauthtok(handle, 0)
    if (code == 0) is not (n == 0):
        why = "%s (%d) %s" % (pam.pam_strerror(handle, code).decode(), code, "; ".join(said[-1:]))
        sys.exit("with it no password could be set: " + why if n == 0 else "a password of %d characters is taken" % len(password))
"""


def files(
    runner: Runner, wanted: Mapping[str, int], remember: int, scratch: Path
) -> tuple[list[NewFile], list[tuple[str, ...]]]:
    """What changes so that pwquality asks for `wanted` at least and is heeded, so many earlier passwords are refused, and what is
    stored is slow to guess; and the checks of that. Values that ask for more stay. Raises ConfigError."""
    try:
        texts = {**stacks(runner, wanted, remember), **settings(runner, wanted)}
    except ReadError as exc:
        raise ConfigError(str(exc)) from exc
    if not texts:
        return [], []
    _unharmed(runner, texts)
    _try(runner, texts, scratch / "pam.d")
    short = _ACCEPTED[:min(wanted.get("minlen", 2), len(_ACCEPTED)) - 1]
    return [changed(runner, path, text) for path, text in texts.items()], [trial(pam.DIRECTORIES, short)]


def trial(directories: Sequence[str], *refused: str) -> tuple[str, ...]:
    """The command that asks libpam: with the stacks of these directories, the later first, it takes a good password and refuses
    others. It sets none."""
    return sys.executable, "-I", "-c", _TRIAL, ":".join(reversed(directories)), _ACCEPTED, *refused


def _try(runner: Runner, texts: Mapping[str, str], directory: Path) -> None:
    directory.mkdir(mode=0o700)
    new = Overlay(runner, texts, lambda argv: argv)
    for place in reversed(pam.DIRECTORIES):
        for path in new.glob(f"{place}/*"):
            (directory / path.rpartition("/")[2]).write_text(new.read(path), encoding="utf-8", errors="surrogateescape")
    done = runner.run(trial((str(directory),), "a"))
    if done.returncode:
        raise ConfigError(f"it was tried and not taken: {printable(done.stderr.strip().splitlines()[-1][:300])}")


def _unharmed(runner: Runner, texts: Mapping[str, str]) -> None:
    """What else the files say is as it was. Raises ConfigError."""
    new = Overlay(runner, texts, lambda argv: argv)
    services = {path.rpartition("/")[2] for place in pam.DIRECTORIES for path in runner.glob(f"{place}/*")}
    for service in sorted(services):
        for kind in ("auth", "account", "session"):
            before, after = (pam.read(each, service, kind) for each in (runner, new))
            if _told(before) != _told(after):
                raise ConfigError(f"the stacks of {service} would change for {kind} as well: change them by hand")
        was, will = (pam.read(each, service, "password") for each in (runner, new))
        if _told(was) != _told(will):
            why = _harm(was, will)
            if why:
                raise ConfigError(f"with the stack of {service} {why}: change it by hand")


def _told(stack: Stack) -> list[Step]:
    return [replace(step, where="") for step in stack.steps]


def _harm(was: Stack, will: Stack) -> str:
    """What a stack that shares lines with passwd's would do otherwise, but for our module; empty for nothing."""
    asker = next((step for step in will.steps if step.name in ASKERS), None)
    if asker and asker.argument("use_authtok") is not None:
        return f"nobody would be asked for the password that {asker.where} takes"
    names = [step.name for step in will.steps]
    if MODULE not in names and MODULE in [step.name for step in was.steps]:
        return f"{MODULE} would be gone"
    before = will.steps[:names.index(MODULE) if MODULE in names else 0]
    if any(step.level for step in will.steps) and any(map(_steps_over, before)):
        return "it is not known where those would come who step over lines"
    return "" if _landings(was) == _landings(will) else "who steps over lines would come to other ones"


def _steps_over(step: Step) -> bool:
    return any(action.isdigit() for action in step.actions.values())


def _landings(stack: Stack) -> list[Step]:
    """The other modules, with what they step over counted to the module where they come: ours are as good as the one behind."""
    others = [n for n, step in enumerate(stack.steps) if step.name not in (MODULE, HISTORY)]

    def landing(n: int, action: str) -> str:
        target = n + 1 + int(action)
        return "beyond" if target > len(stack.steps) else str(sum(other < target for other in others))

    told = ("use_authtok", *HASHES)
    return [replace(step, where="", arguments=tuple(each for each in step.arguments if each not in told),
                    actions={name: landing(n, action) if action.isdigit() else action for name, action in step.actions.items()})
            for n, step in enumerate(stack.steps) if n in others]  # fmt: skip


# The stack

def stacks(runner: Runner, wanted: Mapping[str, int], remember: int = 0) -> dict[str, str]:
    """Each change is made of what the one before it left."""
    texts = _asking(runner, wanted)
    if remember:
        texts = {**texts, **_remembering(Overlay(runner, texts, lambda argv: argv), remember)}
    return {**texts, **_hashing(Overlay(runner, texts, lambda argv: argv))}


def _asking(runner: Runner, wanted: Mapping[str, int]) -> dict[str, str]:
    stack = pam.read(runner, "passwd", "password")
    other = next((step for step in stack.steps if step.name in _OTHERS), None)
    if stack.problems:
        raise ConfigError(f"PAM's stack of passwd is not understood: {printable(stack.problems[0])}")
    if other:
        raise ConfigError(f"{other.name} asks for something already: set what it asks in {other.where}")
    if not installed(runner, MODULE):
        raise ConfigError(f"{MODULE} does and is not installed: name {PACKAGE} in mta_harden_install")
    if not any(map(runner.glob, password_policy.DICTIONARIES)):
        raise ConfigError("pam_pwquality needs a dictionary, else it refuses every password: name cracklib-runtime in "
                          "mta_harden_install")  # fmt: skip
    ours = [step for step in stack.steps if step.name == MODULE]
    edits = _Edits(runner)
    if ours and not any(password_policy.unheeded(stack, step) for step in ours):
        for step in ours:
            kept = _kept(step, wanted)
            if kept != step.arguments:
                edits.replace(step.where, lambda line, kept=kept: _with_arguments(line, kept))  # type: ignore[misc]
    else:
        line = _LINE.format(" ".join(_kept(ours[0], wanted) if ours else ("retry=3",))).rstrip()
        _put_in_front(stack, MODULE, ASKERS, line, edits)
    return edits.texts()


def _remembering(runner: Runner, remember: int) -> dict[str, str]:
    """pam_pwhistory, behind what asks for the password and in front of what sets it."""
    if not installed(runner, HISTORY):
        raise ConfigError(f"{HISTORY} is to refuse earlier passwords, and is not installed")
    stack = pam.read(runner, "passwd", "password")
    asked = [each for each in password_policy.heeded(password_policy.read(runner).asked) if each.remembered]
    if any(each.remembered >= remember for each in asked):
        return {}
    edits, wanted = _Edits(runner), f"remember={remember}"
    ours = [step for step in stack.steps if step.name == HISTORY]
    others = [each for each in (ours[0].arguments if ours else ()) if each.partition("=")[0] not in ("remember", "use_authtok")]
    if ours and {step.where for step in ours} <= {each.where for each in asked}:
        for step in ours:
            kept = [each for each in step.arguments if each.partition("=")[0] != "remember"]
            edits.replace(step.where, lambda line, kept=kept: _with_arguments(line, [wanted, *kept]))  # type: ignore[misc]
    else:
        _put_in_front(stack, HISTORY, SETTERS, _HISTORY_LINE.format(" ".join([wanted, "use_authtok", *others])), edits)
    return edits.texts()


def _hashing(runner: Runner) -> dict[str, str]:
    """What pam_unix stores is slow to guess, said where it is said now."""
    stack = pam.read(runner, "passwd", "password")
    scheme, said = password_policy.hashed(runner, stack)
    if not scheme or Stored("", scheme, "").worth == SLOW:
        return {}
    method, edits = _best(), _Edits(runner)
    for step in (step for step in stack.steps if step.name == "pam_unix" and set(step.arguments) & set(HASHES)):
        kept = [method if each in HASHES else each for each in step.arguments]
        edits.replace(step.where, lambda line, kept=kept: _with_arguments(line, list(dict.fromkeys(kept))))  # type: ignore[misc]
    if edits.texts():
        return edits.texts()
    before = runner.read(LOGIN_DEFS) if runner.glob(LOGIN_DEFS) else ""
    lines, line = before.splitlines(), f"ENCRYPT_METHOD {method.upper()}"
    if said.startswith(f"{LOGIN_DEFS}:"):
        lines[int(said.rpartition(":")[2]) - 1] = line
    else:
        lines.append(line)
    return {LOGIN_DEFS: "".join(f"{each}\n" for each in lines)}


def _best() -> str:
    """yescrypt, where the library that people log in with knows it."""
    try:
        libcrypt.check(_YESCRYPT)
    except Unsupported:
        return "sha512"
    return "yescrypt"


def _kept(step: Step, wanted: Mapping[str, int]) -> tuple[str, ...]:
    """Its arguments, but for those that ask for less: they win over the files."""
    return tuple(each for each in step.arguments if not asks_less(each.partition("=")[0], each.partition("=")[2], wanted))


def _put_in_front(stack: Stack, module: str, of: Sequence[str], line: str, edits: _Edits) -> None:
    """Before the first module `of` these, which then takes what was asked; others step over as many as before."""
    steps = stack.steps
    old = [n for n, step in enumerate(steps) if step.name == module]
    first = next((n for n, step in enumerate(steps) if step.name in of and n not in old), None)
    if first is None or not any(step.name in SETTERS for step in steps) or any(step.level or not step.module for step in steps):
        raise ConfigError("PAM's stack of passwd has no module here that sets a password, or substacks: change it by hand")
    order: list[Optional[int]] = [n for n in range(len(steps)) if n not in old]
    order.insert(order.index(first), None)
    for n, step in enumerate(steps):
        if n in old:
            edits.replace(step.where, lambda line: None)
            continue
        _refuse_past(steps, n, first, old)
        jumps = {name: _jump(order, n, first, int(action)) for name, action in step.actions.items() if action.isdigit()}
        changed = {name: count for name, count in jumps.items() if count != int(step.actions[name])}
        if changed:
            edits.replace(step.where, lambda line, changed=changed: _with_jumps(line, changed))  # type: ignore[misc]
        if n >= first and step.name in ASKERS and step.argument("use_authtok") is None:
            edits.replace(step.where, lambda line: _with_arguments(line, ("use_authtok",), more=True))
    edits.insert(steps[first].where, line)


def _refuse_past(steps: Sequence[Step], start: int, first: int, old: Sequence[int]) -> None:
    """Who steps over ours has no password for a module behind it, which then sets none. Raises ConfigError."""
    for action in steps[start].actions.values():
        target = start + 1 + int(action) if action.isdigit() else 0
        setter = next((step for n, step in enumerate(steps) if n >= target and n not in old and step.name in SETTERS), None)
        if start < first < target and setter:
            raise ConfigError(f"{steps[start].where} leads past what would be asked, to {setter.name}: change it by hand")


def _jump(order: Sequence[Optional[int]], start: int, first: int, count: int) -> int:
    """How many to step over, to come to the same module; to ours instead of the one behind it."""
    target = start + 1 + count
    if start < first == target:
        return order.index(None) - order.index(start) - 1
    there = next((place for place, n in enumerate(order) if n is not None and n >= target), len(order))
    return there - order.index(start) - 1


_PARTS = re.compile(r"(\s*-?\w+\s+(?:\[[^\]]*\]|\S+)\s+\S+)([^#]*?)(\s*(?:#.*)?)")


def _with_arguments(line: str, arguments: Sequence[str], more: bool = False) -> str:
    found = _PARTS.fullmatch(line)
    if not found:
        raise ConfigError(f"Could not change the line {printable(line)}: write it by hand")
    words = [found[2].strip()] * more + list(arguments)
    return " ".join([found[1], *filter(None, words)]) + found[3]


def _with_jumps(line: str, jumps: Mapping[str, int]) -> str:
    for name, count in jumps.items():
        line = re.sub(rf"(\[[^\]]*?\b{name}\s*=\s*)\d+", rf"\g<1>{count}", line, count=1)
    return line


class _Edits:
    """Changes of lines, each named by its file and number."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._lines: dict[str, list[list[str]]] = {}  # of each line that is there, what stands for it

    def _of(self, where: str) -> tuple[list[list[str]], int]:
        path, _, number = where.rpartition(":")
        if path not in self._lines:
            self._lines[path] = [[line] for line in self._runner.read(path).split("\n")]
        found = self._lines[path], int(number) - 1
        if any(line.endswith("\\") for line in found[0][found[1]]):
            raise ConfigError(f"{where} goes on in the next line: write it as one")
        return found

    def replace(self, where: str, change: Callable[[str], Optional[str]]) -> None:
        lines, n = self._of(where)
        lines[n] = [new for line in lines[n] for new in [change(line)] if new is not None]

    def insert(self, where: str, line: str) -> None:
        lines, n = self._of(where)
        lines[n].insert(0, line)

    def texts(self) -> dict[str, str]:
        made = {path: "\n".join(line for each in lines for line in each) for path, lines in self._lines.items()}
        return {path: text for path, text in made.items() if text != self._runner.read(path)}


# The settings

def settings(runner: Runner, wanted: Mapping[str, int]) -> dict[str, str]:
    """A line that pwquality does not know becomes a comment. In the main file, which is read last, what asks for less gives way,
    and what lacks is added."""
    paths = password_policy.files_of(runner)
    main = next((path for path in paths if _DROP_IN not in path), "")
    texts = {path: _known_lines(runner.read(path)) for path in paths if path != main}
    lines = _known_lines(runner.read(main) if main else "").splitlines()
    for n, line in enumerate(lines):
        name, value = password_policy.setting(line)
        if asks_less(name, value, wanted):
            lines[n] = f"{name} = {wanted[name]}"
    texts[_MAIN] = "".join(f"{line}\n" for line in lines)
    found, _, _ = password_policy.settings_of(Overlay(runner, texts, lambda argv: argv))
    texts[_MAIN] += "".join(f"{name} = {value}\n" for name, value in wanted.items() if asks_less(name, str(found[name]), wanted))
    return {path: text for path, text in texts.items() if text != (runner.read(path) if path in paths else "")}


def _known_lines(text: str) -> str:
    if any(map(password_policy.is_too_long, text.splitlines())):
        raise ConfigError("pwquality reads no line as long as one of its settings is: shorten it by hand")
    return "".join(f"# not known to pwquality: {line}\n" if password_policy.taken({}, line) else f"{line}\n"
                   for line in text.splitlines())  # fmt: skip
