"""What stands around every request, as plain ASGI: its id, its log line and figures, who may come in, what may come."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lapel.serve import logs
from lapel.serve.bodies import Bodies, Body
from lapel.serve.errors import CLIENT_LEFT, ApiError, Crowded, known, respond
from lapel.serve.metrics import Metrics
from lapel.serve.security import HEADERS, Security

log = logging.getLogger("lapel.serve")
UNKNOWN = "(none)"  # the route of what no route answers
SEND_S = 30.0  # for a piece of the answer to be taken; its client may be slow, but not asleep


class Middleware:
    """Ties together request ids, logs, metrics, security and the bounds of bodies.

    For ``app.add_middleware``, which puts it inside of Starlette's own last resort. It answers whatever exception the
    application lets through, with the error body of a 500 and a traceback in the log; so nothing reaches the server
    above it, unless an answer has begun already.

    Args:
        app: what it stands around.
        security: who may come in.
        metrics: where to count.
        bodies: the bounds of request bodies.
        hide: as in :func:`lapel.serve.errors.install`.
    """

    def __init__(
        self,
        app: ASGIApp,
        security: Security,
        metrics: Metrics,
        bodies: Bodies | None = None,
        hide: Mapping[str, str] | None = None,
    ) -> None:
        self.app, self.security, self.metrics = app, security, metrics
        self.bodies, self.hide = bodies or Bodies(), hide

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method = scope["method"]
        if method == "HEAD":  # every route that takes GET; the server above drops the body
            scope = {**scope, "method": "GET"}
        body = self.bodies.of(scope, receive)
        exchange = _Exchange(scope, body, send)
        root = scope.get("root_path", "")
        mark = logs.REQUEST.set(exchange.request_id)
        self.metrics.begin()
        try:
            await self._answer(scope, body, exchange)
        finally:
            body.release()
            status, route = exchange.status, template(scope, root)
            seconds = time.perf_counter() - exchange.begun
            self.metrics.end(method, route, status, seconds, body.read, exchange.sent)
            logs.answered(method, route, status, seconds, body.read, exchange.sent, exchange.error)
            logs.REQUEST.reset(mark)

    async def _answer(self, scope: Scope, body: Body, exchange: _Exchange) -> None:
        try:
            if scope["state"].get("crowded"):  # see lapel.serve.shutdown.Server
                raise Crowded
            self.security.check(scope)
            await self.app(scope, body.receive, exchange.send)
        except asyncio.CancelledError:
            exchange.error = "cancelled"
            raise
        except Exception as error:
            if isinstance(error, ClientDisconnect) or isinstance(error.__cause__, ClientDisconnect):
                exchange.status = exchange.status or CLIENT_LEFT
                return
            if not isinstance(error, ApiError):
                exchange.error = type(error).__name__
                log.exception("an exception nobody foresaw")
            if exchange.started:
                raise  # half an answer is out: the server closes the connection
            await respond(Request(scope), known(error), self.hide)(scope, body.receive, exchange.send)


class _Exchange:
    """One request and its answer: passes messages on, and notes what the log and the figures need."""

    def __init__(self, scope: Scope, body: Body, send: Send) -> None:
        self.begun = time.perf_counter()
        self.request_id = logs.request_id(Headers(scope=scope).get("x-request-id"))
        scope.setdefault("state", {})["request_id"] = self.request_id
        self.status, self.sent, self.started = 0, 0, False
        self.error: str | None = None
        self._nobody = False  # is there to be answered
        self._body, self._send = body, send

    async def send(self, message: Message) -> None:
        """Pass on a message of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.status == CLIENT_LEFT or self._body.gone:
                self.status, self._nobody = CLIENT_LEFT, True
        if self._nobody:
            return
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.request_id
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
            await self._body.drain()
            self.started = True
        elif message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
        try:
            async with asyncio.timeout(SEND_S):
                await self._send(message)
        except TimeoutError:
            self.error, self._nobody = "the client does not read the answer", True
            raise ClientDisconnect from None


def template(scope: Scope, root: str = "") -> str:
    """Return the template of the route that answered, such as ``/v1/images/{id}``: as many as there are routes.

    Args:
        scope: of the request, after it was answered.
        root: its ``root_path`` before: a mounted application adds its own and sets no route.
    """
    route = scope.get("route")
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    if path is None and scope.get("root_path", "") != root:
        return f"{scope['root_path']}/*"
    return UNKNOWN if path is None else str(path)
