"""Entries of master.cf: columns, flags, options in each of their forms, and the words of a pipe."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.config.files import ConfigError
from ansible.module_utils.mtaudit.config.postfix import Entry

COLUMNS = "smtp inet n - y - - smtpd"


@pytest.mark.parametrize(
    ("text", "flags", "options", "words"),
    [(COLUMNS, (), (), ()),
     (f"{COLUMNS} -v -o a=b -o c=d", ("-v",), (("a", "b"), ("c", "d")), ()),
     (f"{COLUMNS} -oa=b", (), (("a", "b"),), ()),
     (f"{COLUMNS} -o {{ a = permit_mynetworks, reject }} -o c=", (), (("a", "permit_mynetworks, reject"), ("c", "")), ()),
     (f"{COLUMNS} -o {{ a = inline:{{ {{x = y z}} }} }}", (), (("a", "inline:{ {x = y z} }"),), ()),
     ("spam unix - n n - - pipe -o a=b flags=Rq argv=/usr/bin/spamc -e /usr/sbin/sendmail -oi -f ${sender}", (), (("a", "b"),),
      ("flags=Rq", "argv=/usr/bin/spamc", "-e", "/usr/sbin/sendmail", "-oi", "-f", "${sender}")),
     ("own unix - n n - - /usr/local/bin/own -o what", (), (), ("-o", "what"))],
)  # fmt: skip
def test_an_entry_is_read_and_written_again(
    text: str, flags: tuple[str, ...], options: tuple[tuple[str, str], ...], words: tuple[str, ...]
) -> None:
    entry = Entry.parse(text)
    assert (entry.flags, entry.options, entry.words) == (flags, options, words)
    assert Entry.parse(str(entry)) == entry


@pytest.mark.parametrize(("text", "why"), [(f"{COLUMNS} -vo a=b", "hides an option"), (f"{COLUMNS} -o a", "without a value")])
def test_what_is_not_understood_is_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Entry.parse(text)
