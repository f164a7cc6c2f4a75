"""Attribute prediction, top-k recall and landmark error against loops, scikit-learn and what a mirror does."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from lapel.errors import LapelError
from lapel.evaluation.prediction import attribute_prediction, landmark_error, top_k_recall
from lapel.landmarks import LANDMARKS, flip_landmarks


def slow_ap(scores, positive):
    ranking = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    found, precisions = 0, []
    for rank, image in enumerate(ranking, start=1):
        if positive[image]:
            found += 1
            precisions.append(found / rank)
    return sum(precisions) / len(precisions)


def random_task(seed, images=30, attributes=6, ties=False):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(images, attributes))
    if ties:
        scores = np.round(scores)
    labels, known = rng.random((images, attributes)) < 0.3, rng.random((images, attributes)) < 0.7
    return scores, labels, known


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_ap_equals_loops(seed, ties):
    scores, labels, known = random_task(seed, ties=ties)
    names = [f"a{k}" for k in range(6)]
    for certain in (None, known):
        result = attribute_prediction(scores, labels, names, certain)
        for k, name in enumerate(names):
            rows = [i for i in range(30) if certain is None or certain[i, k]]
            positive = [bool(labels[i, k]) for i in rows]
            row = result.attributes[name]
            assert row.ap == pytest.approx(slow_ap([scores[i, k] for i in rows], positive), abs=1e-12)
            assert (row.positives, row.images) == (sum(positive), len(rows))
        assert result.map == pytest.approx(np.mean([row.ap for row in result.attributes.values()]))


def test_ap_equals_scikit_learn_without_ties():
    scores, labels, _ = random_task(9, images=500, attributes=20)
    result = attribute_prediction(scores, labels, list("abcdefghijklmnopqrst"))
    oracle = average_precision_score(labels, scores, average=None)
    np.testing.assert_allclose([row.ap for row in result.attributes.values()], oracle, atol=1e-12)
    assert result.map == pytest.approx(average_precision_score(labels, scores, average="macro"))
    narrow = attribute_prediction(scores.astype(np.float32), labels, list("abcdefghijklmnopqrst"))
    assert narrow.map == pytest.approx(result.map, abs=1e-6)


def test_equal_scores_keep_the_order_of_the_images():
    labels = np.array([[0, 1], [0, 0], [1, 0]], bool)
    result = attribute_prediction(np.zeros((3, 2)), labels, ["last", "first"])
    assert [row.ap for row in result.attributes.values()] == pytest.approx([1 / 3, 1.0])


def test_an_attribute_without_a_positive_is_left_out_and_named():
    labels = np.array([[1, 0, 1], [0, 0, 0]], bool)
    known = np.array([[1, 1, 0], [1, 1, 1]], bool)
    result = attribute_prediction(np.eye(3)[:2], labels, ["wool", "fur", "lace"], known)
    assert list(result.attributes) == ["wool"]
    assert result.map == 1.0
    assert result.not_evaluated == {"fur": "none of 2 images has it", "lace": "none of 1 images has it"}
    written = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert written["overall"] == {"map": 100.0, "chance": 75.0, "attributes": 1}
    assert written["attributes"]["wool"] == {"ap": 100.0, "chance": 75.0, "positives": 1, "images": 2}


def slow_recall(scores, labels, k, known):
    matched = positives = 0
    for score, label, certain in zip(scores, labels, known, strict=True):
        order = sorted((a for a in range(len(score)) if certain[a]), key=lambda a: (-score[a], a))
        positives += sum(label[a] for a in order)
        matched += sum(label[a] for a in order[:k])
    return int(matched), int(positives)


@given(st.integers(0, 10_000), st.integers(1, 9), st.booleans(), st.booleans())
def test_recall_equals_loops(seed, k, ties, masked):
    scores, labels, known = random_task(seed, images=9, ties=ties)
    certain = known if masked else np.ones_like(known)
    groups = {"first": [0, 1, 2], "odd": [5, 3, 1]}
    result = top_k_recall(scores, labels, k, known if masked else None, groups)
    assert (result.matched, result.positives) == slow_recall(scores, labels, k, certain)
    for name, part in groups.items():
        found = result.groups[name]
        expected = slow_recall(scores[:, part], labels[:, part], k, certain[:, part])
        assert (found.matched, found.positives) == expected
    if result.positives:
        assert result.recall == result.matched / result.positives


def test_recall_does_not_depend_on_blocks(monkeypatch):
    scores, labels, known = random_task(3, images=50, ties=True)
    whole = top_k_recall(scores, labels, 2, known)
    monkeypatch.setattr("lapel.evaluation.prediction._CELLS", 7)
    assert top_k_recall(scores, labels, 2, known) == whole


def test_recall_without_a_positive_is_no_number_and_null_in_json():
    result = top_k_recall(np.ones((2, 3)), np.zeros((2, 3), bool), 3)
    assert math.isnan(result.recall)
    assert json.dumps(result.to_dict(), allow_nan=False) == '{"k": 3, "recall": null, "matched": 0, "positives": 0}'
    some = top_k_recall(np.eye(3), np.eye(3) > 0, 1, groups={"two": [0, 1]}).to_dict()
    assert some["recall"] == 100.0
    assert some["groups"]["two"]["recall"] == 100.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s, y: attribute_prediction(s, y[:2], ["a", "b"]), ValueError, "of one shape"),
        (lambda s, y: attribute_prediction(s, y, ["a", "b"], y[:, :1]), ValueError, "of one shape"),
        (lambda s, y: attribute_prediction(s[0], y[0], ["a"]), ValueError, "of one shape"),
        (lambda s, y: attribute_prediction(s, y, ["a"]), ValueError, "expected 2 different names, found 1 in 1"),
        (lambda s, y: attribute_prediction(s, y, ["a", "a"]), ValueError, "found 1 in 2"),
        (lambda s, y: attribute_prediction(s * np.nan, y, ["a", "b"]), LapelError, "3 of 3 score rows"),
        (lambda s, y: attribute_prediction(s, ~y, ["a", "b"]), LapelError, "none of 2 attributes has a positive"),
        (lambda s, y: top_k_recall(s, y, 0), ValueError, "k must be at least 1, found 0"),
        (lambda s, y: top_k_recall(s / 0, y, 1), LapelError, "3 of 3 score rows hold NaN or infinity"),
    ],
)
def test_bad_input(call, error, message):
    with np.errstate(all="ignore"), pytest.raises(error, match=message):
        call(np.ones((3, 2)), np.ones((3, 2), bool))


def random_landmarks(seed, images=12):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(50, 400, (images, 2)).astype(float)
    truth = np.empty((images, 8, 3))
    truth[..., :2] = rng.random((images, 8, 2)) * sizes[:, None]
    truth[..., 2] = rng.integers(0, 3, (images, 8))
    truth[truth[..., 2] == 2, :2] = 0
    predicted = truth[..., :2] + rng.normal(size=(images, 8, 2)) * 9
    return predicted, truth, sizes


@pytest.mark.parametrize("occluded", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_landmark_error_equals_loops(seed, occluded):
    predicted, truth, sizes = random_landmarks(seed)
    truth[:, 3, 2] = 2  # a landmark that no image shows
    truth[5, :, 2] = 2  # an image that shows no landmark
    each = [[] for _ in LANDMARKS]
    for image in range(len(truth)):
        for place in range(8):
            x, y, visibility = truth[image, place]
            if visibility == 0 or (occluded and visibility == 1):
                width, height = sizes[image]
                dx, dy = predicted[image, place, 0] - x, predicted[image, place, 1] - y
                each[place].append(math.hypot(dx / width, dy / height))
    result = landmark_error(predicted, truth, sizes, occluded)
    assert result.counts.tolist() == [len(errors) for errors in each]
    np.testing.assert_allclose(result.errors, [np.mean(errors) if errors else np.nan for errors in each])
    assert result.error == pytest.approx(np.mean([error for errors in each for error in errors]))
    assert result.without >= 1
    written = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert written["landmarks"]["right sleeve"] == {"error": None, "count": 0}
    narrow = landmark_error(predicted.astype(np.float32), truth.astype(np.float32), sizes.astype(np.float32), occluded)
    assert narrow.error == pytest.approx(result.error, abs=1e-6)


@given(st.integers(0, 10_000), st.booleans())
def test_a_mirror_leaves_the_error_and_swaps_the_sides(seed, occluded):
    predicted, truth, sizes = random_landmarks(seed, images=4)
    predicted = np.concatenate([predicted, np.zeros((4, 8, 1))], axis=2)
    truth[0, :, 2] = 0
    mirrored = [
        np.stack([flip_landmarks(row, w) for row, (w, _) in zip(a, sizes, strict=True)]) for a in (predicted, truth)
    ]
    before, after = landmark_error(predicted, truth, sizes, occluded), landmark_error(*mirrored, sizes, occluded)
    assert after.error == pytest.approx(before.error)
    sides = [1, 0, 3, 2, 5, 4, 7, 6]
    np.testing.assert_allclose(after.errors, before.errors[sides], atol=1e-12)
    assert after.counts.tolist() == before.counts[sides].tolist()


def test_left_for_right_is_two_errors():
    truth = np.zeros((1, 8, 3))
    truth[..., 2] = 2
    truth[0, 0], truth[0, 1] = (20, 10, 0), (80, 10, 0)
    swapped = truth[:, [1, 0, 2, 3, 4, 5, 6, 7]]
    sizes = np.array([[100.0, 200.0]])
    result = landmark_error(swapped, truth, sizes)
    assert result.error == pytest.approx(0.6)
    assert result.counts.tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    upright = truth[..., :2] + (0, 20)
    assert landmark_error(upright, truth, sizes).error == pytest.approx(0.1)  # 20 of a height of 200


def test_what_does_not_count_is_not_looked_at():
    predicted, truth, sizes = random_landmarks(0)
    truth[0, 0, 2] = 0
    whole = landmark_error(predicted, truth, sizes)
    predicted[truth[..., 2] > 0] = np.nan
    assert landmark_error(predicted, truth, sizes).error == whole.error


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda p, t, s: (p[:, :6], t, s), ValueError, r"predictions \(N, 8, 2 or 3\)"),
        (lambda p, t, s: (p, t[..., :2], s), ValueError, r"truth \(N, 8, 3\)"),
        (lambda p, t, s: (p, t, s[:2]), ValueError, "width and height for each of 12 images"),
        (lambda p, t, s: (p, t, 0 * s), ValueError, "positive width and height"),
        (lambda p, t, s: (p, t + 3, s), ValueError, "expected visibility 0"),
        (lambda p, t, s: (p * np.nan, t, s), LapelError, "predicted landmark rows hold NaN or infinity"),
        (lambda p, t, s: (p, t * [1, 1, 0] + [0, 0, 2], s), LapelError, "none of 12 images has a visible landmark"),
        (lambda p, t, s: (p[:0], t[:0], s[:0]), LapelError, "none of 0 images"),
    ],
)
def test_bad_landmarks(change, error, message):
    with pytest.raises(error, match=message):
        landmark_error(*change(*random_landmarks(0)))
