"""A small application with the middleware around it, and what it notes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from lapel.errors import LapelError
from lapel.serve.bodies import Bodies, BodyLimits
from lapel.serve.errors import Busy, install
from lapel.serve.metrics import Metrics
from lapel.serve.middleware import Middleware
from lapel.serve.security import Security

from .asgi import exchange

JSON = {"content-type": "application/json"}
SMALL = BodyLimits(upload=2000, other=100, together=5000)


class Body(BaseModel):
    k: int


class Bare:
    """Routes that do one thing each."""

    def __init__(self, folder: Path | None = None, limits: BodyLimits = SMALL, **settings: Any) -> None:
        self.metrics, self.bodies = Metrics(), Bodies(limits)
        self.app = app = FastAPI()
        self.go_on = asyncio.Event()
        install(app)

        @app.get("/hello/{name}")
        async def hello(name: str, request: Request) -> dict[str, str]:
            return {"name": name, "id": request.state.request_id}

        @app.post("/json")
        async def as_json(body: Body) -> int:
            return body.k

        @app.post("/size")
        async def size(request: Request) -> int:
            total = 0
            async for chunk in request.stream():
                total += len(chunk)
            return total

        @app.post("/hold")
        async def hold(request: Request) -> int:
            data = await request.body()
            await self.go_on.wait()
            return len(data)

        @app.get("/fail")
        async def fail() -> None:
            raise ZeroDivisionError("secret")

        @app.get("/wrong")
        async def wrong() -> None:
            raise LapelError("index /srv/shop and data/shop are wrong")

        @app.get("/busy")
        async def busy() -> None:
            raise Busy(3)

        @app.get("/half")
        async def half() -> StreamingResponse:
            async def pieces() -> Any:
                yield b"half of"
                raise ZeroDivisionError("secret")

            return StreamingResponse(pieces())

        if folder is not None:
            app.mount("/page", StaticFiles(directory=folder))
        app.add_middleware(
            Middleware,
            security=Security(**settings),
            metrics=self.metrics,
            bodies=self.bodies,
            hide={"data/shop": "shop"},
        )

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return await exchange(self.app, *args, **kwargs)

    def count(self, method: str, route: str, status: int) -> float:
        labels = {"method": method, "route": route, "status": str(status)}
        return self.metrics.registry.get_sample_value("lapel_http_requests_total", labels) or 0


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What the log says of each request."""
    return [record.fields for record in caplog.records if record.name == "lapel.serve.request"]
