"""PAM's stack of passwd and the settings of pwquality, edited: what asks for more stays, what steps over lines still does."""

from __future__ import annotations

import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.config import password_policy as policy
from ansible.module_utils.mtaudit.config.files import ConfigError
from ansible.module_utils.mtaudit.readers import pam, password_policy
from ansible.module_utils.mtaudit.runner import LocalRunner

DENY = "password requisite pam_deny.so\npassword required pam_permit.so\n"
UNIX = "password [success=1 default=ignore] pam_unix.so {}yescrypt{}\n" + DENY
OURS = "password\trequisite\t\t\tpam_pwquality.so {}\n"
AFTER = OURS.format("retry=3") + UNIX.format("", " use_authtok")
WANTED = {"minlen": 12, "usercheck": 1, "dictcheck": 1, "enforcing": 1, "dcredit": 0}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("lib", "pam.d", "security/pwquality.conf.d"):
        (tmp_path / name).mkdir(parents=True)
    for module in ("pam_unix.so", "pam_pwquality.so", "pam_pwhistory.so", "words.pwd"):
        (tmp_path / "lib" / module).touch()
    monkeypatch.setattr(pam, "DIRECTORIES", (str(tmp_path / "pam.d"),))
    monkeypatch.setattr(password_policy, "_LIBRARIES", (str(tmp_path / "lib"),))
    monkeypatch.setattr(password_policy, "DICTIONARIES", (str(tmp_path / "lib/words.pwd"),))
    monkeypatch.setattr(password_policy, "_PLACES", (str(tmp_path / "security"),))
    monkeypatch.setattr(policy, "_MAIN", str(tmp_path / "security/pwquality.conf"))
    return tmp_path


def stack(host: Path, text: str) -> str:
    """That of passwd, which includes another, as it is afterwards."""
    (host / "pam.d/common-password").write_text(text)
    (host / "pam.d/passwd").write_text("# its own\n@include common-password\n")
    return policy.stacks(LocalRunner(), WANTED).get(str(host / "pam.d/common-password"), text)


@pytest.mark.parametrize(("before", "after"), [
    (UNIX.format("", ""), AFTER),
    (UNIX.format("", " # ours"), OURS.format("retry=3") + UNIX.format("", " use_authtok # ours")),
    ("password optional pam_pwquality.so difok=3 minlen=8\n" + UNIX.format("", ""),
     OURS.format("difok=3") + UNIX.format("", " use_authtok")),
    (UNIX.format("", "") + "password requisite pam_pwquality.so retry=3\n", AFTER),
    # Who stepped over the module that sets the password does not come to another one now.
    ("password [success=3 default=ignore] pam_sss.so\n" + UNIX.format("", ""),
     OURS.format("retry=3") + "password [success=3 default=ignore] pam_sss.so use_authtok\n" + UNIX.format("", " use_authtok")),
    ("password [success=2 ignore=1 default=3] pam_succeed_if.so uid > 999\npassword optional pam_warn.so\n" + UNIX.format("", ""),
     "password [success=3 ignore=1 default=4] pam_succeed_if.so uid > 999\npassword optional pam_warn.so\n" + AFTER),
    # Who keeps old passwords asks for the new one as well.
    ("password required pam_pwhistory.so remember=5\n" + UNIX.format("use_authtok ", ""),
     OURS.format("retry=3") + "password required pam_pwhistory.so remember=5 use_authtok\n" + UNIX.format("use_authtok ", "")),
    ("password optional pam_pwquality.so\npassword required pam_pwhistory.so\n" + UNIX.format("use_authtok ", ""),
     OURS.format("").rstrip() + "\npassword required pam_pwhistory.so use_authtok\n" + UNIX.format("use_authtok ", "")),
    # A module that is heeded stays where it is, but for what makes it weak.
    ("password requisite pam_pwquality.so retry=2 minlen=6 enforcing=0\n" + UNIX.format("use_authtok ", ""),
     "password requisite pam_pwquality.so retry=2\n" + UNIX.format("use_authtok ", "")),
    ("password requisite pam_pwquality.so minlen=16\n" + UNIX.format("use_authtok ", ""),
     "password requisite pam_pwquality.so minlen=16\n" + UNIX.format("use_authtok ", "")),
])  # fmt: skip
def test_a_refusal_is_heeded_afterwards(host: Path, before: str, after: str) -> None:
    assert stack(host, before) == after
    assert stack(host, after) == after
    steps = pam.read(LocalRunner(), "passwd", "password")
    assert not any(password_policy.unheeded(steps, step) for step in steps.steps if step.name == "pam_pwquality")


