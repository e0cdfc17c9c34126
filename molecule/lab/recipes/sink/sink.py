"""The canary's mail exchanger: takes mail for one domain and tells over HTTP what arrived, by token.

A token is the header X-Mtaudit-Token, or what follows the plus in the recipient (canary+TOKEN@...).
    GET /token/TOKEN   200 and a JSON list of arrivals, or 404 while there is none
    GET /health        200
    DELETE /all        forget everything
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import email
import email.policy
import http.server
import json
import re
import shutil
import socket
import threading
import uuid
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

SIZE_LIMIT_BYTES = 10 * 1024 * 1024
IDLE_S = 300
TOKEN = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass
class Arrival:
    """One message as the sink got it."""

    token: str
    envelope_from: str
    envelope_to: list[str]
    client: str
    helo: str
    received: list[str]
    at: str
    headers: list[list[str]] = field(default_factory=list)


class Store:
    """Arrivals as files: one directory for each token, one JSON file for each message."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def add(self, arrival: Arrival) -> None:
        place = self.directory / arrival.token
        place.mkdir(exist_ok=True)
        part = place / f".{uuid.uuid4().hex}"
        part.write_text(json.dumps(asdict(arrival)), encoding="utf-8")
        part.rename(place / f"{arrival.at}-{part.name[1:]}.json")

    def get(self, token: str) -> list[dict[str, object]]:
        if not TOKEN.fullmatch(token) or token in {".", ".."}:
            return []
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((self.directory / token).glob("*.json"))]

    def clear(self) -> None:
        for place in self.directory.iterdir():
            shutil.rmtree(place, ignore_errors=True)


def tokens(recipients: list[str], message: email.message.EmailMessage) -> list[str]:
    """Tokens of a message: its header first, then those in recipients; `none` when there is no usable one."""
    found = [str(value).strip() for value in message.get_all("X-Mtaudit-Token", [])]
    found += [address.partition("@")[0].partition("+")[2] for address in recipients]
    usable = [token for token in dict.fromkeys(found) if TOKEN.fullmatch(token) and token not in {".", ".."}]
    return usable or ["none"]


