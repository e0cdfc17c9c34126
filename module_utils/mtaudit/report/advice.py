"""Split a fix hint into paragraphs and commands: the catalogue writes commands as indented lines, and names in backticks."""

from __future__ import annotations

from dataclasses import dataclass

INDENT = "    "


@dataclass(frozen=True)
class Block:
    """A paragraph, or the lines of commands. `parts` are pieces of a paragraph; every second one was in backticks."""

    is_command: bool
    text: str

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.text.split("`"))

    @property
    def plain(self) -> str:
        """On one line, commands divided by semicolons."""
        return "; ".join(self.text.splitlines()) if self.is_command else self.text


def blocks(advice: str) -> tuple[Block, ...]:
    """The blocks, in order; neighbouring lines of one kind are one block, an empty line ends a paragraph."""
    found: list[Block] = []
    gap = True
    for line in advice.splitlines():
        if not line.strip():
            gap = True
            continue
        is_command = line.startswith(INDENT)
        text = line[len(INDENT):] if is_command else line.strip()
        if found and not gap and found[-1].is_command == is_command:
            joint = "\n" if is_command else " "
            found[-1] = Block(is_command, f"{found[-1].text}{joint}{text}")
        else:
            found.append(Block(is_command, text))
        gap = False
    return tuple(found)


def first_step(advice: str) -> tuple[Block, ...]:
    """The first paragraph and the commands that follow it."""
    all_blocks = blocks(advice)
    return all_blocks[:2] if len(all_blocks) > 1 and all_blocks[1].is_command else all_blocks[:1]
