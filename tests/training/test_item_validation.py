"""What an instance model is held to in the middle of its training, against loops; and which figure comes first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from lightning_fabric import Fabric

from lapel.catalogue import Catalogue
from lapel.item_outputs import item_outputs, landmark_result, tag_result
from lapel.protocol import AttributeProtocol, ItemProtocol, Protocol, Side, to_dict
from lapel.training.item_validation import held_out_items, validate_items, view_of

from ..item_stand_in import PRE, TAGS, StandIn, config_of, draw, read, source_of

STAGE_1, STAGE_2 = {"tags": 1.0, "landmarks": 1.0}, {"id": 1.0, "tags": 1.0, "landmarks": 1.0}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return draw(tmp_path_factory.mktemp("world") / "val", items=12)


def score(
    catalogue: Catalogue, losses: dict[str, float], model: StandIn | None = None, tags: Any = TAGS
) -> dict[str, float]:
    model = StandIn(tags=3, points=8) if model is None else model
    fabric = Fabric(accelerator="cpu", devices=1)
    return validate_items(model.train(), config_of(losses, tags), source_of(catalogue), catalogue, Path(), fabric)


def scored(catalogue: Catalogue, protocol: Protocol) -> Catalogue:
    return replace(catalogue, record={"protocol": to_dict(protocol)})


def without(catalogue: Catalogue, *columns: str) -> Catalogue:
    images = catalogue.images
    for name in columns:
        place, column = images.column_names.index(name), images[name]
        images = images.set_column(place, name, pa.nulls(len(catalogue), column.type))
    return replace(catalogue, images=images)


def accuracy(catalogue: Catalogue, k: int, allowed: Callable[[dict[str, Any], dict[str, Any]], bool]) -> float:
    """Acc@K in percent by a sorted list for each image; ``allowed`` says who may be asked for whom."""
    rows, pictures = catalogue.images.to_pylist(), read(catalogue)
    means = [None if picture is None else picture.mean((0, 1)) for picture in pictures]
    hits = []
    for query, own in enumerate(means):
        near = [
            (float(np.square(own - mean).sum()), rows[row]["item"] == rows[query]["item"])
            for row, mean in enumerate(means)
            if own is not None and mean is not None and row != query and allowed(rows[query], rows[row])
        ]
        if rows[query]["item"] is not None and any(right for _, right in near):
            hits.append(any(right for _, right in sorted(near)[:k]))
    return 100 * float(np.mean(hits))


def anyone(_: dict[str, Any], __: dict[str, Any]) -> bool:
    return True


def street_to_shop(query: dict[str, Any], row: dict[str, Any]) -> bool:
    return bool(query["domain"] == "consumer" and row["domain"] == "shop")


def test_each_image_is_asked_for_the_others_of_its_item(world: Catalogue) -> None:
    found = score(world, {"id": 1.0})
    assert list(found) == ["acc@1", "acc@10"]
    assert found["acc@1"] == pytest.approx(accuracy(world, 1, anyone))
    assert found["acc@10"] == pytest.approx(accuracy(world, 10, anyone))
    assert 20 < found["acc@1"] < 90


def test_consumers_images_are_asked_for_the_shops_where_the_protocol_does(world: Catalogue) -> None:
    """By the splits' own images, whatever pairs and splits the protocol asks for in testing."""
    sides = Side(("test",), "consumer"), Side(("test", "gallery"), "shop")
    asked = scored(world, ItemProtocol(*sides, relation="pairs", match="image", asked="pair"))
    found = score(asked, {"id": 1.0})
    assert found["acc@1"] == pytest.approx(accuracy(world, 1, street_to_shop))
    assert found["acc@10"] == pytest.approx(accuracy(world, 10, street_to_shop))
    assert found != score(world, {"id": 1.0})


def test_only_the_querys_category_is_ranked_where_the_protocol_says_so(world: Catalogue) -> None:
    def same(query: dict[str, Any], row: dict[str, Any]) -> bool:
        return bool(query["item"] and row["item"]) and int(query["item"][1:]) % 2 == int(row["item"][1:]) % 2

    # ``size`` is that of the item, and every fourth image lacks it: here each has its own.
    column = pa.array([["even", "odd"][int(item[1:]) % 2] if item else None for item in world.items()])
    parted = replace(world, images=world.images.append_column("half", column))
    asked = scored(parted, ItemProtocol(Side(("test",)), Side(), within="half"))
    assert score(asked, {"id": 1.0})["acc@1"] == pytest.approx(accuracy(world, 1, same))


