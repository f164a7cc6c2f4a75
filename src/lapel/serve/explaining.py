"""Where a run looks on an image: the one part of the server that needs torch, loaded when first asked, or ahead."""

from __future__ import annotations

import importlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lapel.decoding import Box, decode_array
from lapel.decoding import Source as Picture
from lapel.errors import LapelError, RunError, unknown
from lapel.evaluation.overlays import attention_to_image, overlay
from lapel.frame import Preprocessing
from lapel.landmarks import LANDMARKS
from lapel.retrieval.layout import ITEM, Source
from lapel.runs import read_config, stored_fingerprint
from lapel.serve.errors import ApiError, BadRequest
from lapel.serve.workers import Workers

if TYPE_CHECKING:
    from lapel.retrieval.embedder import Embedder

Floats = npt.NDArray[np.float32]
CELLS, SIDE = 96, 640  # longest side of a map, and of a picture with one on top
WAITING, KEPT, RUNS = 16, 256, 4  # explanations that may wait, maps and models kept in memory
FLAT = 1e-4  # a map whose values differ by less than this share of the largest shows nothing
SURE = 0.3  # a landmark's heat-map is 1 where it is and 0 where there is none
MARGIN, LEAST = 0.12, 0.05  # of a suggested box: added on each side, and share of the photograph it must cover


@dataclass(frozen=True)
class Looked:
    """Where a run looks on one image.

    Attributes:
        size: (width, height) in pixels of the upright image.
        box: the part of it that was meant, or None.
        maps: name -> (h, w) over the prepared image: attributes, or the branches of an item run.
        preprocessing: how the image was prepared.
    """

    size: tuple[int, int]
    box: Box | None
    maps: dict[str, Floats]
    preprocessing: Preprocessing

    def map(self, name: str | None) -> Floats:
        """Return the map of ``name``; of an item run without a name the mean of all."""
        if name is None:
            return np.asarray(np.mean([*self.maps.values()], axis=0), np.float32)
        if name not in self.maps:
            raise BadRequest(unknown("branch", name, self.maps))
        return self.maps[name]

    def spread(self, attention: Floats) -> tuple[list[list[float | None]], bool]:
        """Return a map over the whole image, at most 96 cells a side, from 0 to 1; and whether it is flat."""
        scale = min(1.0, CELLS / max(self.size))
        size = (max(1, round(self.size[0] * scale)), max(1, round(self.size[1] * scale)))
        box = None if self.box is None else [edge * scale for edge in self.box]
        found = attention_to_image(attention, size, self.preprocessing, box)
        low, high = float(np.nanmin(found)), float(np.nanmax(found))
        flat = high - low <= FLAT * abs(high)
        levels = np.where(np.isnan(found), np.nan, 0.0) if flat else (found - low) / (high - low)
        rows = [[None if cell != cell else round(cell, 3) for cell in row] for row in levels.tolist()]
        return rows, flat

    def picture(self, source: Picture, attention: Floats) -> bytes:
        """Return the photograph with a map on top, as PNG."""
        photo = Image.fromarray(np.ascontiguousarray(decode_array(source)))
        scale = min(1.0, SIDE / max(photo.size))
        photo.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        box = None if self.box is None else [edge * scale for edge in self.box]
        sink = io.BytesIO()
        overlay(photo, attention, preprocessing=self.preprocessing, box=box).save(sink, "PNG")
        return sink.getvalue()


