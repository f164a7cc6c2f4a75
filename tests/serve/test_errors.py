"""One body for all errors, which names neither a path of the disk nor what went wrong inside."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from lapel.decoding import BoxError, DecodeError
from lapel.errors import CatalogueError, ImageError, LapelError, RunError, SearchIndexError
from lapel.retrieval.store import EngineUnavailable
from lapel.serve import errors
from lapel.serve.errors import ApiError, install, known, scrub


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    k: int = Field(24, ge=1, le=200)
    names: list[str] = []


def application(error: Exception | None = None, hide: dict[str, str] | None = None) -> FastAPI:
    app = FastAPI()

    @app.get("/fail")
    async def fail(request: Request) -> None:
        request.state.request_id = "job-7"
        assert error is not None
        raise error

    @app.post("/k")
    async def k(body: Body) -> int:
        return body.k

    install(app, hide)
    return app


def answer(error: Exception, hide: dict[str, str] | None = None) -> httpx.Response:
    return TestClient(application(error, hide)).get("/fail")


@pytest.mark.parametrize(
    ("make", "status", "code"),
    [
        (lambda: errors.BadRequest("x"), 400, "bad_request"),
        (lambda: errors.Unauthorised("x"), 401, "unauthorised"),
        (lambda: errors.Forbidden("x"), 403, "forbidden"),
        (lambda: errors.NotFound("x"), 404, "not_found"),
        (lambda: errors.TimedOut("x"), 408, "timeout"),
        (lambda: ApiError(409, "no_run", "x"), 409, "no_run"),
        (lambda: errors.QueryGone("ab"), 410, "query_gone"),
        (lambda: errors.TooLarge("x"), 413, "too_large"),
        (lambda: errors.NotAnImage("x"), 415, "not_an_image"),
        (lambda: errors.WrongHost("x"), 421, "wrong_host"),
        (lambda: errors.Invalid("x"), 422, "invalid"),
        (lambda: errors.Busy(2.1), 429, "busy"),
        (lambda: errors.NotReady("x"), 503, "not_ready"),
        (lambda: LapelError("x"), 400, "bad_request"),
        (lambda: SearchIndexError("unknown attribute 'neklin'"), 400, "bad_request"),
        (lambda: DecodeError("truncated"), 415, "not_an_image"),
        (lambda: BoxError("box [1, 1, 1, 2] is empty"), 400, "bad_request"),
        (lambda: EngineUnavailable("Milvus at http://milvus.inside:19530 does not answer"), 503, "not_ready"),
        (lambda: ImageError("too many images"), 415, "not_an_image"),
        (lambda: RunError("no weights"), 503, "not_ready"),
        (lambda: CatalogueError("gone"), 503, "not_ready"),
        (lambda: HTTPException(404), 404, "not_found"),
        (lambda: HTTPException(418), 418, "error"),
        (lambda: HTTPException(502), 502, "internal"),
    ],
)
def test_every_error_has_its_status_and_the_body(make: Callable[[], Exception], status: int, code: str) -> None:
    response = answer(make())
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "request_id"}
    assert body["error"]["code"] == code
    assert body["error"]["request_id"] == "job-7"
    assert body["error"]["message"]


def test_headers_come_along() -> None:
    assert answer(errors.Busy(2.1)).headers["retry-after"] == "3"
    assert answer(errors.Busy(0)).headers["retry-after"] == "1"
    assert answer(errors.NotReady("starting", 7)).headers["retry-after"] == "7"
    assert answer(errors.Unauthorised("x")).headers["www-authenticate"] == "Bearer"
    refused = TestClient(application()).get("/k")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert refused.json()["error"]["code"] == "method_not_allowed"
    assert TestClient(application()).get("/nowhere").json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("body", "fragments"),
    [
        ('{"k": 0}', ["k: Input should be greater than or equal to 1"]),
        ('{"k": "many"}', ["k: Input should be a valid integer"]),
        ('{"kk": 3}', ["kk: Extra inputs are not permitted"]),
        ('{"names": [1, 2, 3, 4, 5, 6]}', ["names.0: Input should be a valid string", "; and 2 more"]),
        ('{"k": ', ["the body is no JSON (Expecting value)"]),
        ("[]", ["the body is no JSON object: send one, with the header Content-Type: application/json"]),
        ("", ["Field required"]),
    ],
)
def test_a_wrong_body_is_told_field_by_field(body: str, fragments: list[str]) -> None:
    response = TestClient(application()).post("/k", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "invalid"
    for fragment in fragments:
        assert fragment in response.json()["error"]["message"]


def test_a_body_without_its_content_type_is_told_so() -> None:
    """What curl -d sends."""
    sent = {"content-type": "application/x-www-form-urlencoded"}
    response = TestClient(application()).post("/k", content='{"k": 1}', headers=sent)
    assert response.status_code == 422
    assert "the header Content-Type: application/json" in response.json()["error"]["message"]


def test_what_was_sent_is_not_sent_back() -> None:
    hostile = "<script>alert(1)</script>"
    response = TestClient(application()).post("/k", json={"k": hostile})
    assert response.status_code == 422
    assert hostile not in response.text


def test_half_a_surrogate_pair_is_no_500() -> None:
    response = answer(errors.BadRequest("unknown attribute '\ud800'"))
    assert response.status_code == 400
    assert json.loads(response.content)["error"]["message"] == "unknown attribute '\ud800'"


def test_a_message_that_quotes_much_is_cut() -> None:
    message = answer(errors.BadRequest(f"no image {'x' * 5000}")).json()["error"]["message"]
    assert len(message) == 1000
    assert message.endswith("xx ...")


def test_an_unforeseen_exception_says_nothing_of_itself() -> None:
    error = known(ZeroDivisionError("secret in /srv/lapel/index.py"))
    assert (error.status, error.code) == (500, "internal")
    assert "secret" not in error.message
    assert "/srv" not in error.message


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("index /srv/shop was built", "index (a path) was built"),
        ("index '/srv/my shop/x' is gone", "index '(a path) shop/x' is gone"),
        ("see (/mnt/x.lance): gone", "see ((a path)): gone"),
        ("run=/a/b,/c/d", "run=(a path),(a path)"),
        (r"run C:\lapel\runs gone", "run (a path) gone"),
        (r"run \\server\share gone", "run (a path) gone"),
        ("index data/shop was built with runs/a", "index shop was built with a"),
        ("unknown index 'x'. Known: a", "unknown index 'x'. Known: a"),
        ("send it to /v1/queries again", "send it to /v1/queries again"),
        ("price 3/4 and km/h, a / b", "price 3/4 and km/h, a / b"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("", ""),
    ],
)
def test_no_path_of_the_disk_is_shown(message: str, shown: str) -> None:
    hide = {"data/shop": "shop", "runs/a": "a", "": "never", "index": "never", ".": "never"}
    assert scrub(message, hide) == shown
    if message:
        assert answer(SearchIndexError(message), hide).json()["error"]["message"] == shown


def test_what_is_hidden_may_change_after_the_start() -> None:
    hide: dict[str, str] = {}
    client = TestClient(application(SearchIndexError("index data/shop"), hide))
    assert "data/shop" in client.get("/fail").text
    hide["data/shop"] = "shop"
    assert client.get("/fail").json()["error"]["message"] == "index shop"


def test_an_engine_that_is_away_does_not_tell_its_address() -> None:
    told = known(EngineUnavailable("Milvus at http://milvus.inside:19530 does not answer"))
    assert "milvus.inside" not in told.message
    assert told.headers is not None
    assert "Retry-After" in told.headers
