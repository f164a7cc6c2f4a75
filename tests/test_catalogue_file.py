"""What Parquet keeps beside the table: record, relations and the way to the images; nothing is lost silently."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel import protocol
from lapel.catalogue import Catalogue
from lapel.errors import CatalogueError, LapelError

RECORD = {
    "format": "zappos50k",
    "protocol": protocol.to_dict(protocol.TripletProtocol()),
    "notes": ["é", "2"],
    "left_out": 0,
}
TRIPLETS = pa.table({"split": ["test"] * 2, "anchor": ["a.jpg", "b.jpg"], "positive": ["b.jpg", "a.jpg"]})
PAIRS = pa.table({"split": ["test"], "query": ["a.jpg"], "gallery": ["b.jpg"], "item": pa.array([None], pa.string())})


def make(root: Path, images: tuple[str, ...] = ("a.jpg", "b.jpg", "c.jpg"), **further: Any) -> Catalogue:
    """Return a catalogue with a record and two relations."""
    count = len(images)
    table = {
        "image": images,
        "item": ["1"] * count,
        "split": ["train", *["test"] * (count - 1)],
        "domain": pa.nulls(count, pa.string()),
        "box": pa.array([[0.0, 1.0, 2.0, 3.5]] * count, pa.list_(pa.float64())),
        "landmarks": pa.nulls(count, pa.list_(pa.float64())),
        "pose": ["1"] * count,
    }
    labels = pa.table(
        {"image": pa.array([0, 1], pa.int32()), "attribute": ["fit", "fit"], "value": ["slim", "wide"]},
    )
    settings = {"record": RECORD, "relations": {"triplets": TRIPLETS, "pairs": PAIRS}} | further
    return Catalogue(root, pa.table(table), labels, ("fit",), "made", **settings)


def assert_equal(found: Catalogue, expected: Catalogue) -> None:
    assert found.images.equals(expected.images)
    assert found.labels.equals(expected.labels)
    assert found.attributes == expected.attributes
    assert found.record == expected.record
    assert list(found.relations) == list(expected.relations)
    assert all(found.relations[name].equals(table) for name, table in expected.relations.items())


def test_record_and_relations_come_back(tmp_path: Path) -> None:
    made = make(tmp_path)
    made.write(tmp_path / "catalogue.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "catalogue.pairs.parquet",
        "catalogue.parquet",
        "catalogue.triplets.parquet",
    ]
    found = Catalogue.read(tmp_path)
    assert_equal(found, made)
    assert found.root == tmp_path
    assert protocol.from_dict(found.record["protocol"]) == protocol.TripletProtocol()
    found.write(tmp_path / "again" / "again.parquet")
    again = Catalogue.read(tmp_path / "again" / "again.parquet")
    assert_equal(again, made)
    assert again.paths() == made.paths()


TEXT = st.text(st.sampled_from('a,|\\"\n é袖'), max_size=4)
CELLS = st.none() | TEXT
NAMES = st.sampled_from(["queries", "triplets", "pairs"])
COLUMNS = st.sampled_from(["split", "image", "item"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def relations(draw: st.DrawFn) -> dict[str, pa.Table]:
    found = {}
    for name in draw(st.lists(NAMES, unique=True)):
        count = draw(st.integers(0, 4))
        names = draw(st.lists(COLUMNS, min_size=1, unique=True))
        cells = st.lists(CELLS, min_size=count, max_size=count)
        found[name] = pa.table({column: pa.array(draw(cells), pa.string()) for column in names})
    return found


@given(relations(), st.dictionaries(TEXT, JSON, max_size=3), st.sampled_from(["", "below", "../beside"]))
def test_any_record_and_relations_come_back(own: dict[str, pa.Table], record: dict[str, Any], images: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder).resolve() / "here"
        made = make(here / images, record=record, relations=own)
        made.write(here / "c.parquet")
        found = Catalogue.read(here / "c.parquet")
        assert_equal(found, made)
        assert [os.path.normpath(path) for path in found.paths()] == [os.path.normpath(path) for path in made.paths()]


def test_relations_go_whole_through_every_cut(tmp_path: Path) -> None:
    made = make(tmp_path)
    cuts: list[Callable[[], Catalogue]] = [
        lambda: made.take([1]),
        lambda: made.split("test"),
        lambda: made.with_splits(),
        lambda: made.with_validation(),
    ]
    for cut in cuts:
        assert cut().relations == made.relations
        assert cut().record == made.record
    assert made.with_relations({}).relations == {}
    assert made.relations != {}


def _change(path: Path) -> None:
    pq.write_table(PAIRS.slice(1), path)


def _swap(path: Path) -> None:
    path.with_name("catalogue.pairs.parquet").replace(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            Path.unlink,
            "catalogue.triplets.parquet is missing: it belongs to catalogue.parquet. Import the data set again",
        ),
        (_change, "catalogue.triplets.parquet has changed since: it belongs to catalogue.parquet"),
        (_swap, "catalogue.triplets.parquet has changed since"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "catalogue.triplets.parquet has changed since"),
    ],
)
def test_a_relation_that_is_gone_or_another_is_said(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    make(tmp_path).write(tmp_path / "catalogue.parquet")
    damage(tmp_path / "catalogue.triplets.parquet")
    with pytest.raises(CatalogueError) as caught:
        Catalogue.read(tmp_path)
    assert message in str(caught.value)


def test_writing_that_fails_leaves_the_older_catalogue_whole(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = make(tmp_path)
    older.write(tmp_path / "catalogue.parquet")
    newer = make(tmp_path, ("d.jpg", "e.jpg"), relations={"triplets": TRIPLETS.slice(1), "pairs": PAIRS.slice(1)})
    files = sorted(tmp_path.iterdir())
    write_table = pq.write_table

    def refuse_main(table: pa.Table, *rest: Any) -> None:
        if "box" in table.column_names:
            raise OSError(28, "No space left on device")
        write_table(table, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("pyarrow.parquet.write_table", refuse_main)
        with pytest.raises(LapelError, match="disk full while writing"):
            newer.write(tmp_path / "catalogue.parquet")
    assert_equal(Catalogue.read(tmp_path), older)
    request.getfixturevalue("full_disk")
    with pytest.raises(LapelError, match="disk full while writing"):
        newer.write(tmp_path / "catalogue.parquet")
    assert_equal(Catalogue.read(tmp_path), older)
    assert sorted(tmp_path.iterdir()) == files


def test_a_catalogue_written_over_another_takes_its_relations_along(tmp_path: Path) -> None:
    make(tmp_path).write(tmp_path / "catalogue.parquet")
    newer = make(tmp_path, ("d.jpg", "e.jpg"), relations={"pairs": PAIRS.slice(1)})
    newer.write(tmp_path / "catalogue.parquet")
    assert_equal(Catalogue.read(tmp_path), newer)


def test_two_catalogues_in_one_folder_keep_their_own_relations(tmp_path: Path) -> None:
    made = {name: make(tmp_path, relations={"pairs": PAIRS.slice(at)}) for at, name in enumerate(("one", "two"))}
    for name, catalogue in made.items():
        catalogue.write(tmp_path / f"{name}.parquet")
    for name, catalogue in made.items():
        assert_equal(Catalogue.read(tmp_path / f"{name}.parquet"), catalogue)


def pictured(folder: Path) -> Path:
    (folder / "data" / "img").mkdir(parents=True)
    for name in "abc":
        (folder / "data" / "img" / f"{name}.jpg").touch()
    make(folder / "data" / "img").write(folder / "out" / "catalogue.parquet")
    return folder


def test_images_are_found_when_both_move_and_when_the_catalogue_moves_alone(tmp_path: Path) -> None:
    first = pictured(tmp_path / "first")
    images = first / "data" / "img"
    assert Catalogue.read(first / "out").paths()[0] == images / "a.jpg"
    alone = tmp_path / "elsewhere" / "deep" / "catalogue"
    alone.parent.mkdir(parents=True)
    (first / "out").rename(alone)
    assert Catalogue.read(alone).paths()[0] == images / "a.jpg"
    alone.rename(first / "out")
    moved = tmp_path / "second" / "second"
    moved.parent.mkdir()
    first.rename(moved)
    found = Catalogue.read(moved / "out")
    assert found.paths()[0] == moved / "data" / "img" / "a.jpg"
    assert all(path.is_file() for path in found.paths())
    # Written from there it notes where they lie now.
    found.write(tmp_path / "again.parquet")
    assert Catalogue.read(tmp_path / "again.parquet").paths() == found.paths()


def test_images_are_found_from_another_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pictured(tmp_path / "first")
    monkeypatch.chdir(first)
    make(Path("data/img")).write("out/relative.parquet")
    here = Catalogue.read("out/relative.parquet").paths()
    monkeypatch.chdir(tmp_path)
    assert Catalogue.read(first / "out" / "relative.parquet").paths() == here == make(first / "data" / "img").paths()


@pytest.mark.parametrize("inner", ["", "img"])
def test_images_in_an_archive(tmp_path: Path, inner: str) -> None:
    first = tmp_path / "first"
    first.mkdir()
    with zipfile.ZipFile(first / "img.zip", "w") as archive:
        for name in "abc":
            archive.writestr(f"{inner}/{name}.jpg".lstrip("/"), b"")
    make(first / "img.zip" / inner).write(first / "out" / "catalogue.parquet")
    first.rename(tmp_path / "second")
    found = Catalogue.read(tmp_path / "second" / "out")
    assert found.paths()[0] == tmp_path / "second" / "img.zip" / inner / "a.jpg"


def test_beside_its_images_a_catalogue_notes_no_folder(tmp_path: Path) -> None:
    make(tmp_path).write(tmp_path / "catalogue.parquet")
    assert str(tmp_path).encode() not in (tmp_path / "catalogue.parquet").read_bytes()
    make(tmp_path / "img").write(tmp_path / "catalogue.parquet")
    assert Catalogue.read(tmp_path).paths()[0] == tmp_path / "img" / "a.jpg"


def test_csv_keeps_the_labels_and_drops_the_rest(tmp_path: Path) -> None:
    made = make(tmp_path)
    made.write(tmp_path / "catalogue.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["catalogue.csv"]
    found = Catalogue.read(tmp_path, ["fit"])
    assert found.labels.equals(made.labels)
    assert found.boxes() == made.boxes()
    assert found.items() == made.items()
    assert found.record == {}
    assert found.relations == {}
    assert found.root == tmp_path


def test_other_attributes_of_a_recorded_catalogue(tmp_path: Path) -> None:
    made = make(tmp_path)
    made.write(tmp_path / "catalogue.parquet")
    found = Catalogue.read(tmp_path, attributes=["pose"])
    assert found.attributes == ("pose",)
    assert found.values("pose") == ("1",)
    assert found.images["fit"].to_pylist() == [["slim"], ["wide"], None]
    assert found.record == made.record
    assert list(found.relations) == list(made.relations)
    assert Catalogue.read(tmp_path, also=["pose"]).attributes == ("pose", "fit")
    found.write(tmp_path / "again.parquet")
    assert Catalogue.read(tmp_path / "again.parquet").attributes == ("pose",)
    assert Catalogue.read(tmp_path / "again.parquet", attributes=["fit"]).labels.equals(made.labels)


def test_text_that_lapel_wrote_stays_text(tmp_path: Path) -> None:
    """A pose of "1" is read back as text from Parquet, though in a foreign file it would become a number."""
    make(tmp_path).write(tmp_path / "catalogue.parquet")
    assert Catalogue.read(tmp_path).images["pose"].type == pa.string()
    pq.write_table(pa.table({"image": ["a", "b"], "pose": ["1", "2"]}), tmp_path / "foreign.parquet")
    assert Catalogue.read(tmp_path / "foreign.parquet").images["pose"].type == pa.int64()
