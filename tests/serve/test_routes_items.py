"""Images written and deleted over the API: on disk and found by the next search, together in few commits."""

from __future__ import annotations

import io
import json
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from lapel.errors import LapelError
from lapel.retrieval.lance_store import LanceStore, state
from lapel.retrieval.layout import IndexRecord
from lapel.retrieval.locking import only_writer
from lapel.retrieval.writing import Writer

from .shop import TOKEN, Shop, ready, running

HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def photo(seed: int = 0, size: tuple[int, int] = (40, 60), kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 4, 3), np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(sink, kind)
    return sink.getvalue()


def huge() -> bytes:
    """A file that declares 7000 x 7000 pixels."""
    small = photo(size=(16, 16))
    header = b"IHDR" + (7000).to_bytes(4, "big") * 2 + small[24:29]
    return small[:12] + header + zlib.crc32(header).to_bytes(4, "big") + small[33:]


@pytest.fixture(scope="module")
def writable(garments: Any, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop.build(tmp_path_factory.mktemp("writable"), garments)


@pytest.fixture(scope="module")
def client(writable: Shop) -> Iterator[TestClient]:
    with TestClient(writable.app(), base_url="http://127.0.0.1", headers=HEADERS) as opened:
        yield ready(opened)


def put(client: Any, image: bytes | None = None, /, **entry: Any) -> Any:
    files = {} if image is None else {"image": ("a.png", image)}
    return client.post("/v1/items", files=files, data={"entry": json.dumps(entry)})


def test_written_and_found_at_once(client: TestClient, writable: Shop) -> None:
    said = {"item": "new-1", "labels": {"neckline": ["V-neck"], "fit": "slim"}, "metadata": {"price": 5, "code": "07"}}
    answer = put(client, photo(1), id="new/1 ä.png", **said)
    assert answer.status_code == 200
    told = answer.json()
    assert (told["id"], told["change"]) == ("new/1 ä.png", "added")
    assert told["index"]["images"] == 49
    sent = client.post("/v1/search/image", files={"image": photo(1)}, data={"request": '{"k": 1}'}).json()
    assert [hit["id"] for hit in sent["hits"]] == ["new/1 ä.png"]
    assert sent["hits"][0]["similarity"] == pytest.approx(1, abs=1e-3)
    assert sent["index"] == told["index"]
    hit = client.post("/v1/search", json={"parts": [{"id": writable.images[0]}], "where": "code = '07'"}).json()["hits"]
    assert (hit[0]["labels"], hit[0]["metadata"]["price"]) == ({"neckline": ["V-neck"], "fit": ["slim"]}, 5)
    assert client.get("/v1/images/new/1 ä.png").headers["content-type"] == "image/jpeg"
    entry = client.get("/v1/entries/new/1 ä.png").json()["entry"]
    assert (entry["width"], entry["height"], entry["box"]) == (40, 60, None)


def test_each_kind_of_change(client: TestClient) -> None:
    for image, said, change in (
        (photo(2), {}, "added"),
        (photo(2), {}, "unchanged"),
        (photo(2), {"item": "i"}, "updated"),
        (photo(3), {"item": "i"}, "changed"),
        (photo(3), {"item": "i", "box": [0, 0, 20, 30]}, "changed"),
    ):
        before = client.get("/v1/indexes").json()["indexes"][0]["version"]
        answer = put(client, image, id="kinds", **said).json()
        assert answer["change"] == change
        assert (answer["index"]["version"] == before) == (change == "unchanged")
    assert client.get("/v1/entries/kinds").json()["entry"]["box"] == [0, 0, 20, 30]


def test_deleted_and_not_found(client: TestClient) -> None:
    put(client, photo(4), id="short lived")
    answer = client.post("/v1/items/delete", json={"ids": ["short lived", "nobody"]})
    assert (answer.status_code, answer.json()["deleted"]) == (200, 1)
    assert client.get("/v1/entries/short lived").status_code == 404
    assert client.post("/v1/search", json={"parts": [{"id": "short lived"}]}).status_code == 404


GOOD = {"id": "a"}
REFUSED: list[tuple[bytes | None, dict[str, Any], int, str, str]] = [
    (None, GOOD, 422, "invalid", "the file in field 'image'"),
    (photo(), {}, 422, "invalid", "entry.id: Field required"),
    (photo(), {"id": ""}, 422, "invalid", "entry.id: String should have at least 1"),
    (photo(), {"id": " a"}, 422, "invalid", "entry: expected an id without spaces around it"),
    (photo(), {"id": "a\x00b"}, 422, "invalid", "NUL"),
    (photo(), {"id": "a\nb"}, 422, "invalid", "a control character"),
    (photo(), {"id": "x" * 600}, 422, "invalid", "600 characters long"),
    (photo(), {"id": "a", "colour": "Red"}, 422, "invalid", "entry.colour: Extra inputs are not permitted"),
    (photo(), {"id": "a", "metadata": {"price": [1]}}, 422, "invalid", "entry.metadata.price"),
    (photo(), {"id": "a", "metadata": {"price": 1e999}}, 422, "invalid", "entry"),
    (photo(), {"id": "a", "metadata": {"id": 1}}, 422, "invalid", "a name of metadata"),
    (photo(), {"id": "a", "box": [1, 2]}, 422, "invalid", "entry.box"),
    (photo(), {"id": "a", "metadata": {"price": "cheap"}}, 400, "bad_request", "'price' holds numbers in this index"),
    (photo(), {"id": "a", "labels": {"price": ["1"]}}, 400, "bad_request", "send it in metadata"),
    (photo(), {"id": "a", "labels": {"Neckline": ["V"]}}, 400, "bad_request", "did you mean 'neckline'"),
    (photo(), {"id": "a", "box": [90, 90, 99, 99]}, 400, "bad_request", "nothing to see"),
    (photo(), {"id": "a", "index": "shoop"}, 404, "not_found", "did you mean 'shop'"),
    (b"<svg onload=alert(1)>", GOOD, 415, "not_an_image", "an SVG drawing"),
    (photo()[:-30], GOOD, 415, "not_an_image", "cannot read the image"),
    (b"", GOOD, 415, "not_an_image", "an? (image file|empty file)|expected the bytes"),
    (huge(), GOOD, 413, "too_large", "49.0 megapixels"),
]


@pytest.mark.parametrize(("image", "entry", "status", "code", "message"), REFUSED)
def test_refused(
    client: TestClient, image: bytes | None, entry: dict[str, Any], status: int, code: str, message: str
) -> None:
    before = client.get("/v1/indexes").json()["indexes"][0]["version"]
    answer = put(client, image, **entry)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), error
    assert re.search(message, error["message"]), error
    assert client.get("/v1/indexes").json()["indexes"][0]["version"] == before


