"""The form on a web page that asks for a login: HTML in, the fields to post out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Optional

FORM_LIMIT = 50
FIELD_LIMIT = 200
TEXT_LIMIT = 200
TEXT_CHARACTERS = 300
_NAMES = re.compile(r"(?i)user|log(?:in|on)|name|mail|account|uid|id$")
_FREE = ("text", "email", "")


@dataclass
class Form:
    """A form as a browser would send it. `fields` are pairs of name and value, in their order."""

    action: str = ""
    method: str = "get"
    by_script: bool = False  # a script has a say in what is sent
    fields: list[tuple[str, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)  # names of fields for text, those before a password only
    passwords: list[str] = field(default_factory=list)

    @property
    def asks_for_login(self) -> bool:
        """One password: two are for a new one."""
        return len(self.passwords) == 1

    def is_again(self, other: Form) -> bool:
        """Whether it asks for the same, at the same place; what is hidden in it may be new each time."""
        here, there = (re.split("[?;]", form.action)[0] for form in (self, other))
        return (here, self.texts, self.passwords) == (there, other.texts, other.passwords)

    def filled(self, username: str, password: str) -> list[tuple[str, str]]:
        """The fields with a login in them. The name goes into the field that sounds like one, else into the last before the
        password."""
        likely = [name for name in self.texts if _NAMES.search(name)] or self.texts
        told = {self.passwords[0]: password}
        if likely:
            told[likely[-1]] = username
        return [(name, told.get(name, value)) for name, value in self.fields]


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[Form] = []
        self._form: Optional[Form] = None
        self._submits = False
        self._select: Optional[str] = None
        self._in_title = False
        self._is_code = False
        self.title = ""
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self._is_code = tag in ("script", "style")
        if tag == "form" and len(self.forms) < FORM_LIMIT:
            self._form = Form(told.get("action", ""), told.get("method", "get").lower(), "onsubmit" in told)
            self._submits = False
            self.forms.append(self._form)
        elif tag == "title":
            self._in_title = not self.title
        elif self._form and len(self._form.fields) < FIELD_LIMIT:
            self._field(self._form, tag, told, {name for name, _value in attrs})

    def _field(self, form: Form, tag: str, told: dict[str, str], flags: set[str]) -> None:
        name, value, kind = told.get("name", ""), told.get("value", ""), told.get("type", "").lower()
        if tag == "select":
            self._select = name
        elif tag == "option" and self._select:
            chosen = [at for at, (other, _value) in enumerate(form.fields) if other == self._select]
            if not chosen:
                form.fields.append((self._select, value))
            elif "selected" in flags:
                form.fields[chosen[0]] = (self._select, value)
        elif tag == "button" and name and kind in ("", "submit"):
            self._submit(form, name, value)
        elif tag == "input" and name:
            self._input(form, kind, name, value, flags)

    def _submit(self, form: Form, name: str, value: str) -> None:
        if not self._submits:  # one button is pressed, not all
            self._submits = True
            form.fields.append((name, value))

    def _input(self, form: Form, kind: str, name: str, value: str, flags: set[str]) -> None:
        if kind == "submit":
            return self._submit(form, name, value)
        if kind in ("button", "reset", "image", "file") or (kind in ("checkbox", "radio") and "checked" not in flags):
            return None
        if kind == "password":
            form.passwords.append(name)
        elif kind in _FREE and not form.passwords:
            form.texts.append(name)
        form.fields.append((name, value if kind not in ("checkbox", "radio") else value or "on"))
        return None

    def handle_endtag(self, tag: str) -> None:
        self._is_code = False
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._select = None
        elif tag == "title":
            self._in_title = False

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title = (self.title + data)[:100]
        elif not self._is_code and len(self.texts) < TEXT_LIMIT and data.strip():
            self.texts.append(" ".join(data[:TEXT_CHARACTERS].split()))


@dataclass(frozen=True)
class Page:
    """What matters of a page: its title, its first form for a login, and its words."""

    title: str = ""
    form: Optional[Form] = None
    sets_password: bool = False
    texts: tuple[str, ...] = ()

    def beyond(self, other: Page) -> str:
        """The words that are not on the other page."""
        return " ".join(text for text in self.texts if text not in other.texts)


def parse(page: str) -> Page:
    parser = _Forms()
    try:
        parser.feed(page)
    except AssertionError:  # Python's parser on a declaration that is none
        pass
    login = next((form for form in parser.forms if form.asks_for_login), None)
    sets_password = any(len(form.passwords) > 1 for form in parser.forms)
    return Page(" ".join(parser.title.split()), login, sets_password, tuple(parser.texts))
