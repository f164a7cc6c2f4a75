"""The page's files: their types, and that a browser asks for them anew."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from lapel.serve.routes_page import FOLDER

KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}


def test_the_page(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.content == (FOLDER / "index.html").read_bytes()


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.iterdir()))
def test_its_files(client: TestClient, name: str) -> None:
    answer = client.get(f"/page/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].split(";")[0] == KINDS[f".{name.rpartition('.')[2]}"]
    assert answer.headers["cache-control"] == "no-cache"
    again = client.get(f"/page/{name}", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
