"""SNMP: does a community of v1 or v2c read sysDescr.0 (RFC 1157, 3416)?

An agent is silent to a wrong community, as nobody would be. So it is asked for its engine too, which SNMPv3 tells everybody
(RFC 3414, 4): with that answer silence is REFUSED, without it SHUT.
"""

from __future__ import annotations

import secrets
import socket
from typing import Optional

from ..values import Attempt, Credential, Outcome, Service
from .ber import NULL, OCTETS, SEQUENCE, Value, integer, object_identifier, octets, read, sequence, write
from .wire import Deadline, Shut

SYS_DESCR = "1.3.6.1.2.1.1.1.0"
GET, RESPONSE, REPORT = 0xA0, 0xA2, 0xA8
VERSION_1, VERSION_2C, VERSION_3 = 0, 1, 3
RESENT_AFTER_S = 1.0
TURNS = 3
DATAGRAM_BYTES = 65535
_NO_ERROR, _NO_SUCH_NAME = 0, 2


def login(service: Service, credential: Optional[Credential], deadline: Deadline) -> Attempt:
    """The community is the credential's password."""
    if credential is None:
        return Attempt(Outcome.UNASKED, "a community is needed here")
    family = socket.AF_INET6 if ":" in service.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as wire:
        wire.connect((service.address, service.port))  # so that nobody else's datagrams arrive, and a closed port says so
        return _ask(wire, credential.password.encode(), deadline)


def _ask(wire: socket.socket, community: bytes, deadline: Deadline) -> Attempt:
    number = secrets.randbelow(2**31)
    asked = [request(version, community, number) for version in (VERSION_2C, VERSION_1)]
    is_there = False
    try:
        for turn in range(TURNS):
            for datagram in (*asked, discovery(number)):
                wire.send(datagram)
            until = Deadline(min(RESENT_AFTER_S, deadline.left_s()))
            while (answer := _answer(wire, until, number)) is not None:
                version, said = answer
                if version != VERSION_3:
                    return Attempt(Outcome.ACCEPTED, f"SNMPv{'2c' if version == VERSION_2C else '1'}: {said}")
                is_there = True
            if is_there and turn:
                break
    except Shut:
        pass
    except ConnectionRefusedError:
        return Attempt(Outcome.SHUT, "nothing listens there")
    if is_there:
        return Attempt(Outcome.REFUSED, "the agent answers SNMPv3, and is silent to this community")
    return Attempt(Outcome.SHUT, "silence: SNMP answers a wrong community by nothing, and so does a port without SNMP")


def request(version: int, community: bytes, number: int) -> bytes:
    """A message that asks for sysDescr.0."""
    name = sequence(object_identifier(SYS_DESCR), write(NULL, b""))
    body = sequence(integer(number), integer(0), integer(0), sequence(name), tag=GET)
    return sequence(integer(version), octets(community), body)


def discovery(number: int) -> bytes:
    """A message of SNMPv3 from nobody to an engine that is not known (RFC 3414, 4)."""
    header = sequence(integer(number), integer(DATAGRAM_BYTES), octets(b"\4"), integer(3))
    user = sequence(octets(b""), integer(0), integer(0), octets(b""), octets(b""), octets(b""))
    body = sequence(integer(number), integer(0), integer(0), sequence(), tag=GET)
    return sequence(integer(VERSION_3), header, octets(user), sequence(octets(b""), octets(b""), body))


def _answer(wire: socket.socket, until: Deadline, number: int) -> Optional[tuple[int, str]]:
    """The version and text of the next answer to what was asked; None when none came in time."""
    try:
        while True:
            wire.settimeout(until.left_s())
            try:
                found = parse(wire.recv(DATAGRAM_BYTES), number)
            except ValueError:
                continue
            if found is not None:
                return found
    except (Shut, socket.timeout):
        return None


def parse(datagram: bytes, number: int) -> Optional[tuple[int, str]]:
    """Version and text of an answer to request `number`; None when it is of another.

    Raises ValueError for what is no message of SNMP.
    """
    message, _rest = read(datagram)
    parts = message.parts
    if message.tag != SEQUENCE or len(parts) < 3:
        raise ValueError("no message of SNMP")
    if parts[0].number == VERSION_3:
        header = parts[1].parts
        return (VERSION_3, "") if header and header[0].number == number else None
    body = parts[2]
    if body.tag != RESPONSE or len(body.parts) != 4 or body.parts[0].number != number:
        return None
    status = body.parts[1].number
    if status not in (_NO_ERROR, _NO_SUCH_NAME):
        return None
    return parts[0].number, _text(body.parts[3])


def _text(names: Value) -> str:
    for name in names.parts:
        if len(name.parts) == 2 and name.parts[1].tag == OCTETS:
            return name.parts[1].content.decode("utf-8", "replace")
    return "no such object"
