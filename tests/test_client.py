"""The Python client: against the application in this process, once over a real connection, and against odd servers."""

from __future__ import annotations

import asyncio
import io
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import lapel
from lapel.catalogue import Catalogue
from lapel.client import ApiFailure, Client, Hit, NoAnswer, Part, Query
from lapel.frame import Preprocessing
from lapel.serve.explaining import Explainer

from .serve.shop import ATTRIBUTES, HOSTILE, ODD, TOKEN, Shop, running

HERE = "http://127.0.0.1"


class InProcess(httpx.BaseTransport):
    """Hands requests to an application, all in one event loop, and notes them."""

    def __init__(self, app: Any) -> None:
        app.state.lapel.served.open()
        self.app, self.asked = app, list[str]()
        self._inner = httpx.ASGITransport(app)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.raw_path.decode()}")

        async def ask() -> httpx.Response:
            response = await self._inner.handle_async_request(request)
            return httpx.Response(response.status_code, headers=response.headers, content=await response.aread())

        return asyncio.run_coroutine_threadsafe(ask(), self._loop).result(30)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.app.state.lapel.close(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Gazer:
    """Looks at the upper left quarter."""

    gazes, preprocessing = ATTRIBUTES, Preprocessing(32, 32, "letterbox")

    def attention(self, images: Any) -> np.ndarray:
        maps = np.zeros((1, len(self.gazes), 8, 8), np.float32)
        maps[:, :, :4, :4] = 1 / 16
        return maps


@pytest.fixture(scope="module")
def shop(garments: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    built = Shop.build(tmp_path_factory.mktemp("shop"), garments)
    shutil.copytree(built.folder, built.root / "twin")
    return built


@pytest.fixture(scope="module")
def server(shop: Shop) -> Iterator[InProcess]:
    app = shop.app(keep_queries=2, indexes=(("shop", shop.folder), ("twin", shop.root / "twin")))
    app.state.lapel.explainer = Explainer(load=lambda run: Gazer())  # type: ignore[arg-type,return-value]
    inside = InProcess(app)
    yield inside
    inside.stop()


@pytest.fixture
def client(server: InProcess) -> Iterator[Client]:
    server.asked.clear()
    with Client(HERE, TOKEN, transport=server) as opened:
        yield opened


def test_importing_it_loads_neither_torch_nor_an_engine_nor_the_server() -> None:
    heavy = ["torch", "lancedb", "lance", "pyarrow", "fastapi", "starlette", "uvicorn", "PIL", "numpy", "lapel.serve"]
    program = (
        "import sys, lapel\n"
        "with lapel.Client('http://127.0.0.1:9', timeout=1) as client: pass\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
    assert lapel.Client is Client


def test_what_is_served(client: Client, shop: Shop) -> None:
    first, second = client.indexes()
    assert (first.name, second.name) == ("shop", "twin")
    assert client.index() == first
    assert client.index("twin") == second
    assert first.images == 48
    assert [run.name for run in first.runs] == ["looks", "garments"]
    assert [(each.name, each.item) for each in first.attributes] == [*((a, False) for a in ATTRIBUTES), ("item", True)]
    colour = next(each for each in first.attributes if each.name == "colour")
    assert sum(value.count for value in colour.values) == colour.labelled == 48
    assert {column.name: column.kind for column in first.columns}["price"] == "number"
    assert first.writable
    with pytest.raises(ApiFailure, match="unknown index 'shpo'; did you mean 'shop'"):
        client.index("shpo")
    with pytest.raises(FrozenInstanceError):
        first.images = 0  # type: ignore[misc]
    assert client.ready()
    assert client.ready().indexes == {"shop": "ready", "twin": "ready"}


def test_facets_entries_and_pictures(client: Client, shop: Shop) -> None:
    facets = client.facets("price < 60")
    price = next(column for column in facets.columns if column.name == "price")
    assert 0 < facets.count < 48
    assert price.high is not None
    assert price.high < 60
    assert client.facets(index="twin").index.name == "twin"
    assert client.sample(k=3, seed=4) == client.sample(k=3, seed=4)
    assert {each.labels["colour"][0] for each in client.sample(where="colour = 'red'")} == {"red"}
    entry = client.entry(shop.images[0])
    assert (entry.id, entry.width, entry.height, entry.box) == (shop.images[0], 96, 96, None)
    assert entry.metadata["name"] == HOSTILE
    assert client.entry(shop.images[-1]).box is not None
    for of in (shop.images[0], entry):
        assert Image.open(io.BytesIO(client.image(of, side=160))).size == (96, 96)


def test_search(client: Client, shop: Shop, server: InProcess) -> None:
    found = client.search(id=shop.images[5], weights={"colour": 1, "pattern": -0.5}, k=7, where="stock > 0")
    raw = {"parts": [{"id": shop.images[5], "weights": {"colour": 1, "pattern": -0.5}}], "k": 7, "where": "stock > 0"}
    with httpx.Client(transport=server, base_url=HERE) as plain:
        told = plain.post("/v1/search", json=raw).json()
    assert [hit.id for hit in found.hits] == [hit["id"] for hit in told["hits"]]
    for hit, expected in zip(found.hits, told["hits"], strict=True):
        names = ("item", "labels", "metadata", "image", "similarity", "score", "scores")
        assert {name: getattr(hit, name) for name in names} == {name: expected[name] for name in names}
        assert hit.index == "shop"
    assert (found.left, found.weights) == (told["left"], told["weights"])
    assert found.request_id
    assert found.likely is None


def test_every_way_to_say_it(client: Client, shop: Shop) -> None:
    by_id = client.search(id=shop.images[5], weights={"colour": 1})
    assert isinstance(by_id.hits[0], Hit)
    for more in ({"offset": 3, "k": 2}, {"threshold": 0.99}, {"group": True}, {"less": [by_id.hits[0].id]}):
        told = client.search(id=shop.images[5], weights={"colour": 1}, **more)  # type: ignore[arg-type]
        assert [hit.id for hit in told.hits] != [hit.id for hit in by_id.hits], more
    likely = client.search(id=shop.images[5], k=1, likely=True).likely
    assert likely is not None
    assert sum(vote.share for vote in likely["colour"]) == pytest.approx(1)
    entry = client.entry(shop.images[5])
    query = client.upload(shop.photo(5))
    assert (query.width, query.height, query.photograph) == (96, 96, shop.photo(5).read_bytes())
    for what in (entry, query, shop.photo(5), str(shop.photo(5)), shop.photo(5).read_bytes()):
        told = client.search(what, {"colour": 1}, k=30)
        ids = [hit.id for hit in told.hits if hit.id != shop.images[5]]
        assert ids[:20] == [hit.id for hit in by_id.hits][:20]
    other = client.search(parts=[Part(entry, weights={"colour": 1}), Part(id=shop.images[9], weights={"pattern": 1})])
    assert other.weights == {"neckline": 0, "pattern": 1, "colour": 1, "item": 0}
    of = client.search(parts=[Part(id=shop.images[5], of="twin", weights={"colour": 1})], index="shop", k=1)
    assert of.hits[0].id == shop.images[5]  # embedded anew: another index's image is no result to leave out
    boxed = client.search(query, {"colour": 1}, box=np.array([0, 0, 40, 40]))
    assert [hit.id for hit in boxed.hits] != [hit.id for hit in by_id.hits]


def test_all_hits_page_by_page(client: Client, shop: Shop, server: InProcess) -> None:
    pages = list(client.pages(shop.photo(3), {"colour": np.float32(1)}, k=20))
    assert [len(page.hits) for page in pages] == [20, 20, 8]
    assert [ask.split("?")[0] for ask in server.asked] == ["POST /v1/queries", *["POST /v1/search"] * 3]
    ids = [hit.id for hit in client.hits(shop.photo(3), {"colour": 1}, k=48, where="stock > 0")]
    assert sorted(ids) == sorted(image for number, image in enumerate(shop.images) if number % 4)
    parts = [Part(id=shop.images[0], weights={"colour": 1})]
    assert len(list(client.hits(parts=parts, k=13, index="twin"))) == 47


def test_pixels_are_sent_as_a_file(client: Client, shop: Shop) -> None:
    picture = Image.open(shop.photo(7)).convert("RGB")
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by 270 degrees to be upright
    sink = io.BytesIO()
    turned.save(sink, "PNG", exif=exif)
    for photo in (picture, np.asarray(picture), Image.open(sink)):
        query = client.upload(photo)
        assert (query.photograph or b"").startswith(b"\x89PNG")
        hit = client.search(query, {"colour": 1}, k=1).hits[0]
        assert (hit.id, round(hit.similarity, 3)) == (shop.images[7], 1)
    large = client.upload(picture.resize((1500, 1500)))
    assert (large.photograph or b"").startswith(b"\xff\xd8")
    assert client.search(large, {"colour": 1}, k=1).hits[0].id == shop.images[7]


def test_a_photograph_that_is_gone_is_sent_again(client: Client, shop: Shop, server: InProcess) -> None:
    query = client.upload(shop.photo(1))

    def gone() -> None:
        client.upload(shop.photo(2)), client.upload(shop.photo(3))  # the server keeps two
        server.asked.clear()

    gone()
    assert client.search(query, {"colour": 1}, k=1).hits[0].id == shop.images[1]
    assert server.asked == ["POST /v1/search", "POST /v1/queries", "POST /v1/search"]
    gone()
    assert client.image(query).startswith(b"\xff\xd8")
    gone()
    assert client.query(query) == query
    gone()
    assert client.explain(query, "colour").width == 96
    assert len(server.asked) == 3
    gone()
    with pytest.raises(ApiFailure, match="send it to /v1/queries again") as caught:
        client.search(Query(query.query))
    assert (caught.value.status, caught.value.code) == (410, "query_gone")


def test_where_a_run_looks(client: Client, shop: Shop) -> None:
    hit = client.search(id=shop.images[0], k=1).hits[0]
    for what in (hit, shop.photo(0), Part(id=shop.images[0])):
        told = client.explain(what, "neckline")
        assert (told.map.shape, told.map.dtype, told.flat, told.attribute) == ((96, 96), np.float32, False, "neckline")
        assert told.map[:36, :36].min() > 0.9
    part = Part(shop.photo(0), box=(0, 0, 48, 96))
    assert np.isnan(client.explain(part, "colour").map[:, 60:]).all()
    assert Image.open(io.BytesIO(client.explain_png(hit, "colour"))).format == "PNG"


def test_copies(client: Client, shop: Shop) -> None:
    told = client.copies(weights={"colour": 1, "pattern": 0.5}, threshold=0.9, within_item=True, limit=2)
    assert told.weights == {"neckline": 0, "pattern": 0.5, "colour": 1, "item": 0}
    assert told.against is None
    assert len(told.groups) == 2 < told.groups_total
    assert told.left
    pair = told.groups[0].pairs[0]
    assert pair.similarity >= 0.9
    assert {pair.first, pair.second} <= {image.id for image in told.groups[0].images}
    other = client.copies(against="twin", limit=1)
    assert other.against is not None
    assert other.against.name == "twin"
    assert other.exact_total == 48
    assert {image.index for image in other.exact[0].images} == {"shop", "twin"}


def test_odd_ids(garments: Catalogue, tmp_path: Path) -> None:
    shop = Shop.odd(tmp_path, garments)
    inside = InProcess(shop.app())
    with Client(HERE, transport=inside) as client:
        ids = {each.id for each in client.sample()} - {ODD[-1]}
        assert len(ids) == 4
        assert set(ODD[:2]) < ids
        for image_id in ids:
            assert client.entry(image_id).id == image_id
            assert client.image(image_id).startswith(b"\xff\xd8")
            hit = client.search(id=image_id, where=f"image != '{ODD[-1]}'", k=1).hits[0]
            assert client.image(hit) == client.image(hit.id)
        with pytest.raises(ApiFailure, match="cannot be read"):
            client.image(ODD[-1])
    inside.stop()


REFUSALS: list[tuple[Callable[[Client], Any], int, str, str]] = [
    (lambda client: client.search(id="none.jpg"), 404, "not_found", "no image 'none.jpg' in index 'shop'"),
    (lambda client: client.entry("none.jpg", index="twin"), 404, "not_found", "no image 'none.jpg' in index 'twin'"),
    (lambda client: client.facets(index="none"), 404, "not_found", "unknown index 'none'"),
    (lambda client: client.facets("colr = 'red'"), 400, "bad_request", "did you mean 'colour'"),
    (lambda client: client.search(b"none"), 415, "not_an_image", "cannot read the image"),
    (lambda client: client.search(id="a", k=0), 422, "invalid", "k: Input should be greater than or equal to 1"),
    (lambda client: client.search(parts=[]), 422, "invalid", "parts"),
    (lambda client: client.search(id="half \udcff"), 422, "invalid", ""),
    (lambda client: client.query(Query("x")), 404, "not_found", "32 hexadecimal digits"),
    (lambda client: client.image("none.jpg", side=3), 422, "invalid", "side"),  # type: ignore[arg-type]
    (lambda client: client.copies(weights={"colur": 1}), 400, "bad_request", "colur"),
]


@pytest.mark.parametrize(("ask", "status", "code", "message"), REFUSALS)
def test_refused(client: Client, ask: Callable[[Client], Any], status: int, code: str, message: str) -> None:
    with pytest.raises(ApiFailure) as caught:
        ask(client)
    failure = caught.value
    assert (failure.status, failure.code) == (status, code)
    assert message in failure.message
    assert len(failure.request_id) == 16
    assert str(failure) == f"{failure.message} ({status} {code}, request {failure.request_id})"


def test_over_a_real_connection(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """From several threads, whatever proxy the shell names; and when the server is gone."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    shutil.copytree(shop.folder, shop.root / "written")
    with running(shop.app(indexes=(("shop", shop.root / "written"),))) as address, Client(address) as client:
        assert client.ready()

        def first(number: int) -> str:
            return client.search(shop.photo(number), {"colour": 1, "pattern": 1}, k=1).hits[0].id

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(first, range(12))) == shop.images[:12]
        with pytest.raises(ApiFailure, match="401 unauthorised"):
            client.delete(["a"])
        with Client(address, TOKEN) as writer:
            said = {"item": "new", "labels": {"colour": "red"}, "metadata": {"price": 5, "name": "A / B"}}
            before = writer.index().version
            changes = [writer.upsert(shop.photo(0), "new/ä #1.jpg", **said) for _ in range(2)]  # type: ignore[arg-type]
            changes += [writer.upsert(shop.photo(2), "new/ä #1.jpg", **said, box=(0, 0, 40, 40))]  # type: ignore[arg-type]
            assert changes == ["added", "unchanged", "changed"]
            entry = writer.entry("new/ä #1.jpg")
            assert (entry.item, entry.labels, entry.box) == ("new", {"colour": ["red"]}, (0, 0, 40, 40))
            assert entry.metadata["name"] == "A / B"
            assert writer.delete("new/ä #1.jpg") == 1
            assert writer.delete(["new/ä #1.jpg", "none"]) == 0
            assert writer.index().version != before
            with pytest.raises(ApiFailure, match="price") as caught:
                writer.upsert(shop.photo(0), "new", metadata={"price": "cheap"})
            assert caught.value.status in (400, 422)
    with pytest.raises(NoAnswer, match="start it with lapel serve"), Client(address) as client:
        client.ready()
