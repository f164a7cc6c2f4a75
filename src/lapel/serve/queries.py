"""Photographs that people search with, kept in memory for a while with the vectors they gave; never on disk."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from lapel.serve.errors import NotFound, QueryGone

Vectors: TypeAlias = Sequence[Any]
"""Per attribute a float array (D,), or None where the index has no run for it."""
Key: TypeAlias = tuple[tuple[str, ...], tuple[float, ...] | None]

MB = 1 << 20
NAME = re.compile(r"[0-9a-f]{32}")
BOXES = 64  # vectors kept for one photograph: somebody drags a crop about
OVERHEAD = 1000  # bytes that an entry takes beside its photograph and its numbers, roughly


@dataclass(frozen=True, eq=False)
class Kept:
    """A photograph as it was received, and its upright size in pixels."""

    query: str
    image: bytes = field(repr=False)
    width: int
    height: int
    facts: dict[str, Any] = field(default_factory=dict, repr=False)
    """What a route wants to remember of it, such as the box it suggested; small."""


@dataclass(eq=False)
class _Entry:
    kept: Kept
    used: float
    size: int
    vectors: OrderedDict[Key, Vectors] = field(default_factory=OrderedDict)


class Queries:
    """The photographs used last, bounded in number, bytes and time; safe to use from several threads.

    Args:
        most: photographs.
        megabytes: of all photographs and vectors together.
        seconds: that a photograph is kept after its last use, unless space is needed.
        clock: seconds, for the tests.
    """

    def __init__(
        self,
        most: int = 500,
        megabytes: float = 256,
        seconds: float = 3600,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most, self.limit, self.seconds = most, int(megabytes * MB), seconds
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # least recently used first
        self._lock = threading.Lock()
        self._size = self._hits = self._misses = 0

    def __len__(self) -> int:
        with self._lock:
            self._expire()
            return len(self._entries)

    @property
    def size(self) -> int:
        """Bytes kept."""
        with self._lock:
            return self._size

    @property
    def lookups(self) -> tuple[int, int]:
        """Vectors that were found, and that were not."""
        with self._lock:
            return self._hits, self._misses

    @staticmethod
    def name(image: bytes) -> str:
        """Return the id of a photograph: 32 hexadecimal digits of the SHA-256 of its bytes."""
        return hashlib.sha256(image).hexdigest()[:32]

    def keep(self, image: bytes, width: int, height: int) -> Kept:
        """Keep a photograph and return it; one that is kept already stays as it is, vectors included.

        The newest is kept even if it alone is larger than all that may be kept.
        """
        query = self.name(image)
        with self._lock:
            entry = self._entries.get(query)
            if entry is None:
                entry = _Entry(Kept(query, image, width, height), 0.0, len(image) + OVERHEAD)
                self._entries[query] = entry
                self._size += entry.size
            self._touch(entry)
            self._make_room()
            return entry.kept

    def get(self, query: str) -> Kept:
        """Return a photograph that is kept.

        Raises:
            NotFound: ``query`` is no id of a photograph.
            QueryGone: it is not kept, any longer or never.
        """
        with self._lock:
            return self._entry(query).kept

    def vectors(self, query: str, runs: Sequence[str], box: Sequence[float] | None = None) -> Vectors | None:
        """Return the vectors that runs of these fingerprints gave for (a box of) a photograph; None if not kept."""
        key = _key(runs, box)
        with self._lock:
            entry = self._entries.get(query)
            found = entry.vectors.get(key) if entry else None
            if entry is None or found is None:
                self._misses += 1
                return None
            self._hits += 1
            entry.vectors.move_to_end(key)
            self._touch(entry)
            return found

    def keep_vectors(self, query: str, runs: Sequence[str], box: Sequence[float] | None, vectors: Vectors) -> None:
        """Keep vectors for as long as their photograph; nothing happens if that is gone."""
        key = _key(runs, box)
        with self._lock:
            entry = self._entries.get(query)
            if entry is None:
                return
            self._resize(entry, _bytes(vectors) - _bytes(entry.vectors.pop(key, ())))
            entry.vectors[key] = vectors
            while len(entry.vectors) > BOXES:
                _, oldest = entry.vectors.popitem(last=False)
                self._resize(entry, -_bytes(oldest))
            self._make_room()

    def _entry(self, query: str) -> _Entry:
        if not NAME.fullmatch(query):
            raise NotFound("that is no id of a photograph: expected 32 hexadecimal digits from /v1/queries")
        self._expire()
        if query not in self._entries:
            raise QueryGone(query)
        entry = self._entries[query]
        self._touch(entry)
        return entry

    def _touch(self, entry: _Entry) -> None:
        entry.used = self._clock()
        self._entries.move_to_end(entry.kept.query)

    def _resize(self, entry: _Entry, change: int) -> None:
        entry.size += change
        self._size += change

    def _expire(self) -> None:
        before = self._clock() - self.seconds
        while self._entries and next(iter(self._entries.values())).used < before:
            self._drop()

    def _make_room(self) -> None:
        self._expire()
        while len(self._entries) > 1 and (len(self._entries) > self.most or self._size > self.limit):
            self._drop()

    def _drop(self) -> None:
        _, entry = self._entries.popitem(last=False)
        self._size -= entry.size


def _key(runs: Sequence[str], box: Sequence[float] | None) -> Key:
    return tuple(runs), None if box is None else tuple(float(number) for number in box)


def _bytes(vectors: Vectors) -> int:
    return OVERHEAD * bool(vectors) + sum(np.asarray(vector).nbytes for vector in vectors if vector is not None)
