#!/usr/bin/env python3
"""Guess the same stored passwords with the same words: mtaudit, a bare loop over libcrypt, and Debian's john. See README.md."""

from __future__ import annotations

import argparse
import base64
import ctypes
import hashlib
import json
import os
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import pairs

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "mtaudit"
HASHES = 10
# The prefix and the cost for crypt(3), where 0 is the library's own; john's name of it, where it has one; guesses in a round.
SCHEMES = {
    "yescrypt": ("$y$", 0, "crypt", 600),
    "sha512crypt": ("$6$", 0, "crypt", 8000),
    "bcrypt, cost 5": ("$2b$", 5, "bcrypt", 8000),
    "md5crypt": ("$1$", 0, "md5crypt", 80_000),
    "SSHA": ("", 0, "", 2_000_000),
}


@dataclass(frozen=True)
class Run:
    """`guesses` that were computed, in `wall_s`, and `cpu_s` of all processes."""

    guesses: int
    wall_s: float
    cpu_s: float

    @property
    def wall_us(self) -> float:
        return 1e6 * self.wall_s / self.guesses

    def __str__(self) -> str:
        return f"{self.guesses / self.wall_s:.0f} guesses/s, wall {self.wall_s:.2f} s, CPU {self.cpu_s:.2f} s"


@dataclass(frozen=True)
class Job:
    """The last of the words is the password of the last hash; each way must find it."""

    scheme: str
    hashes: tuple[str, ...]
    words: tuple[str, ...]

    @classmethod
    def of(cls, scheme: str) -> Job:
        words = tuple(secrets.token_hex(5) for _ in range(SCHEMES[scheme][3] // HASHES))
        right = (*(secrets.token_hex(9) for _ in range(HASHES - 1)), words[-1])
        return cls(scheme, tuple(made(scheme, word) for word in right), words)


def made(scheme: str, word: str) -> str:
    prefix, cost, _, _ = SCHEMES[scheme]
    if not prefix:
        salt = secrets.token_bytes(8)
        return "{SSHA}" + base64.b64encode(hashlib.sha1(word.encode() + salt).digest() + salt).decode()
    setting = ctypes.create_string_buffer(192)
    library().crypt_gensalt_rn(prefix.encode(), ctypes.c_ulong(cost), None, 0, setting, 192)
    return crypt(word.encode(), setting.value, ctypes.create_string_buffer(32768)).decode()


def library() -> ctypes.CDLL:
    found = ctypes.CDLL("libcrypt.so.1")
    found.crypt_rn.restype = ctypes.c_char_p
    found.crypt_rn.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int]
    return found


def crypt(word: bytes, setting: bytes, work: object) -> bytes:
    return bytes(library().crypt_rn(word, setting, work, 32768))


def measured(way: Callable[[Job], int], scheme: str) -> Run:
    """With hashes of its own: john remembers what it found."""

    def cpu() -> float:
        return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))

    job = Job.of(scheme)
    before, began = cpu(), time.monotonic()
    guesses = way(job)
    return Run(guesses, time.monotonic() - began, cpu() - before)


def ours(job: Job) -> int:
    package()
    from mtaudit.passwords.accounts import Account
    from mtaudit.passwords.guesses import Words
    from mtaudit.passwords.guessing import guess
    from mtaudit.passwords.schemes import of_dovecot

    accounts = [Account(of_dovecot(f"user{number}", text, "CRYPT"), "table") for number, text in enumerate(job.hashes)]
    done = guess(accounts, Words(initial=job.words, common=0), budget_s=1e9)
    assert [bool(tries.weakness) for tries in done.tries] == [False] * (HASHES - 1) + [True]
    return sum(tries.tried for tries in done.tries)


def package() -> None:
    """Our modules by the name that they have on a host."""
    module = sys.modules.setdefault(PACKAGE, ModuleType(PACKAGE))
    module.__path__ = [str(ROOT / "module_utils" / PACKAGE)]


def bare(job: Job) -> int:
    """Nothing but the function, in a loop, in one process for each processor."""
    cores = len(os.sched_getaffinity(0))
    children = []
    for number in range(cores):
        child = os.fork()
        if not child:
            words = job.words[number::cores]
            os._exit(0 if loop(job.hashes, words, job.scheme) == words.count(job.words[-1]) else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * cores
    return HASHES * len(job.words)


def loop(hashes: Sequence[str], words: Sequence[str], scheme: str) -> int:
    hits, work, compute = 0, ctypes.create_string_buffer(32768), library().crypt_rn
    encoded = [word.encode() for word in words]
    for text in hashes:
        if SCHEMES[scheme][0]:
            setting = text.encode()
            hits += sum(compute(word, setting, work, 32768) == setting for word in encoded)
        else:
            raw = base64.b64decode(text[6:])
            digest, salt = raw[:20], raw[20:]
            hits += sum(hashlib.sha1(word + salt).digest() == digest for word in encoded)
    return hits


def john(job: Job) -> int:
    with tempfile.TemporaryDirectory() as name:
        hashes, words = Path(name, "hashes"), Path(name, "words")
        hashes.write_text("".join(f"user{number}:{text}\n" for number, text in enumerate(job.hashes)))
        words.write_text("".join(f"{word}\n" for word in job.words))
        argv = ["john", f"--format={SCHEMES[job.scheme][2]}", f"--fork={len(os.sched_getaffinity(0))}", f"--wordlist={words}",
                f"--session={name}/session", str(hashes)]  # fmt: skip
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and job.words[-1] in done.stdout, done.stderr
    return HASHES * len(job.words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scheme", action="append", choices=list(SCHEMES), help="all, where none is named")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    print("| scheme | way | guesses/s | CPU us a guess | takes |\n|---|---|---|---|---|")
    for scheme in args.scheme or SCHEMES:
        ways = {"mtaudit": ours, "a loop": bare, **({"john": john} if SCHEMES[scheme][2] else {})}
        found = pairs.in_turns({name: partial(measured, way, scheme) for name, way in ways.items()}, args.rounds, {})
        for name, runs in found.items():
            took = [run.wall_us for run in runs if run]
            cpu = pairs.median(1e6 * run.cpu_s / run.guesses for run in runs if run)
            times = pairs.ratio(took, [run.wall_us for run in found["mtaudit"] if run])
            print(f"| {scheme} | {name} | {1e6 / (pairs.median(took) or 1):.0f} | {cpu:.2f} | {times} |", flush=True)
            rows.append({"scheme": scheme, "way": name, "wall_us": took})
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
