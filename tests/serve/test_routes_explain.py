"""Explanations over HTTP: the map of an image of the index or of a photograph, as numbers and as a picture."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from lapel.frame import Preprocessing
from lapel.serve.explaining import Explainer

from .shop import BOXED, Shop, ready


class Gazer:
    """Looks at the upper left quarter under its first attribute, everywhere under the others."""

    def __init__(self, gazes: tuple[str, ...]) -> None:
        self.gazes, self.calls = gazes, 0
        self.preprocessing = Preprocessing(32, 32, "letterbox")

    def attention(self, images: Any) -> np.ndarray:
        self.calls += 1
        maps = np.ones((len(self.gazes), 8, 8), np.float32)
        maps[0] = 0
        maps[0, :4, :4] = 1
        return (maps / maps.sum((1, 2), keepdims=True))[None]


@pytest.fixture(scope="module")
def gazers(shop: Shop) -> dict[str, Gazer]:
    return {"looks": Gazer(("neckline", "pattern", "colour")), "garments": Gazer(("appearance", "landmarks"))}


@pytest.fixture(scope="module")
def client(shop: Shop, gazers: dict[str, Gazer]) -> Iterator[TestClient]:
    app = shop.app()
    app.state.lapel.explainer = Explainer(load=lambda run: gazers[run.name])  # type: ignore[arg-type,return-value]
    with TestClient(app, base_url="http://127.0.0.1") as opened:
        yield ready(opened)


def explain(client: TestClient, part: dict[str, Any], attribute: str = "neckline", **rest: Any) -> Any:
    return client.post("/v1/explain", json={"part": part, "attribute": attribute, **rest})


def test_a_map(client: TestClient, shop: Shop) -> None:
    told = explain(client, {"id": shop.images[0]}).json()
    assert (told["width"], told["height"], told["flat"]) == (96, 96, False)
    assert told["index"]["name"] == "shop"
    found = np.array(told["map"], float)
    assert found.shape == (96, 96)
    assert found[:36, :36].min() > 0.9
    assert found[60:, 60:].max() == 0


def test_an_image_with_a_box_is_seen_as_the_index_saw_it(client: TestClient, shop: Shop) -> None:
    x1, y1, x2, y2 = (int(edge) for edge in shop.catalogue.boxes()[BOXED] or ())
    told = explain(client, {"id": shop.images[BOXED]}).json()
    seen = np.array([[cell is not None for cell in row] for row in told["map"]])
    assert seen[y1:y2, x1:x2].all()
    assert seen.sum() == (x2 - x1) * (y2 - y1)


def test_of_a_photograph_and_a_box(client: TestClient, shop: Shop) -> None:
    sink = io.BytesIO()
    Image.new("RGB", (400, 200), "pink").save(sink, "PNG")
    query = client.post("/v1/queries", files={"image": sink.getvalue()}).json()["query"]
    told = explain(client, {"query": query, "box": [200, 0, 400, 200]}).json()
    found = np.array([[np.nan if cell is None else cell for cell in row] for row in told["map"]])
    assert found.shape == (48, 96)
    assert np.isnan(found[:, :48]).all()
    assert found[:16, 50:64].min() > 0.9
    assert found[30:, 80:].max() == 0


def test_as_a_picture(client: TestClient, shop: Shop) -> None:
    answer = explain(client, {"id": shop.images[0]}, format="png")
    assert answer.headers["content-type"] == "image/png"
    picture = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"), float)
    assert picture.shape == (96, 96, 3)
    spread = picture.max(2) - picture.min(2)
    assert spread[10:30, 10:30].mean() > spread[70:, 70:].mean() + 20  # colour is where it looks


def test_one_look_serves_every_attribute(client: TestClient, shop: Shop, gazers: dict[str, Gazer]) -> None:
    before = gazers["looks"].calls
    flat = [explain(client, {"id": shop.images[7]}, name).json()["flat"] for name in ("neckline", "pattern", "colour")]
    assert flat == [False, True, True]
    assert gazers["looks"].calls == before + 1


def test_of_the_item_the_branches(client: TestClient, shop: Shop) -> None:
    mean = explain(client, {"id": shop.images[0]}, "item").json()
    assert (mean["gaze"], mean["gazes"], mean["flat"]) == (None, ["appearance", "landmarks"], False)
    assert explain(client, {"id": shop.images[0]}, "item", gaze="landmarks").json()["flat"]
    refused = explain(client, {"id": shop.images[0]}, "item", gaze="landmark")
    assert "did you mean 'landmarks'" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        ({"part": {"id": "none"}, "attribute": "colour"}, 404, "not_found", "no image 'none'"),
        ({"part": {"id": "IMAGE"}, "attribute": "color"}, 400, "bad_request", "did you mean 'colour'"),
        ({"part": {"id": "IMAGE"}, "attribute": "colour", "gaze": "x"}, 400, "bad_request", "leave it out"),
        ({"part": {"id": "IMAGE", "weights": {}}, "attribute": "colour"}, 422, "invalid", "Extra inputs"),
        ({"part": {"id": "IMAGE"}, "attribute": "colour", "format": "gif"}, 422, "invalid", "'map' or 'png'"),
        ({"part": {"id": "IMAGE"}}, 422, "invalid", "attribute: Field required"),
        ({"part": {"id": "IMAGE", "box": [1, 1, 1, 9]}, "attribute": "colour"}, 400, "bad_request", "is empty"),
    ],
)
def test_refused(client: TestClient, shop: Shop, body: dict[str, Any], status: int, code: str, message: str) -> None:
    body["part"] = {name: shop.images[0] if value == "IMAGE" else value for name, value in body["part"].items()}
    answer = client.post("/v1/explain", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert message in answer.json()["error"]["message"]


def test_a_run_that_is_gone(own_shop: Shop) -> None:
    with TestClient(own_shop.app(), base_url="http://127.0.0.1") as client:
        ready(client)
        assert client.get("/v1/indexes").json()["indexes"][0]["explains"]
        for seer in own_shop.seers:
            (seer.run / "model.safetensors").unlink()
        answer = explain(client, {"id": own_shop.images[0]})
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "no_run")
        assert "run 'looks'" in answer.json()["error"]["message"]
        assert str(own_shop.root) not in answer.text
        assert not client.get("/v1/indexes").json()["indexes"][0]["explains"]
