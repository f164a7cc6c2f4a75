"""Searching over HTTP: the same answers as the index gives, by photographs, images and both; what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from lapel import Index
from lapel.retrieval.parts import Part
from lapel.serve.batching import Batcher

from .shop import BOXED, HOSTILE, Shop, ready


@pytest.fixture(scope="module")
def index(shop: Shop) -> Index:
    return shop.read(shop.folder)


def search(client: TestClient, *parts: dict[str, Any], **rest: Any) -> Any:
    answer = client.post("/v1/search", json={"parts": parts, **rest})
    assert answer.status_code == 200, answer.text
    return answer.json()


def sent(client: TestClient, shop: Shop, number: int) -> str:
    """Send a photograph of the catalogue as if it were anybody's."""
    return str(client.post("/v1/queries", files={"image": shop.photo(number).read_bytes()}).json()["query"])


def ids(told: Any) -> list[str]:
    return [hit["id"] for hit in told["hits"]]


def test_by_an_image_of_the_index(client: TestClient, shop: Shop, index: Index) -> None:
    told = search(client, {"id": shop.images[5], "weights": {"pattern": 1, "colour": -0.5}}, k=7)
    expected = index.search_id(shop.images[5], {"pattern": 1, "colour": -0.5}, 7)
    assert ids(told) == [hit.id for hit in expected]
    for hit, want in zip(told["hits"], expected, strict=True):
        assert hit["scores"] == pytest.approx(want.scores)
        assert hit["score"] == pytest.approx(want.score)
        assert hit["similarity"] == pytest.approx(want.score / 1.5)
        assert (hit["item"], hit["metadata"]) == (want.item, want.metadata)
        assert hit["labels"] == {name: list(values) for name, values in want.labels.items()}
    assert told["weights"] == {"neckline": 0, "pattern": 1, "colour": -0.5, "item": 0}
    assert told["left"] is True
    assert told["likely"] is None
    assert told["request_id"]
    assert told["took_ms"] >= 0
    assert told["index"]["version"] == index.version


def test_by_a_photograph(client: TestClient, shop: Shop, index: Index) -> None:
    told = search(client, {"query": sent(client, shop, 8), "weights": {"item": 1}}, k=5)
    expected = index.search(shop.photo(8).read_bytes(), {"item": 1}, 5)
    assert [(hit["id"], hit["others"]) for hit in told["hits"]] == [(hit.id, list(hit.others)) for hit in expected]
    assert told["hits"][0]["id"] == shop.images[8]


def test_by_a_box(client: TestClient, shop: Shop, index: Index) -> None:
    box = [10, 20, 80, 90]
    expected = [hit.id for hit in index.search(shop.photo(8).read_bytes(), {"colour": 1}, 10, box=box)]
    query = sent(client, shop, 8)
    for part in ({"query": query}, {"id": shop.images[8]}):
        told = search(client, {**part, "box": box, "weights": {"colour": 1}}, k=9)
        assert ids(told) == [each for each in expected if part.get("id") != each][:9]
        assert search(client, {**part, "box": box, "weights": {"colour": 1}}, k=9)["hits"] == told["hits"]


def test_by_several_with_weights_of_their_own(client: TestClient, shop: Shop, index: Index) -> None:
    """This item with that neckline: the sum over the parts."""
    query = sent(client, shop, 3)
    told = search(
        client, {"query": query, "weights": {"item": 1}}, {"id": shop.images[20], "weights": {"neckline": 0.5}}, k=6
    )
    photo = index.encode_many([shop.photo(3).read_bytes()])[0]
    parts = [Part(photo, {"item": 1}), Part(index.vectors_of([shop.images[20]])[0], {"neckline": 0.5})]
    expected = index.search_parts(parts, 6, without={shop.images[20]})
    assert ids(told) == [hit.id for hit in expected.hits]
    assert told["weights"] == pytest.approx(expected.weights)


def test_without_weights_all_count(client: TestClient, shop: Shop) -> None:
    plain = search(client, {"id": shop.images[5]}, k=5)
    weighed = search(
        client, {"id": shop.images[5], "weights": dict.fromkeys(("neckline", "pattern", "colour", "item"), 1)}, k=5
    )
    assert plain["hits"] == weighed["hits"]


def test_pages_follow_each_other(client: TestClient, shop: Shop) -> None:
    part = {"id": shop.images[5], "weights": {"colour": 1}}
    whole = ids(search(client, part, k=47))
    pages = [search(client, part, k=10, offset=offset) for offset in range(0, 60, 10)]
    assert [each for page in pages for each in ids(page)] == whole
    assert [page["left"] for page in pages] == [True] * 4 + [False] * 2


