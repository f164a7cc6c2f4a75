"""What a server tells of its indexes: the part of the client that sends no photograph and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from lapel.client.asking import ApiFailure, Asker
from lapel.client.copies import Copies
from lapel.client.images import Entry, Listed, box_of
from lapel.client.indexes import Facets, IndexInfo, Ready, made
from lapel.client.parts import quoted
from lapel.errors import unknown


class Reading:
    """A connection to a server, and what can be read there.

    Args:
        asker: of the server.
        index: that is asked where a method names none; None: the server's first.
    """

    def __init__(self, asker: Asker, index: str | None) -> None:
        self.default = index
        self._asker = asker

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._asker.close()

    def ready(self) -> Ready:
        """Return whether searches can be answered; it is true or false by itself."""
        response = self._asker.ask("GET", "/v1/ready", fine=(503,))
        try:
            return made(Ready, response.json())
        except (ValueError, TypeError):  # a proxy says so, or a server with too many connections
            return Ready(False, {})

    def indexes(self) -> tuple[IndexInfo, ...]:
        """Return all indexes, and what each can be asked."""
        return self._asker.told(lambda told: tuple(map(IndexInfo.of, told["indexes"])), "GET", "/v1/indexes")

    def index(self, name: str | None = None) -> IndexInfo:
        """Return one index: its version, runs, attributes and columns."""
        known = {each.name: each for each in self.indexes()}
        wanted = name or self.default or next(iter(known))
        if wanted not in known:
            raise ApiFailure(404, "not_found", unknown("index", wanted, known))
        return known[wanted]

    def facets(self, where: str | None = None, index: str | None = None) -> Facets:
        """Return the values and ranges of every column, with counts, among the images that pass a filter."""
        return self._asker.told(Facets.of, "GET", "/v1/facets", params=self._asked(index, where=where))

    def sample(
        self, k: int = 24, where: str | None = None, seed: int = 0, index: str | None = None
    ) -> tuple[Listed, ...]:
        """Return some images that pass a filter, one of each item; equal seeds give equal images."""

        def read(told: Any) -> tuple[Listed, ...]:
            return tuple(made(Listed, each, index=told["index"]["name"]) for each in told["entries"])

        return self._asker.told(read, "GET", "/v1/entries", params=self._asked(index, where=where, k=k, seed=seed))

    def entry(self, id: str, index: str | None = None) -> Entry:
        """Return what an index knows of one image."""

        def read(told: Any) -> Entry:
            return made(Entry, told["entry"], index=told["index"]["name"], box=box_of(told["entry"]))

        return self._asker.told(read, "GET", f"/v1/entries/{quoted(id)}", params=self._asked(index))

    def copies(
        self,
        against: str | None = None,
        weights: Mapping[str, float] | None = None,
        *,
        threshold: float | None = None,
        nearness: float | None = None,
        within_item: bool = False,
        where: str | None = None,
        limit: int = 50,
        offset: int = 0,
        index: str | None = None,
    ) -> Copies:
        """Find images that look alike in an index, or in two; of a large index that takes more ``patience``.

        Args:
            against: another index of the same runs; None: the index is compared with itself.
            weights: attribute -> how much it must be alike; None: all equally.
            threshold: least similarity, -1 to 1.
            nearness: least nearness; None: 4, or none with a threshold.
            within_item: whether images of one item are compared.
            where: a filter on the first index.
            limit: groups of each kind, up to 200.
            offset: groups of each kind to skip.
            index: the first index.
        """
        asked = self._asked(
            index,
            against=against,
            attribute=[f"{name}={float(weight)!r}" for name, weight in (weights or {}).items()],
            threshold=threshold,
            nearness=nearness,
            within_item=within_item,
            where=where,
            limit=limit,
            offset=offset,
        )
        return self._asker.told(Copies.of, "GET", "/v1/copies", params=asked)

    def _asked(self, index: str | None, **others: Any) -> dict[str, Any]:
        """The index and what else is asked, without what says nothing."""
        asked = {"index": index or self.default, **others}
        return {name: value for name, value in asked.items() if value is not None}
