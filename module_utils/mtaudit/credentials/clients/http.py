"""HTTP: Basic (RFC 7617), Digest (RFC 7616), or the form of a page.

Options of the service: `path` (where the login is asked for, else /), `host` (the name to ask by, else the address), `protected`
(`yes`: the page at `path` is for who has logged in, and should open to nobody else).
"""

from __future__ import annotations

import base64
import http.client
import re
import secrets
from dataclasses import dataclass, field
from typing import Optional, Union
from urllib.parse import urlencode, urljoin, urlsplit

from ..values import Attempt, Credential, Outcome, Service
from .digest import authorization, parameters, strength
from .http_form import Form, Page, parse
from .wire import Deadline, Shut, Wire

PAGE_LIMIT_BYTES = 128 * 1024
REDIRECTS = 4
CHALLENGES, CHALLENGE_CHARACTERS = 10, 4096
_PUT_OFF = (429, 503)
_YES = ("yes", "true", "1")
# A scheme begins the line or follows a comma, and no "=" follows it; what is in quotes is passed over (RFC 9110, 11.6.1).
_SCHEME = re.compile(r'"(?:[^"\\]|\\.)*"|(?:^|,)\s*([A-Za-z][\w-]*)(?=\s+[^\s=,]|\s*(?:,|$))')


class Elsewhere(Exception):
    """The page is at another server, which nobody asked to try; the text is its address."""


@dataclass(frozen=True)
class Answer:
    """`url` is where it came from, after redirects; `first` the status before them."""

    status: int
    reason: str
    url: str
    headers: http.client.HTTPMessage
    page: Page
    first: int

    @property
    def said(self) -> str:
        return " ".join(filter(None, (str(self.status), self.reason, self.page.title)))

    @property
    def outcome_of_status(self) -> Optional[Outcome]:
        """What the status alone says; None where the page decides."""
        if self.status in _PUT_OFF:
            return Outcome.PUT_OFF
        if self.status == 401:
            return Outcome.REFUSED
        if self.status == 403:  # of a directory without an index, or of a firewall
            return Outcome.UNASKED
        return Outcome.SHUT if self.status >= 500 else None

    @property
    def challenges(self) -> list[str]:
        return [line[:CHALLENGE_CHARACTERS] for line in self.headers.get_all("WWW-Authenticate", [])[:CHALLENGES]]

    @property
    def looks_in(self) -> bool:
        """No refusal, and nothing that asks for a password any more."""
        return self.status < 400 and self.page.form is None