@pytest.mark.parametrize("entry", [None, "", "{", "[]", '{"id": "a", "id2": 1}', '{"id": "\\ud800"}', "null"])
def test_entries_that_are_none(client: TestClient, entry: str | None) -> None:
    answer = client.post("/v1/items", files={"image": photo()}, data={} if entry is None else {"entry": entry})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"ids": []}, 422),
        ({"ids": "a"}, 422),
        ({"ids": [""]}, 422),
        ({"ids": ["a\x00"]}, 400),
        ({"ids": [" a"]}, 400),
        ({"ids": ["a"], "index": "shoop"}, 404),
        ({"ids": ["nobody"]}, 200),
    ],
)
def test_deletions(client: TestClient, body: Any, status: int) -> None:
    assert client.post("/v1/items/delete", json=body).status_code == status


def test_writes_need_the_token(writable: Shop, client: TestClient) -> None:
    for headers, status in (({"Authorization": ""}, 401), ({"Authorization": "Bearer wrong-token-of-16"}, 401)):
        assert client.post("/v1/items", files={"image": photo()}, headers=headers).status_code == status
        assert client.post("/v1/items/delete", json={"ids": ["a"]}, headers=headers).status_code == status
    with TestClient(writable.app(token=None), base_url="http://127.0.0.1") as without:
        ready(without)
        assert put(without, photo(), id="a").status_code == 403
        assert without.post("/v1/items/delete", json={"ids": ["a"]}).status_code == 403