def test_filter_group_threshold(client: TestClient, shop: Shop) -> None:
    part = {"id": shop.images[5], "weights": {"colour": 1}}
    filtered = search(client, part, where="brand = 'Müller' and price < 60", k=50)
    assert 0 < len(filtered["hits"]) < 12
    assert all(hit["metadata"]["brand"] == "Müller" and hit["metadata"]["price"] < 60 for hit in filtered["hits"])
    grouped = search(client, part, group=True, k=50)
    assert len(grouped["hits"]) == len({hit["item"] for hit in grouped["hits"]}) == 24
    similar = search(client, part, threshold=0.9, k=50)
    assert 0 < len(similar["hits"]) < 47
    assert min(hit["similarity"] for hit in similar["hits"]) >= 0.9
    assert search(client, part, where="price > 1000")["hits"] == []


def test_feedback(client: TestClient, shop: Shop, index: Index) -> None:
    part = {"id": shop.images[5], "weights": {"colour": 1}}
    plain = search(client, part, k=40)
    more, less = ids(plain)[10], ids(plain)[0]
    told = search(client, part, more=[more], less=[less], k=40)
    parts = [Part(index.vectors_of([shop.images[5]])[0], {"colour": 1})]
    expected = index.search_parts(parts, 40, without={shop.images[5]}, more=[more], less=[less])
    assert ids(told) == [hit.id for hit in expected.hits]
    assert less not in ids(told)
    assert ids(told) != ids(plain)


def test_likely_values(client: TestClient, shop: Shop, index: Index) -> None:
    told = search(client, {"id": shop.images[5], "weights": {"item": 1}}, likely=True, k=1)
    assert list(told["likely"]) == ["neckline", "pattern", "colour"]
    votes = index.likely(index.vectors_of([shop.images[5]])[0], "colour", without={shop.images[5]})
    found = [(each["value"], each["share"], each["votes"]) for each in told["likely"]["colour"]]
    assert found == [(each.value, pytest.approx(each.share), each.votes) for each in votes]
    assert sum(each["share"] for each in told["likely"]["colour"]) == pytest.approx(1)


