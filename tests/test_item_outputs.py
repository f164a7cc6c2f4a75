"""What an instance model says, and what is true of it, against loops over single images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from lapel.catalogue import Catalogue
from lapel.image_source import ImageSource
from lapel.images import Preprocessing
from lapel.item_outputs import ItemOutputs, item_outputs, landmark_result, tag_result, tag_truth

from .item_stand_in import LEVELS, PRE, TAGS, StandIn, draw, read, source_of


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return draw(tmp_path_factory.mktemp("world") / "val", items=23)


@pytest.fixture(scope="module")
def outputs(world: Catalogue) -> ItemOutputs:
    return item_outputs(StandIn(tags=3, points=8), source_of(world), "cpu")


def test_each_image_once_and_what_cannot_be_read_set_aside(world: Catalogue, outputs: ItemOutputs) -> None:
    told: list[int] = []
    again = item_outputs(StandIn(), source_of(world), "cpu", progress=told.append)
    assert told == [64, 69]
    assert (again.tags, again.points, again.regions, outputs.regions) == (None, None, None, None)
    np.testing.assert_array_equal(again.vectors, outputs.vectors)
    pictures = read(world)
    assert outputs.missing.tolist() == [picture is None for picture in pictures]
    assert np.flatnonzero(outputs.missing).tolist() == [7]
    assert outputs.tags is not None
    assert outputs.points is not None
    for row, picture in enumerate(pictures):
        if picture is None:
            assert not outputs.vectors[row].any()
            assert outputs.sizes[row].tolist() == [-1, -1]
            continue
        mean = picture.mean((0, 1))
        np.testing.assert_allclose(outputs.vectors[row], mean, atol=1e-5)
        np.testing.assert_allclose(outputs.tags[row], mean - np.roll(mean, -1), atol=1e-5)
        assert outputs.sizes[row].tolist() == [40, 32]
        assert outputs.points[row, :, :2].tolist() == [[x + 0.5, y + 0.5] for x, y in dots(picture)]


def dots(picture: np.ndarray) -> list[tuple[int, int]]:
    """Where each landmark's grey level is."""
    levels = np.rint(picture.mean(2) * 255).astype(int)
    return [tuple(map(int, np.argwhere(levels == level)[0][::-1])) for level in LEVELS]  # type: ignore[misc]


def test_regions_are_kept_where_they_are_asked_for(world: Catalogue) -> None:
    class Regions(StandIn):
        def regions(self, features):  # type: ignore[no-untyped-def]
            return features.images.mean(3).transpose(1, 2)

    found = item_outputs(Regions(), source_of(world), "cpu", regions=True)
    assert found.regions is not None
    assert found.regions.shape == (69, 40, 3)
    assert not found.regions[7].any()
    np.testing.assert_allclose(found.regions.mean(1), found.vectors, atol=1e-5)


def test_a_tag_is_known_of_images_with_a_label_of_its_attribute(world: Catalogue) -> None:
    tags = (*TAGS, ("size", "XL"), ("sleeve", "long"))
    labels, known = tag_truth(world, tags)
    for row in range(len(world)):
        values = world.values_of(row)
        for place, (attribute, value) in enumerate(tags):
            assert labels[row, place] == (value in values.get(attribute, ()))
            assert known[row, place] == (attribute in values)
    assert known[:, :4].any(0).all()
    assert not known[:, 4].any()


def test_tags_are_ranked_among_the_images_that_are_labelled_and_read(world: Catalogue, outputs: ItemOutputs) -> None:
    found = tag_result(outputs, world, (*TAGS[:2], ("size", "XL")))
    assert found is not None
    assert found.not_evaluated.keys() == {"size=XL"}
    assert outputs.tags is not None
    for place, (attribute, value) in enumerate(TAGS[:2]):
        rows = [row for row in range(len(world)) if attribute in world.values_of(row) and row != 7]
        rows.sort(key=lambda row: -outputs.tags[row, place])  # type: ignore[index]
        right = [value in world.values_of(row)[attribute] for row in rows]
        precisions = [sum(right[: n + 1]) / (n + 1) for n in range(len(rows)) if right[n]]
        assert found.attributes[f"{attribute}={value}"].ap == pytest.approx(np.mean(precisions))
        assert found.attributes[f"{attribute}={value}"].images == len(rows)
    assert found.map == pytest.approx(np.mean([row.ap for row in found.attributes.values()]))


def test_without_labels_or_logits_there_is_no_figure_of_tags(world: Catalogue, outputs: ItemOutputs) -> None:
    assert tag_result(outputs, world, (("sleeve", "long"), ("size", "XL"), ("tone", "pale"))) is None
    assert tag_result(outputs._replace(tags=None), world, TAGS) is None
    assert tag_result(outputs, world, ()) is None


def test_landmarks_are_measured_in_the_whole_image(world: Catalogue, outputs: ItemOutputs) -> None:
    """Predicted in a box, an error counts as its share of the image around the box, not of the box."""
    errors: list[list[float]] = [[] for _ in range(8)]
    truth, boxes = world.images["landmarks"].to_pylist(), world.boxes()
    for row, picture in enumerate(read(world)):
        if picture is None or truth[row] is None:
            continue
        box = boxes[row]
        left, top = (0, 0) if box is None else box[:2]
        width, height = (32, 40) if box is None else (45, 56)
        for place, (x, y) in enumerate(dots(picture)):
            x_, y_, seen = truth[row][3 * place : 3 * place + 3]
            if seen == 0:
                errors[place].append(float(np.hypot((x + 0.5 + left - x_) / width, (y + 0.5 + top - y_) / height)))
    found = landmark_result(outputs, world, PRE)
    assert found is not None
    assert found.counts.tolist() == [len(each) for each in errors]
    np.testing.assert_allclose(found.errors, [np.mean(each) for each in errors])
    assert found.error == pytest.approx(np.mean([error for each in errors for error in each]))


def test_whole_pictures_in_another_frame_measure_the_same(world: Catalogue) -> None:
    boxed = world.take([row for row in range(len(world)) if world.boxes()[row] is not None])
    letterbox = Preprocessing(56, 60, "letterbox", PRE.mean, PRE.std)  # 45 x 56 pixels in it: nothing is resized
    whole = landmark_result(outputs_at(boxed, letterbox, False), boxed, letterbox, boxes=False)
    cropped = landmark_result(outputs_at(boxed, PRE, True), boxed, PRE)
    assert whole is not None
    assert cropped is not None
    np.testing.assert_allclose(whole.errors, cropped.errors)


def outputs_at(catalogue: Catalogue, pre: Preprocessing, boxes: bool) -> ItemOutputs:
    crops = catalogue.boxes() if boxes else None
    return item_outputs(StandIn(points=8), ImageSource(catalogue.paths(), pre, crops, max_failed=1.0), "cpu")


def test_without_visible_landmarks_there_is_no_figure_of_them(world: Catalogue, outputs: ItemOutputs) -> None:
    place = world.images.column_names.index("landmarks")

    def told(numbers: list[float] | None) -> Catalogue:
        column = pa.array([numbers] * len(world), pa.list_(pa.float64()))
        return replace(world, images=world.images.set_column(place, "landmarks", column))

    assert landmark_result(outputs, told(None), PRE) is None
    assert landmark_result(outputs, told([5.0, 5.0, 1.0] * 8), PRE) is None
    assert landmark_result(outputs._replace(points=None), world, PRE) is None
    found = landmark_result(outputs, told([5.0, 5.0, 0.0] * 4), PRE)  # a lower-body garment's
    assert found is not None
    assert found.counts.tolist() == [0, 0, 0, 0, 68, 68, 68, 68]
