"""Figures of a server for Prometheus, in a registry of their own; labels are route templates and names of indexes."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from lapel import __version__
from lapel.serve.batching import Pass

CONTENT_TYPE = CONTENT_TYPE_LATEST
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2.5, 5, 10, 30, 60)
BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """What one application counts."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        Info("lapel", "The software", registry=registry).info({"version": __version__})
        self._requests = Counter(
            "lapel_http_requests", "Answered requests", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "lapel_http_request_seconds",
            "From the first byte of the header to the last of the answer",
            ["method", "route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge("lapel_http_in_flight", "Requests being answered", registry=registry)
        self._received = Counter("lapel_http_received_bytes", "Bytes of request bodies", registry=registry)
        self._sent = Counter("lapel_http_sent_bytes", "Bytes of answers' bodies", registry=registry)
        self._batch = Histogram(
            "lapel_encode_batch_images", "Photographs in a pass", ["index"], buckets=BATCHES, registry=registry
        )
        self._encode = Histogram(
            "lapel_encode_seconds", "Seconds of a pass", ["index"], buckets=SECONDS, registry=registry
        )
        self._waited = Histogram(
            "lapel_encode_wait_seconds",
            "Seconds a photograph waited for its pass",
            ["index"],
            buckets=SECONDS,
            registry=registry,
        )
        self._failed = Counter(
            "lapel_encode_failed_images", "Photographs that no pass embedded", ["index"], registry=registry
        )
        self._lookups = Counter(
            "lapel_query_vectors",
            "Looks for kept vectors of photographs",
            ["result"],
            registry=registry,
        )
        self._images = Gauge("lapel_index_images", "Images in an index", ["index"], registry=registry)
        self._index = Info("lapel_index", "The version of an index and its runs", ["index"], registry=registry)
        self._gauges: dict[str, Gauge] = {}

    def begin(self) -> None:
        """Count a request that arrives."""
        self._in_flight.inc()

    def end(self, method: str, route: str, status: int, seconds: float, received: int, sent: int) -> None:
        """Count a request that is over; ``route`` is the template, never the path that a client chose."""
        method = method if method in METHODS else "other"
        self._in_flight.dec()
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)
        self._received.inc(received)
        self._sent.inc(sent)

    def encoded(self, index: str) -> Callable[[Pass], None]:
        """Return what counts the passes of an index: the ``observe`` of its batcher."""
        batch, seconds = self._batch.labels(index), self._encode.labels(index)
        waited, failed = self._waited.labels(index), self._failed.labels(index)

        def count(done: Pass) -> None:
            batch.observe(done.images)
            seconds.observe(done.run_s)
            failed.inc(done.failed)
            for wait in done.waited_s:
                waited.observe(wait)

        return count

    def looked_up(self, found: bool) -> None:
        """Count a look for the vectors of a query photograph."""
        self._lookups.labels("hit" if found else "miss").inc()

    def index(self, name: str, images: int, version: str, runs: str) -> None:
        """Say which version of an index answers now; the one before is forgotten."""
        self._images.labels(name).set(images)
        self._index.labels(name).info({"version": version, "runs": runs})

    def watch(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Show ``lapel_<name>``: a value that is asked for when the figures are read."""
        if name not in self._gauges:
            self._gauges[name] = Gauge(f"lapel_{name}", meaning, registry=self.registry)
        self._gauges[name].set_function(value)

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format, of ``CONTENT_TYPE``."""
        return generate_latest(self.registry)
