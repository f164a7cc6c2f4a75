"""The indexes a server has open: watched for a newer version, and swapped under requests that go on with theirs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from lapel.decoding import Pixels
from lapel.errors import LapelError, RunError, unknown
from lapel.retrieval.index import Index
from lapel.retrieval.layout import IndexRecord, Source
from lapel.retrieval.parts import Part
from lapel.retrieval.store import EngineUnavailable
from lapel.retrieval.versions import mark
from lapel.runs import stored_fingerprint
from lapel.serve import schema
from lapel.serve.batching import Batcher, Pass
from lapel.serve.errors import NotFound, NotReady
from lapel.serve.settings import ServeSettings

T = TypeVar("T")
Vectors: TypeAlias = tuple[Any, ...]
Observe: TypeAlias = Callable[[Pass], object]
log = logging.getLogger("lapel.serve")

# An index that is being written to is taken up when it is whole, or when nothing was written for this long.
SETTLE_S = 60.0
BLANK = np.full((64, 64, 3), 255, np.uint8)


class Encoding:
    """Embeds photographs for all versions of an index that the same runs made.

    Attributes:
        index: whose encoders are used: the newest version.
        batcher: takes pixels, gives the unit vectors of every attribute.
        users: requests that may still ask it.
    """

    def __init__(self, index: Index, settings: ServeSettings, observe: Observe | None = None) -> None:
        self.index, self.users = index, 0
        self._blank: Vectors | None = None
        self.batcher: Batcher[Pixels, Vectors] = Batcher(self._encode, settings.queue, settings.batch, observe)

    def _encode(self, images: list[Pixels]) -> list[Vectors]:
        return self.index.encode_many(images)

    def warm(self, index: Index) -> None:
        """Load the encoders, and touch the rows of an index that is about to answer: its first search need not wait.

        Raises:
            LapelError: a run is gone, for one.
        """
        if self._blank is None:
            self._blank = index.encode_many([BLANK])[0]
        index.search_parts([Part(self._blank)], k=1)


@dataclass(frozen=True)
class Opened:
    """One version of an index, as a request uses it from beginning to end."""

    name: str
    index: Index
    encoding: Encoding

    @property
    def sources(self) -> tuple[Source, ...]:
        """The runs whose vectors it has."""
        return self.index.record.sources

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """What its vectors come from, run by run: a run's fingerprint, with that of a projection."""
        return tuple(source.made_by for source in self.sources)

    @cached_property
    def version(self) -> schema.IndexVersion:
        """Which index it is, and as of when: part of every answer."""
        runs = [schema.RunInfo(name=Path(each.run).name, fingerprint=each.fingerprint) for each in self.sources]
        return schema.IndexVersion(name=self.name, version=self.index.version, images=len(self.index), runs=runs)


