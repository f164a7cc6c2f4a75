"""One JSON line for each thing that happens."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from lapel.serve import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What ``configure`` writes to; the loggers are put back afterwards."""
    names = (*logs.LOGGERS, "uvicorn.access")
    loggers = [logging.getLogger(name) for name in names]
    before = [(one.handlers, one.propagate, one.level, one.disabled) for one in loggers]
    found = io.StringIO()
    logs.configure(stream=found)
    yield found
    for one, (one.handlers, one.propagate, level, one.disabled) in zip(loggers, before, strict=True):
        one.setLevel(level)


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_request_is_one_line(stream: io.StringIO) -> None:
    mark = logs.REQUEST.set("job-7")
    logs.answered("POST", "/v1/search", 200, 0.01234, 10, 20)
    logs.answered("A" * 99, "/v1/search", 503, 1, 0, 0, "RunError")
    logs.REQUEST.reset(mark)
    first, second = written(stream)
    assert first.pop("time")[-6:] == "+00:00"
    assert first == {
        "level": "info",
        "logger": "lapel.serve.request",
        "message": "request",
        "request_id": "job-7",
        "method": "POST",
        "route": "/v1/search",
        "status": 200,
        "ms": 12.3,
        "received": 10,
        "sent": 20,
    }
    assert (second["level"], second["error"], second["method"]) == ("warning", "RunError", "A" * 16)


def test_whatever_is_logged_stays_one_line(stream: io.StringIO) -> None:
    logging.getLogger("lapel.serve").info("two\nlines \x1b[31m of %s", "é\u2028")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        logging.getLogger("lapel.serve.state").exception("odd", extra={"fields": {"what": {1, 2}}})
    first, second, third = written(stream)
    assert first["message"] == "two\nlines \x1b[31m of é\u2028"
    assert "\x1b" not in stream.getvalue()
    assert second["logger"] == "uvicorn.error"
    assert "ZeroDivisionError" in third["traceback"]
    assert third["what"] == "{1, 2}"
    assert "request_id" not in first


def test_uvicorn_s_own_access_log_is_off_and_levels_hold(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.access").info('127.0.0.1 - "GET /v1/facets?where=secret"')
    logging.getLogger("lapel.serve").debug("too much")
    assert stream.getvalue() == ""
    logs.configure("debug", stream)
    logging.getLogger("lapel.serve").debug("as asked")
    logs.configure("debug", stream)  # once more: still one line each
    logging.getLogger("uvicorn.error").info("Started")
    assert [line["message"] for line in written(stream)] == ["as asked", "Started"]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("job-7", True),
        ("3f2504e0-4f89-11d3-9a0c-0305e82c3301", True),
        ("A.b_c-1", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("", False),
        (None, False),
        ("a b", False),
        ("a\n", False),
        ("é", False),
        ("{}", False),
    ],
)
def test_a_sane_id_is_kept(sent: str | None, kept: bool) -> None:
    found = logs.request_id(sent)
    assert (found == sent) is kept
    assert logs.SANE.fullmatch(found)
    assert kept or logs.request_id(sent) != found
