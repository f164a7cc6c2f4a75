"""The application: routes, and the rooms they share, opened and closed in order."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from fastapi import FastAPI

from lapel import __version__
from lapel.retrieval.index import Index
from lapel.serve import (
    routes_copies,
    routes_explain,
    routes_health,
    routes_images,
    routes_indexes,
    routes_items,
    routes_page,
    routes_queries,
    routes_search,
)
from lapel.serve.bodies import Bodies, BodyLimits
from lapel.serve.errors import install
from lapel.serve.explaining import Explainer
from lapel.serve.metrics import Metrics
from lapel.serve.middleware import Middleware
from lapel.serve.queries import Queries
from lapel.serve.security import Security
from lapel.serve.service import Service
from lapel.serve.settings import MB, ServeSettings
from lapel.serve.state import Served
from lapel.serve.thumbs import Thumbs
from lapel.serve.uploads import Photographs
from lapel.serve.workers import Workers

ROUTES = (
    routes_search,
    routes_queries,
    routes_explain,
    routes_copies,
    routes_indexes,
    routes_images,
    routes_items,
    routes_health,
    routes_page,
)
ABOUT = """Find garments by what matters: this neckline, that sleeve, a little of this pattern, or exactly this item.

Send a photograph to `/v1/queries` once and search with its id, or search with the `id` of an image of the index.
Weights live in the query: each search may weigh attributes anew. Every answer names the index, its version and its
runs; every error has a `code`, a `message` that says what to do, and the `request_id` that the log knows it by."""


def create_app(settings: ServeSettings, reader: Callable[[Path], Index] | None = None) -> FastAPI:
    """Make the application. It opens its indexes when it starts, unless ``app.state.lapel.served.open()`` did before.

    Args:
        settings: what to serve, and every bound.
        reader: opens an index folder; by default with the encoders that are stored with it.

    Raises:
        SecurityError: a token is needed and there is none, or it is too easily guessed.
    """
    security = Security(settings.host, settings.token, settings.hosts, settings.token_for_all)
    metrics = Metrics()
    workers = Workers(settings.threads, settings.waiting)
    service = Service(
        settings=settings,
        metrics=metrics,
        served=Served(settings, reader, metrics.encoded),
        queries=Queries(settings.keep_queries, settings.keep_queries_mb),
        photographs=Photographs(workers, settings.max_pixels, settings.max_frames, waiting=settings.queue),
        workers=workers,
        thumbs=Thumbs(int(settings.thumbs_mb * MB)),
        explainer=Explainer(settings.runs),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start(service.warm())
        service.start(service.served.watch())
        try:
            yield
        finally:
            await service.close()

    app = FastAPI(
        title="Lapel",
        version=__version__,
        description=ABOUT,
        docs_url=None,  # these pages load scripts of other hosts; the page's own policy forbids that
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.lapel, app.state.security = service, security
    install(app, service.served.hidden)
    limits = BodyLimits(
        upload=int(settings.max_upload_mb * MB) + MB,  # the fields beside the file
        idle_s=min(10.0, settings.timeout_s),
        total_s=settings.timeout_s,
    )
    app.add_middleware(
        Middleware, security=security, metrics=metrics, bodies=Bodies(limits), hide=service.served.hidden
    )
    for module in ROUTES:
        app.include_router(module.router)
    app.mount("/page", routes_page.files(), "page")
    return app
