"""Read whether PAM lets somebody in who has an empty password (pam_unix(8), nullok) or a wrong one, by walking its stacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from ..runner import Runner
from ..text import printable
from . import pam
from .pam import Stack, Step

_UNIX = "pam_unix"
_REFUSES = "auth_err"
# What others answer somebody who is neither root nor known elsewhere, and shows nothing but an empty password.
_REFUSING = ("pam_deny", "pam_rootok", "pam_ldap", "pam_sss", "pam_krb5", "pam_winbind", "pam_localuser", "pam_u2f",
             "pam_google_authenticator", "pam_oath", "pam_ssh_agent_auth", "pam_userdb", "pam_pwdfile")  # fmt: skip
_AGREEING = ("pam_permit", "pam_faillock", "pam_securetty", "pam_shells")
# For `auth` they have no opinion (PAM_IGNORE, tried with libpam 1.5).
_IGNORING = ("pam_env", "pam_nologin", "pam_faildelay", "pam_cap", "pam_group", "pam_warn", "pam_echo", "pam_issue",
             "pam_gnome_keyring", "pam_ecryptfs")  # fmt: skip

# What modules that compare passwords return for a name that nobody has, and for a wrong password (RETURN VALUES, pam_unix(8)).
_WRONG = ("user_unknown", _REFUSES)
_LOCAL = "pam_localuser"
_OF_ROOT = "pam_rootok"  # it goes by who asks: root, for some programs

_OF_ACCOUNTS = {"chage", "chfn", "chpasswd", "chsh", "newusers", "passwd"}  # they ask the one who is in already


def empty_password(runner: Runner) -> tuple[str, str]:
    """The first line that lets it in, with its service, or nothing; and what is not known where none is found. No spawn."""
    problem = ""
    for service in _services(runner):
        stack = pam.read(runner, service, "auth")
        if stack.problems:
            problem = problem or printable(f"{service}: {stack.problems[0]}")
            continue
        surely, perhaps = (_lets_in(stack, answer) for answer in (_REFUSES, pam.SUCCESS))
        if surely:
            return printable(f"{surely.where}, for {service}"), ""
        if perhaps:
            problem = problem or printable(f"{service}: whether an empty password gets in depends on more than {perhaps.where}")
    return "", problem


def _services(runner: Runner) -> Iterator[str]:
    """By which somebody gets in. Files that others include are none: Debian names them common-..."""
    names = {path.rpartition("/")[2] for directory in pam.DIRECTORIES for path in runner.glob(f"{directory}/*")}
    return (name for name in sorted(names - _OF_ACCOUNTS) if not name.startswith("common-"))


def _lets_in(stack: Stack, others: str) -> Optional[Step]:
    """The line by which an empty password gets in, where modules that are not known here answer `others`."""
    lines = [step for step in stack.steps if step.name == _UNIX and step.argument("nullok") is not None]

    def comes_to(taken: bool) -> pam.Walk:
        def returns(step: Step) -> str:
            if step.name == _UNIX:
                return pam.SUCCESS if taken and step in lines else _REFUSES
            if step.name in _IGNORING:
                return pam.IGNORE
            return _REFUSES if step.name in _REFUSING else pam.SUCCESS if step.name in _AGREEING else others

        return pam.walk(stack, returns)

    walked = comes_to(True)
    if walked.result != pam.SUCCESS or comes_to(False).result == pam.SUCCESS:
        return None
    return next((step for step in walked.asked if step in lines), None)


def any_password(runner: Runner, service: str) -> tuple[str, str]:
    """How a service lets somebody in whom nobody knows, or whose password is wrong; else why that is not known. No spawn."""
    stack = pam.read(runner, service, "auth")
    problems = list(stack.problems)
    for wrong in _WRONG:
        surely, perhaps = (_agrees(stack, wrong, others) for others in (wrong, pam.SUCCESS))
        if surely:
            return f"PAM lets in whoever comes as {service}: {surely.module} ({surely.where})", ""
        if perhaps:
            problems.append(f"PAM may let in whoever comes as {service}: it goes by {perhaps.module} ({perhaps.where})")
    return "", next(iter(problems), "")


def _agrees(stack: Stack, wrong: str, others: str) -> Optional[Step]:
    """The last line that lets somebody in, where modules that are not known here answer `others`."""

    def returns(step: Step) -> str:
        if step.name == _OF_ROOT:
            return others
        if step.name in _IGNORING:
            return pam.IGNORE
        if step.name == _LOCAL and wrong == _REFUSES:
            return pam.SUCCESS  # the name is known, and its password is wrong
        return wrong if step.name in (_UNIX, *_REFUSING) else pam.SUCCESS if step.name in _AGREEING else others

    walked = pam.walk(stack, returns)
    if walked.result != pam.SUCCESS:
        return None
    return next(step for step in reversed(walked.asked) if returns(step) == pam.SUCCESS)
