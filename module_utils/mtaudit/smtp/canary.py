"""Ask the sink whether a message with a token has arrived: over HTTP, in a maildir or over IMAP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    import imaplib

TOKEN_HEADER = "X-Mtaudit-Token"
ASK_TIMEOUT_S = 10.0
IMAP_CONNECTIONS = 4
_HEAD_BYTES = 64 * 1024
_URL_HOST = re.compile(r"(https?://)(?:[^/?#]*@)?([\w.-]+(?::\d+)?|\[[0-9a-f:.]+\](?::\d+)?)(?=[/?#]|\Z)", re.I)


class CanaryError(Exception):
    """The sink could not be asked. The text says how it was tried and why it failed."""


Ask = Callable[[str], bool]


def canary_from(check: Mapping[str, Any]) -> Ask:
    """A function that says whether a token has arrived, from the `canary_check` argument. Raises ValueError if it does not fit.

    `{url: "http://sink/token/{token}"}` (200 arrived, 404 not yet), `{maildir: path}` or
    `{imap: {host, user, password, port, tls, folder, verify}}`.
    """
    if len(check) != 1 or next(iter(check)) not in ("url", "maildir", "imap"):
        raise ValueError(
            f"canary_check takes exactly one of url, maildir and imap, not: {', '.join(map(str, check)) or 'nothing'}"
        )
    kind, value = next(iter(check.items()))
    if kind == "imap":
        return _imap(value)
    if not isinstance(value, str) or not value:
        raise ValueError(f"canary_check: {kind} takes a text")
    if kind == "maildir":
        return lambda token: _in_maildir(value, token)
    if not value.startswith(("http://", "https://")) or "{token}" not in value:
        raise ValueError("canary_check: url begins with http:// or https:// and holds {token}")
    return lambda token: _at_url(value, token)


def _at_url(template: str, token: str) -> bool:
    import http.client  # 8 ms of start-up that only this way of asking needs
    import urllib.error
    import urllib.request

    url, where = template.replace("{token}", token), _without_secrets(template)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({})
    )  # the sink is ours: never through a proxy of the environment
    try:
        with opener.open(url, timeout=ASK_TIMEOUT_S) as response:
            if response.status == 200:
                return True
            raise CanaryError(f"{where} answered {response.status}; 200 or 404 was expected")
    except urllib.error.HTTPError as exc:
        if exc.code == 404:
            return False
        raise CanaryError(f"{where} answered {exc.code}; 200 or 404 was expected") from None
    except OSError as exc:
        raise CanaryError(f"{where} could not be asked: {getattr(exc, 'reason', None) or exc}") from None
    except http.client.InvalidURL:  # its text quotes the URL; urllib takes no user and password in one
        raise CanaryError(f"{where} could not be asked: the URL is not valid (user and password cannot be part of it)") from None
    except (http.client.HTTPException, ValueError) as exc:
        raise CanaryError(f"{where} did not answer in HTTP ({type(exc).__name__})") from None


def _without_secrets(url: str) -> str:
    """Scheme and host: a user, a password and a key in the query stay out of messages."""
    found = _URL_HOST.match(url)
    return f"{found.group(1)}{found.group(2)}" if found else "the URL of canary_check"


def _in_maildir(path: str, token: str) -> bool:
    wanted = f"{TOKEN_HEADER}: {token}".lower().encode()
    try:
        folders = [os.path.join(path, name) for name in ("new", "cur")]
        names = [os.path.join(folder, name) for folder in folders for name in os.listdir(folder)]
    except OSError as exc:
        raise CanaryError(f"maildir {path} could not be read: {exc.strerror}") from exc
    return any(_holds(name, wanted) for name in names)


def _holds(path: str, wanted: bytes) -> bool:
    """Whether the header itself has the line: a bounce that quotes our message has it in its body and is no arrival."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:  # a mail client moved it meanwhile; it is found under its new name at the next look
        return False
    except OSError as exc:
        raise CanaryError(f"{path} could not be read: {exc.strerror}") from exc
    for line in head.split(b"\n"):
        if line in (b"", b"\r"):
            return False
        if line.rstrip().lower() == wanted:
            return True
    return False


def _imap(value: Any) -> Ask:
    if not isinstance(value, Mapping) or not all(
        isinstance(value.get(k), str) and value.get(k) for k in ("host", "user", "password")
    ):
        raise ValueError("canary_check: imap takes host, user, password and optionally port, tls, folder, verify")
    surplus = set(value) - {"host", "user", "password", "port", "tls", "folder", "verify"}
    if surplus:
        raise ValueError(f"canary_check: imap does not know {', '.join(sorted(surplus))}")
    tls = bool(value.get("tls", True))
    try:
        port = int(value.get("port", 993 if tls else 143))
    except (TypeError, ValueError):
        port = 0
    if not 0 < port < 65536:
        raise ValueError(f"canary_check: imap: port is a number from 1 to 65535, not {value['port']}")
    folder = str(value.get("folder", "INBOX"))
    if not (folder.isascii() and folder.isprintable()):
        raise ValueError("canary_check: imap: folder takes printable ASCII; other letters in modified UTF-7 (RFC 3501, 5.1.3)")
    mailbox = _Imap(value["host"], port, value["user"], value["password"], tls, bool(value.get("verify", True)), folder)
    return mailbox.holds


