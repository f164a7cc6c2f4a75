"""Triplet prediction: against a loop, from a relation of names, with holes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lapel.catalogue import Catalogue
from lapel.errors import CatalogueError, LapelError
from lapel.evaluation import metrics
from lapel.evaluation.triplets import triplet_prediction, triplet_relation

NAMES = ("heel", "closure")


def test_triplets_equal_a_loop():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20, 3, 5)).astype(np.float32)
    vectors[7] = vectors[8]
    triplets, asked = rng.integers(0, 20, (300, 3)), rng.integers(0, 3, 300)
    triplets[0] = (1, 7, 8)  # the same picture on both sides: a tie, so wrong
    triplets[1] = (2, 5, 5)
    right, losses = 0, []
    for (a, p, n), k in zip(triplets, asked, strict=True):
        unit = [vectors[row, k].astype(float) / np.linalg.norm(vectors[row, k].astype(float)) for row in (a, p, n)]
        positive, negative = float(unit[0] @ unit[1]), float(unit[0] @ unit[2])
        right += positive > negative and not np.array_equal(unit[1], unit[2])
        losses.append(max(0.0, 0.2 + negative - positive))
    for chunk in (1, 7, 4096):
        result = triplet_relation(vectors, triplets, asked, chunk=chunk)
        assert result.accuracy == right / 300
        assert result.loss == pytest.approx(np.mean(losses))
        assert result.low < result.accuracy < result.high
    assert result.to_dict()["accuracy"] == round(100 * right / 300, 4)
    assert result.to_dict()["triplets"] == 300


@pytest.mark.parametrize(
    ("triplets", "asked", "error", "message"),
    [
        ([[0, 1]], [0], ValueError, r"triplets \(T, 3\)"),
        ([[0, 1, 2]], [0, 1], ValueError, r"attributes \(T,\)"),
        ([[0, 1, 4]], [0], ValueError, "triplets name row 0 to 4, expected 0 to 3"),
        ([[0, 1, -1]], [0], ValueError, "row -1 to 1"),
        ([[0, 1, 2]], [2], ValueError, "attribute 2 to 2, expected 0 to 1"),
        ([[0, 1, 3]], [0], LapelError, "1 of 1 negative similarity rows hold NaN"),
        (np.zeros((0, 3), int), [], ValueError, "non-empty"),
    ],
)
def test_bad_triplets(triplets, asked, error, message):
    vectors = np.ones((4, 2, 3), np.float32)
    vectors[3] = np.nan
    with pytest.raises(error, match=message):
        triplet_relation(vectors, np.array(triplets), np.array(asked))


@pytest.fixture
def catalogue() -> Catalogue:
    images = pa.table({"image": [f"{n}.jpg" for n in range(20)], "split": pa.nulls(20, pa.string())})
    labels = pa.table(
        {"image": pa.array([], pa.int32()), "attribute": pa.array([], pa.string()), "value": pa.array([], pa.string())}
    )
    return Catalogue(Path(), images, labels, NAMES, "shoes")


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(20, 2, 6)).astype(np.float32)


def relation(rows: np.ndarray, attributes: np.ndarray, split="test") -> pa.Table:
    columns = {"split": [split] * len(rows), "attribute": list(attributes)}
    columns |= {
        role: [f"{row}.jpg" for row in rows[:, side]] for side, role in enumerate(("anchor", "positive", "negative"))
    }
    return pa.table(columns)


def test_a_relation_equals_its_rows(catalogue, vectors):
    rng = np.random.default_rng(1)
    rows, asked = rng.integers(0, 20, (200, 3)), rng.choice(NAMES, 200)
    other = relation(np.zeros((5, 3), int), np.array(["toe"] * 5))
    table = pa.concat_tables([relation(rows, asked), other, relation(rows[:9], asked[:9], "val")])
    missing = np.zeros(20, bool)
    missing[[3, 11]] = True
    holed = vectors.copy()
    holed[missing] = np.nan
    result = triplet_prediction(holed, NAMES, catalogue, table, missing=missing, margin=0.3)
    kept = ~missing[rows].any(axis=1)
    assert list(result.attributes) == list(dict.fromkeys(asked))
    for name in NAMES:
        mine = kept & (asked == name)
        plain = triplet_relation(vectors, rows[mine], np.full(mine.sum(), NAMES.index(name)), 0.3)
        found = result[name]
        assert (found.accuracy, found.triplets) == (plain.accuracy, int(mine.sum()))
        assert found.loss == pytest.approx(plain.loss)
        assert found.missing == int((~kept & (asked == name)).sum())
        np.testing.assert_array_equal(found.places, np.flatnonzero(kept[asked == name]))
        np.testing.assert_array_equal(found.right, plain.right)
        assert found.right.mean() == found.accuracy
    everything = triplet_relation(vectors, rows[kept], np.array([NAMES.index(name) for name in asked[kept]]), 0.3)
    assert result.overall.accuracy == pytest.approx(everything.accuracy)
    assert result.overall.loss == pytest.approx(everything.loss)
    assert result.overall.triplets == kept.sum() == sum(found.triplets for found in result.attributes.values())
    assert result.overall.missing == (~kept).sum()
    assert result.not_evaluated == {"toe": "5 triplets, but the embeddings have no such attribute"}
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert data["overall"]["accuracy"] == round(100 * result.overall.accuracy, 4)
    assert data["attributes"]["heel"]["triplets_without_embedding"] == result["heel"].missing
    assert data["margin"] == 0.3
    with pytest.raises(KeyError, match="unknown attribute 'heels'"):
        result["heels"]


def test_by_euclidean_distance_vectors_are_compared_as_they_are(catalogue, vectors):
    rng = np.random.default_rng(2)
    rows = rng.integers(0, 20, (150, 3))
    vectors *= rng.uniform(0.2, 5, (20, 1, 1)).astype(np.float32)  # lengths that cosines do not see
    table = relation(rows, np.array(["heel"] * 150))
    found = triplet_prediction(vectors, NAMES, catalogue, table, distance="euclidean", chunk=7)
    place, right, loss = NAMES.index("heel"), [], 0.0
    for anchor, positive, negative in rows:
        near, far = (
            math.dist(vectors[anchor, place].tolist(), vectors[other, place].tolist()) for other in (positive, negative)
        )
        right.append(near < far)
        loss += max(0.0, 0.2 + near - far) / len(rows)
    np.testing.assert_array_equal(found["heel"].right, right)
    assert found.overall.loss == pytest.approx(loss)
    assert found.overall.accuracy != triplet_prediction(vectors, NAMES, catalogue, table).overall.accuracy
    with pytest.raises(LapelError, match="unknown distance 'euclidian'; did you mean 'euclidean'"):
        triplet_prediction(vectors, NAMES, catalogue, table, distance="euclidian")


def test_the_interval_is_the_bootstrap_of_the_answers():
    rng = np.random.default_rng(0)
    vectors, triplets = rng.normal(size=(50, 1, 4)), rng.integers(0, 50, (400, 3))
    result = triplet_relation(vectors, triplets, np.zeros(400, int))
    right = np.zeros(400)
    right[: round(400 * result.accuracy)] = 1
    slow = metrics.mean_interval([right])
    assert result.low == pytest.approx(slow.low, abs=0.006)
    assert result.high == pytest.approx(slow.high, abs=0.006)


def test_attributes_that_cannot_be_measured(catalogue, vectors):
    table = relation(np.array([[0, 1, 2], [3, 4, 5]]), np.array(["heel", "closure"]))
    missing = np.arange(20) == 4
    result = triplet_prediction(vectors, NAMES, catalogue, table, missing=missing)
    assert result.not_evaluated == {"closure": "all 1 triplets name an image without an embedding"}
    assert result.overall.triplets == result["heel"].triplets == 1
    result = triplet_prediction(vectors, NAMES, catalogue, table.slice(0, 1))
    assert result.not_evaluated == {"closure": "no triplets of it in split 'test'"}
    with pytest.raises(LapelError, match=r"no triplet can be evaluated in catalogue 'shoes': .*heel: all 1"):
        triplet_prediction(vectors, NAMES, catalogue, table, missing=np.ones(20, bool))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"split": "tset"}, CatalogueError, "unknown split 'tset'; did you mean 'test'"),
        (
            {"table": pa.table({"anchor": ["0.jpg"]})},
            CatalogueError,
            "expected columns split, attribute, .*found anchor",
        ),
        ({"table": relation(np.array([[0, 1, 20]]), np.array(["heel"]))}, CatalogueError, "1 of 1 .*first: '20.jpg'"),
        ({"vectors": np.zeros((19, 2, 3))}, ValueError, r"expected vectors \(20, 2, D\), found \(19, 2, 3\)"),
        ({"missing": np.zeros(3, bool)}, ValueError, r"missing of shape \(20,\), found \(3,\)"),
        ({"vectors": np.full((20, 2, 3), np.nan)}, LapelError, "hold NaN"),
    ],
)
def test_bad_relations(catalogue, vectors, change, error, message):
    table = relation(np.array([[0, 1, 2]]), np.array(["heel"]))
    given = {"vectors": vectors, "attributes": NAMES, "catalogue": catalogue, "table": table} | change
    with pytest.raises(error, match=message):
        triplet_prediction(**given)


def test_a_cell_without_an_image(catalogue, vectors):
    table = relation(np.array([[0, 1, 2]]), np.array(["heel"]))
    table = table.set_column(2, "anchor", pa.array([None], pa.string()))
    with pytest.raises(CatalogueError, match="1 triplets of split 'test' have no anchor"):
        triplet_prediction(vectors, NAMES, catalogue, table)


def test_no_attribute_in_common(catalogue, vectors):
    table = relation(np.array([[0, 1, 25]]), np.array(["toe"]))  # its images need not be there
    with pytest.raises(LapelError, match=r"heel: no triplets of it .*toe: 1 triplets, but the embeddings have no such"):
        triplet_prediction(vectors, NAMES, catalogue, table)
