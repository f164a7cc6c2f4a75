"""Validation in the middle of training: the catalogue's own queries where it gives some, else the usual draw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from lightning_fabric import Fabric

from lapel.catalogue import Catalogue
from lapel.errors import CatalogueError
from lapel.evaluate import evaluate
from lapel.evaluation.protocols import attribute_retrieval
from lapel.evaluation.record import read_result
from lapel.image_source import ImageSource
from lapel.models import build
from lapel.protocol import TripletProtocol, to_dict
from lapel.report.build import _Known
from lapel.retrieval.embedder import load
from lapel.runs import read_config, save_weights
from lapel.training.validation import given_triplets, held_out, validate

from ..models.contract import alive


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


def test_lists_without_splits_are_not_for_validation(garments: Catalogue, trained: Path) -> None:
    chosen = garments.split("train")
    table = given(chosen, "val").drop_columns(["split"])
    assert score(trained, chosen.with_relations({"queries": table})) == score(trained, chosen)


def test_lists_that_name_other_images_are_refused(garments: Catalogue, trained: Path) -> None:
    chosen = garments.split("train")
    table = given(chosen, "val").set_column(4, "image", pa.array(["gone.jpg"] * chosen.labels.num_rows)[: len(chosen)])
    with pytest.raises(CatalogueError, match=r"gone\.jpg"):
        score(trained, chosen.with_relations({"queries": table}))


def triplets(catalogue: Catalogue, split: str, attribute: str = "colour") -> pa.Table:
    """Each image with the first other of its value and the first of another."""
    labels = catalogue.labels.filter(pa.compute.equal(catalogue.labels["attribute"], attribute)).to_pylist()
    values = {row["image"]: row["value"] for row in labels}
    rows = []
    for anchor, value in values.items():
        near = [row for row, other in values.items() if other == value and row != anchor]
        far = [row for row, other in values.items() if other != value]
        if near and far:
            rows.append((anchor, near[0], far[0]))
    images = catalogue.images["image"].to_pylist()
    told = {role: [images[row[place]] for row in rows] for place, role in enumerate(("anchor", "positive", "negative"))}
    return pa.table({"split": [split] * len(rows), "attribute": [attribute] * len(rows)} | told)


def scored_by_triplets(catalogue: Catalogue, table: pa.Table) -> Catalogue:
    record = {"protocol": to_dict(TripletProtocol())}
    return replace(catalogue, record=record).with_relations({"triplets": table})


def test_where_triplets_are_the_measure_their_accuracy_is(garments: Catalogue, trained: Path) -> None:
    asked = triplets(garments, "val")
    chosen = held_out(scored_by_triplets(garments, asked), ["colour", "pattern"])
    found = score(trained, chosen)
    assert list(found) == ["accuracy", "colour"]
    embedder = load(trained)
    vectors = np.concatenate([one for _, one in embedder.embed_paths(chosen.paths(), chosen.boxes())])
    place, names = embedder.attributes.index("colour"), chosen.images["image"].to_pylist()
    right = 0
    for row in asked.to_pylist():
        anchor, near, far = (
            vectors[names.index(row[role]), place].astype(float) for role in ("anchor", "positive", "negative")
        )
        right += anchor @ near > anchor @ far
    assert found["accuracy"] == pytest.approx(100 * right / asked.num_rows)


def test_a_model_of_euclidean_distance_is_told_by_it(garments: Catalogue, trained: Path, tmp_path: Path) -> None:
    """In validation and in evaluation; by cosine its masked embeddings, whose lengths differ, tell others right."""
    before, options = read_config(trained), {"width": 12, "masks": "learned"}
    torch.manual_seed(0)
    model = alive(build("csn_original", len(before.attributes), "test_resnet", **options))
    spec = {"name": "csn_original", "trunk": "test_resnet", "dim": 12, "trunk_options": {}, "options": options}
    config = replace(before, model=spec)
    config.write(tmp_path)
    save_weights(tmp_path, model.state_dict(), config, {})

    asked = triplets(garments, "val")
    chosen = held_out(scored_by_triplets(garments, asked), ["colour"])
    embedder, rows = load(tmp_path), chosen.images["image"].to_pylist()
    ((_, raw),) = embedder.embed_paths(chosen.paths(), chosen.boxes(), len(chosen), raw=True)
    ((_, unit),) = embedder.embed_paths(chosen.paths(), chosen.boxes(), len(chosen))
    place, right, by_cosine = embedder.attributes.index("colour"), 0, 0
    for row in asked.to_pylist():
        at = [rows.index(row[role]) for role in ("anchor", "positive", "negative")]
        anchor, near, far = raw[at, place].astype(float)
        right += np.linalg.norm(anchor - near) < np.linalg.norm(anchor - far)
        anchor, near, far = unit[at, place].astype(float)
        by_cosine += anchor @ near > anchor @ far
    expected = pytest.approx(100 * right / asked.num_rows)
    assert by_cosine != right
    assert score(tmp_path, chosen)["accuracy"] == expected

    known = _Known(embedder, chosen, raw, np.zeros(len(chosen), bool), raw=True)
    for at_hand in (None, known, _Known(embedder, chosen, unit, np.zeros(len(chosen), bool))):
        path = tmp_path / "result.json"
        evaluate(tmp_path, chosen, "val", path, quiet=True, embedder=at_hand)
        result, record = read_result(path)
        assert result["overall"]["accuracy"] == pytest.approx(100 * right / asked.num_rows, abs=1e-4)
        assert record["score"].startswith("Euclidean distance")


def test_held_out_are_the_images_that_triplets_name(garments: Catalogue) -> None:
    """Whatever their split: Zappos50k has images in the triplets of several."""
    asked = triplets(garments, "val")
    named = {row[role] for row in asked.to_pylist() for role in ("anchor", "positive", "negative")}
    whole = scored_by_triplets(garments, pa.concat_tables([asked, triplets(garments, "val", "pattern")]))
    assert set(held_out(whole, ["colour"]).images["image"].to_pylist()) == named
    plain = garments.with_relations({"triplets": asked})
    assert set(held_out(plain, ["colour"]).images["split"].to_pylist()) == {"val"}
    of_test = scored_by_triplets(garments, triplets(garments, "test"))
    assert set(held_out(of_test, ["colour"]).images["split"].to_pylist()) == {"val"}
    assert given_triplets(of_test) is None