@dataclass(frozen=True)
class _Imap:
    """The canary's mailbox at an IMAP server. `tls` is from the first byte; else STARTTLS is used where it is offered."""

    host: str
    port: int
    user: str
    password: str
    tls: bool
    verify: bool
    folder: str
    # Many listeners ask at a time, and Dovecot allows ten connections per user and address (mail_max_userip_connections).
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(IMAP_CONNECTIONS))

    @property
    def _where(self) -> str:
        return f"IMAP mailbox of {self.user} at {self.host} port {self.port}"

    def holds(self, token: str) -> bool:
        """Whether a message with the token is in the folder. Raises CanaryError."""
        import imaplib  # 20 ms of start-up that only this way of asking needs
        import ssl

        try:
            with self.turn:
                box = self._connected()
                try:
                    self._log_in(box)
                    return self._search(box, token)
                finally:
                    with contextlib.suppress(OSError, imaplib.IMAP4.error):  # its complaint would hide the first one
                        box.logout()
        except ssl.SSLCertVerificationError as exc:
            why = f"its certificate is not trusted: {exc.verify_message} (verify: false takes any)"
        except ssl.SSLError as exc:
            why = f"TLS failed: {exc.reason or exc} (tls: false is for ports that begin without TLS)"
        except socket.timeout:  # Python 3.9 does not call it TimeoutError
            why = f"no answer within {ASK_TIMEOUT_S:g} s"
        except (OSError, imaplib.IMAP4.error, ValueError) as exc:
            why = str(getattr(exc, "strerror", None) or exc)
        # Not chained: the other exception's text may hold what the server echoed.
        raise CanaryError(f"{self._where} could not be asked: {self._clean(why)}") from None

    def _connected(self) -> imaplib.IMAP4:
        import imaplib
        import ssl

        context = ssl.create_default_context()
        if not self.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if self.tls:
            return imaplib.IMAP4_SSL(self.host, self.port, ssl_context=context, timeout=ASK_TIMEOUT_S)
        box = imaplib.IMAP4(self.host, self.port, timeout=ASK_TIMEOUT_S)
        if "STARTTLS" in box.capabilities:
            box.starttls(ssl_context=context)
        return box

    def _log_in(self, box: imaplib.IMAP4) -> None:
        if "LOGINDISABLED" in box.capabilities:  # RFC 3501, 6.2.3: LOGIN would only show the password to the network
            raise CanaryError(f"{self._where} could not be asked: it takes no login without TLS, and offers no STARTTLS")
        if "AUTH=PLAIN" in box.capabilities:  # in UTF-8 (RFC 4616); imaplib's LOGIN takes ASCII only and does not quote the user
            box.authenticate("PLAIN", lambda _challenge: f"\0{self.user}\0{self.password}".encode())
        else:
            box.login(_quoted(self.user), self.password)

    def _search(self, box: imaplib.IMAP4, token: str) -> bool:
        status, said = box.select(_quoted(self.folder), readonly=True)
        if status != "OK":
            raise CanaryError(f"{self._where}: folder {self.folder} cannot be opened: {self._clean(_text(said))}")
        status, found = box.search(None, "HEADER", TOKEN_HEADER, token)
        if status != "OK":  # then `found` is what the server said, not what it found
            raise CanaryError(f"{self._where} could not be searched: {self._clean(_text(found))}")
        return bool(found and found[0])

    def _clean(self, said: str) -> str:
        """What a server said, on one line and without the password. imaplib shows bytes as b'...'."""
        text = re.sub(r"^b(['\"])(.*)\1$", r"\2", said.replace(self.password, "***"), flags=re.S)
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:300]


def _quoted(text: str) -> str:
    """imaplib quotes passwords only (RFC 3501, 9: quoted)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _text(said: Any) -> str:
    first = said[0] if said else b""
    return first.decode("ascii", "replace") if isinstance(first, bytes) else str(first)


async def arrived(ask: Ask, token: str, wait_s: float) -> bool:
    """Whether the token arrives within `wait_s`. Raises CanaryError when the last attempt to ask failed."""
    loop = asyncio.get_running_loop()
    end = loop.time() + wait_s
    pause_s = 0.05
    while True:
        failure = None
        try:
            if await loop.run_in_executor(None, ask, token):
                return True
        except CanaryError as exc:
            failure = exc
        left_s = end - loop.time()
        if left_s <= 0:
            if failure:
                raise failure
            return False
        await asyncio.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 1.6, 2.0)


async def canary_problem(ask: Ask) -> str:
    """Why deliveries could not be confirmed; empty when the canary answers as it should."""
    try:
        found = await asyncio.get_running_loop().run_in_executor(None, ask, f"mtaudit-{secrets.token_hex(8)}")
    except CanaryError as exc:
        return f"the canary could not be asked: {exc}"
    except Exception as exc:  # whatever answers there: the probe goes on without messages
        return f"the canary could not be asked ({type(exc).__name__})"
    return "the canary confirms a token that was never sent" if found else ""
