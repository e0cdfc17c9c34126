"""Ask the sink whether a message with a token has arrived: over HTTP, in a maildir or over IMAP."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from typing import Any, Callable

TOKEN_HEADER = "X-Mtaudit-Token"
ASK_TIMEOUT_S = 10.0
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
    return lambda token: _in_imap(value, token)


def _in_imap(imap: Mapping[str, Any], token: str) -> bool:
    import imaplib
    import ssl

    where = f"IMAP mailbox of {imap['user']} at {imap['host']}"
    context = ssl.create_default_context()
    if not imap.get("verify", True):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    tls = imap.get("tls", True)
    try:
        box: imaplib.IMAP4
        if tls:
            box = imaplib.IMAP4_SSL(imap["host"], int(imap.get("port", 993)), ssl_context=context, timeout=ASK_TIMEOUT_S)
        else:
            box = imaplib.IMAP4(imap["host"], int(imap.get("port", 143)), timeout=ASK_TIMEOUT_S)
        with box:
            box.login(imap["user"], imap["password"])
            status, _data = box.select(str(imap.get("folder", "INBOX")), readonly=True)
            if status != "OK":
                raise CanaryError(f"{where}: no folder {imap.get('folder', 'INBOX')}")
            _status, found = box.search(None, "HEADER", TOKEN_HEADER, token)
            return bool(found and found[0])
    except (OSError, imaplib.IMAP4.error, ValueError) as exc:
        raise CanaryError(f"{where} could not be asked: {str(exc).replace(imap['password'], '***')}") from exc


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
