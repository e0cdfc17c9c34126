"""MySQL and MariaDB: one login by their protocol (dev.mysql.com/doc/dev/mysql-server, "Connection Phase")."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Optional

from ..values import Attempt, Credential, Outcome, Service
from .wire import Deadline, Shut, Wire

PACKET_LIMIT_BYTES = 64 * 1024
PACKETS = 10
_SSL, _PROTOCOL_41, _SECURE, _PLUGIN_AUTH, _LONG_PASSWORD = 0x800, 0x200, 0x8000, 0x80000, 0x1
_CAPABILITIES = _PROTOCOL_41 | _SECURE | _PLUGIN_AUTH | _LONG_PASSWORD
_UTF8 = 33
_OK, _MORE, _SWITCH, _ERROR = 0x00, 0x01, 0xFE, 0xFF
_NEEDS_MORE = b"\x04"  # caching_sha2_password: the server has no hash of this login at hand
_ACCESS_DENIED = (1045, 1698, 1044, 1049)
_PUT_OFF = (1040, 1129, 1203, 1226, 3118, 3955, 4151)  # too many connections, blocked host, locked account


@dataclass(frozen=True)
class Greeting:
    """The server's first packet."""

    version: str
    capabilities: int
    salt: bytes
    plugin: str


class Session:
    """Packets in and out, by their number."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._number = 0

    def packet(self) -> bytes:
        head = self.wire.exactly(4)
        size = int.from_bytes(head[:3], "little")
        if not 0 < size <= PACKET_LIMIT_BYTES:
            raise Shut("sent what is no packet of MySQL")
        self._number = head[3] + 1
        return self.wire.exactly(size)

    def send(self, data: bytes) -> None:
        self.wire.send(len(data).to_bytes(3, "little") + bytes((self._number & 0xFF,)) + data)
        self._number += 1


def login(service: Service, credential: Optional[Credential], deadline: Deadline) -> Attempt:
    """One login, in TLS where the server has it."""
    if credential is None:
        return Attempt(Outcome.UNASKED, "a name is needed here")
    wire = Wire(service.address, service.port, deadline, service.tls)
    try:
        return _login(Session(wire), credential, service.tls)
    finally:
        wire.close()


def _login(session: Session, credential: Credential, secure: bool) -> Attempt:
    first = session.packet()
    if first[0] == _ERROR:
        return _refusal(first)
    greeting = parse_greeting(first)
    capabilities = _CAPABILITIES
    if greeting.capabilities & _SSL and not secure:
        capabilities |= _SSL
        session.send(struct.pack("<IIB23x", capabilities, PACKET_LIMIT_BYTES, _UTF8))
        session.wire.start_tls()
        secure = True
    # The greeting names the server's usual plugin. Where the account has another one than is named back, the server asks anew.
    plugin, answer = greeting.plugin, response(greeting.plugin, credential.password, greeting.salt, secure)
    if answer is None:
        plugin = "mysql_native_password"
        answer = response(plugin, credential.password, greeting.salt, secure) or b""
    head = struct.pack("<IIB23x", capabilities, PACKET_LIMIT_BYTES, _UTF8)
    session.send(head + credential.username.encode() + b"\0" + bytes((len(answer),)) + answer + plugin.encode() + b"\0")
    return _converse(session, credential.password, greeting, secure)


def _converse(session: Session, password: str, greeting: Greeting, secure: bool) -> Attempt:
    for _ in range(PACKETS):
        packet = session.packet()
        if packet[0] == _OK:
            session.send(b"\1")  # COM_QUIT
            return Attempt(Outcome.ACCEPTED, greeting.version)
        if packet[0] == _ERROR:
            return _refusal(packet)
        if packet[0] == _SWITCH:
            name, _, salt = packet[1:].partition(b"\0")
            plugin = name.decode("ascii", "replace")
            answer = response(plugin, password, salt.rstrip(b"\0"), secure)
            if answer is None:
                return Attempt(Outcome.UNASKED, f"wants the plugin {plugin}")
            session.send(answer)
        elif packet[:2] == bytes((_MORE,)) + _NEEDS_MORE:
            if not secure:
                return Attempt(Outcome.UNASKED, "wants the password encrypted with its key, and has no TLS")
            session.send(password.encode() + b"\0")
    raise Shut("goes on asking")


def parse_greeting(packet: bytes) -> Greeting:
    """Raises ValueError for what is no greeting of protocol 10."""
    version, _, rest = packet[1:].partition(b"\0")
    if packet[0] != 10 or len(rest) < 31:
        raise ValueError("no greeting of protocol 10")
    low, _charset, _status, high, size = struct.unpack_from("<HBHHB", rest, 13)
    second = rest[31 : 31 + max(13, size - 8)]
    plugin = rest[31 + len(second) :].partition(b"\0")[0].decode("ascii", "replace") or "mysql_native_password"
    return Greeting(version.decode("utf-8", "replace"), low | high << 16, rest[4:12] + second[:12], plugin)


def response(plugin: str, password: str, salt: bytes, secure: bool) -> Optional[bytes]:
    """What a plugin wants for a password; None for a plugin that is not spoken."""
    secret = password.encode()
    if plugin == "mysql_native_password":
        return _scrambled("sha1", secret, salt[:20], salt_first=True)
    if plugin == "caching_sha2_password":
        return _scrambled("sha256", secret, salt[:20], salt_first=False)
    if plugin in ("mysql_clear_password", "dialog") and secure:
        return secret + b"\0"
    return None


def _scrambled(name: str, secret: bytes, salt: bytes, salt_first: bool) -> bytes:
    if not secret:
        return b""

    def hashed(data: bytes) -> bytes:
        return hashlib.new(name, data, usedforsecurity=False).digest()

    once = hashed(secret)
    twice = hashed(once)
    mask = hashed(salt + twice if salt_first else twice + salt)
    return bytes(a ^ b for a, b in zip(once, mask))


def _refusal(packet: bytes) -> Attempt:
    code = int.from_bytes(packet[1:3], "little")
    text = packet[3:].decode("utf-8", "replace")
    text = text[6:] if text.startswith("#") else text
    outcome = Outcome.REFUSED if code in _ACCESS_DENIED else Outcome.PUT_OFF if code in _PUT_OFF else Outcome.UNASKED
    return Attempt(outcome, f"{code} {text}")
