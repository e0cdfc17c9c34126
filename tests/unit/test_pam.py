"""PAM's stacks, walked by us and by the host's libpam, whose pam_debug.so answers what it is told."""

from __future__ import annotations

import ctypes
import random
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.readers import pam
from ansible.module_utils.mtaudit.runner import LocalRunner

ANSWERS = ("success", "auth_err", "ignore", "perm_denied", "authtok_err", "new_authtok_reqd", "user_unknown")
ACTIONS = ("ok", "done", "bad", "die", "ignore", "reset", "1", "2", "3")
# _pam_types.h, by number.
RESULTS = (
    "success", "open_err", "symbol_err", "service_err", "system_err", "buf_err", "perm_denied", "auth_err", "cred_insufficient",
    "authinfo_unavail", "user_unknown", "maxtries", "new_authtok_reqd", "acct_expired", "session_err", "cred_unavail",
    "cred_expired", "cred_err", "no_module_data", "conv_err", "authtok_err", "authtok_recover_err", "authtok_lock_busy",
    "authtok_disable_aging", "try_again", "ignore", "abort",
)  # fmt: skip
_CONVERSE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


class _Conversation(ctypes.Structure):
    _fields_ = [("converse", _CONVERSE), ("data", ctypes.c_void_p)]


_SILENT = _Conversation(_CONVERSE(lambda *_: 19), None)


def of_libpam(directory: Path, kind: str) -> str:
    library, handle = ctypes.CDLL("libpam.so.0"), ctypes.c_void_p()
    started = library.pam_start_confdir(b"svc", b"root", ctypes.byref(_SILENT), str(directory).encode(), ctypes.byref(handle))
    assert started == 0
    result = library.pam_authenticate(handle, 0) if kind == "auth" else library.pam_chauthtok(handle, 0)
    library.pam_end(handle, result)
    return RESULTS[result]


def of_ours(directory: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(pam, "DIRECTORIES", (str(directory),))
    stack = pam.read(LocalRunner(), "svc", kind)
    assert not stack.problems
    rounds = ("auth",) if kind == "auth" else ("prechauthtok", "chauthtok")
    for each in rounds:
        result = pam.walk(stack, lambda step, each=each: step.argument(each) or "").result  # type: ignore[misc]
        if result != "success":
            break
    return result


class Stacks:
    """A stack by chance, with files that it includes."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.chance, self.directory = random.Random(seed), directory
        self.kind = self.chance.choice(("auth", "password"))
        self.files = 0
        self.write("svc", 0)
        (directory / "other").write_text(f"{self.kind} required pam_deny.so\n")

    def write(self, name: str, depth: int) -> str:
        lines = [self.line(depth) for _ in range(self.chance.randint(1, 5))]
        (self.directory / name).write_text("\n".join(lines) + "\n")
        return str(self.directory / name)

    def line(self, depth: int) -> str:
        if depth < 2 and self.chance.random() < 0.25:
            self.files += 1
            path = self.write(f"included{self.files}", depth + 1)
            how = self.chance.choice((f"{self.kind} include", f"{self.kind} substack", f"{self.kind} substack"))
            return f"{how} {path}"
        if self.kind == "auth":
            answers = f"auth={self.chance.choice(ANSWERS)}"
        else:
            first = self.chance.choice(("success", "success", "ignore", "auth_err"))
            answers = f"prechauthtok={first} chauthtok={self.chance.choice(ANSWERS)}"
        return f"{self.kind} {self.control()} pam_debug.so {answers}"

    def control(self) -> str:
        if self.chance.random() < 0.4:
            return self.chance.choice(("required", "requisite", "sufficient", "optional"))
        named = [f"{answer}={self.chance.choice(ACTIONS)}" for answer in self.chance.sample(ANSWERS, self.chance.randint(1, 3))]
        if self.chance.random() < 0.8:
            named.append(f"default={self.chance.choice(ACTIONS)}")
        return f"[{' '.join(named)}]"


@pytest.mark.parametrize("hundred", range(4))
def test_a_stack_is_walked_as_libpam_walks_it(hundred: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(100 * hundred, 100 * hundred + 100):
        directory = tmp_path / str(seed)
        directory.mkdir()
        stacks = Stacks(seed, directory)
        expected = of_libpam(directory, stacks.kind)
        assert of_ours(directory, stacks.kind, monkeypatch) == expected, f"seed {seed}"


def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> pam.Stack:
    monkeypatch.setattr(pam, "DIRECTORIES", (str(tmp_path),))
    for name, text in files.items():
        (tmp_path / name.replace("_", "-")).write_text(text)
    return pam.read(LocalRunner(), "passwd", "password")


def test_a_stack_is_read_with_what_it_includes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = (
        "# Debian's\npassword\t[success=1 default=ignore]\tpam_unix.so obscure yescrypt \\\n  use_authtok\n"
        "-password requisite /usr/lib/security/pam_deny.so\nauth required pam_permit.so\n"
    )
    stack = read(tmp_path, monkeypatch, passwd="@include common-password\n", common_password=common)
    assert not stack.problems
    assert [(step.name, step.where.rpartition("/")[2]) for step in stack.steps] == [
        ("pam_unix", "common-password:2"), ("pam_deny", "common-password:4")]  # fmt: skip
    assert stack.steps[0].arguments == ("obscure", "yescrypt", "use_authtok")
    assert stack.steps[0].argument("use_authtok") == "" and stack.steps[0].argument("nullok") is None


def test_an_argument_in_brackets_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = read(tmp_path, monkeypatch, passwd="password required pam_exec.so [a b\\]=c] d # more\n")
    assert stack.steps[0].arguments == ("a b]=c", "d")


@pytest.mark.parametrize(("text", "problem"), [
    ("password requird pam_unix.so\n", "requird is no control"), ("nonsense\n", "no line of PAM's"),
    ("@include gone\n", "no file gone"), ("@include passwd\n", "too deeply"),
])  # fmt: skip
def test_what_is_not_understood_is_told(text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert problem in read(tmp_path, monkeypatch, passwd=text).problems[0]


def test_a_service_without_a_file_has_that_of_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = read(tmp_path, monkeypatch, other="password required pam_deny.so\n")
    assert [step.name for step in stack.steps] == ["pam_deny"]
