"""The Python client and servers that are busy, odd or gone; what it sends, and what it refuses to send."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import lapel
from lapel.client import ApiFailure, Client, NoAnswer, Part
from lapel.errors import ImageError, LapelError, SearchIndexError


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the client would have waited."""
    waits: list[float] = []
    monkeypatch.setattr("lapel.client.asking.time.sleep", waits.append)
    return waits


def answering(*answers: httpx.Response | Exception, **options: Any) -> tuple[Client, list[httpx.Request]]:
    """A client of a server that gives these answers, the last one for ever."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        chosen = answers[min(len(asked), len(answers)) - 1]
        if isinstance(chosen, Exception):
            raise chosen
        return chosen

    return Client(transport=httpx.MockTransport(answer), **options), asked


def refused(status: int, code: str = "busy", **headers: str) -> httpx.Response:
    body = {"error": {"code": code, "message": "not now", "request_id": "r1"}}
    return httpx.Response(status, json=body, headers={name.replace("_", "-"): text for name, text in headers.items()})


@pytest.mark.parametrize(
    ("image_id", "path"),
    [
        ("a b/ä#?&+%2F.jpg", "/v1/entries/a%20b/%C3%A4%23%3F%26%2B%252F.jpg"),
        ("..", "/v1/entries/%2E%2E"),
        ("../../x", "/v1/entries/..%2F..%2Fx"),
        ("a//b", "/v1/entries/a%2F%2Fb"),
        ("/a", "/v1/entries/%2Fa"),
        ("half \udcff", "/v1/entries/half%20%ED%B3%BF"),
    ],
)
def test_how_ids_stand_in_an_address(image_id: str, path: str) -> None:
    client, asked = answering(refused(404, "not_found"))
    with pytest.raises(ApiFailure, match="not now"):
        client.entry(image_id, index="a&b")
    assert asked[0].url.raw_path.decode() == f"{path}?index=a%26b"


MISTAKES: list[tuple[Callable[[Client], Any], type[LapelError], str]] = [
    (lambda _: Client("127.0.0.1:8000"), LapelError, "expected one like http://127.0.0.1:8000"),
    (lambda _: Client("http://me:secret@host"), LapelError, "no address of a server"),
    (lambda _: Client("http://host:port"), LapelError, "no address of a server"),
    (lambda _: Client(token=""), LapelError, "expected a token of printable ASCII"),
    (lambda _: Client(token="ä" * 20), LapelError, "expected a token of printable ASCII"),
    (lambda client: client.search(), SearchIndexError, "give exactly one of image, id and parts"),
    (lambda client: client.search(b"x", id="a"), SearchIndexError, "give exactly one of image, id and parts"),
    (lambda client: client.search(parts=[Part(id="a")], weights={}), SearchIndexError, "belong into each"),
    (lambda client: client.search(parts=[Part()]), SearchIndexError, "give exactly one of image and id"),
    (lambda client: client.search(id="a", weights={"colour": float("nan")}), LapelError, "finite numbers"),
    (lambda client: client.search(id="a", weights={"colour": object()}), LapelError, "object"),  # type: ignore[dict-item]
    (lambda client: client.facets(f"name = '{'x' * 70_000}'"), LapelError, "too long for an address"),
    (lambda client: client.search("none.jpg"), ImageError, "cannot read none.jpg: No such file.* by id="),
    (lambda client: client.upload("a\0b"), ImageError, "cannot read"),
    (lambda client: client.upload(np.zeros((9, 9), np.uint8)), ImageError, "expected a .H, W, 3. uint8 array"),
    (lambda client: client.upload(3), ImageError, "expected a path, bytes"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("ask", "kind", "message"), MISTAKES)
def test_mistakes_are_told_before_anything_is_sent(
    ask: Callable[[Client], Any], kind: type[LapelError], message: str
) -> None:
    client, asked = answering(refused(500))
    with pytest.raises(kind, match=message):
        ask(client)
    assert asked == []


def test_it_comes_back_when_the_server_says_so(slept: list[float]) -> None:
    told = {"indexes": []}
    client, asked = answering(
        refused(429, Retry_After="3"),
        refused(503, "not_ready", Retry_After="5"),
        httpx.Response(503, text="Service Unavailable"),
        httpx.Response(200, json=told),
    )
    assert client.indexes() == ()
    assert len(asked) == 4
    for wait, least in zip(slept, (3, 5, 1), strict=True):
        assert least <= wait <= 1.2 * least


@pytest.mark.parametrize(
    ("answer", "times", "status", "code"),
    [
        (refused(429, Retry_After="4"), 6, 429, "busy"),
        (refused(429, Retry_After="Wed, 21 Oct 2030 07:28:00 GMT"), 25, 429, "busy"),
        (refused(503, "not_ready", Retry_After="31"), 1, 503, "not_ready"),
        (httpx.Response(503, text="Service Unavailable"), 25, 503, "error"),
        (refused(400, "bad_request"), 1, 400, "bad_request"),
        (refused(500, "internal"), 1, 500, "internal"),
        (httpx.Response(502, text="<h1>Bad Gateway</h1>"), 1, 502, "error"),
        (httpx.Response(301, headers={"Location": "https://b.example/"}), 1, 301, "error"),
    ],
)
def test_but_not_for_ever(slept: list[float], answer: httpx.Response, times: int, status: int, code: str) -> None:
    client, asked = answering(answer)
    with pytest.raises(ApiFailure) as caught:
        client.facets()
    assert (caught.value.status, caught.value.code) == (status, code)
    assert 1 <= len(asked) <= times + 5
    assert (len(asked) == 1) == (times == 1)
    assert sum(slept) <= 30


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.ConnectError("refused"), "nothing answers at http://127.0.0.1:8000 .*start it with lapel serve"),
        (httpx.ReadTimeout("slow"), "did not answer in time .ReadTimeout.: raise timeout"),
        (httpx.RemoteProtocolError("cut"), "gave no answer .cut.; ask again"),
        (httpx.Response(200, text="<!doctype html>"), "answers something else than expected .JSONDecodeError"),
        (httpx.Response(200, json={"index": {}}), "is it a server of Lapel"),
        (httpx.Response(200, json=[]), "is it a server of Lapel"),
        (httpx.Response(200, json={"index": None, "columns": 3}), "is it a server of Lapel"),
    ],
)
def test_no_answer(answer: httpx.Response | Exception, message: str) -> None:
    client, _ = answering(answer)
    with pytest.raises(NoAnswer, match=message):
        client.facets()


def test_not_ready(slept: list[float]) -> None:
    client, _ = answering(httpx.Response(503, json={"ready": False, "indexes": {"shop": "opening"}}))
    assert not client.ready()
    assert client.ready().indexes == {"shop": "opening"}
    client, _ = answering(httpx.Response(503, text="Service Unavailable"))
    assert not client.ready()
    assert slept == []


def test_what_is_sent(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"any bytes: the server looks at them")
    told = {"index": {}, "id": "a", "change": "added"}
    client, asked = answering(httpx.Response(200, json=told), token="t" * 20, index="other")
    labels = {"neckline": "V-neck", "colour": ("red", "white")}
    changed = client.upsert(
        photo, "a/ä", labels=labels, metadata={"price": np.float64(9.5), "old": None}, box=(1, 2, 3, 4)
    )
    assert changed == "added"
    assert asked[0].headers["Authorization"] == f"Bearer {'t' * 20}"
    assert asked[0].headers["User-Agent"] == f"lapel/{lapel.__version__}"
    body = asked[0].read()
    assert photo.read_bytes() in body
    entry = json.loads(body.partition(b'name="entry"\r\n\r\n')[2].partition(b"\r\n")[0])
    assert entry == {
        "index": "other",
        "id": "a/ä",
        "labels": {"neckline": ["V-neck"], "colour": ["red", "white"]},
        "metadata": {"price": 9.5, "old": None},
        "box": [1, 2, 3, 4],
    }
    client, asked = answering(httpx.Response(200, json={"index": {}, "deleted": 1}))
    assert client.delete("a/ä") == 1
    assert json.loads(asked[0].read()) == {"ids": ["a/ä"]}
