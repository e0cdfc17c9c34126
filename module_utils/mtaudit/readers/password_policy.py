"""Read what is asked of a new password: the modules of PAM's stack, and whether one of them that refuses is heeded.

Sources: pam_pwquality(8), pwquality.conf(5) and settings.c of libpwquality 1.4.5; pam_passwdqc(8); pam_pwhistory(8); pam_unix(8)
and support.c of Linux-PAM 1.5.2.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Callable, Optional

from ..runner import ReadError, Runner
from ..text import printable
from . import pam
from .pam import Stack, Step

# Those that set the password, each by itself unless it is told to take what a module before it has asked for.
SETTERS = ("pam_unix", "pam_ldap", "pam_sss", "pam_krb5", "pam_winbind")
# Those that ask for the new password, unless one was asked for and taken before them.
ASKERS = (*SETTERS, "pam_pwhistory", "pam_pwquality", "pam_cracklib", "pam_passwdqc")
_CONDITIONS = ("pam_succeed_if", "pam_localuser")  # they say yes for some accounts and no for others
_REFUSES = "authtok_err"
_PLACES = ("/usr/lib/security", "/etc/security")  # the later one wins, file by file
_CREDITS = ("dcredit", "ucredit", "lcredit", "ocredit")  # each makes a password that has such a character shorter
# Those that ask nothing of a new password.
_ASK_NOTHING = (*SETTERS, "pam_deny", "pam_permit", "pam_gnome_keyring", "pam_kwallet5", "pam_ecryptfs",
                "pam_systemd_home", "pam_cap", "pam_echo", "pam_env", "pam_warn", "pam_localuser", "pam_succeed_if", "pam_debug",
                "pam_mount")  # fmt: skip
_LIBRARIES = ("/usr/lib/*/security", "/lib/*/security", "/usr/lib/security", "/usr/lib64/security", "/lib64/security")
DICTIONARIES = ("/var/cache/cracklib/cracklib_dict.pwd*", "/usr/share/cracklib/pw_dict.pwd*")  # Debian's, others'
_SHORTEST = 6  # PWQ_BASE_MIN_LENGTH
_NUMBERS = {"difok": 1, "minlen": 8, "dcredit": 0, "ucredit": 0, "lcredit": 0, "ocredit": 0, "minclass": 0, "maxrepeat": 0,
            "maxclassrepeat": 0, "maxsequence": 0, "gecoscheck": 0, "dictcheck": 1, "usercheck": 1, "usersubstr": 0,
            "enforcing": 1, "retry": 1}  # fmt: skip
_SWITCHES = ("enforce_for_root", "local_users_only")
_TEXTS = ("badwords", "dictpath")
HISTORY, _HISTORY_FILE, _REMEMBERS = "pam_pwhistory", "/etc/security/pwhistory.conf", 10
LOGIN_DEFS = "/etc/login.defs"
# What pam_unix is told, by argument or by ENCRYPT_METHOD, and the scheme of what it stores.
HASHES: Mapping[str, str] = {
    "yescrypt": "YESCRYPT", "gost_yescrypt": "GOST-YESCRYPT", "sha512": "SHA512-CRYPT", "blowfish": "BLF-CRYPT",
    "sha256": "SHA256-CRYPT", "md5": "MD5-CRYPT", "bigcrypt": "DES-CRYPT",
}  # fmt: skip
_LONGEST_BYTES = 1022  # of a line, PWQSETTINGS_MAX_LINELEN without its end


@dataclass(frozen=True)
class Asked:
    """What one module asks: how many characters at least, of how many classes (small, capital, digits, others), and whether the
    password may be made of the account's name, or be a word; how many earlier ones are `remembered` and refused. `unheeded` says
    why a refusal changes nothing; `problem` what of its settings is not as it was meant."""

    module: str
    where: str
    length: int = 0
    classes: int = 1
    not_the_name: bool = False
    no_word: bool = False
    for_root: bool = False
    unheeded: str = ""
    problem: str = ""
    remembered: int = 0


@dataclass(frozen=True)
class Policy:
    """What the stack of a service asks, in its order. `problems`: what could not be read or understood, and modules that may ask
    something of which nothing is known here. `hashed`: the scheme by which pam_unix stores a new password, empty without it;
    `hashed_by` is where that is said."""

    asked: tuple[Asked, ...] = ()
    problems: tuple[str, ...] = ()
    hashed: str = ""
    hashed_by: str = ""


def read(runner: Runner, service: str = "passwd") -> Policy:
    """No spawn."""
    stack = pam.read(runner, service, "password")
    found, problems = [], [printable(text) for text in stack.problems]
    for step in stack.steps:
        module = _MODULES.get(step.name)
        problems += list(_of_module(runner, step))
        if module:
            try:
                asks = module(runner, step)
            except ReadError as exc:
                problems.append(printable(str(exc)))
                continue
            why = asks.unheeded or unheeded(stack, step)
            unsure = "" if why or step.name in SETTERS else doubt(stack, step)
            found.append(replace(asks, unheeded=why, problem=asks.problem or printable(unsure)))
    try:
        scheme, said = hashed(runner, stack)
    except ReadError as exc:
        (scheme, said), problems = ("", ""), [*problems, printable(str(exc))]
    return Policy(tuple(found), tuple(problems), scheme, said)


def hashed(runner: Runner, stack: Stack) -> tuple[str, str]:
    """The scheme of what pam_unix stores, and where that is said: its last argument of that kind, else the first ENCRYPT_METHOD.
    Raises ReadError."""
    step = next((step for step in stack.steps if step.name == "pam_unix"), None)
    if step is None:
        return "", ""
    named = [HASHES[argument] for argument in step.arguments if argument in HASHES]
    if named:
        return named[-1], step.where
    for number, line in enumerate(runner.read(LOGIN_DEFS).splitlines() if runner.glob(LOGIN_DEFS) else (), 1):
        name, method, *_ = [*line.partition("#")[0].split(None, 1), "", ""]
        if name.upper() == "ENCRYPT_METHOD":
            method = method.strip().lower()
            return next((HASHES[known] for known in HASHES if method.startswith(known)), "DES-CRYPT"), f"{LOGIN_DEFS}:{number}"
    return "DES-CRYPT", step.where


def _of_module(runner: Runner, step: Step) -> Iterator[str]:
    """What is not known of what a line does."""
    if not step.module:
        return
    if step.name not in _MODULES and step.name not in _ASK_NOTHING:
        yield printable(f"{step.where}: what {step.name} asks is not known")
    elif step.name in _MODULES and not installed(runner, step.name):
        yield f"{step.where}: {step.name} is not installed, so no password can be set"


def installed(runner: Runner, module: str) -> bool:
    return any(runner.glob(f"{directory}/{module}.so") for directory in _LIBRARIES)


def unheeded(stack: Stack, refusing: Step, refused: Sequence[Step] = ()) -> str:
    """Why a password is set though `refusing` refuses it; empty where it is not. `refused`: what else says no."""
    asker: Optional[Step] = None  # whose password is there to be taken
    why = ""

    def returns(step: Step) -> str:
        nonlocal asker, why
        if step is refusing:
            asker = None
        # Without a password that an earlier module has taken, use_authtok fails.
        held_back = asker is None and step.name in ASKERS and step.argument("use_authtok") is not None
        if step is refusing or step.name == "pam_deny" or held_back or step in refused:
            return _REFUSES
        if step.name in ASKERS:
            asker = asker or step
        if asker and step.name in SETTERS and not why:
            who = "" if asker is step else f"{step.name} "
            why = f"{asker.name} asks by itself and {who}sets it all the same ({step.where})"
        return pam.SUCCESS

    walked = pam.walk(stack, returns)
    goes_on = walked.result == pam.SUCCESS and (refusing in walked.asked or not refused)
    return why or ("the stack goes on as if nothing were wrong" if goes_on else "")


def doubt(stack: Stack, refusing: Step) -> str:
    """For whom it may be unheeded, where modules tell accounts apart; empty for nobody."""
    conditions = [step for step in stack.steps if step.name in _CONDITIONS]
    for refused in (*([step] for step in conditions), conditions):
        why = unheeded(stack, refusing, refused)
        if why:
            return f"{refused[0].where}: for whom {refused[0].name} says no, {why}"
    return ""


# The modules

def _unix(runner: Runner, step: Step) -> Asked:
    """Debian's checks of `obscure` are about how like the old password it is."""
    given = step.argument("minlen")
    length = _number(given or "")
    if length is None:
        length = _SHORTEST if step.argument("obscure") is not None else 0
    return Asked("pam_unix", step.where, max(length, 0), remembered=_number(step.argument("remember") or "") or 0)


