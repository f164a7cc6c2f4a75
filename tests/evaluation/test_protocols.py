"""Retrieval per attribute on small catalogues with every kind of hole, given lists, comparison."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lapel.catalogue import Catalogue
from lapel.errors import CatalogueError, LapelError
from lapel.evaluation import metrics
from lapel.evaluation.protocols import attribute_retrieval, compare
from lapel.evaluation.queries import QueryLists, draw_queries

ATTRIBUTES = ("neckline", "colour", "uniform", "lonely", "absent")


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    """60 images: neckline half labelled, several colours each, three attributes that cannot be measured."""
    rng = np.random.default_rng(0)
    lines = ["image,neckline,colour,uniform,lonely,absent"]
    for number in range(60):
        neckline = "" if number % 2 else rng.choice(["v", "round", "boat"])
        colour = "|".join(sorted(rng.choice(["red", "blue", "green", "grey"], rng.integers(1, 3), replace=False)))
        lines.append(f"{number:03d}.jpg,{neckline},{colour},same,{'alone' if number == 7 else ''},")
    (tmp_path / "catalogue.csv").write_text("\n".join(lines) + "\n")
    return Catalogue.read(tmp_path, attributes=ATTRIBUTES)


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(60, len(ATTRIBUTES), 16)).astype(np.float32)


def test_retrieval_equals_the_steps_by_hand(catalogue, vectors):
    result = attribute_retrieval(vectors, catalogue, seed=5)
    assert [row.attribute for row in result.attributes] == ["neckline", "colour"]
    for axis, name in enumerate(("neckline", "colour")):
        labels = catalogue.multi_hot(name)
        rows = np.flatnonzero(labels.any(axis=1))
        queries, candidates = draw_queries(rows, 0.2, 5, name, [f"{row:03d}.jpg" for row in rows])
        aps = metrics.average_precisions(
            vectors[queries, axis], vectors[candidates, axis], labels[queries], labels[candidates]
        )
        found = result[name]
        np.testing.assert_array_equal(found.aps, aps)
        np.testing.assert_array_equal(found.rows, queries)
        assert found.map == pytest.approx(aps.mean())
        assert found.low <= found.map <= found.high
        assert (found.queries, found.candidates, found.missing) == (len(queries), len(candidates), 0)
        relevant = metrics.relevant_counts(labels[queries], labels[candidates])
        expected = metrics.expected_average_precision(relevant, len(candidates)).mean()
        assert found.chance == pytest.approx(expected)
    assert result["neckline"].queries == 6
    assert result["colour"].queries == 12
    assert result.queries == 18
    assert result.map == pytest.approx((6 * result["neckline"].map + 12 * result["colour"].map) / 18)
    assert result.chance == pytest.approx((6 * result["neckline"].chance + 12 * result["colour"].chance) / 18)
    assert result.query_source == "drawn: share 0.2 per attribute, seed 5"


def test_what_cannot_be_measured_is_reported(catalogue, vectors):
    reasons = attribute_retrieval(vectors, catalogue).not_evaluated
    assert reasons == {
        "uniform": "all 60 labelled images have the same value",
        "lonely": "1 labelled images, needs at least 2",
        "absent": "0 labelled images, needs at least 2",
    }


def test_a_function_of_the_attribute_equals_an_array(catalogue, vectors):
    shared = vectors[:, 0]
    stacked = attribute_retrieval(np.stack([shared] * len(ATTRIBUTES), axis=1), catalogue)
    called = attribute_retrieval(lambda name: shared, catalogue)
    chunked = attribute_retrieval(lambda name: shared, catalogue, chunk=1)
    assert stacked.to_dict(aps=True) == called.to_dict(aps=True) == chunked.to_dict(aps=True)


def test_attributes_name_axis_1(catalogue, vectors):
    whole = attribute_retrieval(vectors, catalogue)
    part = attribute_retrieval(vectors[:, [1, 0]], catalogue, attributes=["colour", "neckline"])
    assert [row.attribute for row in part.attributes] == ["colour", "neckline"]
    for name in ("colour", "neckline"):
        np.testing.assert_array_equal(part[name].aps, whole[name].aps)


def test_images_without_embedding_are_left_out_and_counted(catalogue, vectors):
    whole = attribute_retrieval(vectors, catalogue)
    missing = np.zeros(60, bool)
    missing[[int(whole["colour"].rows[0]), int(whole["neckline"].rows[1]), 31]] = True
    holed = vectors.copy()
    holed[missing] = np.nan
    result = attribute_retrieval(holed, catalogue, missing=missing)
    labelled = catalogue.multi_hot("neckline").any(axis=1)
    assert result["colour"].missing == 3
    assert result["neckline"].missing == int((missing & labelled).sum())
    assert set(result["colour"].rows) == set(whole["colour"].rows) - set(np.flatnonzero(missing))
    assert result["colour"].queries + result["colour"].candidates == 57
    with pytest.raises(LapelError, match="hold NaN or infinity"):
        attribute_retrieval(holed, catalogue)


def test_an_attribute_whose_queries_are_all_missing(catalogue, vectors):
    missing = np.zeros(60, bool)
    missing[attribute_retrieval(vectors, catalogue)["neckline"].rows] = True
    result = attribute_retrieval(vectors, catalogue, missing=missing)
    assert result.not_evaluated["neckline"].startswith("0 queries and 24 candidates are left, 6 images")
    assert [row.attribute for row in result.attributes] == ["colour"]


def test_given_lists(catalogue, vectors):
    lists = QueryLists({"colour": (np.array([3, 1]), np.arange(10, 30))}, source="colour_query_test.txt")
    result = attribute_retrieval(vectors[:, 1:2], catalogue, ["colour"], lists)
    assert result.query_source == "colour_query_test.txt"
    assert result["colour"].rows.tolist() == [3, 1]
    assert result["colour"].candidates == 20


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"colour": ([1], [2])}, "q.txt: unknown attribute 'neckline'"),
        ({"neckline": ([0], [2, 60])}, "rows 0 to 60, the catalogue has 60 images"),
        ({"neckline": ([-1], [2])}, "rows -1 to 2"),
        ({"neckline": ([0, 2], [2, 4])}, "1 rows are listed twice; no query may be its own candidate"),
        ({"neckline": ([0, 1], [2, 3])}, "2 listed images have no label of it"),
    ],
)
def test_given_lists_that_do_not_fit(catalogue, vectors, lists, message):
    with pytest.raises(CatalogueError, match=message):
        attribute_retrieval(vectors[:, :1], catalogue, ["neckline"], QueryLists(lists, "q.txt"))


def test_a_query_without_relevant_candidate_counts_as_zero(catalogue, vectors):
    labels = catalogue.multi_hot("neckline")
    query = int(np.flatnonzero(labels[:, 0])[0])
    strangers = np.flatnonzero(labels.any(axis=1) & ~labels[:, 0])
    friend = int(strangers[0])
    lists = QueryLists({"neckline": (np.array([query, friend]), strangers[1:])}, "given")
    found = attribute_retrieval(vectors[:, :1], catalogue, ["neckline"], lists)["neckline"]
    assert found.hopeless == 1
    assert found.aps[0] == 0
    assert found.map == pytest.approx(found.aps[1] / 2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"attributes": ["neklin"]}, CatalogueError, "did you mean 'neckline'"),
        ({"attributes": ["neckline"]}, ValueError, r"expected vectors \(60, 1, D\), found \(60, 5, 16\)"),
        ({"vectors": np.zeros((59, 5, 2))}, ValueError, r"found \(59, 5, 2\)"),
        (
            {"vectors": lambda name: np.zeros((59, 2))},
            ValueError,
            r"\(60, D\) for 'neckline', found \(59, 2\)",
        ),
        ({"missing": np.zeros(3, bool)}, ValueError, r"expected missing of shape \(60,\)"),
        (
            {"vectors": lambda name: 0, "attributes": ["uniform"]},
            LapelError,
            "uniform: all 60 labelled images",
        ),
        ({"vectors": lambda name: 0, "attributes": []}, LapelError, "no attribute was named"),
        ({"missing": np.ones(60, bool)}, LapelError, "nothing to evaluate"),
    ],
)
def test_bad_input(catalogue, vectors, change, error, message):
    with pytest.raises(error, match=message):
        attribute_retrieval(**({"vectors": vectors, "catalogue": catalogue} | change))


def test_result_as_json(catalogue, vectors):
    result = attribute_retrieval(vectors, catalogue)
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert data["attributes"]["colour"]["map"] == round(100 * result["colour"].map, 4)
    assert data["overall"]["map"] == round(100 * result.map, 4)
    assert data["overall"]["queries"] == 18
    assert "aps" not in data["attributes"]["colour"]
    assert data["not_evaluated"]["absent"].startswith("0 labelled")
    full = json.loads(json.dumps(result.to_dict(aps=True)))["attributes"]["colour"]
    assert len(full["aps"]) == len(full["query_rows"]) == 12
    with pytest.raises(KeyError, match="unknown attribute 'color'"):
        result["color"]


def test_compare_pairs_the_queries_both_answered(catalogue, vectors):
    good = vectors.copy()
    good[:, 1, :4] = 3 * catalogue.multi_hot("colour")
    missing = np.zeros(60, bool)
    missing[attribute_retrieval(vectors, catalogue)["colour"].rows[0]] = True
    first = attribute_retrieval(good, catalogue, missing=missing)
    second = attribute_retrieval(vectors, catalogue)
    gaps = compare(first, second)
    assert list(gaps) == ["neckline", "colour", "overall"]
    assert gaps["colour"].mean == pytest.approx((first["colour"].aps - second["colour"].aps[1:]).mean())
    assert gaps["colour"].low > 0
    same = compare(second, second)["overall"]
    assert (same.mean, same.low, same.high) == (0, 0, 0)


def test_compare_needs_queries_in_common(catalogue, vectors):
    necklines = attribute_retrieval(vectors[:, :1], catalogue, ["neckline"])
    colours = attribute_retrieval(vectors[:, :1], catalogue, ["colour"])
    with pytest.raises(LapelError, match="share no query"):
        compare(necklines, colours)


def test_attributes_beside_stay_out_of_the_overall_figure(catalogue, vectors):
    whole = attribute_retrieval(vectors, catalogue)
    part = attribute_retrieval(vectors, catalogue, beside=["colour"])
    alone = attribute_retrieval(vectors[:, :1], catalogue, ["neckline"])
    assert (part.map, part.low, part.high, part.chance) == (alone.map, alone.low, alone.high, alone.chance)
    assert part.queries == alone.queries
    assert part["colour"].to_dict() == whole["colour"].to_dict()
    data = part.to_dict()
    assert list(data["attributes"]) == ["neckline"]
    assert data["not_in_overall"] == {"colour": whole["colour"].to_dict()}
    assert "not_in_overall" not in whole.to_dict()
    with pytest.raises(CatalogueError, match="unknown attribute 'color'"):
        attribute_retrieval(vectors, catalogue, beside=["color"])
    with pytest.raises(LapelError, match="nothing to evaluate"):
        attribute_retrieval(vectors, catalogue, beside=["colour", "neckline"])


def listed(rng, count: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.integers(0, 60, count), np.array(rng.choice(["a", "b", "c", "d"], count), object)


@pytest.mark.parametrize("seed", range(3))
def test_lists_with_values_equal_a_loop(catalogue, vectors, seed):
    """Each listed (image, attribute, value) is one query or candidate; the catalogue's labels have no say."""
    rng = np.random.default_rng(seed)
    (queries, asked), (candidates, given) = listed(rng, 25), listed(rng, 80)
    asked[0] = "rare"  # no candidate has it
    lists = QueryLists({"hem": (queries, candidates)}, "lists", {"hem": (asked, given)})
    missing = np.zeros(60, bool)
    missing[int(candidates[5])] = True
    missing[queries[:3]] = False
    found = attribute_retrieval(lambda name: vectors[:, 0], catalogue, ["hem"], lists, missing=missing)["hem"]
    unit = metrics.unit_vectors(vectors[:, 0])
    aps = []
    for row, value in zip(queries, asked, strict=True):
        if missing[row]:
            continue
        ranked = [place for place, other in enumerate(candidates) if not missing[other]]
        # Listed twice, an image has one score: then the list's order decides.
        ranked.sort(key=lambda place: -round(float(unit[row] @ unit[candidates[place]]), 9))
        hits = [given[place] == value for place in ranked]
        precisions = [sum(hits[: rank + 1]) / (rank + 1) for rank, hit in enumerate(hits) if hit]
        aps.append(sum(precisions) / len(precisions) if precisions else 0.0)
    np.testing.assert_allclose(found.aps, aps, atol=1e-12)
    assert found.queries == len(aps)
    assert found.aps[0] == 0
    assert found.hopeless == 1
    assert found.missing == int(missing[queries].sum() + missing[candidates].sum())
    kept = [set(side[~missing[side]]) for side in (queries, candidates)]
    assert found.shared == len(kept[0] & kept[1]) > 0
    assert found.to_dict()["queries_also_candidates"] == found.shared


def test_compare_tells_apart_an_image_that_is_asked_twice(catalogue, vectors):
    queries, values = np.array([3, 5, 3, 7]), np.array(["a", "a", "b", "b"], object)
    candidates, given = np.arange(10, 40), np.array(["a", "b", "c"] * 10, object)
    lists = QueryLists({"hem": (queries, candidates)}, "lists", {"hem": (values, given)})
    missing = np.zeros(60, bool)
    missing[5] = True
    first = attribute_retrieval(lambda _: vectors[:, 0], catalogue, ["hem"], lists, missing=missing)
    second = attribute_retrieval(lambda _: vectors[:, 1], catalogue, ["hem"], lists)
    gap = compare(first, second)["hem"].mean
    assert gap == pytest.approx((first["hem"].aps - second["hem"].aps[[0, 2, 3]]).mean())