def test_with_the_photograph_at_once(client: TestClient, shop: Shop) -> None:
    def ask(request: Any = None, number: int = 9) -> Any:
        data = {} if request is None else {"request": json.dumps(request)}
        return client.post("/v1/search/image", files={"image": shop.photo(number).read_bytes()}, data=data)

    told = ask().json()
    assert told["hits"][0]["id"] == shop.images[9]
    asked = {"query": told["query"]}
    assert told["hits"] == search(client, asked)["hits"]
    request = {"weights": {"pattern": 1}, "box": [0, 0, 60, 60], "k": 3, "where": "stock > 0", "likely": True}
    rest = {name: request[name] for name in ("k", "where", "likely")}
    part = {**asked, "weights": request["weights"], "box": request["box"]}
    assert ask(request).json()["hits"] == search(client, part, **rest)["hits"]
    other = {"id": shop.images[20], "weights": {"neckline": 2}}
    mixed = ask({"weights": {"item": 1}, "parts": [other]}).json()
    assert mixed["hits"] == search(client, {**asked, "weights": {"item": 1}}, other)["hits"]
    for request, message in (
        ({"k": 0}, "request.k: Input should be greater than or equal to 1"),
        ({"kk": 1}, "request.kk: Extra inputs are not permitted"),
        ({"parts": [{}]}, "request.parts.0: Value error, give exactly one of query and id"),
        ([], "request: Input should be"),
    ):
        answer = ask(request)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")
        assert message in answer.json()["error"]["message"]
    broken = client.post("/v1/search/image", files={"image": b"x"}, data={"request": "{"})
    assert "request: Invalid JSON" in broken.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        ({}, 422, "invalid", "parts: Field required"),
        ({"parts": []}, 422, "invalid", "at least 1 item"),
        ({"parts": [{}]}, 422, "invalid", "give exactly one of query and id"),
        ({"parts": [{"id": "a", "query": "ab" * 16}]}, 422, "invalid", "give exactly one of query and id"),
        ({"parts": [{"query": "../x"}]}, 422, "invalid", "parts.0.query"),
        ({"parts": [{"query": "ab" * 16, "of": "shop"}]}, 422, "invalid", "of goes with id"),
        ({"parts": [{"id": "a"}] * 9}, 422, "invalid", "at most 8 items"),
        ({"parts": [{"id": "a", "box": [1, 2, 3]}]}, 422, "invalid", "at least 4 items"),
        ({"parts": [{"id": "a", "weights": {"colour": 11}}]}, 422, "invalid", "less than or equal to 10"),
        ({"parts": [{"id": "a"}], "k": 201}, 422, "invalid", "less than or equal to 200"),
        ({"parts": [{"id": "a"}], "offset": -1}, 422, "invalid", "greater than or equal to 0"),
        ({"parts": [{"id": "a"}], "thresold": 0.5}, 422, "invalid", "thresold: Extra inputs"),
        ({"parts": [{"id": "none.jpg"}]}, 404, "not_found", "no image 'none.jpg' in index 'shop'"),
        ({"parts": [{"id": "a", "of": "none"}]}, 404, "not_found", "unknown index 'none'"),
        ({"parts": [{"id": "IMAGE"}], "index": "none"}, 404, "not_found", "unknown index 'none'"),
        ({"parts": [{"query": "ab" * 16}]}, 410, "query_gone", "send it to /v1/queries again"),
        ({"parts": [{"id": "IMAGE", "weights": {"color": 1}}]}, 400, "bad_request", "did you mean 'colour'"),
        ({"parts": [{"id": "IMAGE", "weights": {"colour": 0}}]}, 400, "bad_request", "every weight is zero"),
        ({"parts": [{"id": "IMAGE"}], "where": "nme = 'x'"}, 400, "bad_request", "did you mean 'name'"),
        ({"parts": [{"id": "IMAGE"}], "more": ["none.jpg"]}, 400, "bad_request", "none.jpg"),
        ({"parts": [{"id": "IMAGE", "box": [5, 5, 5, 9]}]}, 400, "bad_request", "box [5, 5, 5, 9] is empty"),
        ({"parts": [{"id": "IMAGE", "box": [900, 900, 990, 990]}]}, 400, "bad_request", "nothing to see"),
    ],
)
def test_refused(client: TestClient, shop: Shop, body: dict[str, Any], status: int, code: str, message: str) -> None:
    text = json.dumps(body).replace("IMAGE", shop.images[0])
    answer = client.post("/v1/search", content=text, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert message in answer.json()["error"]["message"]
    assert str(shop.root) not in answer.text


@pytest.mark.parametrize(
    "text", ["{", "NaN", '{"parts": [{"id": "a", "weights": {"colour": NaN}}]}', "[]", '"x"', "\x00"]
)
def test_bodies_that_are_no_search(client: TestClient, text: str) -> None:
    answer = client.post("/v1/search", content=text, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")


def test_hostile_metadata_is_data(client: TestClient, shop: Shop) -> None:
    told = search(client, {"id": shop.images[1]}, k=40, group=False)
    names = {hit["id"]: hit["metadata"]["name"] for hit in told["hits"]}
    assert names[shop.images[0]] == HOSTILE


@pytest.fixture
def two(shop: Shop, own_shop: Shop) -> Iterator[TestClient]:
    """The shop beside one of another run."""
    from dataclasses import replace

    other = Shop(own_shop.root, own_shop.catalogue, [replace(own_shop.seers[0], fingerprint="e" * 64, seed=5)])
    other.reindex(to=own_shop.root / "other")
    app = shop.app(indexes=(("shop", shop.folder), ("other", own_shop.root / "other")))
    readers = {shop.folder: shop, own_shop.root / "other": other}
    app.state.lapel.served._reader = lambda folder: readers[folder].read(folder)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield ready(client)


def test_an_image_of_another_index(two: TestClient, shop: Shop) -> None:
    """It is embedded by the runs of the index that is searched, so it finds itself there."""
    for image_id in (shop.images[4], shop.images[BOXED]):  # the second by its box
        part = {"id": image_id, "of": "shop", "weights": {"colour": 1}}
        told = search(two, part, index="other", k=5)
        assert told["index"]["name"] == "other"
        assert told["hits"][0]["id"] == image_id
        assert told["hits"][0]["similarity"] == pytest.approx(1, abs=1e-3)
        by_id = search(two, {"id": image_id, "weights": {"colour": 1}}, index="other", k=4)
        assert ids(told)[1:] == ids(by_id)


def test_several_photographs_share_a_pass(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is embedded before all of them wait."""
    batches: list[int] = []
    encode = Batcher._encoded

    def noted(self: Any, items: Any) -> Any:
        batches.append(len(items))
        return encode(self, items)

    monkeypatch.setattr(Batcher, "_encoded", noted)
    with TestClient(shop.app(), base_url="http://127.0.0.1") as client:
        ready(client)
        boxes = [[0, 0, 40 + 8 * n, 90] for n in range(6)]
        parts = [{"id": shop.images[0], "box": box, "weights": {"colour": 1}} for box in boxes]
        told = search(client, *parts, k=3)
        assert len(told["hits"]) == 3
        assert sum(batches) == 6
        assert len(batches) < 6
        search(client, *parts, k=3)
        assert sum(batches) == 6  # kept


def test_a_number_that_json_cannot_say(own_shop: Shop) -> None:
    import csv

    path = own_shop.root / "photos/catalogue.csv"
    rows = list(csv.DictReader(path.open(newline="")))
    for row in rows:
        row["price"] = "inf"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    from lapel.catalogue import Catalogue

    own_shop.reindex(Catalogue.read(path, attributes=["colour"]))
    with TestClient(own_shop.app(), base_url="http://127.0.0.1") as client:
        ready(client)
        told = search(client, {"id": own_shop.images[0]}, k=3)
        assert [hit["metadata"]["price"] for hit in told["hits"]] in ([None] * 3, ["inf"] * 3)
        facets = client.get("/v1/facets")
        assert facets.status_code == 200
        assert np.isfinite(facets.json()["count"])
