"""Photographs that are sent: kept under the id of their bytes, embedded before they are asked about, refused."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from lapel.serve.queries import Queries

from .shop import Shop, ready


def photo(size: tuple[int, int] = (60, 80), kind: str = "JPEG", **options: Any) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", size, "orange").save(sink, kind, **options)
    return sink.getvalue()


def send(client: TestClient, image: bytes, **fields: str) -> Any:
    return client.post("/v1/queries", files={"image": ("any name.jpg", image)}, data=fields)


def test_the_same_bytes_have_the_same_id(client: TestClient) -> None:
    first, again, other = send(client, photo()), send(client, photo()), send(client, photo((61, 80)))
    assert first.status_code == again.status_code == 201
    told = first.json()
    assert told == {"query": Queries.name(photo()), "width": 60, "height": 80, "box": None, "kept_s": 3600}
    assert again.json() == told
    assert other.json()["query"] != told["query"]
    assert client.get(f"/v1/queries/{told['query']}").json() == told


def test_upright(client: TestClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    told = send(client, photo((90, 40), exif=exif)).json()
    assert (told["width"], told["height"]) == (40, 90)
    picture = Image.open(io.BytesIO(client.get(f"/v1/queries/{told['query']}/image").content))
    assert picture.size == (40, 90)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_kinds(client: TestClient, kind: str) -> None:
    assert send(client, photo((33, 44), kind)).json()["width"] == 33


def test_embedded_before_it_is_asked_for(shop: Shop) -> None:
    """Sending a photograph begins to embed it; the search then finds the vectors, also of the index that was named."""
    app = shop.app(indexes=(("one", shop.folder), ("two", shop.folder)))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        ready(client)
        for index, image in (("one", photo((64, 64))), ("two", photo((65, 65)))):
            calls = [list(seer.calls) for seer in shop.seers]
            query = send(client, image, index=index).json()["query"]
            queries = app.state.lapel.queries
            runs = [seer.fingerprint for seer in shop.seers]
            until = time.monotonic() + 10
            while queries.vectors(query, runs) is None and time.monotonic() < until:
                time.sleep(0.005)
            for _ in range(3):
                asked = {"parts": [{"query": query, "weights": {"colour": 1}}], "index": index}
                assert client.post("/v1/search", json=asked).status_code == 200
            assert [seer.calls for seer in shop.seers] == [[*before, 1] for before in calls]


def test_a_suggested_box(shop: Shop) -> None:
    """Where a run finds landmarks; sending the photograph does not wait for it for long, asking about it does."""
    app = shop.app()
    asked = []

    class Slow:
        workers = app.state.lapel.explainer.workers

        def locates(self, sources: Any) -> Any:
            return sources[0]

        async def suggest(self, source: Any, picture: bytes) -> list[float]:
            import asyncio

            asked.append(picture)
            await asyncio.sleep(0.4)
            return [5, 6, 50, 70]

    app.state.lapel.explainer = Slow()
    with TestClient(app, base_url="http://127.0.0.1") as client:
        ready(client)
        image = photo((77, 88))
        told = send(client, image).json()
        assert told["box"] is None
        later = client.get(f"/v1/queries/{told['query']}").json()
        assert later == {**told, "box": [5, 6, 50, 70]}
        assert send(client, image).json() == later
        assert asked in ([image], [image, image])


@pytest.mark.parametrize(
    ("image", "status", "code", "message"),
    [
        (b"<html><body>", 415, "not_an_image", "an HTML page saved as an image"),
        (b"", 415, "not_an_image", "an empty file"),
        (photo()[:300], 415, "not_an_image", "truncated"),
        (photo((5000, 2)), 415, "not_an_image", "pixels"),
        (photo((3000, 2000), "PNG"), 413, "too_large", "6.0 megapixels, the limit is 5.0"),
        (photo() + b"x" * (3 << 20), 413, "too_large", "larger than"),
    ],
)
def test_refused(shop: Shop, image: bytes, status: int, code: str, message: str) -> None:
    with TestClient(shop.app(max_pixels=5_000_000, max_upload_mb=1), base_url="http://127.0.0.1") as client:
        ready(client)
        answer = send(client, image)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert message in answer.json()["error"]["message"]
        assert len(client.app.state.lapel.queries) == 0  # type: ignore[attr-defined]


def test_mistakes(client: TestClient) -> None:
    for body in ({"json": {"image": "x"}}, {"data": {"image": "x"}}, {"content": b""}):
        answer = client.post("/v1/queries", **body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")
    assert "unknown field 'url'" in send(client, photo(), url="http://example.org/a.jpg").json()["error"]["message"]
    assert send(client, photo(), index="none").json()["error"]["code"] == "not_found"
    assert json.loads(client.get(f"/v1/queries/{'ab' * 16}").text)["error"]["code"] == "query_gone"
    assert client.get("/v1/queries/x").status_code == 404


def test_what_is_forgotten_is_gone(shop: Shop) -> None:
    with TestClient(shop.app(keep_queries=1), base_url="http://127.0.0.1") as client:
        ready(client)
        first = send(client, photo()).json()["query"]
        send(client, photo((61, 61)))
        for answer in (
            client.get(f"/v1/queries/{first}"),
            client.get(f"/v1/queries/{first}/image"),
            client.post("/v1/search", json={"parts": [{"query": first}]}),
            client.post("/v1/explain", json={"part": {"query": first}, "attribute": "colour"}),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (410, "query_gone")
