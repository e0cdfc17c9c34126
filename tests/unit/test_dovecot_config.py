"""Dovecot's configuration edited in its text: settings found through every file that is included, everything else as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.config.dovecot import Wanted
from ansible.module_utils.mtaudit.config.dovecot_text import Edits, Source, blocks_of, leading, rendered
from ansible.module_utils.mtaudit.config.files import ConfigError
from ansible.module_utils.mtaudit.runner import LocalRunner

MAIN = """\
# ours \\
ssl = yes
!include conf.d/*.conf
!include_try local.conf
"""
AUTH = """\
#auth_mechanisms = cram-md5
auth_mechanisms = plain \\
  login   # both
login_greeting = "a # b" # hm
empty =# nothing
protocol "imap" { # readers
\tssl = no
  remote 10.0.0.0/8 {
  }
}
"""
LATER = "auth_mechanisms=plain\nprotocol imap {\n}\n!include ../more.ext"
MORE = "service auth {\n  unix_listener /run/x {\n    mode = 0600\n  }\n}\n"


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "conf.d").mkdir()
    for name, text in {"dovecot.conf": MAIN, "conf.d/10.conf": AUTH, "conf.d/20.conf": LATER, "more.ext": MORE}.items():
        (tmp_path / name).write_text(text)
    return Source(LocalRunner(), str(tmp_path / "dovecot.conf"))


def at(source: Source, name: str) -> str:
    """The path of a file as it was included."""
    return next(path for path in source.texts if path.endswith(name))


def test_a_setting_is_found_in_the_order_in_which_it_counts(source: Source) -> None:
    found = source.settings((), "auth_mechanisms")
    assert [(line.path[-7:], line.first, line.last) for line in found] == [("10.conf", 2, 3), ("20.conf", 1, 1)]
    assert [line.first for line in source.settings(("protocol imap",), "ssl")] == [7]
    assert [line.first for line in source.settings(("service auth", "unix_listener /run/x"), "mode")] == [3]
    ends = [(end.path[-7:], end.begins, end.first) for end in source.ends(("protocol imap",))]
    assert ends == [("10.conf", 6, 10), ("20.conf", 2, 3)]


@pytest.mark.parametrize(
    ("blocks", "name", "value", "old", "new"),
    [("", "auth_mechanisms", "plain", "plain \\\n  login   # both", "plain   # both"),
     ("", "login_greeting", "c", '"a # b" # hm', "c # hm"),
     ("", "login_greeting", "c # d", '"a # b" # hm', '"c # d" # hm'),
     ("", "empty", "some", "empty =# nothing", "empty = some # nothing"),
     ("", "login_greeting", "", '= "a # b" # hm', "=  # hm"),
     ("protocol imap", "ssl", "required", "\tssl = no", "\tssl = required")],
)  # fmt: skip
def test_a_value_changes_and_what_is_around_it_stays(
    source: Source, blocks: str, name: str, value: str, old: str, new: str
) -> None:
    edits = Edits(source.texts)
    edits.set(source.settings(blocks_of(blocks), name)[0], value)
    assert edits.texts() == {**source.texts, at(source, "10.conf"): AUTH.replace(old, new)}


def test_every_line_of_a_block_becomes_a_comment(source: Source) -> None:
    edits = Edits(source.texts)
    end = source.ends(("protocol imap",))[0]
    edits.comment_out(end.path, end.begins, end.last)
    after = '# protocol "imap" { # readers\n\t# ssl = no\n  # remote 10.0.0.0/8 {\n  # }\n# }\n'
    assert edits.texts()[end.path] == AUTH[: AUTH.index("protocol")] + after


def test_new_settings_come_into_their_block(source: Source) -> None:
    edits, ends = Edits(source.texts), source.ends(("protocol imap",))
    edits.put_into(ends[0], ["a = 1"])
    edits.put_into(ends[1], ["b = 2", "c = 3"])
    edits.append(at(source, "20.conf"), ["d = 4"])
    edits.append("/new", rendered(("protocol imap", "remote 10.0.0.0/8"), {"ssl": "no"}))
    after = edits.texts()
    assert after[at(source, "10.conf")] == f"{AUTH[:-2]}\ta = 1\n}}\n"
    assert after[at(source, "20.conf")] == LATER.replace("{\n", "{\n  b = 2\n  c = 3\n") + "\nd = 4\n"
    assert after["/new"] == "protocol imap {\n  remote 10.0.0.0/8 {\n    ssl = no\n  }\n}\n"


@pytest.mark.parametrize("text", ["protocol imap { ssl = no }\n", "protocol imap{\n}\n", "ssl\n", "}\n", "!inc x\n", "a = 1\r\n"])
def test_what_is_not_understood_is_left_to_people(tmp_path: Path, text: str) -> None:
    (tmp_path / "dovecot.conf").write_text(text, newline="")
    with pytest.raises(ConfigError, match="by hand"):
        Source(LocalRunner(), str(tmp_path / "dovecot.conf"))


def test_a_file_that_includes_itself_is_none(tmp_path: Path) -> None:
    (tmp_path / "dovecot.conf").write_text("!include dove*.conf\n")
    with pytest.raises(ConfigError, match="includes itself"):
        Source(LocalRunner(), str(tmp_path / "dovecot.conf"))


@pytest.mark.parametrize("name", ["protocol imap / ", "{", "a=b", "!include /etc/passwd"])
def test_what_is_no_name_of_a_block(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name of a block"):
        blocks_of(name)


def test_a_copy_includes_copies_and_reads_what_is_there() -> None:
    text = "!include /usr/share/x/*.protocol\n  !include_try local.conf\n"
    assert leading(text, "/etc/dovecot/d.conf", "/s/1") == "!include /s/1/usr/share/x/*.protocol\n  !include_try local.conf\n"
    text = "ssl_key = < key.pem # <x\nssl_cert = </etc/x\n# a = <b\nlogged = user=<%u>\n"
    assert leading(text, "/etc/dovecot/d.conf", "/s/1") == text.replace("< key.pem", "</etc/dovecot/key.pem")


def test_of_two_wishes_the_later_counts() -> None:
    first = Wanted({"": {"ssl": "yes", "a": "1"}, "service x": None})
    second = Wanted({"": {"ssl": None}, "protocol imap": {"b": "2"}})
    assert first.then(second).sections == {"": {"ssl": None, "a": "1"}, "service x": None, "protocol imap": {"b": "2"}}
