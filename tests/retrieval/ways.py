"""The three ways an index is read: its snapshot as it lies there, the engine's rows in memory, the engine alone."""

from __future__ import annotations

from collections.abc import Callable

from lapel.retrieval.engines import open_store
from lapel.retrieval.gallery import EngineGallery, MemoryGallery
from lapel.retrieval.index import Index
from lapel.retrieval.snapshot import Snapshot


def in_memory(index: Index) -> Index:
    """Have an index compare every row as the engine gives it."""
    index.gallery = MemoryGallery(Snapshot.load(open_store(index.folder, index.record), index.record))
    return index


def by_engine(index: Index) -> Index:
    """Have an index ask the engine."""
    index.gallery = EngineGallery(open_store(index.folder, index.record), index.dims)
    return index


def ways(open_index: Callable[[], Index]) -> dict[str, Index]:
    """Open an index in every way."""
    return {"snapshot": open_index(), "memory": in_memory(open_index()), "engine": by_engine(open_index())}
