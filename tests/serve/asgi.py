"""A client that speaks ASGI by hand: it can be slow, lie, or leave, which no HTTP client does on request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
BOUNDARY = "an-odd-boundary"
MULTIPART = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
LEAVE = object()
"""In the place of a chunk: the client is gone."""


@dataclass
class Answer:
    """What came back; status 0: nothing."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    asked: int = 0  # messages the application asked for

    def json(self) -> Any:
        return json.loads(self.body)


def scope(method: str = "GET", path: str = "/", headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    path, _, query = path.partition("?")
    sent = {"host": "127.0.0.1", **(headers or {})}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "scheme": "http",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
    }


async def exchange(
    app: Any,
    method: str = "GET",
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    chunks: Iterable[Any] | AsyncIterator[Any] = (),
) -> Answer:
    """Send one request whose body comes in these chunks, and return the answer.

    A chunk is bytes, a number of seconds to wait, an awaitable to wait for, or ``LEAVE``.
    """
    answer, over, left = Answer(), asyncio.Event(), False
    pieces = chunks if hasattr(chunks, "__anext__") else _later(chunks)

    async def receive() -> dict[str, Any]:
        nonlocal left
        answer.asked += 1
        if not left:
            async for piece in pieces:
                if piece is LEAVE:
                    left = True
                    return {"type": "http.disconnect"}
                if isinstance(piece, int | float):
                    await asyncio.sleep(piece)
                elif isinstance(piece, bytes):
                    return {"type": "http.request", "body": piece, "more_body": True}
                else:
                    await piece
            left = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")
            if not message.get("more_body"):
                over.set()

    await app(scope(method, path, headers), receive, send)
    return answer


async def _later(chunks: Iterable[Any]) -> AsyncIterator[Any]:
    for chunk in chunks:
        yield chunk


def run(work: Coroutine[Any, Any, T], seconds: float = 30) -> T:
    """Run a test's coroutine; one that hangs fails."""

    async def bounded() -> T:
        async with asyncio.timeout(seconds):
            return await work

    return asyncio.run(bounded())


def part(name: str, data: bytes, filename: str | None = None, boundary: str = BOUNDARY) -> bytes:
    """One part of a multipart body."""
    file = f'; filename="{filename}"' if filename is not None else ""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + data + b"\r\n"


def multipart(*parts: bytes, boundary: str = BOUNDARY) -> bytes:
    """A whole multipart body."""
    return b"".join(parts) + f"--{boundary}--\r\n".encode()