class Session:
    """One SMTP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, domain: str, store: Store) -> None:
        self.reader, self.writer, self.domain, self.store = reader, writer, domain.lower(), store
        peer = str(writer.get_extra_info("peername")[0])
        self.client = peer.removeprefix("::ffff:")
        self.helo = ""
        self.reset()

    def reset(self) -> None:
        self.sender: str | None = None
        self.recipients: list[str] = []

    async def reply(self, *lines: str) -> None:
        code = lines[0][:3]
        texts = [lines[0][4:], *lines[1:]]
        marked = [f"{code}{'-' if number < len(texts) - 1 else ' '}{text}" for number, text in enumerate(texts)]
        self.writer.write(("\r\n".join(marked) + "\r\n").encode())
        await self.writer.drain()

    async def run(self) -> None:
        await self.reply(f"220 sink.{self.domain} ESMTP canary")
        while True:
            line = await asyncio.wait_for(self.reader.readline(), IDLE_S)
            if not line:
                return
            verb, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
            if verb.upper() == "QUIT":
                await self.reply("221 2.0.0 Bye")
                return
            handler = getattr(self, f"do_{verb.lower()}", None) if verb.isalpha() else None
            await (handler(rest) if handler else self.reply("502 5.5.2 Unknown command"))

    async def do_helo(self, rest: str) -> None:
        self.helo = rest
        self.reset()
        await self.reply(f"250 sink.{self.domain}")

    async def do_ehlo(self, rest: str) -> None:
        self.helo = rest
        self.reset()
        await self.reply(f"250 sink.{self.domain}", "PIPELINING", f"SIZE {SIZE_LIMIT_BYTES}", "8BITMIME",
                         "ENHANCEDSTATUSCODES")

    async def do_mail(self, rest: str) -> None:
        found = re.match(r"(?i)from:\s*<([^>]*)>", rest)
        if not found:
            await self.reply("501 5.5.4 Syntax: MAIL FROM:<address>")
            return
        self.reset()
        self.sender = found.group(1)
        await self.reply("250 2.1.0 Ok")

    async def do_rcpt(self, rest: str) -> None:
        found = re.match(r"(?i)to:\s*<([^>]*)>", rest)
        if self.sender is None or not found:
            await self.reply("503 5.5.1 MAIL FROM:<address> and RCPT TO:<address>, please")
        elif not found.group(1).lower().endswith("@" + self.domain):
            await self.reply("554 5.7.1 Relay access denied")
        else:
            self.recipients.append(found.group(1))
            await self.reply("250 2.1.5 Ok")

    async def do_data(self, _rest: str) -> None:
        if not self.recipients:
            await self.reply("503 5.5.1 RCPT TO:<address> first")
            return
        await self.reply("354 End data with <CR><LF>.<CR><LF>")
        body = await self._read_message()
        if body is None:
            await self.reply("552 5.3.4 Message too big")
        else:
            self._keep(body)
            await self.reply("250 2.0.0 Ok: kept")
        self.reset()

    async def do_rset(self, _rest: str) -> None:
        self.reset()
        await self.reply("250 2.0.0 Ok")

    async def do_noop(self, _rest: str) -> None:
        await self.reply("250 2.0.0 Ok")

    async def _read_message(self) -> bytes | None:
        """The message without dot stuffing, or None when it is too big (it is still read to its end)."""
        lines: list[bytes] = []
        size = 0
        while True:
            line = await asyncio.wait_for(self.reader.readline(), IDLE_S)
            if not line:
                raise ConnectionResetError("cut off in DATA")
            if line.rstrip(b"\r\n") == b".":
                return b"".join(lines) if size <= SIZE_LIMIT_BYTES else None
            size += len(line)
            if size <= SIZE_LIMIT_BYTES:
                lines.append(line[1:] if line.startswith(b".") else line)

    def _keep(self, body: bytes) -> None:
        message = email.message_from_bytes(body, policy=email.policy.compat32)
        headers = [[name, str(value)] for name, value in message.items()]
        for token in tokens(self.recipients, message):
            self.store.add(Arrival(
                token=token, envelope_from=self.sender or "", envelope_to=self.recipients, client=self.client,
                helo=self.helo, received=[value for name, value in headers if name.lower() == "received"],
                at=datetime.now(UTC).isoformat(timespec="microseconds"), headers=headers,
            ))


def answer_http(store: Store, port: int) -> None:
    """Serve the arrivals; runs until the process ends."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, status: int, data: object) -> None:
            text = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self) -> None:
            if self.path == "/health":
                self.answer(200, {"ok": True})
            elif self.path.startswith("/token/"):
                found = store.get(self.path.removeprefix("/token/"))
                self.answer(200 if found else 404, found)
            else:
                self.answer(404, [])

        def do_DELETE(self) -> None:
            if self.path != "/all":
                self.answer(404, [])
                return
            store.clear()
            self.answer(200, {"ok": True})

        def log_message(self, *_words: object) -> None:
            """No line for each poll."""

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6
        request_queue_size = 128

    Server(("::", port), Handler).serve_forever()


async def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--domain", required=True)
    options.add_argument("--store", type=Path, required=True)
    options.add_argument("--smtp-port", type=int, default=25)
    options.add_argument("--http-port", type=int, default=8025)
    chosen = options.parse_args()
    store = Store(chosen.store)
    threading.Thread(target=answer_http, args=(store, chosen.http_port), daemon=True).start()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.TimeoutError, ValueError):
            await Session(reader, writer, chosen.domain, store).run()
        writer.close()

    listener = socket.create_server(("::", chosen.smtp_port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512)
    server = await asyncio.start_server(serve, sock=listener, limit=1024 * 1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
