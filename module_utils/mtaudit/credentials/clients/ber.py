"""As much of BER (X.690) as a datagram of SNMP takes: integers, octet strings, null, object identifiers and what holds them."""

from __future__ import annotations

from dataclasses import dataclass

INTEGER, OCTETS, NULL, OBJECT, SEQUENCE = 0x02, 0x04, 0x05, 0x06, 0x30


@dataclass(frozen=True)
class Value:
    """One value: its tag, and its content as it was sent."""

    tag: int
    content: bytes

    @property
    def number(self) -> int:
        return int.from_bytes(self.content, "big", signed=True)

    @property
    def parts(self) -> list[Value]:
        """The values in it. Raises ValueError when it holds something else."""
        found, data = [], self.content
        while data:
            value, data = read(data)
            found.append(value)
        return found


def read(data: bytes) -> tuple[Value, bytes]:
    """The first value in `data`, and what follows it. Raises ValueError when it is cut or in a form that SNMP does not have."""
    if len(data) < 2 or data[0] & 0x1F == 0x1F:
        raise ValueError("no value of BER")
    size, start = data[1], 2
    if size >= 0x80:
        count = size & 0x7F
        if not 1 <= count <= 4 or len(data) < 2 + count:
            raise ValueError("a length that is none")
        size, start = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
    if len(data) < start + size:
        raise ValueError("a value that is cut")
    return Value(data[0], data[start : start + size]), data[start + size :]


def write(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def integer(number: int) -> bytes:
    return write(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


def octets(content: bytes) -> bytes:
    return write(OCTETS, content)


def sequence(*parts: bytes, tag: int = SEQUENCE) -> bytes:
    return write(tag, b"".join(parts))


def object_identifier(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    return write(OBJECT, b"".join(_base_128(number) for number in (first * 40 + second, *rest)))


def _base_128(number: int) -> bytes:
    found = bytearray((number & 0x7F,))
    while number := number >> 7:
        found.insert(0, 0x80 | number & 0x7F)
    return bytes(found)
