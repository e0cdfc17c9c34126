"""A test login's secrets stay out of the evidence, however a server gives them back."""

from __future__ import annotations

import base64

import pytest
from ansible.module_utils.mtaudit.smtp.evidence import Limits, Transcript

USER, PASSWORD = "alice", "alice-Basalt-31"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "secret",
    [
        PASSWORD,
        b64(PASSWORD),
        b64(PASSWORD).rstrip("="),
        b64(USER),
        b64(f"\0{USER}\0{PASSWORD}"),
        b64(f"{USER}\0{USER}\0{PASSWORD}"),
        b64(f"\0{USER}\0{PASSWORD}")[:18],
    ],
)
@pytest.mark.parametrize("before", [0, 20, 110, 118, 119])
def test_no_form_of_a_secret_is_shown(secret: str, before: int) -> None:
    """Also where the line is cut within the secret."""
    transcript = Transcript(Limits(line_characters=120), secrets=(PASSWORD, USER))
    filler = "." * before
    expected = (filler + "(redacted)" + ":" * 100)[:120] + "..." if before else "(redacted) said"
    assert transcript.clean(filler + secret + (":" * 100 if before else " said")) == expected
    transcript.add("S:", secret)
    assert transcript.lines == ["S: (redacted)"]


def test_a_secret_of_others_is_masked_before_the_cut() -> None:
    transcript = Transcript(Limits(line_characters=30))
    assert "geheim" not in transcript.clean("x" * 10 + " smtp://u:geheim-and-much-more@host")


def test_other_text_stays() -> None:
    transcript = Transcript(secrets=(PASSWORD, USER))
    assert transcript.clean("250 2.1.0 Ok: AUTH PLAIN LOGIN") == "250 2.1.0 Ok: AUTH PLAIN LOGIN"
    assert Transcript().clean("a\x1bb") == "a\\x1bb"