def _pwhistory(runner: Runner, step: Step) -> Asked:
    return Asked(HISTORY, step.where, remembered=_remembers(runner, step))


def _remembers(runner: Runner, step: Step) -> int:
    """An argument wins over the file, which Linux-PAM reads since 1.6. Raises ReadError."""
    given = [step.argument("remember")] if step.argument("remember") is not None else []
    for path in runner.glob(_HISTORY_FILE) if not given else ():
        given = [value for line in runner.read(path).splitlines() for name, value in [setting(line)] if name == "remember"]
    number = _number(given[-1] or "") if given else None
    return _REMEMBERS if number is None else max(number, 0)


def _number(text: str) -> Optional[int]:
    """As strtol(3) reads it, for an int; None where it is none."""
    value = int(text) if re.fullmatch(r"[+-]?[0-9]{1,10}", text) else None
    return value if value is None or abs(value) < 2**31 - 1 else None


def _pwquality(runner: Runner, step: Step) -> Asked:
    settings, where, problem = settings_of(runner)
    for argument in step.arguments:
        name, equals, value = argument.partition("=")
        if name in _SWITCHES or equals and name in (*_NUMBERS, *_TEXTS):
            problem = _set(settings, name, value) or problem
    if settings["dictcheck"] and "dictpath" not in settings and not any(map(runner.glob, DICTIONARIES)):
        problem = problem or f"{step.where}: no dictionary of cracklib is there (cracklib-runtime), so every password is refused"
    credits = [int(settings[name]) for name in _CREDITS]
    length = max(int(settings["minlen"]), _SHORTEST) - sum(credit for credit in credits if credit > 0)
    needed = [-credit for credit in credits if credit < 0]
    return Asked(
        "pam_pwquality", f"{step.where}, {where}" if where else step.where, max(length, sum(needed), 1),
        max(int(settings["minclass"]), len(needed), 1), settings["usercheck"] != 0, settings["dictcheck"] != 0,
        bool(settings.get("enforce_for_root")), "" if settings["enforcing"] else "enforcing is 0: it only warns", problem,
    )  # fmt: skip


