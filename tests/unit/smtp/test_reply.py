"""Replies come out the same however the bytes are cut."""

from __future__ import annotations

import random

import pytest
from ansible.module_utils.mtaudit.smtp.reply import LINE_LIMIT_BYTES, REPLY_LIMIT_LINES, Reply, ReplyParser

CASES = {
    b"250 2.1.5 Ok\r\n": [Reply(250, "2.1.5", ("Ok",))],
    b"250-mx.good.test\r\n250-PIPELINING\r\n250 SIZE 1\r\n": [Reply(250, "", ("mx.good.test", "PIPELINING", "SIZE 1"))],
    b"554-5.7.1 no\r\n554 5.7.1 never\r\n250 Ok\r\n": [Reply(554, "5.7.1", ("no", "never")), Reply(250, "", ("Ok",))],
    b"250\r\n": [Reply(250, "", ("",))],
    b"250 \n": [Reply(250, "", ("",))],
    b"250 Ok\r\r\n": [Reply(250, "", ("Ok",))],
    b"2\x0050 O\x00k\r\n": [Reply(250, "", ("Ok",))],
    b"450 4.7.1\r\n": [Reply(450, "4.7.1", ("",))],
    b"220 10.0.0.1 ready\r\n": [Reply(220, "", ("10.0.0.1 ready",))],
    b"250 2.1.5x Ok\r\n": [Reply(250, "", ("2.1.5x Ok",))],
    b"554 250 2.1.5 Ok\r\n": [Reply(554, "", ("250 2.1.5 Ok",))],
    b"550 caf\xe9\r\n": [Reply(550, "", ("caf�",))],
}
BROKEN = [
    b"HTTP/1.1 400 Bad Request\r\n",
    b"\r\n",
    b"2500 bytes\r\n",
    b"250OK\r\n",
    b" 250 Ok\r\n",
    b"150 Ok\r\n",
    b"650 Ok\r\n",
    b"25 Ok\r\n",
    "２５０ Ok\r\n".encode(),
    b"x" * (LINE_LIMIT_BYTES + 1),
    b"250-x\r\n" * (REPLY_LIMIT_LINES + 1),
    b"250 " + b"x" * LINE_LIMIT_BYTES + b"\r\n",
]


def parse(data: bytes, cuts: list[int]) -> tuple[list[Reply], str]:
    parser = ReplyParser()
    replies: list[Reply] = []
    for start, end in zip([0, *cuts], [*cuts, len(data)]):
        replies += parser.feed(data[start:end])
    return replies, parser.error


@pytest.mark.parametrize("data", CASES)
def test_replies(data: bytes) -> None:
    assert parse(data, []) == (CASES[data], "")


@pytest.mark.parametrize("data", BROKEN)
def test_what_is_not_smtp_ends_the_parsing(data: bytes) -> None:
    replies, error = parse(b"220 ok\r\n" + data, [])
    assert replies == [Reply(220, "", ("ok",))]
    assert error


@pytest.mark.parametrize("seed", range(30))
def test_random_cuts(seed: int) -> None:
    chance = random.Random(seed)
    data = b"".join(chance.choices([*CASES, *(BROKEN if seed % 3 == 0 else [])], k=12))
    cuts = sorted(chance.choices(range(len(data) + 1), k=chance.randrange(200)))
    assert parse(data, cuts) == parse(data, [])
    assert parse(data, list(range(len(data)))) == parse(data, [])


@pytest.mark.parametrize("seed", range(30))
def test_noise_is_bounded(seed: int) -> None:
    chance = random.Random(seed)
    alphabet = b"2504 -\r\n\0\xff."
    parser = ReplyParser()
    for _piece in range(300):
        for reply in parser.feed(bytes(chance.choices(alphabet, k=chance.randrange(1, 400)))):
            assert 200 <= reply.code < 600 and len(reply.lines) <= REPLY_LIMIT_LINES
    assert len(parser._buffer) <= LINE_LIMIT_BYTES + 400


def test_endless_reply_stops_at_the_limit() -> None:
    parser = ReplyParser()
    for _line in range(REPLY_LIMIT_LINES + 1):
        assert parser.feed(b"250-and on\r\n") == []
    assert "lines" in parser.error
    assert parser.feed(b"250 late\r\n") == []
