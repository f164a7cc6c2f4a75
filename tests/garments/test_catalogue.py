from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lapel.errors import CatalogueError
from lapel.files import sha256
from lapel.garments import ATTRIBUTES, contact_sheet, draw_catalogue, item_garment, render

SMALL = {"items": 20, "views": 2, "size": 64, "seed": 4, "quiet": True, "domains": ("shop", "consumer")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    to = tmp_path_factory.mktemp("drawn")
    draw_catalogue(to, **SMALL)
    return to


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "catalogue.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def digests(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_catalogue_holds_what_the_renderer_said(folder):
    found = draw_catalogue(folder, **SMALL)
    assert len(found) == 40
    assert set(found.attributes) <= set(ATTRIBUTES)
    assert found.metadata == ()
    assert found.splits() == ("train", "val", "test")
    assert [found.split(name).images.num_rows for name in ("train", "val", "test")] == [32, 4, 4]
    for row, (path, box) in enumerate(zip(found.paths(), found.boxes(), strict=True)):
        item, view = row // 2, row % 2
        garment = item_garment(4, item)
        domain = ("shop", "consumer")[view]
        drawn = render(garment, 4 * 1_000_003 + item * 1009 + view, domain, 64)
        assert found.values_of(row) == {k: (v,) for k, v in garment.labels.items()}
        assert box == drawn.box
        assert found.images["domain"][row].as_py() == domain
        marks = np.array(found.images["landmarks"][row].as_py()).reshape(8, 3)
        np.testing.assert_allclose(marks, drawn.landmarks, atol=0.051)
        picture = np.asarray(Image.open(path), float)
        assert np.abs(picture - drawn.image).mean() < 12  # JPEG


def test_items_share_labels_splits_and_differ_in_pixels(folder):
    rows = rows_of(folder)
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first["item"] == second["item"]
        assert first["split"] == second["split"]
        assert all(first.get(name) == second.get(name) for name in ATTRIBUTES)
        assert (folder / first["image"]).read_bytes() != (folder / second["image"]).read_bytes()
    assert len({row["item"] for row in rows}) == 20


def test_missing_attributes_are_empty_cells(folder):
    for row in rows_of(folder):
        if row["category"] in ("skirt", "trousers"):
            assert all(row[name] == "" for name in ("neckline", "collar", "lapel", "sleeve_length"))
        else:
            assert row["sleeve_length"]


def test_same_seed_same_bytes_and_another_seed_other_pictures(folder, tmp_path):
    draw_catalogue(tmp_path / "again", **SMALL)
    assert digests(tmp_path / "again") == digests(folder)
    draw_catalogue(tmp_path / "other", **{**SMALL, "seed": 5})
    assert digests(tmp_path / "other") != digests(folder)


def test_interrupted_drawing_ends_the_same(folder, tmp_path):
    draw_catalogue(tmp_path, **SMALL)
    (tmp_path / "catalogue.csv").unlink()
    (tmp_path / "images" / "000003-1.jpg").unlink()
    (tmp_path / "images" / "000004-0.jpg").write_bytes(b"half a picture")
    kept = tmp_path / "images" / "000000-0.jpg"
    before = kept.stat().st_mtime_ns
    draw_catalogue(tmp_path, **SMALL)
    assert digests(tmp_path) == digests(folder)
    assert kept.stat().st_mtime_ns == before


def test_asking_again_draws_nothing(folder, monkeypatch):
    monkeypatch.setattr("lapel.garments.catalogue.render", None)
    assert len(draw_catalogue(folder, **SMALL)) == 40


def test_regions_lie_beside_the_catalogue(folder):
    regions = json.loads((folder / "regions.json").read_text())
    for row in rows_of(folder):
        boxes = regions[row["image"]]
        assert set(boxes) == {name for name in ATTRIBUTES if row.get(name)}
        assert boxes["colour"] == [[float(v) for v in row["box"].split()]]


def test_contact_sheet_of_a_catalogue_of_garments_and_of_views(folder, tmp_path):
    garments = [item_garment(0, item) for item in range(5)]
    views = [render(garment, 1, "consumer", 64) for garment in garments]
    found = draw_catalogue(folder, **SMALL)
    for number, what in enumerate((found, garments, views)):
        path = contact_sheet(what, tmp_path / f"{number}.png", size=64, columns=3, limit=5)
        with Image.open(path) as sheet:
            assert sheet.format == "PNG"
            assert sheet.size[0] == 3 * 68
            assert np.asarray(sheet).std() > 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": 0}, "items is 0: it must be at least 1"),
        ({"views": -1}, "views is -1"),
        ({"size": 10}, "size is 10: it must be at least 32"),
        ({"seed": -2}, "seed is -2: it must be at least 0"),
        ({"domains": ("shop", "stret")}, "unknown domain 'stret'"),
        ({"domains": ()}, "no domain was given"),
        ({"shares": (0.5, 0.1, 0.1)}, "must sum to 1"),
    ],
)
def test_bad_order(change, message, tmp_path):
    with pytest.raises(CatalogueError, match=message):
        draw_catalogue(tmp_path, **{**SMALL, **change})


def test_a_catalogue_that_was_not_drawn_is_never_replaced(tmp_path: Path) -> None:
    own = tmp_path / "catalogue.csv"
    own.write_text("image,fit\na.jpg,slim\n")
    with pytest.raises(CatalogueError, match="catalogue"):
        draw_catalogue(tmp_path, items=2, views=1, size=64, quiet=True)
    assert own.read_text() == "image,fit\na.jpg,slim\n"