def settings_of(runner: Runner) -> tuple[dict[str, int], str, str]:
    """What the files say, the last of them, and what is wrong. Raises ReadError."""
    settings = {**_NUMBERS, **dict.fromkeys(_SWITCHES, 0)}
    where = ""
    for path in files_of(runner):
        for number, line in enumerate(runner.read(path).splitlines(), 1):
            wrong = taken(settings, line)
            where = path if setting(line)[0] else where
            if wrong:
                return settings, where, f"{path}:{number}: {wrong}; what follows is not read, nor are the files after it"
    return settings, where, ""


def files_of(runner: Runner) -> list[str]:
    """In the order in which they are read: drop-ins come first, so the main file wins."""
    drop_ins = {posixpath.basename(path): path for place in _PLACES for path in runner.glob(f"{place}/pwquality.conf.d/*.conf")}
    main = [path for place in reversed(_PLACES) for path in runner.glob(f"{place}/pwquality.conf")][:1]
    return [*(drop_ins[name] for name in sorted(drop_ins)), *main]


def setting(line: str) -> tuple[str, str]:
    """Name and value; both empty where the line sets nothing."""
    words = line.partition("#")[0].replace("=", " ", 1).split(None, 1)
    return (words[0].lower(), words[1].strip() if len(words) > 1 else "") if words else ("", "")


