"""A catalogue whose pictures lie in a zip archive is trained on, indexed, searched and shown as any other."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from lapel.archives import read_bytes
from lapel.catalogue import Catalogue
from lapel.config import load_recipe
from lapel.evaluation.figures import sheet
from lapel.retrieval.embedder import load
from lapel.retrieval.index import Index
from lapel.retrieval.indexing import index_catalogue
from lapel.training import train


@pytest.fixture
def packed(garments: Catalogue, tmp_path: Path) -> Catalogue:
    """The drawn garments, their pictures in an archive beside the catalogue."""
    with zipfile.ZipFile(tmp_path / "Img.zip", "w") as made:
        for name, path in zip(garments.images["image"].to_pylist(), garments.paths(), strict=True):
            made.write(path, f"img/{name}")
    inside = dataclasses.replace(garments, root=tmp_path / "Img.zip" / "img")
    inside.write(tmp_path / "catalogue" / "catalogue.parquet")
    return Catalogue.read(tmp_path / "catalogue")


@pytest.mark.usefixtures("packed")
def test_it_is_trained_on_as_one_in_a_folder(trained: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    recipe = load_recipe("demo", [f"data.catalogue={tmp_path / 'catalogue'}", *tiny])
    run = train(recipe, tmp_path / "run", quiet=True)
    found, expected = (load_file(folder / "model.safetensors") for folder in (run, trained))
    assert found.keys() == expected.keys()
    assert all(found[name].tobytes() == expected[name].tobytes() for name in expected)


def test_it_is_indexed_searched_and_shown(
    packed: Catalogue, garments: Catalogue, trained: Path, indexed: Path, tmp_path: Path
) -> None:
    index_catalogue(packed, load(trained), tmp_path / "index", quiet=True)
    index, other = Index.open(tmp_path / "index", trained), Index.open(indexed, trained)
    query = packed.paths()[5]
    hits = index.search(query, k=4)
    assert [hit.id for hit in hits] == [hit.id for hit in other.search(garments.paths()[5], k=4)]
    assert hits[0].image == str(query)
    assert sheet(query, hits).size[0] > 0
    again = index_catalogue(packed, load(trained), tmp_path / "index", quiet=True)
    assert again.unchanged == len(packed)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("Img.zip", "index", "catalogue"):
        (tmp_path / name).rename(moved / name)
    found = Index.open(moved / "index", trained).search(garments.paths()[5], k=1)[0]
    assert found.image == str(moved / "Img.zip/img" / found.id)
    assert read_bytes(Path(found.image)) == garments.paths()[5].read_bytes()