@pytest.mark.parametrize(("before", "why"), [
    ("password requisite pam_passwdqc.so\n" + UNIX.format("use_authtok ", ""), "pam_passwdqc asks for something already"),
    ("password requisite pam_exec.so /bin/true\n", "no module here that sets a password"),
    ("password required pam_unix.so \\\n  yescrypt\n", "goes on in the next line"),
    ("what is this\n" + UNIX.format("", ""), "no line of PAM's"),
    ("password [success=1 default=ignore] pam_succeed_if.so user ingroup ldapusers\n"
     "password [success=2 default=ignore] pam_unix.so\npassword [success=1 default=ignore] pam_ldap.so\n" + DENY,
     "common-password:1 leads past what would be asked, to pam_ldap"),
])  # fmt: skip
def test_what_is_left_to_people(host: Path, before: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        stack(host, before)


SHARED = "@include common-password\n"


@pytest.mark.parametrize(("passwd", "service", "why"), [
    (SHARED, SHARED, ""),
    (SHARED, "password required pam_warn.so\n" + SHARED, ""),
    (SHARED, "password substack common-password\n", ""),
    (SHARED, "password [success=1 default=ignore] pam_localuser.so\npassword required pam_warn.so\n" + SHARED, ""),
    # What it steps over is one line more now, and nobody counted anew.
    (SHARED, "password [success=3 default=ignore] pam_localuser.so\n" + SHARED, "who steps over lines would come to other ones"),
    (SHARED, "password [success=1 default=ignore] pam_localuser.so\npassword substack common-password\n", "it is not known"),
    ("password required pam_ldap.so\n" + SHARED, SHARED, "nobody would be asked for the password that .*password:1 takes"),
])  # fmt: skip
def test_other_services_do_as_before(host: Path, passwd: str, service: str, why: str) -> None:
    """They share lines with passwd, whose stack alone is counted anew."""
    (host / "pam.d/common-password").write_text(UNIX.format("", ""))
    (host / "pam.d/passwd").write_text(passwd)
    (host / "pam.d/sshd").write_text(service)
    texts = policy.stacks(LocalRunner(), WANTED)
    assert texts
    with pytest.raises(ConfigError, match=f"the stack of (sshd|common-password) {why}") if why else nullcontext():
        policy._unharmed(LocalRunner(), texts)


def test_another_service_does_not_lose_what_is_asked(host: Path) -> None:
    (host / "pam.d/common-password").write_text("password optional pam_pwquality.so\npassword required pam_warn.so\n")
    (host / "pam.d/passwd").write_text("password required pam_unix.so\n" + SHARED)
    (host / "pam.d/sshd").write_text(SHARED)
    with pytest.raises(ConfigError, match="the stack of common-password pam_pwquality would be gone"):
        policy._unharmed(LocalRunner(), policy.stacks(LocalRunner(), WANTED))


def test_what_is_missing_is_named(host: Path) -> None:
    (host / "lib/words.pwd").unlink()
    with pytest.raises(ConfigError, match="name cracklib-runtime in mta_harden_install"):
        stack(host, UNIX.format("", ""))
    (host / "lib/pam_pwquality.so").unlink()
    with pytest.raises(ConfigError, match="name libpam-pwquality in mta_harden_install"):
        stack(host, UNIX.format("", ""))


@pytest.mark.parametrize(("main", "drop_in", "after"), [
    ("# minlen = 8\n", "", "# minlen = 8\nminlen = 12\n"),
    ("minlen = 8\ndcredit = -1\n", "", "minlen = 12\ndcredit = -1\n"),
    ("minlen = 16\ndcredit = 1\n", "", "minlen = 16\ndcredit = 0\n"),
    ("", "minlen = 14\n", None),
    ("minlen=8\n", "minlen = 14\n", "minlen = 12\n"),
    ("minlength = 9\nminlen = 20\n", "", "# not known to pwquality: minlength = 9\nminlen = 20\n"),
    ("enforcing = 0\nusercheck 0\nminlen 12\n", "", "enforcing = 1\nusercheck = 1\nminlen 12\n"),
    (None, "", "minlen = 12\n"),
])  # fmt: skip
def test_settings_are_raised_and_never_lowered(host: Path, main: str | None, drop_in: str, after: str | None) -> None:
    (host / "security/pwquality.conf.d/50-site.conf").write_text(drop_in)
    if main is not None:
        (host / "security/pwquality.conf").write_text(main)
    expected = {} if after is None else {str(host / "security/pwquality.conf"): after}
    assert policy.settings(LocalRunner(), WANTED) == expected


def test_a_line_of_a_drop_in_that_is_none(host: Path) -> None:
    (host / "security/pwquality.conf.d/50-site.conf").write_text("whatever\nminlen = 30\n")
    assert list(policy.settings(LocalRunner(), WANTED).values()) == ["# not known to pwquality: whatever\nminlen = 30\n"]


def test_a_line_that_is_too_long_even_as_a_comment(host: Path) -> None:
    (host / "security/pwquality.conf.d/50-site.conf").write_text(f"# {'x' * 1021}\n")
    with pytest.raises(ConfigError, match="shorten it by hand"):
        policy.settings(LocalRunner(), WANTED)


def test_a_number_that_is_none(host: Path) -> None:
    (host / "security/pwquality.conf").write_text("minlen = --5\n")
    assert list(policy.settings(LocalRunner(), WANTED).values()) == ["# not known to pwquality: minlen = --5\nminlen = 12\n"]


@pytest.mark.parametrize(("lines", "why"), [
    ("password required pam_permit.so\n", "a password of 1 characters is taken"),
    ("password requisite pam_gone.so\npassword required pam_permit.so\n", "with it no password could be set: Module is unknown"),
    (DENY, "with it no password could be set"),
])  # fmt: skip
def test_libpam_itself_tries_a_stack(host: Path, lines: str, why: str) -> None:
    """As root, for whom modules do as for an account without rights; else it says that it cannot."""
    (host / "pam.d/passwd").write_text(lines)
    done = subprocess.run(policy.trial((str(host / "pam.d"),), "a"), capture_output=True, text=True, check=False)
    assert done.returncode and (why in done.stderr or "Operation not permitted" in done.stderr)


HISTORY = "password\trequisite\t\t\tpam_pwhistory.so {}\n"
BEFORE = UNIX.format("use_authtok ", "")


@pytest.mark.parametrize(("before", "after"), [
    (UNIX.format("", ""), OURS.format("retry=3") + HISTORY.format("remember=5 use_authtok") + UNIX.format("", " use_authtok")),
    (OURS.format("") + BEFORE, OURS.format("") + HISTORY.format("remember=5 use_authtok") + BEFORE),
    # What remembers fewer remembers so many; what remembers more stays.
    (OURS.format("") + "password required pam_pwhistory.so use_authtok remember=2 debug\n" + BEFORE,
     OURS.format("") + "password required pam_pwhistory.so remember=5 use_authtok debug\n" + BEFORE),
    (OURS.format("") + HISTORY.format("use_authtok") + BEFORE, OURS.format("") + HISTORY.format("use_authtok") + BEFORE),
    (OURS.format("") + UNIX.format("use_authtok remember=8 ", ""), OURS.format("") + UNIX.format("use_authtok remember=8 ", "")),
    # Nobody heeds it: it comes to where it is heeded.
    (OURS.format("") + BEFORE + HISTORY.format("use_authtok enforce_for_root"),
     OURS.format("") + HISTORY.format("remember=5 use_authtok enforce_for_root") + BEFORE),
    ("password [success=1 default=ignore] pam_localuser.so\npassword optional pam_warn.so\n" + OURS.format("") + BEFORE,
     "password [success=1 default=ignore] pam_localuser.so\npassword optional pam_warn.so\n" + OURS.format("")
     + HISTORY.format("remember=5 use_authtok") + BEFORE),
])  # fmt: skip
def test_earlier_passwords_are_refused_afterwards(host: Path, before: str, after: str) -> None:
    (host / "pam.d/passwd").write_text(before)
    wanted = {**WANTED, "minlen": 6}
    assert policy.stacks(LocalRunner(), wanted, 5).get(str(host / "pam.d/passwd"), before) == after
    (host / "pam.d/passwd").write_text(after)
    assert policy.stacks(LocalRunner(), wanted, 5) == {}
    found = list(password_policy.heeded(password_policy.read(LocalRunner()).asked))
    assert max(each.remembered for each in found) >= 5 and found[0].module == "pam_pwquality"


def test_who_shares_the_lines_is_asked_as_before(host: Path) -> None:
    (host / "pam.d/common-password").write_text(UNIX.format("", "").replace("yescrypt", "md5"))
    (host / "pam.d/passwd").write_text(SHARED)
    (host / "pam.d/sshd").write_text("password required pam_warn.so\n" + SHARED)
    texts = policy.stacks(LocalRunner(), WANTED, 5)
    policy._unharmed(LocalRunner(), texts)
    assert "pam_unix.so yescrypt use_authtok" in texts[str(host / "pam.d/common-password")]
    (host / "pam.d/sshd").write_text("password [success=2 default=ignore] pam_localuser.so\n" + SHARED)
    with pytest.raises(ConfigError, match="who steps over lines would come to other ones"):
        policy._unharmed(LocalRunner(), texts)


@pytest.mark.parametrize(("arguments", "login_defs", "expected"), [
    ("use_authtok md5 rounds=9", "ENCRYPT_METHOD MD5\n", "pam_unix.so use_authtok yescrypt rounds=9"),
    ("use_authtok sha512 bigcrypt", None, "pam_unix.so use_authtok yescrypt"),
    ("use_authtok", "UMASK 022\n encrypt_method MD5\n# end\n", "UMASK 022\nENCRYPT_METHOD YESCRYPT\n# end\n"),
    ("use_authtok", "UMASK 022\n", "UMASK 022\nENCRYPT_METHOD YESCRYPT\n"),
    ("use_authtok", None, "ENCRYPT_METHOD YESCRYPT\n"),
    ("use_authtok", "ENCRYPT_METHOD SHA256\n", ""),
    ("use_authtok sha512", "ENCRYPT_METHOD DES\n", ""),
])  # fmt: skip
def test_what_is_stored_is_slow_to_guess_afterwards(
    host: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, login_defs: str | None, expected: str
) -> None:
    path = host / "login.defs"
    for module in (policy, password_policy):
        monkeypatch.setattr(module, "LOGIN_DEFS", str(path))
    if login_defs is not None:
        path.write_text(login_defs)
    (host / "pam.d/passwd").write_text(OURS.format("") + f"password required pam_unix.so {arguments}\n")
    texts = policy.stacks(LocalRunner(), WANTED)
    assert [expected in text for text in texts.values()] == ([True] if expected else [])
    monkeypatch.setattr(policy.libcrypt, "check", lambda setting: (_ for _ in ()).throw(policy.Unsupported("old")))
    texts = policy.stacks(LocalRunner(), WANTED)
    assert all("yescrypt" not in text.lower() and "sha512" in text.lower() for text in texts.values())
