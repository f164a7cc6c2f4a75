"""What is served: indexes, facets, entries, samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lapel.catalogue import Catalogue
from lapel.serve.routes_indexes import image_url

from .shop import BOXED, HOSTILE, ODD, Shop, ready


@pytest.fixture(scope="module")
def odd(garments: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of the shop with odd pictures."""
    shop = Shop.odd(tmp_path_factory.mktemp("odd"), garments)
    with TestClient(shop.app(token=None), base_url="http://127.0.0.1") as opened:
        yield ready(opened)


def test_an_index_tells_what_can_be_asked_of_it(client: TestClient, shop: Shop) -> None:
    (told,) = client.get("/v1/indexes").json()["indexes"]
    assert (told["name"], told["images"], told["explains"], told["writable"]) == ("shop", 48, True, True)
    assert [run["name"] for run in told["runs"]] == ["looks", "garments"]
    names = [(each["name"], each["dim"], each["item"]) for each in told["attributes"]]
    assert names == [("neckline", 16, False), ("pattern", 16, False), ("colour", 16, False), ("item", 24, True)]
    pattern = told["attributes"][1]
    counts = [each["count"] for each in pattern["values"]]
    assert pattern["labelled"] == sum(counts) == 48
    assert counts == sorted(counts, reverse=True)
    assert told["attributes"][3]["values"] == []
    kinds = {each["name"]: each["kind"] for each in told["columns"]}
    assert (kinds["price"], kinds["stock"], kinds["brand"], kinds["colour"]) == ("number", "integer", "text", "labels")


def test_without_a_token_nothing_is_writable(odd: TestClient) -> None:
    (told,) = odd.get("/v1/indexes").json()["indexes"]
    assert not told["writable"]


def test_facets(client: TestClient) -> None:
    told = client.get("/v1/facets").json()
    columns = {each["name"]: each for each in told["columns"]}
    assert told["count"] == 48
    assert told["index"]["name"] == "shop"
    assert {each["value"]: each["count"] for each in columns["brand"]["values"]} == {
        "Ida & Co": 12,
        "Müller": 12,
        "北": 12,
        "Plain": 12,
    }
    assert (columns["price"]["low"], columns["price"]["high"], columns["price"]["missing"]) == (9.5, 124.5, 5)
    assert sum(each["count"] for each in columns["colour"]["values"]) == 48


def test_facets_of_what_passes_a_filter(client: TestClient) -> None:
    told = client.get("/v1/facets", params={"index": "shop", "where": "brand = 'Müller' and price < 50"}).json()
    columns = {each["name"]: each for each in told["columns"]}
    assert 0 < told["count"] < 12
    assert [each["value"] for each in columns["brand"]["values"]] == ["Müller"]
    assert columns["price"]["high"] < 50
    nothing = client.get("/v1/facets", params={"where": "price > 1000"}).json()
    assert nothing["count"] == 0


@pytest.mark.parametrize(
    ("path", "params", "status", "code", "message"),
    [
        ("/v1/facets", {"index": "shap"}, 404, "not_found", "unknown index 'shap'; did you mean 'shop'"),
        ("/v1/facets", {"where": "colur = 'Red'"}, 400, "bad_request", "unknown column 'colur'; did you mean 'colour'"),
        ("/v1/facets", {"where": "price ="}, 400, "bad_request", "expected a value"),
        ("/v1/facets", {"where": "x" * 10_001}, 422, "invalid", "at most 10000 characters"),
        ("/v1/entries/none.jpg", {}, 404, "not_found", "no image 'none.jpg' in index 'shop'"),
        ("/v1/entries/images/000000-0.jpg", {"index": "x"}, 404, "not_found", "unknown index 'x'"),
        ("/v1/entries", {"k": 0}, 422, "invalid", "greater than or equal to 1"),
        ("/v1/entries", {"seed": -1}, 422, "invalid", "greater than or equal to 0"),
        ("/v1/entries", {"where": "none = 1"}, 400, "bad_request", "unknown column 'none'"),
        ("/v1/entries//etc/passwd", {}, 404, "not_found", "no image"),
    ],
)
def test_mistakes(
    client: TestClient, shop: Shop, path: str, params: dict[str, Any], status: int, code: str, message: str
) -> None:
    answer = client.get(path, params=params)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert message in error["message"]
    assert str(shop.root) not in answer.text


def test_an_entry(client: TestClient, shop: Shop) -> None:
    told = client.get(f"/v1/entries/{shop.images[2]}").json()
    entry = told["entry"]
    assert told["index"]["version"]
    assert (entry["id"], entry["item"]) == (shop.images[2], "000001")
    assert (entry["width"], entry["height"]) == (96, 96)
    assert entry["box"] is None
    assert entry["labels"]["colour"] == ["beige"]
    assert (entry["metadata"]["price"], entry["metadata"]["stock"]) == (14.5, 2)
    assert client.get(entry["image"]).headers["content-type"] == "image/jpeg"
    boxed = client.get(f"/v1/entries/{shop.images[BOXED]}").json()["entry"]
    assert boxed["box"] == list(shop.catalogue.boxes()[BOXED] or ())


