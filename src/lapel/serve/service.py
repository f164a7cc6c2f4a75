"""What the routes share: indexes, query photographs, threads; and the vectors of images, each computed once."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from lapel.decoding import Box, DecodeError, Pixels, decode_array
from lapel.errors import LapelError, SearchIndexError
from lapel.retrieval.hits import Entry
from lapel.retrieval.store import EngineUnavailable
from lapel.serve import schema
from lapel.serve.batching import while_connected
from lapel.serve.errors import ApiError, NotFound, QueryGone
from lapel.serve.explaining import Explainer
from lapel.serve.metrics import Metrics
from lapel.serve.queries import Kept, Queries
from lapel.serve.settings import ServeSettings
from lapel.serve.state import BLANK, Opened, Served, Vectors
from lapel.serve.thumbs import Thumbs, shrink
from lapel.serve.uploads import Photographs
from lapel.serve.workers import Once, Workers
from lapel.serve.writes import WriteQueue

T = TypeVar("T")
log = logging.getLogger("lapel.serve")
IDLE_S = 3.0  # without a request, before runs are loaded that may be asked to explain
FILES = 1000  # images of an index of which the vectors of a crop, or by another index's runs, are kept


@dataclass
class Service:
    """One server's rooms."""

    settings: ServeSettings
    metrics: Metrics
    served: Served
    queries: Queries
    photographs: Photographs
    workers: Workers
    thumbs: Thumbs
    explainer: Explainer
    writes: dict[str, WriteQueue] = field(default_factory=dict)
    stopping: bool = False
    _asked: float = field(default_factory=time.monotonic)
    _once: Once[Vectors] = field(default_factory=Once)
    _files: OrderedDict[Hashable, Vectors] = field(default_factory=OrderedDict)
    _lock: Any = field(default_factory=threading.Lock)
    _background: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        served, watch = self.served, self.metrics.watch
        watch("encode_waiting", "Photographs that wait for a pass", lambda: served.waiting)
        watch("writes_waiting", "Changes that wait to be written", lambda: sum(q.waiting for q in self.writes.values()))
        watch("workers_waiting", "Calls that wait for a thread", lambda: self.workers.waiting)
        watch("queries_kept", "Photographs kept", lambda: len(self.queries))
        watch("queries_bytes", "Bytes of kept photographs and vectors", lambda: self.queries.size)
        watch("thumbs_bytes", "Bytes of kept thumbnails", lambda: self.thumbs.held)

    async def answer(self, request: Request, index: str | None, work: Callable[[Opened], Awaitable[T]]) -> T:
        """Do a request's work on an index, as long as its client is there; see ``Served.answer``."""
        self._asked = time.monotonic()
        try:
            return await while_connected(request, self.served.answer(index, work))
        finally:
            self._asked = time.monotonic()

    async def warm(self) -> None:
        """Do what the first requests would have to wait for, without keeping any waiting.

        Pillow loads its formats at once. The runs that explain are loaded when nothing was asked for a while, because
        importing torch holds up everything else.
        """
        data = await self.workers(shrink, BLANK, BLANK.shape[0])
        async with self.photographs.open(data):
            pass
        if not self.settings.warm:
            return
        try:
            for step in self.explainer.steps(self.served.get().sources):
                while self.workers.taken or time.monotonic() - self._asked < IDLE_S:
                    await asyncio.sleep(IDLE_S / 10)
                await self.explainer.workers(step)
        except (ApiError, LapelError, OSError, ImportError) as error:  # said to whoever asks for an explanation
            log.info("nothing to explain with", extra={"fields": {"reason": str(error)}})

    async def keep(self, data: bytes, index: str | None = None) -> Kept:
        """Check and keep a photograph, and begin to embed it before a search asks for that.

        Args:
            data: as received.
            index: by whose runs; by default the first's.

        Raises:
            NotFound: no such index.
            NotAnImage, TooLarge, Busy, DecodeError: as ``Photographs.open``.
        """
        self.served.get(index)
        self._asked = time.monotonic()
        name = await self.workers(Queries.name, data)
        with suppress(QueryGone):
            return self.queries.get(name)
        kept: asyncio.Future[Kept] = asyncio.get_running_loop().create_future()
        task = self.start(self._first(data, index, kept))
        try:
            return await kept
        finally:
            if not kept.done() or kept.cancelled():
                task.cancel()

    async def vectors(self, opened: Opened, part: schema.Source) -> Vectors:
        """Return the vectors of an image by an index's runs, from where they are kept or embedded now.

        Raises:
            QueryGone, NotFound: no such image.
            Busy: too many wait to be embedded.
            ImageError: it cannot be read, or the box is empty.
        """
        box = None if part.box is None else tuple(part.box)
        if part.query is not None:
            kept = self.queries.get(part.query)
            found = self.queries.vectors(kept.query, opened.fingerprints, box)
            self.metrics.looked_up(found is not None)
            if found is not None:
                return tuple(found)
            return await self._once((kept.query, opened.fingerprints, box), lambda: self._embed(opened, kept, box))
        home, entry = await self.entry(opened, part)
        if home is opened and box is None:
            return tuple((await self.workers(opened.index.vectors_of, [entry.id]))[0])
        box = entry.box if box is None else box
        path, known = await self.picture(entry)
        key = (known, opened.fingerprints, box)
        with self._lock:
            if key in self._files:
                self._files.move_to_end(key)
                return self._files[key]
        return await self._once(key, lambda: self._embed_file(opened, path, box, key))

    async def entry(self, opened: Opened, part: schema.Source) -> tuple[Opened, Entry]:
        """Return the index that the image of a part belongs to, and what it knows of it.

        Raises:
            NotFound: no such index or image.
        """
        home = opened if part.of in (None, opened.name) else self.served.get(part.of)
        return home, await self.workers(found, home, part.id)

    def stop(self) -> None:
        """Say that the server is no longer ready: it takes no new work from here on."""
        self.stopping = True

    def figures(self) -> bytes:
        """Return the metrics, as they are now."""
        for opened in self.served.current:
            runs = ",".join(fingerprint[:12] for fingerprint in opened.fingerprints)
            self.metrics.index(opened.name, len(opened.index), opened.index.version, runs)
        return self.metrics.text()

    async def close(self) -> None:
        """Give up what nobody waits for, finish the rest."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await asyncio.gather(*(queue.close() for queue in self.writes.values()))
        await self.served.close()
        await self.workers.close()
        await self.explainer.workers.close()

    async def picture(self, entry: Entry) -> tuple[Path, str]:
        """Return where the photograph of an index's image is, and a name that changes when it does.

        Raises:
            NotFound: it is gone.
        """
        path = Path(entry.image)
        try:
            return path, await self.workers(self.thumbs.tag, path, 0)
        except DecodeError as error:
            raise NotFound(f"the photograph of {entry.id!r} cannot be read: {error.reason}") from error

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do work beside the requests; it is given up when the server stops."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _first(self, data: bytes, index: str | None, kept: asyncio.Future[Kept]) -> None:
        try:
            async with self.photographs.open(data) as pixels:
                if kept.done():
                    return
                known = self.queries.keep(data, pixels.shape[1], pixels.shape[0])
                kept.set_result(known)
                with self.served.using(index) as opened:
                    key = (known.query, opened.fingerprints, None)
                    await self._once(key, lambda: self._embed_pixels(opened, known, None, pixels))
        except (ApiError, LapelError) as error:  # embedded when it is asked for, or refused then
            if not kept.done():
                kept.set_exception(error)

    async def _embed(self, opened: Opened, kept: Kept, box: Box | None) -> Vectors:
        async with self.photographs.open(kept.image, box) as pixels:
            return await self._embed_pixels(opened, kept, box, pixels)

    async def _embed_pixels(self, opened: Opened, kept: Kept, box: Box | None, pixels: Pixels) -> Vectors:
        vectors = await opened.encoding.batcher(pixels)
        self.queries.keep_vectors(kept.query, opened.fingerprints, box, vectors)
        return vectors

    async def _embed_file(self, opened: Opened, path: Path, box: Box | None, key: Hashable) -> Vectors:
        pixels = await self.workers(decode_array, path, box)
        vectors = await opened.encoding.batcher(pixels)
        with self._lock:
            self._files[key] = vectors
            while len(self._files) > FILES:
                self._files.popitem(last=False)
        return vectors


def found(opened: Opened, image_id: str | None) -> Entry:
    """Return an image of an index.

    Raises:
        NotFound: there is none of this id.
        EngineUnavailable: the server that holds the rows does not answer.
    """
    try:
        return opened.index.get(str(image_id))
    except EngineUnavailable:
        raise
    except SearchIndexError as error:
        raise NotFound(f"no image {image_id!r} in index {opened.name!r}") from error


async def _service(request: Request) -> Service:
    held: Service = request.app.state.lapel
    return held


Serves = Annotated[Service, Depends(_service)]