def is_too_long(line: str) -> bool:
    """Even a comment, which ends what pwquality reads."""
    return len(line.encode()) > _LONGEST_BYTES


def taken(settings: dict[str, int], line: str) -> str:
    """What is wrong with a line, behind which pwquality reads no further; nothing where it was taken over."""
    name, value = setting(line)
    return "the line is too long" if is_too_long(line) else _set(settings, name, value) if name else ""


def asks_less(name: str, value: str, wanted: Mapping[str, int]) -> bool:
    """Whether a setting asks for less than is wanted of it."""
    number = _number(value)
    if name not in wanted or number is None:
        return False
    return number > wanted[name] if name in _CREDITS else number < wanted[name]


def _set(settings: dict[str, int], name: str, value: str) -> str:
    """What is wrong with a setting, or nothing."""
    if name in _SWITCHES:
        settings[name] = 1
    elif name in _NUMBERS:
        number = _number(value)
        if number is None:
            return f"{name} has no number"
        settings[name] = number
    elif name in _TEXTS:
        settings[name] = 1
    else:
        return f"{printable(name, 40)} is no setting of pwquality"
    return ""


def _passwdqc(runner: Runner, step: Step) -> Asked:
    """min=N0,N1,N2,N3,N4: the lengths for one class, two, a phrase, three, four; a class that is not named has that before it."""
    step = replace(step, arguments=tuple(_of_passwdqc(runner, step.arguments, set())))
    given = (step.argument("min") or "").split(",")
    lengths: list[Optional[int]] = []
    for n, usual in enumerate((None, 24, 11, 8, 7)):
        text = given[n] if step.argument("min") and n < len(given) else None
        lengths.append(usual if text is None else max(_number(text) or 0, 0))
    by_classes = [(classes, lengths[n]) for classes, n in ((1, 0), (2, 1), (3, 3), (4, 4)) if lengths[n]]
    enforced = step.argument("enforce") or "everyone"
    if not by_classes:
        return Asked("pam_passwdqc", step.where, problem="min allows no password at all")
    length, classes = min(length for _, length in by_classes if length), by_classes[0][0]
    return Asked("pam_passwdqc", step.where, length, classes, True, True, enforced == "everyone",
                 "enforce=none: it only warns" if enforced == "none" else "")  # fmt: skip


def _of_passwdqc(runner: Runner, arguments: Iterable[str], known: set[str]) -> Iterator[str]:
    """With what config=FILE says in its place (passwdqc.conf(5)). `known`: files that were read. Raises ReadError."""
    for argument in arguments:
        name, _, path = argument.partition("=")
        if name != "config":
            yield argument
            continue
        if path in known:
            raise ReadError(f"{path} of pam_passwdqc is named more than once")
        known.add(path)
        lines = [line.strip() for line in runner.read(path).splitlines()]
        yield from _of_passwdqc(runner, [line for line in lines if line and not line.startswith("#")], known)


_MODULES: Mapping[str, Callable[[Runner, Step], Asked]] = {
    "pam_unix": _unix, "pam_pwquality": _pwquality, "pam_cracklib": _pwquality, "pam_passwdqc": _passwdqc,
    HISTORY: _pwhistory,
}  # fmt: skip


def heeded(asked: Iterable[Asked]) -> Iterator[Asked]:
    """Those without which a password is not set."""
    return (each for each in asked if not each.unheeded)
