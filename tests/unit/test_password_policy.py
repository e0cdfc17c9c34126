"""What a new password has to be: stacks of PAM with the settings of their modules."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.readers import pam, password_policy
from ansible.module_utils.mtaudit.readers.password_policy import Asked, Policy, heeded
from ansible.module_utils.mtaudit.runner import LocalRunner

DEBIAN = (
    "password [success=1 default=ignore] pam_unix.so obscure {}yescrypt\n"
    "password requisite pam_deny.so\npassword required pam_permit.so\n"
)
QUALITY = "password requisite pam_pwquality.so retry=3{}\n" + DEBIAN.format("use_authtok try_first_pass ")


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    return Read(tmp_path, monkeypatch)


class Read:
    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        monkeypatch.setattr(pam, "DIRECTORIES", (str(directory),))
        monkeypatch.setattr(password_policy, "_LIBRARIES", (str(directory / "lib"),))
        monkeypatch.setattr(password_policy, "DICTIONARIES", (str(directory / "lib" / "cracklib.pwd"),))
        (directory / "lib").mkdir()
        (directory / "lib" / "cracklib.pwd").touch()
        for module in ("pam_unix", "pam_pwquality", "pam_passwdqc", "pam_pwhistory"):
            (directory / "lib" / f"{module}.so").touch()
        monkeypatch.setattr(password_policy, "_PLACES", (str(directory / "usr"), str(directory / "etc")))

    def __call__(self, stack: str, **files: str) -> Policy:
        (self.directory / "passwd").write_text(stack)
        for name, text in files.items():
            path = self.directory / name.replace("__", "/").replace("_conf", ".conf").replace("_d/", ".d/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return password_policy.read(LocalRunner())

    def quality(self, stack: str = QUALITY.format(""), **files: str) -> Asked:
        return next(each for each in self(stack, **files).asked if each.module == "pam_pwquality")


def test_debian_as_it_comes_asks_for_six_characters(policy: Read) -> None:
    found = policy(DEBIAN.format(""))
    assert not found.problems
    assert [(each.module, each.length, each.not_the_name, each.unheeded) for each in found.asked] == [("pam_unix", 6, False, "")]


def test_pwquality_in_front_is_heeded(policy: Read) -> None:
    found = policy.quality()
    assert (found.length, found.classes, found.not_the_name, found.no_word, found.for_root) == (8, 1, True, True, False)
    assert not found.unheeded


@pytest.mark.parametrize(("files", "expected"), [
    ({"etc__pwquality_conf": "minlen = 14\n"}, (14, 1)),
    ({"etc__pwquality_conf_d__50-mail_conf": "minlen=14\nminclass 3 # of four\n"}, (14, 3)),
    ({"etc__pwquality_conf_d__50-mail_conf": "minlen=14\n", "etc__pwquality_conf": "minlen = 9\n"}, (9, 1)),
    ({"etc__pwquality_conf_d__50-a_conf": "minlen=14\n", "etc__pwquality_conf_d__60-b_conf": "minlen=10\n"}, (10, 1)),
    ({"etc__pwquality_conf": "minlen=14\ndcredit=1\nucredit=1\n"}, (12, 1)),
    ({"etc__pwquality_conf": "minlen=14\ndcredit=-1\nucredit=-1\nlcredit=-1\n"}, (14, 3)),
    ({"etc__pwquality_conf": "minlen=3\n"}, (6, 1)),
    ({"usr__pwquality_conf_d__50-a_conf": "minlen=14\n", "etc__pwquality_conf_d__50-a_conf": "# nothing\n"}, (8, 1)),
])  # fmt: skip
def test_its_files_in_their_order(policy: Read, files: dict[str, str], expected: tuple[int, int]) -> None:
    found = policy.quality(**files)
    assert (found.length, found.classes) == expected and not found.problem


def test_arguments_of_the_line_win(policy: Read) -> None:
    found = policy.quality(QUALITY.format(" minlen=16 enforce_for_root usercheck=0"), etc__pwquality_conf="minlen=9\n")
    assert (found.length, found.for_root, found.not_the_name) == (16, True, False)


def test_a_line_that_is_none_ends_its_file(policy: Read) -> None:
    found = policy.quality(etc__pwquality_conf="minlen=10\nminlength=14\nminclass=4\n")
    assert (found.length, found.classes) == (10, 1) and "minlength is no setting" in found.problem


@pytest.mark.parametrize("line", [
    "minlength=14", "minlen = --5", "minlen = \u00b2", "minlen = 99999999999", f"badwords = {'x' * 1020}", f"# {'x' * 1021}",
])  # fmt: skip
def test_a_line_that_is_none_ends_all_that_is_read(policy: Read, line: str) -> None:
    files = {"etc__pwquality_conf_d__50-a_conf": f"{line}\nminlen=20\n", "etc__pwquality_conf_d__60-b_conf": "minlen=18\n"}
    found = policy.quality(**files, etc__pwquality_conf="minlen=16\n")
    assert found.length == 8 and "50-a.conf:1" in found.problem


def test_a_line_may_be_so_long(policy: Read) -> None:
    assert policy.quality(etc__pwquality_conf=f"badwords = {'x' * 1011}\nminlen=14\n").length == 14


@pytest.mark.parametrize(("stack", "why"), [
    ("password optional pam_pwquality.so\n" + DEBIAN.format(""), "pam_unix asks by itself"),
    ("password required pam_pwquality.so\n" + DEBIAN.format(""), "pam_unix asks by itself"),
    ("password required pam_pwquality.so\n" + DEBIAN.format("use_authtok "), ""),
    (DEBIAN.format("") + "password requisite pam_pwquality.so\n", "pam_unix asks by itself"),
    ("password requisite pam_pwquality.so enforcing=0\n" + DEBIAN.format("use_authtok "), "it only warns"),
    # What comes behind it asks anew.
    ("password optional pam_pwquality.so\npassword required pam_pwhistory.so\n" + DEBIAN.format("use_authtok "),
     "pam_pwhistory asks by itself and pam_unix sets it"),
    ("password optional pam_pwquality.so\npassword required pam_pwhistory.so use_authtok\n" + DEBIAN.format("use_authtok "), ""),
    ("password optional pam_pwquality.so\npassword requisite pam_passwdqc.so\n" + DEBIAN.format("use_authtok "),
     "pam_passwdqc asks by itself and pam_unix sets it"),
    ("password required pam_pwhistory.so\npassword required pam_pwquality.so\n" + DEBIAN.format("use_authtok "), ""),
    ("password required pam_pwhistory.so\npassword required pam_unix.so use_authtok\npassword required pam_pwquality.so\n",
     "pam_pwhistory asks by itself and pam_unix sets it"),
    ("password optional pam_pwquality.so\npassword sufficient pam_permit.so\n", "as if nothing were wrong"),
])  # fmt: skip
def test_a_refusal_that_changes_nothing(policy: Read, stack: str, why: str) -> None:
    assert why in policy.quality(stack).unheeded and bool(why) is bool(policy.quality(stack).unheeded)
    assert ("pam_pwquality" in [each.module for each in heeded(policy(stack).asked)]) is not bool(why)


@pytest.mark.parametrize(("condition", "unix", "problem"), [
    ("[success=ignore default=1] pam_succeed_if.so user ingroup staff", "", "for whom pam_succeed_if says no, pam_unix asks"),
    ("[success=ignore default=1] pam_localuser.so", "", "for whom pam_localuser says no, pam_unix asks by itself"),
    # They set none at all.
    ("[success=ignore default=1] pam_succeed_if.so user ingroup staff", "use_authtok ", ""),
    ("[success=ignore default=4] pam_succeed_if.so user ingroup staff", "", ""),
    ("requisite pam_succeed_if.so user ingroup staff", "", ""),
])  # fmt: skip
def test_some_accounts_come_past_it(policy: Read, condition: str, unix: str, problem: str) -> None:
    found = policy.quality(f"password {condition}\npassword requisite pam_pwquality.so\n" + DEBIAN.format(unix))
    assert not found.unheeded and problem in found.problem and bool(problem) is bool(found.problem)


def test_without_a_dictionary_every_password_is_refused(policy: Read) -> None:
    (policy.directory / "lib" / "cracklib.pwd").unlink()
    assert "no dictionary" in policy.quality().problem
    assert not policy.quality(QUALITY.format(" dictcheck=0")).problem
    assert not policy.quality(etc__pwquality_conf="dictpath = /srv/words\n").problem


@pytest.mark.parametrize(("arguments", "length", "classes", "unheeded"), [
    ("", 7, 2, False), ("min=disabled,24,11,12,12", 12, 2, False), ("min=disabled,disabled,disabled,disabled,14", 14, 4, False),
    ("min=8,8,8,8,8 enforce=none", 8, 1, True), ("min=\u00b2,24,11,8,8", 8, 2, False),
])  # fmt: skip
def test_passwdqc_asks_by_classes(policy: Read, arguments: str, length: int, classes: int, unheeded: bool) -> None:
    found = policy(f"password requisite pam_passwdqc.so {arguments}\n" + DEBIAN.format("use_authtok ")).asked[0]
    assert (found.length, found.classes, bool(found.unheeded)) == (length, classes, unheeded)


def test_passwdqc_has_a_file(policy: Read) -> None:
    path, other = policy.directory / "one.conf", policy.directory / "other.conf"
    path.write_text(f"# its own\nmin=disabled,24,11,9,9\nconfig={other}\n")
    other.write_text("enforce=users\n")
    line = f"password requisite pam_passwdqc.so enforce=none min=16,16,16,16,16 config={path}\n"
    found = policy(line + DEBIAN.format("use_authtok ")).asked[0]
    assert (found.length, found.classes, found.unheeded, found.for_root) == (9, 2, "", False)
    other.write_text(f"config={path}\n")
    assert "named more than once" in policy(line + DEBIAN.format("use_authtok ")).problems[0]


def test_a_length_of_pam_unix_that_is_no_number(policy: Read) -> None:
    assert policy(DEBIAN.format("minlen=\u00b2 ")).asked[0].length == 6


def test_what_is_not_understood_is_a_problem(policy: Read) -> None:
    assert "no line of PAM's" in policy("what is this\n" + DEBIAN.format("")).problems[0]


@pytest.mark.parametrize(("line", "problem"), [
    ("password requisite pam_of_ours.so\n", "what pam_of_ours asks is not known"),
    ("password requisite pam_cracklib.so\n", "pam_cracklib is not installed"),
    ("password required pam_pwhistory.so remember=5\n", ""),
])  # fmt: skip
def test_modules_of_which_nothing_is_known(policy: Read, line: str, problem: str) -> None:
    assert problem in "".join(policy(line + DEBIAN.format("use_authtok ")).problems)
    assert bool(problem) is bool(policy(line + DEBIAN.format("use_authtok ")).problems)


@pytest.mark.parametrize(("argument", "file", "remembered"), [
    ("remember=5", None, 5), ("", None, 10), ("remember=0", None, 0), ("", "# remember = 3\n", 10), ("", "remember = 7\n", 7),
    ("remember=5", "remember = 7\n", 5), ("remember=many", None, 10),
])  # fmt: skip
def test_how_many_earlier_ones_are_refused(
    policy: Read, monkeypatch: pytest.MonkeyPatch, argument: str, file: str | None, remembered: int
) -> None:
    path = policy.directory / "pwhistory.conf"
    monkeypatch.setattr(password_policy, "_HISTORY_FILE", str(path))
    if file is not None:
        path.write_text(file)
    found = policy(f"password requisite pam_pwhistory.so {argument}\n" + DEBIAN.format("use_authtok "))
    assert [(each.module, each.remembered, each.unheeded) for each in found.asked][0] == ("pam_pwhistory", remembered, "")
    assert policy(DEBIAN.format("remember=4 ")).asked[0].remembered == 4


@pytest.mark.parametrize(("arguments", "login_defs", "scheme", "line"), [
    ("yescrypt", "ENCRYPT_METHOD MD5\n", "YESCRYPT", "passwd:1"),
    ("sha512 md5 rounds=9", None, "MD5-CRYPT", "passwd:1"),
    ("obscure", "# ENCRYPT_METHOD MD5\n encrypt_method\tSHA512 # so\nENCRYPT_METHOD MD5\n", "SHA512-CRYPT", "login.defs:2"),
    ("", "ENCRYPT_METHOD YESCRYPT\n", "YESCRYPT", "login.defs:1"),
    ("", "ENCRYPT_METHOD DES\n", "DES-CRYPT", "login.defs:1"),
    ("", "UMASK 022\n", "DES-CRYPT", "passwd:1"),
    ("", None, "DES-CRYPT", "passwd:1"),
])  # fmt: skip
def test_by_which_scheme_it_is_stored(
    policy: Read, monkeypatch: pytest.MonkeyPatch, arguments: str, login_defs: str | None, scheme: str, line: str
) -> None:
    path = policy.directory / "login.defs"
    monkeypatch.setattr(password_policy, "LOGIN_DEFS", str(path))
    if login_defs is not None:
        path.write_text(login_defs)
    found = policy(f"password required pam_unix.so {arguments}\n")
    assert found.hashed == scheme and found.hashed_by.endswith(line)
    assert policy("password required pam_ldap.so\n").hashed == ""
