"""No file names a place that only the machine it was written on has, or a host that packages or images come from."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import tracked

# Written apart, so that this file does not find itself.
OF_A_MACHINE = ("/" + "work/", "/root/" + ".pyenv")
REGISTRIES = ("py" + "pi.org", "python" + "hosted.org", "docker" + ".io", "quay" + ".io", "ghcr" + ".io")
FOUND = re.compile("|".join(rf"(?<![\w.]){re.escape(text)}" for text in OF_A_MACHINE) + "|"
                   + "|".join(re.escape(text) for text in REGISTRIES))


def places(text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        yield from (f"{number}: {found}" for found in FOUND.findall(line))


def test_no_file_names_one() -> None:
    found = {}
    for path in tracked.files():
        if lines := list(places(path.read_bytes().decode("utf-8", "replace"))):
            found[str(path.relative_to(tracked.ROOT))] = lines
    assert found == {}


@pytest.mark.parametrize("text", [f"see {OF_A_MACHINE[0]}main", f"'{OF_A_MACHINE[1]}/shims'", f"https://{REGISTRIES[0]}/simple"])
def test_one_is_noticed(text: str) -> None:
    assert len(list(places(f"first\n{text}"))) == 1


def test_a_path_that_only_ends_like_one_is_none() -> None:
    assert list(places(f"/var/lib/mtaudit{OF_A_MACHINE[0]}x")) == []
