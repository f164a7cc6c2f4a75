"""What a server is started with."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

MB = 1 << 20


def _threads() -> int:
    """Work that blocks shares the cores: one thread more than cores, for those that wait for a disk."""
    return min(32, (os.cpu_count() or 1) + 1)


@dataclass(frozen=True)
class ServeSettings:
    """Which indexes are served, to whom, and every bound.

    Attributes:
        indexes: name and folder of each; the first answers where a request names none.
        runs: folders of runs that are no longer where they were at indexing.
        host: address to listen on.
        port: to listen on; 0 takes a free one.
        hosts: further names under which clients reach it, for a proxy on the same machine.
        token: what a client must show to write, and on another host than loopback for everything; None: no writes.
        token_for_all: whether reading needs the token on loopback too.
        warm: whether the runs of the first index, which explain, are loaded when nobody has asked for anything for a
            while; that takes some hundred MB.
        max_upload_mb: the largest request.
        max_pixels: the largest photograph a client may send, in declared pixels.
        max_frames: the longest animation of which the first frame is taken.
        queue: photographs that may wait to be embedded; more are answered 429.
        batch: photographs that share one pass of a model.
        threads: for work that blocks: ranking, decoding, thumbnails.
        waiting: blocking calls that may wait for a thread; more are answered 429.
        keep_queries: query photographs kept in memory.
        keep_queries_mb: their bytes at most.
        thumbs_mb: memory for thumbnails.
        timeout_s: seconds that the body of a request may take to arrive.
        shutdown_s: seconds that a stopping server gives to what it has taken.
        watch_s: seconds between looks at the index folders for a newer version.
    """

    indexes: tuple[tuple[str, Path], ...]
    runs: tuple[Path, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8000
    hosts: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)
    token_for_all: bool = False
    warm: bool = False
    max_upload_mb: float = 20
    max_pixels: int = 40_000_000
    max_frames: int = 1000
    queue: int = 64
    batch: int = 16
    threads: int = field(default_factory=_threads)
    waiting: int = 256
    keep_queries: int = 500
    keep_queries_mb: float = 256
    thumbs_mb: float = 64
    timeout_s: float = 60
    shutdown_s: float = 20
    watch_s: float = 1
