"""Whether an empty password gets in: stacks of PAM as services have them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.readers import pam, pam_logins
from ansible.module_utils.mtaudit.runner import LocalRunner

DEBIAN = (
    "auth [success=1 default=ignore] pam_unix.so {}\nauth requisite pam_deny.so\nauth required pam_permit.so\n"
    "auth optional pam_cap.so\n"
)


@pytest.mark.parametrize(("stack", "line", "problem"), [
    (DEBIAN.format("nullok"), "/svc:1, for svc", ""),
    (DEBIAN.format(""), "", ""),
    ("auth sufficient pam_rootok.so\n" + DEBIAN.format("nullok"), "/svc:2, for svc", ""),
    ("auth sufficient pam_permit.so\n" + DEBIAN.format("nullok"), "", ""),  # nullok is not what lets in
    ("auth required pam_google_authenticator.so\n" + DEBIAN.format("nullok"), "", ""),
    ("auth required pam_of_ours.so\n" + DEBIAN.format("nullok"), "", "depends on more than"),
    ("auth required pam_deny.so\nauth required pam_unix.so nullok\n", "", ""),
    ("auth required pam_unix.so nullok\nwhat is this\n", "", "no line of PAM's"),
    ("account required pam_unix.so nullok\n", "", ""),
])  # fmt: skip
def test_an_empty_password(
    stack: str, line: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pam, "DIRECTORIES", (str(tmp_path),))
    (tmp_path / "svc").write_text(stack)
    found, doubt = pam_logins.empty_password(LocalRunner())
    assert found.endswith(line) and bool(found) is bool(line)
    assert problem in doubt and bool(doubt) is bool(problem)


def test_what_only_others_include_is_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pam, "DIRECTORIES", (str(tmp_path),))
    (tmp_path / "common-auth").write_text(DEBIAN.format("nullok"))
    assert pam_logins.empty_password(LocalRunner()) == ("", "")
    (tmp_path / "login").write_text("@include common-auth\n")
    assert pam_logins.empty_password(LocalRunner())[0].endswith("/common-auth:1, for login")