class Served:
    """The open indexes by name.

    Args:
        settings: which folders.
        reader: opens a folder; by default with the encoders stored with it, or its runs.
        observe: takes the name of an index to what is told about each pass of its models.

    Attributes:
        hidden: paths that no message to a client may show, and what is said instead.
    """

    def __init__(
        self,
        settings: ServeSettings,
        reader: Callable[[Path], Index] | None = None,
        observe: Callable[[str], Observe] | None = None,
    ) -> None:
        self.settings = settings
        self.folders = dict(settings.indexes)
        self.hidden = {str(path): name for name, folder in settings.indexes for path in (folder, folder.resolve())}
        self._reader, self._observe = reader or self._read, observe
        self._current: dict[str, Opened] = {}
        self._trouble = dict.fromkeys(self.folders, "opening")
        self._changing = {name: asyncio.Lock() for name in self.folders}
        self._seen: dict[str, tuple[str, float]] = {}
        self._retired: list[Encoding] = []

    @property
    def names(self) -> list[str]:
        """Of all indexes; the first answers where none is named."""
        return list(self.folders)

    @property
    def current(self) -> list[Opened]:
        """The indexes that are open, as they are now."""
        return [self._current[name] for name in self.folders if name in self._current]

    @property
    def waiting(self) -> int:
        """Photographs that wait to be embedded."""
        return sum(opened.encoding.batcher.waiting for opened in self.current)

    def open(self) -> None:
        """Open every index, and load its encoders.

        Raises:
            LapelError: one cannot be opened.
        """
        for name in self.folders:
            if name not in self._current:
                self._take(name, self._newer(name, None))

    def get(self, name: str | None = None) -> Opened:
        """Return an index as it is now.

        Raises:
            NotFound: there is none of this name.
            NotReady: it is not open yet.
        """
        chosen = self.names[0] if name is None else name
        if chosen not in self.folders:
            raise NotFound(unknown("index", chosen, self.folders))
        if chosen not in self._current:
            raise NotReady(f"index {chosen!r} is not open: {self._trouble[chosen]}", 1)
        return self._current[chosen]

    @contextlib.contextmanager
    def using(self, name: str | None = None) -> Iterator[Opened]:
        """Hold an index as it is now: its encoders stay until the last request that holds it is done."""
        opened = self.get(name)
        opened.encoding.users += 1
        try:
            yield opened
        finally:
            opened.encoding.users -= 1

    async def answer(self, name: str | None, work: Callable[[Opened], Awaitable[T]]) -> T:
        """Do a request's work on an index as it is now.

        What fails because the index was replaced in the middle of it is done again with the new one.

        Raises:
            NotFound: there is none of this name.
            NotReady: it is not open yet, or the server that holds its rows does not answer.
        """
        with self.using(name) as opened:
            try:
                return await _answered(opened, work)
            except (LapelError, OSError, NotFound):
                await self.look(opened.name, patient=True)
                if self.get(opened.name) is opened:
                    raise
        with self.using(name) as opened:
            return await _answered(opened, work)

    async def look(self, name: str, patient: bool = False) -> None:
        """Take up a newer version of an index, if there is one.

        Args:
            name: of the index.
            patient: leave it as it is while an indexing is under way.
        """
        async with self._changing[name]:
            current = self._current.get(name)
            try:
                fresh = await asyncio.to_thread(self._newer, name, current, patient)
            except Exception as error:  # whatever it is: what is open goes on answering, and the watch goes on
                self._complain(name, error)
                return
            self._trouble[name] = ""
            self._take(name, fresh)

    async def watch(self) -> None:
        """Look for newer versions until cancelled, and let go of encoders that nobody needs any more."""
        while True:
            for name in self.folders:
                await self.look(name, patient=True)
            for encoding in [each for each in self._retired if not each.users]:
                self._retired.remove(encoding)
                await encoding.batcher.close()
            await asyncio.sleep(self.settings.watch_s)

    def readiness(self) -> dict[str, str]:
        """``ready`` for each index, or why it is not."""
        return {name: "ready" if name in self._current else self._trouble[name] for name in self.folders}

    async def close(self, drain: bool = True) -> None:
        """Let the encoders finish what they have taken."""
        for encoding in [*self._retired, *(opened.encoding for opened in self.current)]:
            await encoding.batcher.close(drain)

    def _complain(self, name: str, error: Exception) -> None:
        """Log once why an index cannot be opened."""
        foreseen = isinstance(error, LapelError | OSError)
        reason = str(error) if foreseen else "an error inside the server, whose log has more"
        if self._trouble[name] != reason:
            self._trouble[name] = reason
            log.warning(
                "index not opened", exc_info=None if foreseen else error, extra=_fields(index=name, reason=reason)
            )

    def _take(self, name: str, fresh: Opened | None) -> None:
        if fresh is None:
            return
        current, self._current[name] = self._current.get(name), fresh
        self._hide(fresh)
        if current is None:
            return
        log.info("index swapped", extra=_fields(index=name, version=fresh.index.version, images=len(fresh.index)))
        if current.encoding is fresh.encoding:
            current.encoding.index = fresh.index
        else:
            self._retired.append(current.encoding)

    def _hide(self, opened: Opened) -> None:
        record = opened.index.record
        self.hidden[record.root] = f"the catalogue's folder of {opened.name}"
        self.hidden |= {source.run: Path(source.run).name for source in record.sources}

    def _newer(self, name: str, current: Opened | None, patient: bool = False) -> Opened | None:
        """Open what is in the folder now, its encoders loaded; None if that is what is open, or not whole yet."""
        if current is None:
            return self._warmed(name, self._reader(self.folders[name]))
        if not current.index.stale or (patient and self._in_writing(name)):
            return None
        made_by = tuple(source.made_by for source in IndexRecord.read(self.folders[name]).sources)
        if made_by != current.fingerprints:
            return self._warmed(name, self._reader(self.folders[name]))
        index = current.index.refresh()
        return self._warmed(name, index, current.encoding) if index is not current.index else None

    def _warmed(self, name: str, index: Index, encoding: Encoding | None = None) -> Opened:
        observe = self._observe
        encoding = encoding or Encoding(index, self.settings, observe and observe(name))
        try:
            encoding.warm(index)
        except LapelError as error:  # searches by id need no encoder
            log.warning("no photographs can be searched with", extra=_fields(index=name, reason=str(error)))
        return Opened(name, index, encoding)

    def _in_writing(self, name: str) -> bool:
        """Whether an indexing is under way in a folder: its record says it is not complete, and it still changes."""
        if IndexRecord.read(self.folders[name]).complete:
            return False
        version = mark(self.folders[name])
        before = self._seen.get(name)
        if before is None or before[0] != version:
            self._seen[name] = (version, time.monotonic())
            return True
        return time.monotonic() - before[1] < SETTLE_S

    def _read(self, folder: Path) -> Index:
        made_by = {source.fingerprint for source in IndexRecord.read(folder).sources}
        return Index.open(folder, [run for run in self.settings.runs if _fingerprint(run) in made_by])


async def _answered(opened: Opened, work: Callable[[Opened], Awaitable[T]]) -> T:
    try:
        return await work(opened)
    except EngineUnavailable as error:
        log.warning("engine unavailable", extra=_fields(index=opened.name, reason=str(error)))
        raise NotReady(f"the engine that holds index {opened.name!r} does not answer") from error


def _fields(**fields: Any) -> dict[str, Any]:
    return {"fields": fields}


def _fingerprint(run: Path) -> str | None:
    try:
        return stored_fingerprint(run)
    except RunError:
        return None
