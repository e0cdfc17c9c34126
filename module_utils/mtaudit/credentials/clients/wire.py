"""One connection that ends: within a time, within a number of bytes, whatever the peer does."""

from __future__ import annotations

import io
import socket
import time

from ...smtp.connection import any_tls

SESSION_LIMIT_BYTES = 1024 * 1024
LINE_LIMIT_BYTES = 8192
READ_BYTES = 4096


class Shut(Exception):
    """The connection was not made, or ended without an answer; the text says how."""


class Quiet(Shut):
    """Nothing came for a while; more may."""


class Deadline:
    """A point in time. `left_s` raises Shut once it has passed."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._end = time.monotonic() + timeout_s

    def left_s(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise Shut(f"did not come to an end within {self._timeout_s:g} s")
        return left


def _connected(address: str, port: int, deadline: Deadline) -> socket.socket:
    """The first address of the name that answers; all of them share the time."""
    problem = OSError("the name has no address")
    for family, kind, number, _name, place in socket.getaddrinfo(address, port, type=socket.SOCK_STREAM):
        left_s = deadline.left_s()
        made = socket.socket(family, kind, number)
        try:
            made.settimeout(left_s)
            made.connect(place)
            return made
        except OSError as exc:
            made.close()
            problem = exc
    raise problem


class Wire:
    """A TCP connection, with TLS from the first byte or later. Certificates are not looked at: what is asked is whether a
    login works there. Every method raises Shut when the peer or the time ends it."""

    def __init__(self, address: str, port: int, deadline: Deadline, tls: bool = False) -> None:
        self.deadline = deadline
        self._buffer = b""
        self._received_bytes = 0
        try:
            self.socket = _connected(address, port, deadline)
        except OSError as exc:
            raise Shut(f"no connection: {exc.strerror or exc}") from exc
        if tls:
            self.start_tls()

    def start_tls(self) -> None:
        """TLS from here; what was sent before it and not read is dropped (CVE-2011-0411, from the other side)."""
        self._buffer = b""
        plain = self.socket
        try:
            plain.settimeout(self.deadline.left_s())
            self.socket = any_tls().wrap_socket(plain)
        except OSError as exc:
            plain.close()
            raise Shut(f"TLS handshake failed: {getattr(exc, 'reason', None) or exc}") from exc
        except Shut:
            plain.close()
            raise

    def send(self, data: bytes) -> None:
        try:
            self.socket.settimeout(self.deadline.left_s())
            self.socket.sendall(data)
        except OSError as exc:
            raise Shut(f"the connection ended: {exc}") from exc

    def some(self, wait_s: float = float("inf")) -> bytes:
        """What comes next, at least a byte; nothing when the peer has closed. Raises Shut also after `wait_s`."""
        if self._buffer:
            data, self._buffer = self._buffer, b""
            return data
        left_s = self.deadline.left_s()
        try:
            self.socket.settimeout(min(left_s, wait_s))
            data = self.socket.recv(READ_BYTES)
        except socket.timeout:
            raise Quiet("did not answer in time") from None
        except OSError as exc:
            raise Shut(f"the connection ended: {exc}") from exc
        self._received_bytes += len(data)
        if self._received_bytes > SESSION_LIMIT_BYTES:
            raise Shut("sent far more than was asked for")
        return data

    def unread(self, data: bytes) -> None:
        """Give back what was not wanted."""
        self._buffer = data + self._buffer

    def _more(self) -> None:
        kept, self._buffer = self._buffer, b""
        data = self.some()
        if not data:
            raise Shut("closed the connection")
        self._buffer = kept + data

    def exactly(self, size: int) -> bytes:
        if size > SESSION_LIMIT_BYTES:
            raise Shut("announced far more than was asked for")
        while len(self._buffer) < size:
            self._more()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def line(self) -> str:
        """The next line, without its end."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > LINE_LIMIT_BYTES:
                raise Shut(f"sent a line longer than {LINE_LIMIT_BYTES} bytes")
            self._more()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r").decode("utf-8", "replace")

    def makefile(self, mode: str) -> io.BufferedReader:
        """For http.client, which reads its answer from a file."""
        return io.BufferedReader(_File(self))

    def close(self) -> None:
        self.socket.close()


class _File(io.RawIOBase):
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._wire.some()
        size = min(len(data), len(buffer))
        buffer[:size] = data[:size]
        self._wire.unread(data[size:])
        return size
