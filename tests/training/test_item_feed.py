"""What an instance model is fed: pictures and what is known of them, seen the same way."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lapel.config import Recipe, from_dict
from lapel.errors import CatalogueError
from lapel.images import Preprocessing
from lapel.training.item_feed import ItemFeed
from lapel.training.item_work import ItemWork

PRE = Preprocessing(48, 32, "letterbox", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0)
COUNT = 24


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Black pictures with one white dot each: the left collar, the only landmark. Three of each item; one is broken."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    rows = []
    for number in range(COUNT + 4):
        height, width = generator.integers(40, 80, 2).tolist()
        x, y = int(generator.integers(12, width - 12)), int(generator.integers(12, height - 12))
        picture = np.zeros((height, width, 3), np.uint8)
        picture[y - 2 : y + 3, x - 2 : x + 3] = 255
        Image.fromarray(picture).save(folder / f"{number:02}.png")
        box = f"3 2 {width - 1} {height}" if number % 2 else ""
        landmarks = f"{x + 0.5} {y + 0.5} 0 " + " ".join(["0 0 2"] * 7)
        row = {"image": f"{number:02}.png", "item": f"i{number // 3}", "split": "train" if number < COUNT else "val"}
        rows.append(row | {"box": box, "landmarks": landmarks, "colour": ("red", "blue")[number % 2]})
    (folder / "04.png").write_text("<html>404</html>")
    with (folder / "catalogue.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "catalogue.csv"


def recipe(catalogue: Path, **training: Any) -> Recipe:
    training = {"batching": "images", "batch": 6, "losses": {"id": 1, "tags": 1, "landmarks": 1}} | training
    image = {"height": 48, "width": 32, "resize": "letterbox", "zoom": 0.9, "rotate": 15.0}
    return from_dict({"data": {"catalogue": str(catalogue)}, "image": image, "training": training})


def feed(catalogue: Path, rank: int = 0, world: int = 1, **training: Any) -> ItemFeed:
    fabric: Any = SimpleNamespace(global_rank=rank, world_size=world, device=torch.device("cpu"))
    return ItemWork(recipe(catalogue, **training)).feed(PRE, fabric)


def assert_same(one: Any, two: Any) -> None:
    assert torch.equal(one[0], two[0])
    assert all(torch.equal(a, b) for a, b in zip(one[1], two[1], strict=True))


def test_landmarks_lie_where_the_picture_shows_them(catalogue: Path) -> None:
    """Box, letterbox, zoom, turn and mirror; a mirrored left collar is the right one."""
    sides = set()
    for epoch in range(3):
        for images, targets in feed(catalogue).epoch(epoch, 0):
            assert images.shape == (6, 3, 48, 32)
            for image, points, weights in zip(images, targets.points, targets.weights, strict=True):
                if not weights.any():
                    continue
                (place,) = torch.nonzero(weights)[:, 0].tolist()
                sides.add(place)
                light = image.mean(0)
                total = light.sum()
                x = (light.sum(0) * (torch.arange(32) + 0.5)).sum() / total
                y = (light.sum(1) * (torch.arange(48) + 0.5)).sum() / total
                assert (torch.stack([x, y]) - points[place]).norm() < 1.5, "some of a dot may be cut off"
    assert sides == {0, 1}


def test_an_epoch_may_begin_anywhere(catalogue: Path) -> None:
    for settings in ({}, {"per_item": 2}, {"within": "colour"}, {"losses": {"simclr": 1}}):
        whole = [*feed(catalogue, **settings).epoch(2, 0)]
        assert len(whole) == feed(catalogue, **settings).steps == 4
        for one, two in zip([*feed(catalogue, **settings).epoch(2, 3)], whole[3:], strict=True):
            assert_same(one, two)
        other = next(feed(catalogue, **settings).epoch(3, 0))
        assert not torch.equal(other[0], whole[0][0])


def test_processes_share_a_batch(catalogue: Path) -> None:
    """Each sees its own part, all of one size; together they are the epoch's images."""
    parts = [feed(catalogue, rank, 2, batch=4) for rank in range(2)]
    assert [(part.steps, part.images) for part in parts] == [(3, 8), (3, 8)]
    mine = [[rows for rows, _ in _rows(part)] for part in parts]
    found = np.concatenate([np.concatenate(each) for each in mine])
    assert sorted(found.tolist()) == [*range(COUNT)]


def _rows(part: ItemFeed) -> Any:
    drawn = part.sampler.batches((part.settings.seed, 0))
    rank, size = part.fabric.global_rank, part.batch
    for rows in drawn:
        yield rows[rank * size : (rank + 1) * size], rows


def test_an_unreadable_image_leaves_a_place_of_which_nothing_is_known(catalogue: Path) -> None:
    broken = feed(catalogue)
    gaps = 0
    for images, targets in broken.epoch(0, 0):
        gap = targets.items < 0
        gaps += int(gap.sum())
        assert images.shape[0] == 6
        assert not targets.known[gap].any()
        assert not targets.weights[gap].any()
    assert gaps == 1
    assert [failure.path.name for failure in broken.failures] == ["04.png"]


def test_two_views_are_two_pictures_of_the_same(catalogue: Path) -> None:
    two = feed(catalogue, losses={"simclr": 1, "tags": 1, "landmarks": 1})
    assert two.images == 12
    images, targets = next(two.epoch(0, 0))
    assert images.shape == (2, 6, 3, 48, 32)
    assert images.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(images[0], images[1])
    assert torch.equal(targets.items[:6], targets.items[6:])
    assert torch.equal(targets.tags[:6], targets.tags[6:])
    assert len(targets.points) == len(targets.weights) == 12
    assert not torch.equal(targets.points[:6], targets.points[6:])


def test_images_that_take_no_part_are_counted_aloud(
    catalogue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    feed(catalogue)
    feed(catalogue, per_item=3)
    assert capsys.readouterr().err == ""
    rows = list(csv.DictReader(catalogue.open()))
    rows[0]["item"], rows[8]["item"], rows[9]["colour"] = "", "alone", ""
    for row in rows:
        row["image"] = str(catalogue.parent / row["image"])
    with (tmp_path / "catalogue.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    feed(tmp_path / "catalogue.csv", per_item=2)
    said = "2 of 24 training images take no part: they have no other image of their item to go with"
    assert said in capsys.readouterr().err
    feed(tmp_path / "catalogue.csv", within="colour")
    assert "1 of 24 training images take no part: they show no value of 'colour'" in capsys.readouterr().err


def test_too_few_images(catalogue: Path) -> None:
    with pytest.raises(CatalogueError, match=r"too few training images for 9 processes .*, of items with two images"):
        feed(catalogue, 0, 9, losses={"triplet": 1}, per_item=2)