def test_another_process_writes(client: TestClient, writable: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    put(client, photo(5), id="early")
    monkeypatch.setattr(client.app.state.lapel.writes["shop"]._writer, "patience", 0.05)  # type: ignore[attr-defined]
    with only_writer(writable.folder):
        answer = put(client, photo(5), id="late")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert "another process is indexing into shop: wait" in answer.json()["error"]["message"]
        assert str(writable.root) not in answer.text
        assert client.post("/v1/items/delete", json={"ids": ["a"]}).status_code == 503
    assert put(client, photo(5), id="late").json()["change"] == "added"


def test_a_full_disk_is_told_without_its_paths(
    client: TestClient, writable: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise LapelError(f"disk full while writing {writable.folder}: free some space")

    with monkeypatch.context() as patch:
        patch.setattr(LanceStore, "upsert", full)
        answer = put(client, photo(6), id="full")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
    assert "disk full" in answer.text
    assert str(writable.root) not in answer.text
    assert put(client, photo(6), id="full").status_code == 200


class Held:
    """Holds a writer's commits until it is let go."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.go, self.began, self.sizes = threading.Event(), threading.Event(), list[int]()
        plain: Callable[..., Any] = Writer.write

        def write(writer: Writer, changes: Any) -> Any:
            self.sizes.append(len(changes))
            self.began.set()
            assert self.go.wait(20)
            return plain(writer, changes)

        patch.setattr(Writer, "write", write)


def until(queue: Any, count: int) -> None:
    """Wait until so many changes wait."""
    give_up = time.monotonic() + 20
    while queue.waiting < count:
        assert time.monotonic() < give_up, f"{queue.waiting} changes wait, not {count}"
        time.sleep(0.005)


def test_what_waits_together_is_one_commit(own_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    app = own_shop.app()
    with running(app) as address, httpx.Client(base_url=address, headers=HEADERS, timeout=30) as client:
        put(client, photo(0), id="first")
        held, before = Held(monkeypatch), int(state(own_shop.folder) or 0)
        with ThreadPoolExecutor(13) as pool:
            leader = pool.submit(put, client, photo(1), id="w1")
            assert held.began.wait(20)
            others = [pool.submit(put, client, photo(n), id=f"w{n}") for n in range(2, 13)]
            bad = pool.submit(put, client, photo(99), id="bad", metadata={"price": "cheap"})
            until(app.state.lapel.writes["shop"], 12)
            held.go.set()
            answers = [each.result() for each in (leader, *others)]
        assert {answer.json()["change"] for answer in answers} == {"added"}
        assert bad.result().status_code == 400  # its neighbours are written
        assert held.sizes == [1, 12]
        assert int(state(own_shop.folder) or 0) == before + 2
        for number in range(1, 13):
            assert client.get(f"/v1/entries/w{number}").status_code == 200
        assert client.get("/v1/indexes").json()["indexes"][0]["images"] == 48 + 13


def test_full_and_stopped(own_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than may wait is refused at once; what was taken is finished when the server stops."""
    app, held = own_shop.app(queue=2), Held(monkeypatch)
    with ThreadPoolExecutor(4) as pool, httpx.Client(headers=HEADERS, timeout=30) as client:
        with running(app) as address:
            client.base_url = address
            taken = [pool.submit(put, client, photo(0), id="w0")]
            assert held.began.wait(20)
            taken += [pool.submit(put, client, photo(n), id=f"w{n}") for n in (1, 2)]
            until(app.state.lapel.writes["shop"], 2)
            full = put(client, photo(3), id="w3")
            assert (full.status_code, full.json()["error"]["code"]) == (429, "busy")
            assert int(full.headers["Retry-After"]) >= 1
            threading.Timer(0.3, held.go.set).start()
        assert [each.result().json()["change"] for each in taken] == ["added"] * 3
    index = own_shop.read(own_shop.folder)
    assert {"w0", "w1", "w2"} <= {index.get(f"w{n}").id for n in range(3)}
    assert len(index) == 51


def test_indexing_beside_the_server(own_shop: Shop) -> None:
    """Both write to the same rows; what came over the API stays."""
    with TestClient(own_shop.app(), base_url="http://127.0.0.1", headers=HEADERS) as client:
        ready(client)
        put(client, photo(1), id="mine", metadata={"fit": "slim"})
        first = own_shop.images[0]
        assert client.post("/v1/items/delete", json={"ids": [first]}).json()["deleted"] == 1
        report = own_shop.reindex()
        assert (report.added, report.removed) == (1, 0)
        assert put(client, photo(1), id="mine", metadata={"fit": "slim"}).json()["change"] == "unchanged"
        assert put(client, photo(2), id="other").json()["index"]["images"] == 50
        for name in (first, "mine", "other"):
            assert client.get(f"/v1/entries/{name}").status_code == 200


def test_written_while_an_indexing_is_unfinished(own_shop: Shop) -> None:
    """One that was interrupted left its record incomplete: what is written is found at once all the same."""
    with TestClient(own_shop.app(), base_url="http://127.0.0.1", headers=HEADERS) as client:
        ready(client)
        replace(IndexRecord.read(own_shop.folder), complete=False).write(own_shop.folder)
        for number in range(2):
            assert put(client, photo(number), id=f"w{number}").json()["index"]["images"] == 49 + number
            assert client.get(f"/v1/entries/w{number}").status_code == 200
