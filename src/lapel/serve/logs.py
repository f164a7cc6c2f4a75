"""Logs as JSON lines on standard error: one per request, each line with the id of the request it belongs to."""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import IO, Any

REQUEST: ContextVar[str] = ContextVar("lapel_request", default="")
"""Id of the request that the current task works for."""
SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")

requests = logging.getLogger("lapel.serve.request")
LOGGERS = ("lapel.serve", "uvicorn", "uvicorn.error")


class JsonLines(logging.Formatter):
    """A record as one line of JSON; what is passed as ``extra={"fields": {...}}`` stands in it by name."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := REQUEST.get():
            line["request_id"] = request_id
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)  # ASCII: no control character of a client reaches a terminal


def configure(level: str = "info", stream: IO[str] | None = None) -> None:
    """Send the logs of Lapel's server and of uvicorn to one stream, standard error by default.

    uvicorn's own access log is turned off: it shows query strings, and the line of each request is written here.
    """
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonLines())
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler] if name != "uvicorn.error" else [], name == "uvicorn.error"
        logger.setLevel(level.upper())
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate, access.disabled = [], False, True
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of what clients send


def request_id(sent: str | None) -> str:
    """Return the id a client sent as X-Request-ID, if it is sane, else a new one.

    >>> request_id("job-7"), len(request_id("a b")), len(request_id(None))
    ('job-7', 16, 16)
    """
    return sent if sent and SANE.fullmatch(sent) else secrets.token_hex(8)


def answered(
    method: str, route: str, status: int, seconds: float, received: int, sent: int, error: str | None = None
) -> None:
    """Write the line of a request: neither its path nor its query string, which may hold what people search for."""
    fields: dict[str, Any] = {
        "method": method[:16],
        "route": route,
        "status": status,
        "ms": round(seconds * 1000, 1),
        "received": received,
        "sent": sent,
    }
    if error:
        fields["error"] = error
    requests.log(logging.WARNING if status >= 500 else logging.INFO, "request", extra={"fields": fields})
