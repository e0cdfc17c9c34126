"""What every probe of many targets needs: their addresses, enough open files, and no collector of garbage in between."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections() -> Iterator[None]:
    """Hundreds of dialogues are many small objects and hardly a cycle: by default a tenth of the time goes into looking."""
    before = gc.get_threshold()
    gc.set_threshold(1_000_000, 20, 20)
    try:
        yield
    finally:
        gc.freeze()  # the results last until the process ends
        gc.set_threshold(*before)


def allow_files(concurrency: int, notes: list[str]) -> None:
    """Each connection is an open file: raise the soft limit as far as needed and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * concurrency + 100
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < wanted:
            notes.append(f"The limit of {hard} open files is lower than the concurrency needs.")


async def addresses_of(host: str) -> tuple[list[str], str]:
    """The addresses of a host, IPv4 first, or why there are none."""
    try:
        return [str(ipaddress.ip_address(host))], ""
    except ValueError:
        pass
    try:
        found = await asyncio.wait_for(asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM), 20)
    except (OSError, ValueError, asyncio.TimeoutError) as exc:
        return [], f"'{host}' could not be resolved: {getattr(exc, 'strerror', None) or exc or 'no answer'}"
    return sorted({str(entry[4][0]) for entry in found}, key=lambda a: (":" in a, a)), ""


def listener_name(address: str, port: int) -> str:
    """`198.51.100.41:25`, `[2001:db8:51::41]:25`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
