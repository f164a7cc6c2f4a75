"""Validation in the middle of training: the catalogue's own queries where it gives some, else the usual draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from lightning_fabric import Fabric

from lapel.catalogue import Catalogue
from lapel.errors import CatalogueError
from lapel.evaluation.protocols import attribute_retrieval
from lapel.image_source import ImageSource
from lapel.retrieval.embedder import load
from lapel.validation import validate


def given(catalogue: Catalogue, split: str) -> pa.Table:
    """Ask every third image for its colour, among all others."""
    rows = catalogue.labels.filter(pa.compute.equal(catalogue.labels["attribute"], "colour")).to_pylist()
    images = catalogue.images["image"].to_pylist()
    return pa.table(
        {
            "split": [split] * len(rows),
            "role": ["query" if number % 3 == 0 else "candidate" for number in range(len(rows))],
            "attribute": ["colour"] * len(rows),
            "value": [row["value"] for row in rows],
            "image": [images[row["image"]] for row in rows],
        }
    )


def score(run: Path, catalogue: Catalogue) -> dict[str, float]:
    embedder = load(run)
    source = ImageSource(catalogue.paths(), embedder.preprocessing, catalogue.boxes())
    fabric = Fabric(accelerator="cpu", devices=1)
    return validate(embedder.model, embedder.config, source, catalogue, run, fabric)


def test_without_lists_queries_are_drawn(garments: Catalogue, trained: Path) -> None:
    chosen = garments.split("train")
    vectors = np.concatenate([found for _, found in load(trained).embed_paths(chosen.paths(), chosen.boxes())])
    expected = attribute_retrieval(vectors, chosen, load(trained).attributes)
    found = score(trained, chosen)
    assert found["map"] == pytest.approx(100 * expected.map, abs=1e-6)
    assert set(found) == {"map", *(row.attribute for row in expected.attributes)}


def test_given_queries_are_asked(garments: Catalogue, trained: Path) -> None:
    chosen = garments.split("train")
    drawn = score(trained, chosen)
    found = score(trained, chosen.with_relations({"queries": given(chosen, "val")}))
    assert set(found) == {"map", "colour"}
    assert found["map"] == found["colour"] != drawn["colour"]


def test_lists_of_another_split_are_not_for_validation(garments: Catalogue, trained: Path) -> None:
    chosen = garments.split("train")
    assert score(trained, chosen.with_relations({"queries": given(chosen, "test")})) == score(trained, chosen)


def test_lists_that_name_other_images_are_refused(garments: Catalogue, trained: Path) -> None:
    chosen = garments.split("train")
    table = given(chosen, "val").set_column(4, "image", pa.array(["gone.jpg"] * chosen.labels.num_rows)[: len(chosen)])
    with pytest.raises(CatalogueError, match=r"gone\.jpg"):
        score(trained, chosen.with_relations({"queries": table}))
