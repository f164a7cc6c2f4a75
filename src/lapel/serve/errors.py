"""Every answer of the server that is no success: one JSON body, with neither a traceback nor a path of its disk."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from lapel.decoding import BoxError, DecodeError
from lapel.errors import CatalogueError, ImageError, LapelError, RunError
from lapel.retrieval.store import EngineUnavailable

Headers: TypeAlias = Mapping[str, str]

CODES = {
    400: "bad_request",
    401: "unauthorised",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    409: "no_run",
    410: "query_gone",
    413: "too_large",
    415: "not_an_image",
    421: "wrong_host",
    422: "invalid",
    429: "busy",
    431: "too_large",
    500: "internal",
    503: "not_ready",
}
CLIENT_LEFT = 499
"""What the log says of a request whose client left before the answer; nobody receives it."""
SHOWN = 4  # wrong fields that a message names
LONGEST = 1000  # characters of a message, which may quote what was sent
ABSOLUTE = re.compile(r"""(?<![^\s'"`(\[{=,:;<>])(?<!http:)(?<!https:)(?:[A-Za-z]:[\\/]|\\\\|/)[^\s'"`()\[\]{}<>,;]+""")


class ApiError(HTTPException):
    """An answer that is no success.

    It derives from Starlette's exception because FastAPI lets only that one through while it reads a body.

    Args:
        status: of HTTP.
        code: a word for programs, as in ``CODES``.
        message: a sentence for people: what was expected, what was found, what to do.
        headers: of the answer.
    """

    def __init__(self, status: int, code: str, message: str, headers: Headers | None = None) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.status, self.code, self.message = status, code, message

    def __str__(self) -> str:
        return self.message


class BadRequest(ApiError):
    """400: what is asked for does not exist or makes no sense."""

    def __init__(self, message: str) -> None:
        super().__init__(400, "bad_request", message)


class Unauthorised(ApiError):
    """401: the token is missing or is another one."""

    def __init__(self, message: str) -> None:
        super().__init__(401, "unauthorised", message, {"WWW-Authenticate": "Bearer"})


class Forbidden(ApiError):
    """403: this server does not do it for anybody, or not for this page."""

    def __init__(self, message: str) -> None:
        super().__init__(403, "forbidden", message)


class NotFound(ApiError):
    """404: no such entry, image or route."""

    def __init__(self, message: str) -> None:
        super().__init__(404, "not_found", message)


class TimedOut(ApiError):
    """408: the request did not arrive in time."""

    def __init__(self, message: str) -> None:
        super().__init__(408, "timeout", message, {"Connection": "close"})


class QueryGone(ApiError):
    """410: the photograph is not kept any longer; the client sends it again."""

    def __init__(self, query: str) -> None:
        super().__init__(
            410, "query_gone", f"photograph {query} is not kept here (any longer): send it to /v1/queries again"
        )


class TooLarge(ApiError):
    """413: more bytes, pixels or frames than this server takes."""

    def __init__(self, message: str) -> None:
        super().__init__(413, "too_large", message)


class NotAnImage(ApiError):
    """415: the upload cannot be read as a photograph."""

    def __init__(self, message: str) -> None:
        super().__init__(415, "not_an_image", message)


class WrongHost(ApiError):
    """421: the request was meant for a host of another name."""

    def __init__(self, message: str) -> None:
        super().__init__(421, "wrong_host", message)


class Invalid(ApiError):
    """422: the request has another shape than the route expects."""

    def __init__(self, message: str) -> None:
        super().__init__(422, "invalid", message)


class Busy(ApiError):
    """429: as much waits as may wait; ``retry_after`` seconds from now there should be room."""

    def __init__(self, retry_after: float, message: str = "the server is busy") -> None:
        seconds = str(max(1, math.ceil(retry_after)))
        super().__init__(429, "busy", f"{message}: try again in {seconds} s", {"Retry-After": seconds})


class NotReady(ApiError):
    """503: starting, stopping, or something this server needs is gone."""

    def __init__(self, message: str, retry_after: float = 5) -> None:
        super().__init__(503, "not_ready", message, {"Retry-After": str(max(1, math.ceil(retry_after)))})


class Crowded(ApiError):
    """503: too many connections are open."""

    def __init__(self) -> None:
        headers = {"Retry-After": "1", "Connection": "close"}
        super().__init__(503, "not_ready", "too many connections: try again in a moment, with fewer", headers)


def install(app: FastAPI, hide: Mapping[str, str] | None = None) -> None:
    """Make every error of ``app`` an error body.

    Unforeseen exceptions are not answered here but in :class:`lapel.serve.middleware.Middleware`, which stands around
    everything else and logs them with their traceback.

    Args:
        app: of FastAPI.
        hide: texts that no message may show, such as index and run folders, to what is shown in their place. It is
            read anew for each message, so that the caller may change it. Absolute paths are hidden in any case.
    """

    async def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, ClientDisconnect):
            return Response(status_code=CLIENT_LEFT)
        return respond(request, known(error), hide)

    for kind in (LapelError, HTTPException, RequestValidationError, ClientDisconnect):
        app.add_exception_handler(kind, answer)


