"""The tree a filter becomes. Every node is frozen; values have the type of their column."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind = Literal["text", "integer", "number", "truth", "labels"]
Value: TypeAlias = str | int | float | bool


@dataclass(frozen=True)
class Column:
    """A filterable column: the name people write, the field that stores it, and what it holds."""

    name: str
    field: str
    kind: Kind


@dataclass(frozen=True)
class Compare:
    """``column op value``; ``op`` is one of = != < <= > >= and the value has the column's type."""

    column: Column
    op: str
    value: Value


@dataclass(frozen=True)
class In:
    """``column [NOT] IN values``; an empty tuple holds for nothing (negated: for everything present)."""

    column: Column
    values: tuple[Value, ...]
    negated: bool = False


@dataclass(frozen=True)
class Like:
    """``column [NOT] LIKE pattern``."""

    column: Column
    pattern: str
    negated: bool = False

    def matches(self) -> Callable[[str], bool]:
        """Return the test of one text against the pattern."""
        parts, escaped = [], False
        for character in self.pattern:
            if escaped or character not in "%_\\":
                parts.append(re.escape(character))
                escaped = False
            elif character == "\\":
                escaped = True
            else:
                parts.append(".*" if character == "%" else ".")
        pattern = re.compile("".join(parts), re.DOTALL)
        return lambda text: pattern.fullmatch(text) is not None


@dataclass(frozen=True)
class IsNull:
    """``column IS [NOT] NULL``."""

    column: Column
    negated: bool = False


@dataclass(frozen=True)
class Not:
    """Plain negation."""

    part: Filter


@dataclass(frozen=True)
class And:
    """Every part holds."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True)
class Or:
    """At least one part holds."""

    parts: tuple[Filter, ...]


Filter: TypeAlias = Compare | In | Like | IsNull | Not | And | Or