@dataclass
class Visit:
    """One visitor: cookies are kept, redirects followed as long as they stay at this server."""

    service: Service
    deadline: Deadline
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def start(self) -> str:
        scheme = "https" if self.service.tls else "http"
        host = self.service.options.get("host", self.service.address)
        host = f"[{host}]" if ":" in host else host
        usual = {"http": 80, "https": 443}[scheme] == self.service.port
        port = "" if usual else f":{self.service.port}"
        return urljoin(f"{scheme}://{host}{port}/", self.service.options.get("path", "/"))

    def get(self, url: str) -> Answer:
        return self._go("GET", url, b"", {})

    def knock(self, url: str, **headers: str) -> Answer:
        """The answer to these headers alone: where it leads is not asked without them."""
        return self._request("GET", url, b"", headers, 0)

    def submit(self, url: str, form: Form, credential: Credential) -> Answer:
        """Send the form of the page at `url`. Raises Elsewhere when it would go to another server."""
        target = self._inside(urljoin(url, form.action))
        told = urlencode(form.filled(credential.username, credential.password))
        if form.method == "post":
            kind = {"Content-Type": "application/x-www-form-urlencoded", "Referer": _ascii(url)}
            return self._go("POST", target, told.encode(), kind)
        return self._go("GET", target.partition("?")[0] + "?" + told, b"", {"Referer": _ascii(url)})

    def _inside(self, url: str) -> str:
        here, there = urlsplit(self.start), urlsplit(url)
        if (here.scheme, here.netloc.lower()) != (there.scheme, there.netloc.lower()):
            raise Elsewhere(f"{there.scheme}://{there.netloc}"[:100])
        return url

    def _go(self, method: str, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        first = 0
        for _ in range(REDIRECTS + 1):
            answer = self._request(method, url, body, headers, first)
            first = answer.first
            place = answer.headers.get("Location")
            if not 300 <= answer.status < 400 or not place:
                return answer
            url = self._inside(urljoin(url, place).partition("#")[0])
            method, body, headers = "GET", b"", {}
        raise Shut("redirects without end")

    def _request(self, method: str, url: str, body: bytes, headers: dict[str, str], first: int) -> Answer:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = {"Host": parts.netloc, "User-Agent": "mtaudit", "Accept": "*/*", "Connection": "close", **headers}
        if self.cookies:
            lines["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if method == "POST":
            lines["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {' '.join(value.split())}\r\n" for name, value in lines.items())
        wire = Wire(self.service.address, self.service.port, self.deadline, self.service.tls)
        try:
            wire.send(f"{method} {_ascii(target)} HTTP/1.1\r\n{head}\r\n".encode() + body)
            return self._answer(wire, method, url, first)
        except http.client.HTTPException as exc:
            raise Shut(f"does not speak HTTP: {type(exc).__name__}") from exc
        finally:
            wire.close()

    def _answer(self, wire: Wire, method: str, url: str, first: int) -> Answer:
        response = http.client.HTTPResponse(wire, method=method)  # type: ignore[arg-type]
        response.begin()
        try:
            page = response.read(PAGE_LIMIT_BYTES)
        except http.client.IncompleteRead as cut:
            page = cut.partial
        for line in response.headers.get_all("Set-Cookie", []):
            name, is_one, value = line.partition(";")[0].partition("=")
            if is_one and len(self.cookies) < 50:
                self.cookies[name.strip()] = value.strip()
        parsed = parse(page.decode("utf-8", "replace"))
        return Answer(response.status, response.reason, url, response.headers, parsed, first or response.status)


def _ascii(target: str) -> str:
    """A target without what would end the line; what a page had no right to write is percent-encoded."""
    return "".join(c if "!" <= c <= "~" else "".join(f"%{octet:02X}" for octet in c.encode()) for c in target)


def login(service: Service, credential: Optional[Credential], deadline: Deadline) -> Attempt:
    """One login. Without a credential: does a page open that is protected?"""
    visit = Visit(service, deadline)
    try:
        asked = visit.get(visit.start)
        if credential is None:
            return _open(asked, service.options.get("protected", "").lower() in _YES)
        if asked.status == 401:
            return _answer_challenge(visit, asked, credential)
        if asked.outcome_of_status in (Outcome.PUT_OFF, Outcome.SHUT):
            return Attempt(asked.outcome_of_status, asked.said)
        if asked.page.form is None:
            why = "a form that sets a password" if asked.page.sets_password else "no login is asked for"
            return Attempt(Outcome.UNASKED, f"{why}: {asked.said}")
        if asked.page.form.by_script and asked.page.form.method != "post":
            return Attempt(Outcome.UNASKED, f"a script sends the form: {asked.said}")
        return _by_form(visit, asked, asked.page.form, credential)
    except Elsewhere as place:
        return Attempt(Outcome.UNASKED, f"leads to {place}")


def _open(answer: Answer, protected: bool) -> Attempt:
    """A page without a form may be for everybody, or ask by a script; so may the one that it leads to."""
    if protected and answer.first == 200 and answer.looks_in and not answer.page.sets_password:
        return Attempt(Outcome.ACCEPTED, answer.said)
    return Attempt(answer.outcome_of_status or (Outcome.REFUSED if answer.page.form else Outcome.UNASKED), answer.said)


def _answer_challenge(visit: Visit, asked: Answer, credential: Credential) -> Attempt:
    challenges = [found for line in asked.challenges for found in split(line)]
    digests = [parameters(told) for scheme, told in challenges if scheme == "digest"]
    known = sorted((rank, at) for at, told in enumerate(digests) if (rank := strength(told)) is not None)
    if known:
        parts = urlsplit(asked.url)
        target = _ascii((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        value = authorization(digests[known[0][1]], "GET", target, credential.username, credential.password)
    elif "basic" in dict(challenges):
        value = "Basic " + base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()
    else:
        return Attempt(Outcome.UNASKED, "asks for " + ", ".join(dict(challenges))[:100])
    answer = visit.knock(asked.url, Authorization=value)
    if answer.status == 400 or any(parameters(line).get("stale", "").lower() == "true" for line in answer.challenges):
        return Attempt(Outcome.UNASKED, f"does not take the answer to its own challenge: {answer.said}")
    return Attempt(answer.outcome_of_status or Outcome.ACCEPTED, answer.said)


def split(line: str) -> list[tuple[str, str]]:
    """The challenges of a header: scheme in small letters, and its parameters."""
    starts = [found for found in _SCHEME.finditer(line) if found[1]]
    ends = [found.start() for found in starts[1:]] + [len(line)]
    return [(found[1].lower(), line[found.end() : end]) for found, end in zip(starts, ends)]


def _by_form(visit: Visit, asked: Answer, form: Form, credential: Credential) -> Attempt:
    """A page without a form is no login yet: nobody's login, sent only then, must get another answer. The form is no refusal
    yet, either: it must come again, and say something."""
    answer = _submitted(visit, asked, credential)
    if isinstance(answer, Elsewhere):
        return Attempt(Outcome.UNASKED, f"the login leads to {answer}")
    if not answer.looks_in:
        words = answer.page.beyond(asked.page)
        again = answer.page.form is not None and answer.page.form.is_again(form)
        outcome = answer.outcome_of_status or (Outcome.REFUSED if again and words else Outcome.UNASKED)
        return Attempt(outcome, f"{answer.said}: {words}")
    stranger = Visit(visit.service, visit.deadline)
    start = stranger.get(stranger.start)
    if start.page.form is None:
        return Attempt(Outcome.UNASKED, f"{answer.said}; then no form to compare with: {start.said}")
    nobody = Credential(f"mtaudit-{secrets.token_hex(4)}", secrets.token_hex(8))  # no second password at the account
    other = _submitted(stranger, start, nobody)
    if isinstance(other, Elsewhere) or other.outcome_of_status in (Outcome.PUT_OFF, Outcome.SHUT, Outcome.UNASKED):
        return Attempt(Outcome.UNASKED, f"{answer.said}; a random password could not be compared")
    if other.looks_in and (other.first, urlsplit(other.url).path) == (answer.first, urlsplit(answer.url).path):
        return Attempt(Outcome.UNASKED, f"{answer.said}; a random password gets the same answer")
    return Attempt(Outcome.ACCEPTED, answer.said)


def _submitted(visit: Visit, asked: Answer, credential: Credential) -> Union[Answer, Elsewhere]:
    assert asked.page.form is not None
    try:
        return visit.submit(asked.url, asked.page.form, credential)
    except Elsewhere as place:
        return place
