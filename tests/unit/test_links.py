"""Links between the documents lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
import tracked

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [path for path in tracked.files() if path.suffix == ".md"]


def links(text: str) -> Iterator[str]:
    """Targets of links and images, but not those of examples."""
    prose = re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    yield from re.findall(r"\]\(\s*<?([^)>\s]+)", prose)
    yield from re.findall(r"^\[[^]]+\]:\s*<?([^>\s]+)", prose, re.MULTILINE)


def dead(document: Path, text: str) -> list[str]:
    """Relative links that lead to no file or directory, or out of the project."""
    here = [target for target in links(text) if not re.match(r"[a-z][a-z0-9+.-]*:|#", target, re.IGNORECASE)]
    found = {target: (document.parent / unquote(target.partition("#")[0])).resolve() for target in here}
    return [target for target, path in found.items() if not path.exists() or not path.is_relative_to(ROOT)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_to_a_file(document: Path) -> None:
    assert dead(document, document.read_text(encoding="utf-8")) == []


def test_documents_and_links_are_found() -> None:
    assert ROOT / "README.md" in DOCUMENTS
    assert "docs/report.md" in set(links((ROOT / "README.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize(("text", "expected"), [
    ("[a](no/such.md)", ["no/such.md"]),
    ("![a](no.png) [b](README.md#words) [c](docs/)", ["no.png"]),
    ("[a]: no.md", ["no.md"]),
    ("[a](../../etc/passwd)", ["../../etc/passwd"]),
    ("[a](https://example.org/x) [b](#words) `[c](no.md)`", []),
    ("```python\nx[0](no)\n```\n", []),
])
def test_a_dead_link_is_noticed(text: str, expected: list[str]) -> None:
    assert dead(ROOT / "README.md", text) == expected
