"""Copies over HTTP: pages of groups, the CSV, two indexes, what is refused, and nothing of the server's disk."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lapel.catalogue import Catalogue
from lapel.retrieval.copies import find_copies
from lapel.serve import routes_copies

from .copied import COPY, SAVED, build
from .shop import TOKEN, Shop, ready


@pytest.fixture(scope="module")
def shops(garments: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, Path]:
    return build(tmp_path_factory.mktemp("copied"), garments)


@pytest.fixture(scope="module")
def client(shops: tuple[Shop, Path]) -> Iterator[TestClient]:
    shop, rival = shops
    app = shop.app(indexes=(("shop", shop.folder), ("rival", rival)))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with TestClient(app, base_url="http://127.0.0.1", headers=headers) as opened:
        yield ready(opened)


def get(client: TestClient, **asked: Any) -> dict[str, Any]:
    answer = client.get("/v1/copies", params=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_files_apart_from_look_alikes(client: TestClient, shops: tuple[Shop, Path]) -> None:
    found = get(client)
    assert found["index"]["name"] == "shop"
    assert found["against"] is None
    assert found["exact_total"] == 1
    (same,) = found["exact"]
    assert sorted(image["id"] for image in same["images"]) == sorted([COPY, shops[0].images[0]])
    assert same["pairs"] == []
    first = found["groups"][0]
    assert SAVED in {image["id"] for image in first["images"]}
    pair = next(pair for pair in first["pairs"] if SAVED in (pair["first"], pair["second"]))
    assert pair["nearness"] > 4
    assert pair["differs"]["pattern"]
    assert set(pair["cosines"]) == set(found["weights"]) == {"neckline", "pattern", "colour"}
    assert found["rule"].startswith("Look-alikes are pairs of images, at least 4 times nearer")
    assert found["pairs_total"] == sum(len(group["pairs"]) for group in found["groups"])
    picture = client.get(first["images"][0]["image"], params={"side": 160})
    assert picture.headers["content-type"] == "image/jpeg"


def test_pages(client: TestClient) -> None:
    asked = {"threshold": 0.5, "nearness": 1.5, "within_item": True}
    whole = get(client, **asked, limit=200)
    assert not whole["left"]
    assert whole["groups_total"] == len(whole["groups"]) > 10
    pages: list[Any] = []
    for offset in range(0, whole["groups_total"], 7):
        page = get(client, **asked, limit=7, offset=offset)
        assert page["left"] == (offset + 7 < whole["groups_total"])
        pages += page["groups"]
    assert pages == whole["groups"]
    assert get(client, **asked, offset=7)["exact"] == []


def test_asked_as_the_function_is(client: TestClient, shops: tuple[Shop, Path]) -> None:
    found = get(client, attribute=["pattern", "colour=-0.5"], threshold=0.25, where="price < 60", limit=200)
    weights = {"pattern": 1.0, "colour": -0.5}
    expected = find_copies(shops[0].folder, weights=weights, threshold=0.25, where="price < 60", quiet=True)
    told = [(pair["first"], pair["second"], pair["similarity"]) for group in found["groups"] for pair in group["pairs"]]
    grouped = [pair for group in expected.groups for pair in group.pairs]
    assert told == [(pair.first.id, pair.second.id, pair.similarity) for pair in grouped]
    assert len(told) > 3
    assert found["weights"] == {"neckline": 0, "pattern": 1, "colour": -0.5}


def test_two_indexes(client: TestClient) -> None:
    found = get(client, index="rival", against="shop", threshold=-1, limit=200)
    assert (found["index"]["name"], found["against"]["name"]) == ("rival", "shop")
    assert found["exact_total"] == 11
    for group in [*found["exact"], *found["groups"]]:
        assert {image["index"] for image in group["images"]} == {"rival", "shop"}
        assert all(f"?index={image['index']}" in image["image"] for image in group["images"])


def test_csv_without_paths(client: TestClient, shops: tuple[Shop, Path]) -> None:
    answer = client.get("/v1/copies.csv", params={"threshold": 0.5})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="copies.csv"' in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["kind"] for row in rows].count("file") == 1
    assert len(rows) == 1 + get(client, threshold=0.5)["pairs_total"]
    assert str(shops[0].root) not in answer.text
    assert str(shops[0].root) not in client.get("/v1/copies").text


def test_compared_once_until_the_index_changes(garments: Catalogue, tmp_path: Path, monkeypatch: Any) -> None:
    shop = Shop.build(tmp_path, garments, items=False)
    made: list[int] = []

    def noted(index: Any, *args: Any, **options: Any) -> Any:
        made.append(len(index))
        return find_copies(index, *args, **options)

    monkeypatch.setattr(routes_copies, "find_copies", noted)
    with TestClient(shop.app(), base_url="http://127.0.0.1") as client:
        ready(client)
        before = [get(client, limit=limit)["index"]["version"] for limit in (1, 50)]
        client.get("/v1/copies.csv")
        assert made == [48]
        shop.reindex(shop.catalogue.take(range(40)))
        while (after := client.get("/v1/copies").json()["index"])["version"] == before[0]:
            pass
        assert after["images"] == made[-1] == 40


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({"index": "none"}, 404, "unknown index 'none'"),
        ({"against": "none"}, 404, "unknown index 'none'"),
        ({"against": "shop"}, 400, "is compared with itself"),
        ({"attribute": "neklin"}, 400, "unknown attribute 'neklin'; did you mean 'neckline'?"),
        ({"attribute": "pattern=x"}, 400, "expected NAME or NAME=NUMBER"),
        ({"attribute": ["pattern", "pattern"]}, 400, "'pattern' is given twice"),
        ({"where": "price <"}, 400, "bad filter"),
        ({"threshold": 1.5}, 422, "threshold"),
        ({"threshold": "nan"}, 422, "threshold"),
        ({"nearness": 0.5}, 422, "nearness"),
        ({"limit": 0}, 422, "limit"),
        ({"limit": 201}, 422, "limit"),
        ({"offset": -1}, 422, "offset"),
    ],
)
def test_refused(
    client: TestClient, shops: tuple[Shop, Path], asked: dict[str, Any], status: int, message: str
) -> None:
    for path in ("/v1/copies", "/v1/copies.csv"):
        if path.endswith("csv") and {"limit", "offset"} & set(asked):
            continue
        answer = client.get(path, params=asked)
        assert answer.status_code == status, answer.text
        assert message in answer.json()["error"]["message"]
        assert str(shops[0].root) not in answer.text


def test_while_it_takes_too_long(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is 429 with the time to come back, and the work goes on until then."""
    desk = client.app.state.comparisons  # type: ignore[attr-defined]
    monkeypatch.setattr(desk, "wait_s", 0.0)
    asked = {"threshold": 0.123}
    answer = client.get("/v1/copies", params=asked)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["error"]["code"] == "busy"
    while (answer := client.get("/v1/copies", params=asked)).status_code == 429:
        pass
    assert answer.json()["pairs_total"] > 0