def known(error: Exception) -> ApiError:
    """Return the answer to an exception; what was not foreseen becomes a 500 that says nothing about it."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        return Invalid(_fields(error.errors()))
    if isinstance(error, HTTPException):
        code = CODES.get(error.status_code, "error" if error.status_code < 500 else "internal")
        return ApiError(error.status_code, code, str(error.detail or code), error.headers)
    if isinstance(error, BoxError):
        return BadRequest(error.reason)
    if isinstance(error, DecodeError):
        return NotAnImage(f"cannot read the image: {error.reason}")
    if isinstance(error, ImageError):
        return NotAnImage(str(error))
    if isinstance(error, RunError | CatalogueError):  # no request can mend these
        return NotReady(str(error))
    if isinstance(error, EngineUnavailable):  # its message has the engine's address
        return NotReady("the engine that holds this index does not answer now: try again in a moment")
    if isinstance(error, LapelError):
        return BadRequest(str(error))
    return ApiError(500, "internal", "an error inside the server: its log has more under this request_id")


def respond(request: Request, error: ApiError, hide: Mapping[str, str] | None = None) -> Response:
    """Return the answer with the error body."""
    request_id = str(request.scope.get("state", {}).get("request_id", ""))
    message = scrub(error.message, hide)
    if len(message) > LONGEST:
        message = message[: LONGEST - 4] + " ..."
    body = {"error": {"code": error.code, "message": message, "request_id": request_id}}
    # ASCII only: a message may quote half a surrogate pair, which no UTF-8 can carry.
    return Response(json.dumps(body), error.status, dict(error.headers or {}), "application/json")


def scrub(message: str, hide: Mapping[str, str] | None = None) -> str:
    """Return a message without ``hide`` and without absolute paths; a bare name tells nothing, and may be any word.

    >>> scrub("index data/shop was built with run /srv/runs/a, gone", {"data/shop": "shop"})
    'index shop was built with run (a path), gone'
    """
    paths = [text for text in hide or {} if "/" in text or "\\" in text]
    for text in sorted(paths, key=len, reverse=True):
        message = message.replace(text, (hide or {})[text])
    return ABSOLUTE.sub(lambda found: found[0] if found[0].startswith("/v1/") else "(a path)", message)


def _fields(errors: Sequence[Any]) -> str:
    """Name the fields that are wrong, without what was sent in them."""
    told = []
    for error in errors[:SHOWN]:
        place = ".".join(str(step) for step in error["loc"] if step != "body")
        text = str(error["msg"])
        if error["type"] == "json_invalid":
            place, text = "", f"the body is no JSON ({(error.get('ctx') or {}).get('error', text)})"
        elif not place and error["type"] in ("model_attributes_type", "dict_type"):
            text = "the body is no JSON object: send one, with the header Content-Type: application/json"
        told.append(f"{place[:200]}: {text}" if place else text)
    more = f"; and {len(errors) - SHOWN} more" if len(errors) > SHOWN else ""
    return "; ".join(told) + more