def test_what_metadata_says_is_passed_on_as_text(client: TestClient, shop: Shop) -> None:
    answer = client.get(f"/v1/entries/{shop.images[0]}")
    assert answer.json()["entry"]["metadata"]["name"] == HOSTILE
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("name", ODD)
def test_odd_names(odd: TestClient, name: str) -> None:
    entry = odd.get(f"/v1/entries/{image_url('', name).partition('?')[0].removeprefix('/v1/images/')}").json()["entry"]
    assert entry["id"] == name
    picture = odd.get(entry["image"])
    if name == "gone.jpg":
        assert (entry["width"], entry["height"]) == (None, None)
        assert picture.status_code == 404
        assert picture.json()["error"]["message"] == "the photograph of 'gone.jpg' cannot be read: no such file"
    else:
        assert (entry["width"], entry["height"]) == (96, 96)
        assert picture.status_code == 200


def test_a_photograph_that_is_gone(odd: TestClient) -> None:
    """The index still finds by what it has; what needs the pixels says so."""
    assert odd.post("/v1/search", json={"parts": [{"id": "gone.jpg"}]}).status_code == 200
    part = {"id": "gone.jpg", "box": [0, 0, 50, 50]}
    for answer in (
        odd.post("/v1/search", json={"parts": [part]}),
        odd.post("/v1/explain", json={"part": part, "attribute": "colour"}),
    ):
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == "the photograph of 'gone.jpg' cannot be read: no such file"


@pytest.mark.parametrize("box", [[0, 0, 48, 96], [48, 0, 96, 96]])
def test_the_box_of_an_image_that_is_listed_with_two(odd: TestClient, box: list[float]) -> None:
    image_id = f"two.png#{','.join(map(str, box))}"
    hits = odd.post("/v1/search", json={"parts": [{"id": image_id}]}).json()["hits"]
    assert image_id not in [hit["id"] for hit in hits]
    (other,) = [hit for hit in hits if hit["id"].startswith("two.png")]
    found = odd.get(other["image"].replace("/v1/images/", "/v1/entries/")).json()["entry"]
    assert found["id"] == other["id"]
    assert found["box"] == ([48, 0, 96, 96] if box[0] == 0 else [0, 0, 48, 96])


def test_a_sample(client: TestClient) -> None:
    def ids(**params: Any) -> list[str]:
        return [each["id"] for each in client.get("/v1/entries", params=params).json()["entries"]]

    told = client.get("/v1/entries", params={"k": 10}).json()
    assert told["count"] == 48
    assert len({each["item"] for each in told["entries"]}) == len(told["entries"]) == 10
    assert ids(k=10) == ids(k=10, seed=0) != ids(k=10, seed=1)
    assert ids(k=5) == ids(k=10)[:5]
    assert len(ids(k=200)) == 24  # one image of each item
    red = client.get(
        "/v1/entries", params={"where": "not (colour = 'red' or price is null) and stock in (0, 1)"}
    ).json()
    assert red["count"] == sum(each["count"] for each in _stock(client))
    assert all(each["labels"]["colour"] != ["red"] and each["metadata"]["stock"] < 2 for each in red["entries"])
    assert ids(where="price > 1000") == []


def _stock(client: TestClient) -> Any:
    where = "not (colour = 'red' or price is null) and stock in (0, 1)"
    columns = client.get("/v1/facets", params={"where": where}).json()["columns"]
    return next(each["values"] for each in columns if each["name"] == "brand")


@pytest.mark.parametrize(
    ("image_id", "expected"),
    [
        ("a/b.jpg", "a/b.jpg"),
        ("a b#1.jpg", "a%20b%231.jpg"),
        ("../b.jpg", "..%2Fb.jpg"),
        ("/srv/b.jpg", "%2Fsrv%2Fb.jpg"),
        ("a//b.jpg", "a%2F%2Fb.jpg"),
        ("kept://ab/c.jpg", "kept%3A%2F%2Fab%2Fc.jpg"),
        ("50%.jpg", "50%25.jpg"),
    ],
)
def test_where_a_picture_is(image_id: str, expected: str) -> None:
    assert image_url("my shop", image_id) == f"/v1/images/{expected}?index=my%20shop"


def test_two_indexes(shop: Shop, tmp_path: Path) -> None:
    app = shop.app(indexes=(("one", shop.folder), ("two", shop.folder)))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        ready(client)
        assert [each["name"] for each in client.get("/v1/indexes").json()["indexes"]] == ["one", "two"]
        assert client.get("/v1/facets?index=two").json()["index"]["name"] == "two"
        assert client.get("/v1/facets").json()["index"]["name"] == "one"
