"""Many images as uint8 batches: decoded ahead in threads, kept in memory, the unreadable ones set aside."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lapel.errors import ImageError
from lapel.images import Box, DecodeError, Preprocessing, decode, prepare

Rows = npt.NDArray[np.int64]
Batch = tuple[Rows, Tensor]


@dataclass(frozen=True)
class Failure:
    """An image that was left out, and why."""

    path: Path
    reason: str


class ImageSource:
    """Prepared images by row number.

    Results do not depend on the number of threads: batches come in the order asked for, rows in the order
    given, duplicates included. Prepared images stay in memory, first come first kept, until ``cache_bytes``
    are full; what is in memory is never decoded again, and what failed once is never tried again.

    Args:
        paths: one image per row.
        pre: the frame to bring them to.
        boxes: per row None or x1, y1, x2, y2 in pixels of the upright image.
        cache_bytes: memory for prepared images; height * width * 3 bytes each.
        threads: decoding threads; None means one per core this process may use, 16 at most.
        max_failed: share of the rows that may fail. Up to ``max(1, max_failed * len)`` failures are set
            aside; one more raises. 0 raises at the first, 1 never does.

    Attributes:
        sizes: (N, 2) int32 height and width of each image in pixels, upright and cut to its box, as the frame takes
            it; -1 until it has been read.
    """

    def __init__(
        self,
        paths: Sequence[Path | str],
        pre: Preprocessing,
        boxes: Sequence[Box | None] | None = None,
        cache_bytes: int = 2 << 30,
        threads: int | None = None,
        max_failed: float = 0.05,
    ) -> None:
        if boxes is not None and len(boxes) != len(paths):
            raise ImageError(f"expected one box (or None) per image: {len(paths)} images, {len(boxes)} boxes")
        if not 0 <= max_failed <= 1:
            raise ImageError(f"max_failed is a share from 0 to 1, got {max_failed}")
        self.paths = [Path(path) for path in paths]
        self.pre = pre
        self.boxes = boxes
        self.threads = threads or min(16, _cores())
        self.max_failed = max_failed
        self.sizes = np.full((len(self.paths), 2), -1, dtype=np.int32)
        self.decoded = 0  # images handed to a decoder so far
        self._failed: dict[int, Failure] = {}
        self._slot = np.full(len(self.paths), -1, dtype=np.int64)  # place in the cache, -1: not there
        self._kept = 0
        self._capacity = min(len(self.paths), cache_bytes // (pre.height * pre.width * 3))
        self._cache: Tensor | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def failures(self) -> list[Failure]:
        """What could not be read so far, in the order it was met."""
        return list(self._failed.values())

    def batch(self, rows: npt.ArrayLike) -> Batch:
        """Return ``batches([rows])``'s only pair."""
        return next(self.batches([rows]))

    def batches(self, row_arrays: Iterable[npt.ArrayLike], prefetch: int = 2) -> Iterator[Batch]:
        """Yield (rows that could be read, (n, 3, height, width) uint8 in channels-last memory) per array.

        While the caller works on one batch, up to ``prefetch`` further ones are being decoded. Leaving the
        loop early, by whatever way, drops what is queued and waits only for the images being decoded.

        Raises:
            ImageError: more images failed than ``max_failed`` allows.
            IndexError: a row number outside 0 .. len - 1.
        """
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="lapel-decode")
        pending: dict[int, Future[Tensor | str]] = {}  # shared by the batches under way
        queue: deque[tuple[Rows, dict[int, Future[Tensor | str]]]] = deque()
        try:
            for array in row_arrays:
                queue.append(self._submit(pool, array, pending))
                if len(queue) > prefetch:
                    yield self._collect(*queue.popleft(), pending)
            while queue:
                yield self._collect(*queue.popleft(), pending)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _submit(
        self, pool: ThreadPoolExecutor, array: npt.ArrayLike, pending: dict[int, Future[Tensor | str]]
    ) -> tuple[Rows, dict[int, Future[Tensor | str]]]:
        rows = np.asarray(array, dtype=np.int64).reshape(-1)
        outside = rows[(rows < 0) | (rows >= len(self))]
        if len(outside):
            raise IndexError(f"row {outside[0]} is outside 0 .. {len(self) - 1}")
        wanted: dict[int, Future[Tensor | str]] = {}
        for row in rows[self._slot[rows] < 0].tolist():
            if row in self._failed or row in wanted:
                continue
            if row not in pending:
                self.decoded += 1
                pending[row] = pool.submit(self._load, row)
            wanted[row] = pending[row]
        return rows, wanted

    def _load(self, row: int) -> Tensor | str:
        """Decode and prepare one image in a thread; a string is the reason why not."""
        try:
            box = self.boxes[row] if self.boxes is not None else None
            image = decode(self.paths[row], box)
            prepared = prepare(image, self.pre)
            self.sizes[row] = image.shape[1:]  # no other thread has this row
            return prepared
        except DecodeError as error:
            return error.reason

    def _collect(
        self, rows: Rows, wanted: dict[int, Future[Tensor | str]], pending: dict[int, Future[Tensor | str]]
    ) -> Batch:
        passing: dict[int, Tensor] = {}  # what the cache has no room for
        for row, future in wanted.items():
            result = future.result()
            pending.pop(row, None)
            if isinstance(result, str):
                if row not in self._failed:
                    self._fail(row, result)
            elif self._slot[row] < 0 and not self._keep(row, result):
                passing[row] = result
        good = rows[[row not in self._failed for row in rows.tolist()]]
        # Interleaved in memory: one copy per image, and the layout convolutions like best.
        images = torch.empty((len(good), self.pre.height, self.pre.width, 3), dtype=torch.uint8)
        slots = self._slot[good]
        inside = np.flatnonzero(slots >= 0)
        if self._cache is not None and len(inside) == len(good):
            torch.index_select(self._cache, 0, torch.from_numpy(slots), out=images)
        elif self._cache is not None:
            images[torch.from_numpy(inside)] = self._cache[torch.from_numpy(slots[inside])]
        for place in np.flatnonzero(slots < 0).tolist():
            images[place] = passing[int(good[place])].permute(1, 2, 0)
        return good, images.permute(0, 3, 1, 2)

    def _keep(self, row: int, image: Tensor) -> bool:
        if self._kept >= self._capacity:
            return False
        if self._cache is None:  # the system hands out the pages as they are first written
            shape = (self._capacity, self.pre.height, self.pre.width, 3)
            self._cache = torch.empty(shape, dtype=torch.uint8)
        self._cache[self._kept] = image.permute(1, 2, 0)
        self._slot[row] = self._kept
        self._kept += 1
        return True

    def _fail(self, row: int, reason: str) -> None:
        self._failed[row] = Failure(self.paths[row], reason)
        allowed = max(1.0, self.max_failed * len(self)) if self.max_failed else 0
        if self.max_failed < 1 and len(self._failed) > allowed:
            count, total = len(self._failed), len(self)
            first = "\n".join(f"  {failure.path}: {failure.reason}" for failure in self.failures[:5])
            more = f"\n  and {count - 5} more" if count > 5 else ""
            raise ImageError(
                f"{count} of {total} images ({count / total:.1%}) cannot be read, more than the "
                f"{self.max_failed:.1%} allowed:\n{first}{more}\n"
                "Repair or remove them (lapel data check lists every one), or allow a larger share with "
                "max_failed."
            )


def _cores() -> int:
    """Cores this process may use, which in a container are fewer than the machine's."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
