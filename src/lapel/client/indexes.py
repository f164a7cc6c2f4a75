"""What a server tells of its indexes, as frozen dataclasses; keys that a newer server adds are passed over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self, TypeAlias, TypeVar

T = TypeVar("T")
Told: TypeAlias = Mapping[str, Any]
Value: TypeAlias = str | int | float | bool


def made(cls: type[T], told: Told, **others: Any) -> T:
    """Make a dataclass of the keys that have its fields' names, and of ``others``."""
    known = {each.name: told[each.name] for each in fields(cls) if each.name in told}  # type: ignore[arg-type]
    return cls(**{**known, **others})


@dataclass(frozen=True)
class Run:
    """A run that gave an index its vectors."""

    name: str
    fingerprint: str


@dataclass(frozen=True)
class IndexVersion:
    """Which index answered, and as of when: ``version`` changes with each write."""

    name: str
    version: str
    images: int
    runs: tuple[Run, ...]

    @classmethod
    def of(cls, told: Told, **others: Any) -> Self:
        """Read it from an answer."""
        return made(cls, told, runs=tuple(made(Run, each) for each in told["runs"]), **others)


@dataclass(frozen=True)
class Counted:
    """A value and how many images have it."""

    value: Value
    count: int


@dataclass(frozen=True)
class Attribute:
    """Something an index can be searched by.

    Attributes:
        dim: numbers per vector.
        item: whether it stands for the item as a whole.
        labelled: images that have a value.
        values: most frequent first.
    """

    name: str
    dim: int
    item: bool
    labelled: int
    values: tuple[Counted, ...]


@dataclass(frozen=True)
class Column:
    """A column that a filter may name; ``kind`` is text, integer, number, boolean or labels."""

    name: str
    kind: str


@dataclass(frozen=True)
class IndexInfo(IndexVersion):
    """An index, and what can be asked of it."""

    attributes: tuple[Attribute, ...]
    columns: tuple[Column, ...]
    explains: bool
    writable: bool

    @classmethod
    def of(cls, told: Told, **others: Any) -> Self:
        """Read it from an answer."""
        attributes = tuple(made(Attribute, each, values=_counted(each)) for each in told["attributes"])
        columns = tuple(made(Column, each) for each in told["columns"])
        return super().of(told, attributes=attributes, columns=columns, **others)


@dataclass(frozen=True)
class FacetColumn(Column):
    """A column's values among the images that pass a filter.

    Attributes:
        values: most frequent first; of a column with very many values the first ones.
        low, high: of a column of numbers.
        missing: images without a value.
        distinct: values that there are; None where nobody counted them.
        other: images' values that are not listed.
    """

    values: tuple[Counted, ...]
    low: float | None
    high: float | None
    missing: int
    distinct: int | None = None
    other: int = 0


@dataclass(frozen=True)
class Facets:
    """What the ``count`` images that pass a filter have in their columns."""

    index: IndexVersion
    count: int
    columns: tuple[FacetColumn, ...]

    @classmethod
    def of(cls, told: Told) -> Self:
        """Read it from an answer."""
        columns = tuple(made(FacetColumn, each, values=_counted(each)) for each in told["columns"])
        return made(cls, told, index=IndexVersion.of(told["index"]), columns=columns)


@dataclass(frozen=True)
class Ready:
    """Whether searches can be answered; ``indexes`` says ``ready`` for each, or why it is not."""

    ready: bool
    indexes: dict[str, str]

    def __bool__(self) -> bool:
        return self.ready


def _counted(told: Told) -> tuple[Counted, ...]:
    return tuple(made(Counted, each) for each in told["values"])