@pytest.mark.parametrize(
    "protocol",
    [
        AttributeProtocol(),
        ItemProtocol(Side((), "street"), Side((), "shop")),
        ItemProtocol(Side((), "consumer"), Side((), "shop"), within="categroy"),
    ],
    ids=["attributes", "domain", "column"],
)
def test_what_the_held_out_images_lack_is_left_out(world: Catalogue, protocol: Protocol) -> None:
    found = held_out_items(scored(world, protocol))
    assert found is not None
    expected = street_to_shop if isinstance(protocol, ItemProtocol) and protocol.within else anyone
    losses = {"id": 1.0}
    assert score(scored(world, protocol), losses)["acc@1"] == pytest.approx(accuracy(world, 1, expected))


def test_branches_come_beside_and_first_while_items_are_not_learned(world: Catalogue) -> None:
    outputs = item_outputs(StandIn(tags=3, points=8), source_of(world), "cpu")
    tags, points = tag_result(outputs, world, TAGS), landmark_result(outputs, world, PRE)
    assert tags is not None
    assert points is not None
    expected = {"tags": 100 * tags.map, "landmarks": 100 * (1 - points.error)}
    first = score(world, STAGE_1)
    assert list(first) == ["branches", "tags", "landmarks"]
    assert first == pytest.approx({"branches": sum(expected.values()) / 2} | expected)
    second = score(world, STAGE_2)
    assert list(second) == ["acc@1", "acc@10", "tags", "landmarks"]
    assert second == pytest.approx(score(world, {"id": 1.0}) | expected)
    assert list(score(world, {"id": 0.0, "tags": 1.0})) == ["branches", "tags"]
    assert list(score(world, {"contrast": 1.0, "landmarks": 1.0})) == ["acc@1", "acc@10", "landmarks"]


def test_a_branch_that_the_images_tell_nothing_of_is_left_out(world: Catalogue) -> None:
    assert list(score(without(world, "landmarks"), STAGE_1)) == ["branches", "tags"]
    assert list(score(world, STAGE_1, tags=[("sleeve", "long")] * 3)) == ["branches", "landmarks"]
    assert list(score(world, STAGE_1, StandIn())) == ["acc@1", "acc@10"]
    assert list(score(without(world, "item"), STAGE_2)) == ["branches", "tags", "landmarks"]


def test_unlabelled_images_are_recognised_in_a_view(world: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = without(world, "item", "landmarks")
    assert list(score(world, {"simclr": 1.0})) == ["acc@1", "acc@10"]  # items are told: they are what counts
    found = score(plain, {"simclr": 1.0}, tags=())
    assert list(found) == ["views"]
    pictures = {row: picture for row, picture in enumerate(read(plain)) if picture is not None}
    views = {row: view(picture) for row, picture in pictures.items()}

    def share(rows: list[int]) -> float:
        hits = 0
        for row in rows:
            gaps = [np.square(views[row] - pictures[other].mean((0, 1))).sum() for other in rows]
            hits += rows[int(np.argmin(gaps))] == row
        return 100 * hits / len(rows)

    rows = list(pictures)
    assert found["views"] == pytest.approx(share(rows))
    monkeypatch.setattr("lapel.training.item_validation.VIEWS", 8)
    some = [rows[round(place)] for place in np.linspace(0, len(rows) - 1, 8)]
    assert score(plain, {"vicreg": 1.0}, tags=())["views"] == pytest.approx(share(some))


def view(picture: np.ndarray) -> np.ndarray:
    """Mean colour of the view that is asked."""
    pixels = torch.from_numpy((picture * 255).round().astype(np.uint8)).permute(2, 0, 1)
    return np.asarray(view_of(pixels[None])[0].mean((1, 2)).double() / 255)


def test_a_view_is_mirrored_and_cropped() -> None:
    image = torch.zeros(1, 3, 10, 20, dtype=torch.uint8)
    image[..., 3] = 200  # the fourth column from the left
    found = view_of(image)
    assert found.shape == image.shape
    assert int(found[0, 0, 5].argmax()) in (17, 18)  # 16 of 20 columns are spread over 20; mirrored it was the 17th
    assert torch.equal(found, view_of(image))
    image = torch.zeros(1, 3, 10, 20, dtype=torch.uint8)
    image[..., 0], image[:, :, 0] = 255, 255  # the rim is cut off
    assert not view_of(image).any()


def test_by_the_distance_of_the_model(world: Catalogue) -> None:
    """Colours that differ in brightness alone are one to the cosine."""
    euclidean, cosine = (score(world, {"id": 1.0}, StandIn(distance=name)) for name in ("euclidean", "cosine"))
    assert euclidean["acc@1"] != cosine["acc@1"]


def test_images_that_cannot_be_read_ask_nothing(world: Catalogue) -> None:
    """The partner of the only other image of its item was not read: nobody can find it."""
    pair = world.take([6, 7, 9, 10])  # 6 and 7 of one item, 7 is broken; 9 and 10 of another
    found = score(pair, {"id": 1.0})
    assert found["acc@1"] == accuracy(pair, 1, anyone)
    alone = world.take([6, 7, 9, 12])
    assert list(score(alone, {"id": 1.0}, StandIn())) == ["views"]