class Explainer:
    """Loads runs and asks them where they look, one image at a time.

    Args:
        runs: folders of runs that are no longer where they were at indexing.
        load: takes a run folder to its embedder; by default ``lapel.retrieval.embedder.load``.
    """

    def __init__(self, runs: Sequence[Path] = (), load: Callable[[Path], Embedder] | None = None) -> None:
        self.workers = Workers(1, WAITING, "lapel-explain")
        self._runs, self._load = tuple(runs), load
        self._loaded: OrderedDict[str, Embedder] = OrderedDict()
        self._looked: OrderedDict[Hashable, Looked] = OrderedDict()
        self._lock = threading.Lock()

    def steps(self, sources: Sequence[Source]) -> Iterator[Callable[[], object]]:
        """Yield what loads the runs of an index ahead, piece by piece, for ``workers``.

        In pieces, so that a question, or the end of the server, need not wait for all of them.
        """
        there = [source for source in sources if self.whereabouts(source) is not None][:RUNS]
        if there and self._load is None:
            yield from (partial(importlib.import_module, name) for name in ("torch", "torchvision", "timm"))
        for source in there:
            yield partial(self._embedder, source)

    def whereabouts(self, source: Source) -> Path | None:
        """Return where a run of an index is now; None if it is gone, or has other weights by now."""
        for run in (*self._runs, Path(source.run)):
            try:
                if stored_fingerprint(run) == source.fingerprint:
                    return run
            except (RunError, OSError):
                continue
        return None

    async def look(
        self, sources: Sequence[Source], attribute: str, picture: Callable[[], Picture], key: Hashable, box: Box | None
    ) -> Looked:
        """Ask the run that embeds an attribute where it looks on an image.

        Args:
            sources: of the index.
            attribute: of one of them.
            picture: gives the image; called in a worker thread, where it is not known yet.
            key: of the image: equal keys are equal images.
            box: the part of the image that is meant.

        Raises:
            BadRequest: the index does not embed the attribute.
            ApiError: the run is not there (409).
            Busy: too many wait.
            ImageError: the image cannot be read, or the box is empty.
        """
        known = [name for one in sources for name in one.attributes]
        if attribute not in known:
            raise BadRequest(unknown("attribute", attribute, known))
        source = next(one for one in sources if attribute in one.attributes)
        key = (key, None if box is None else tuple(box), source.fingerprint)
        with self._lock:
            if key in self._looked:
                self._looked.move_to_end(key)
                return self._looked[key]
        return await self.workers(self._look, source, picture, key, box)

    def _look(self, source: Source, picture: Callable[[], Picture], key: Hashable, box: Box | None) -> Looked:
        with self._lock:
            if key in self._looked:  # one that waited before this one asked for the same
                return self._looked[key]
        embedder = self._embedder(source)
        pixels = decode_array(picture())
        # Every attribute at once: the trunk runs once for all of them.
        maps = embedder.attention([decode_array(pixels, box)])[0]
        named = dict(zip(embedder.gazes, maps, strict=True))
        looked = Looked((pixels.shape[1], pixels.shape[0]), box, named, embedder.preprocessing)
        with self._lock:
            self._looked[key] = looked
            while len(self._looked) > KEPT:
                self._looked.popitem(last=False)
        return looked

    def _embedder(self, source: Source) -> Any:
        if source.fingerprint in self._loaded:
            self._loaded.move_to_end(source.fingerprint)
            return self._loaded[source.fingerprint]
        run = self.whereabouts(source)
        if run is None:
            raise ApiError(
                409,
                "no_run",
                f"run {Path(source.run).name!r}, which made this index, is not there (any longer) and only it can "
                "show where it looks: start the server with --run FOLDER",
            )
        embedder = self._loaded[source.fingerprint] = (self._load or _load)(run)
        while len(self._loaded) > RUNS:
            self._loaded.popitem(last=False)
        return embedder

    def locates(self, sources: Sequence[Source]) -> Source | None:
        """Return the first item run of an index that was taught landmarks and is there; None if there is none."""
        for source in sources:
            run = self.whereabouts(source) if source.attributes == (ITEM,) else None
            if run is not None:
                try:
                    losses = read_config(run).recipe.training.losses
                except LapelError:
                    continue
                if losses.get("landmarks", 0) > 0:
                    return source
        return None

    async def suggest(self, source: Source, picture: Picture) -> list[float] | None:
        """Return a box about the landmarks that a run finds: x1, y1, x2, y2 in pixels; None where it finds too few.

        Raises:
            Busy: too many wait.
            ImageError: the image cannot be read.
        """
        return await self.workers(self._suggest, source, picture)

    def _suggest(self, source: Source, picture: Picture) -> list[float] | None:
        embedder = self._embedder(source)
        pixels = decode_array(picture)
        maps = embedder.heatmaps([pixels])
        if maps is None or maps.shape[1] != len(LANDMARKS):
            return None
        import torch

        from lapel.heatmaps import read_heatmaps
        from lapel.landmark_frame import unframe_landmarks

        pre, (height, width) = embedder.preprocessing, pixels.shape[:2]
        points = read_heatmaps(torch.from_numpy(np.asarray(maps)), pre.height, pre.width).numpy()
        places = unframe_landmarks(points[..., :2], None, np.array([[height, width]]), pre)[0]
        return around(places[points[0, :, 2] >= SURE], width, height)


def _load(run: Path) -> Embedder:
    from lapel.retrieval.embedder import load

    return load(run)


def around(places: npt.NDArray[np.float64], width: int, height: int) -> list[float] | None:
    """Return a box about points (n, 2) of an image, with a margin, in whole pixels; None for too few, or too small.

    >>> around(np.array([[40.0, 20], [60, 20], [50, 180]]), 100, 200)
    [37, 0, 63, 200]
    """
    if len(places) < 3:
        return None
    low, high = places.min(axis=0), places.max(axis=0)
    margin = MARGIN * (high - low)
    x1, y1 = np.floor(np.clip(low - margin, 0, (width, height)))
    x2, y2 = np.ceil(np.clip(high + margin, 0, (width, height)))
    if (x2 - x1) * (y2 - y1) < LEAST * width * height:
        return None
    return [int(edge) for edge in (x1, y1, x2, y2)]
