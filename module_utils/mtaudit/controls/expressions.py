"""Evaluate the expressions of rspamd's force_actions, as far as it is known which symbols a message gets."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Optional

_LIMIT = 500
_SYMBOL = re.compile(r"[\w:.-]+")
_WORDS = {"&": " and ", "|": " or ", "!": " not ", "and": " and ", "or": " or ", "not": " not "}
Truth = Optional[bool]  # None: it is not known


def mentions(expression: str, symbol: str) -> bool:
    return symbol in _SYMBOL.findall(expression[:_LIMIT])


def holds(expression: str, known: Mapping[str, Truth]) -> Truth:
    """An expression of symbols with & | ! ( ); None where it depends on another symbol, or has an operator that counts."""
    names: list[str] = []

    def plain(match: re.Match[str]) -> str:
        if match.group().lower() in _WORDS:
            return _WORDS[match.group().lower()]
        names.append(match.group())
        return f" _{len(names) - 1} "

    text = _SYMBOL.sub(plain, expression[:_LIMIT])
    text = re.sub(r"([&|])\1?|!", lambda match: _WORDS[match.group()[0]], text)
    try:
        return _value(ast.parse(" ".join(text.split()), mode="eval").body, [known.get(name) for name in names])
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr, values: Sequence[Truth]) -> Truth:
    if isinstance(node, ast.Name):
        return values[int(node.id[1:])]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        value = _value(node.operand, values)
        return None if value is None else not value
    if isinstance(node, ast.BoolOp):
        decides = isinstance(node.op, ast.Or)
        parts = [_value(part, values) for part in node.values]
        return decides if decides in parts else None if None in parts else not decides
    return None
