"""Pictures: of an index and of queries, in the sizes there are, asked for again."""

from __future__ import annotations

import io

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from .shop import Shop, ready


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_a_picture_and_asking_again(client: TestClient, shop: Shop) -> None:
    path = f"/v1/images/{shop.images[0]}"
    answer = client.get(path)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "private, max-age=30, stale-while-revalidate=600"
    assert opened(answer.content).size == (96, 96)
    for known in (answer.headers["etag"], f'"other", W/{answer.headers["etag"]}', "*"):
        again = client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == answer.headers["etag"]
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    assert client.get(path, params={"side": 160}).headers["etag"] != answer.headers["etag"]


@pytest.mark.parametrize("side", [160, 320, 640, 1280])
def test_sides(client: TestClient, side: int) -> None:
    sink = io.BytesIO()
    Image.new("RGB", (2000, 1000), "green").save(sink, "PNG")
    sent = client.post("/v1/queries", files={"image": sink.getvalue()}).json()
    answer = client.get(f"/v1/queries/{sent['query']}/image", params={"side": side})
    assert opened(answer.content).size == (side, side // 2)
    tag = answer.headers["etag"]
    again = client.get(f"/v1/queries/{sent['query']}/image?side={side}", headers={"If-None-Match": tag})
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/images/images/000000-0.jpg?side=100", 422, "invalid"),
        ("/v1/images/images/000000-0.jpg?side=x", 422, "invalid"),
        ("/v1/images/images/000000-0.jpg?index=none", 404, "not_found"),
        ("/v1/images/none.jpg", 404, "not_found"),
        ("/v1/images/catalogue.csv", 404, "not_found"),  # it lies beside the pictures, but is none of the index
        ("/v1/images/..%2Fphotos%2Fimages%2F000000-0.jpg", 404, "not_found"),
        ("/v1/images/%2Fetc%2Fpasswd", 404, "not_found"),
        ("/v1/images/images/000000-0.jpg%00.png", 404, "not_found"),
        ("/v1/images/", 404, "not_found"),
        (f"/v1/queries/{'0' * 32}/image", 410, "query_gone"),
        ("/v1/queries/none/image", 404, "not_found"),
    ],
)
def test_no_path_of_a_client_reaches_the_disk(client: TestClient, path: str, status: int, code: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_changed_file_is_another_picture(own_shop: Shop) -> None:
    with TestClient(own_shop.app(), base_url="http://127.0.0.1") as client:
        ready(client)
        path = f"/v1/images/{own_shop.images[0]}"
        before = client.get(path)
        Image.new("RGB", (50, 80), "blue").save(own_shop.photo())
        after = client.get(path, headers={"If-None-Match": before.headers["etag"]})
        assert after.status_code == 200
        assert opened(after.content).size == (50, 80)
        own_shop.photo().write_bytes(b"<html>")
        broken = client.get(path)
        assert broken.status_code == 404
        assert "an HTML page saved as an image" in broken.json()["error"]["message"]
