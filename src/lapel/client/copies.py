"""What a server tells of copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from lapel.client.images import Listed
from lapel.client.indexes import IndexVersion, Told, made


@dataclass(frozen=True)
class CopyPair:
    """Two images that look alike, by id; the second is of the other index, where two are compared.

    Attributes:
        similarity: weighted mean of the cosines: -1 to 1.
        nearness: times nearer to each other than either is to its 20th nearest image.
        cosines: attribute -> cosine.
        differs: attributes of which both have labels, and other ones.
        same_item: whether both are known to show one product.
        same_file: whether they are parts of one file, cut out by other boxes.
    """

    first: str
    second: str
    similarity: float
    nearness: float
    cosines: dict[str, float]
    differs: dict[str, tuple[list[str], list[str]]]
    same_item: bool
    same_file: bool


@dataclass(frozen=True)
class CopyGroup:
    """Images that belong together, and the pairs among them; no pairs where all are copies of one file."""

    images: tuple[Listed, ...]
    pairs: tuple[CopyPair, ...]

    @classmethod
    def of(cls, told: Told) -> Self:
        """Read it from an answer."""
        pairs = (
            made(CopyPair, each, differs={name: (ours, theirs) for name, (ours, theirs) in each["differs"].items()})
            for each in told["pairs"]
        )
        return cls(tuple(made(Listed, each) for each in told["images"]), tuple(pairs))


@dataclass(frozen=True)
class Copies:
    """Copies of files (``exact``) and look-alikes (``groups``), a page of each.

    Attributes:
        rule: what counts as a look-alike, in words.
        exact_total, groups_total: of all pages.
        pairs_total: look-alikes that there are, of which the groups may have the first only; None if not counted.
        left: whether more follow after this page.
    """

    index: IndexVersion
    against: IndexVersion | None
    weights: dict[str, float]
    rule: str
    exact: tuple[CopyGroup, ...]
    groups: tuple[CopyGroup, ...]
    exact_total: int
    groups_total: int
    pairs_total: int | None
    left: bool

    @classmethod
    def of(cls, told: Told) -> Self:
        """Read it from an answer."""
        exact, groups = (tuple(CopyGroup.of(each) for each in told[name]) for name in ("exact", "groups"))
        against = told["against"] and IndexVersion.of(told["against"])
        return made(cls, told, index=IndexVersion.of(told["index"]), against=against, exact=exact, groups=groups)
