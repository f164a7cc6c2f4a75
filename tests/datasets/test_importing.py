"""A data set becomes a catalogue in one step or not at all, and what is left out is told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest

from lapel import datasets
from lapel.catalogue import Catalogue
from lapel.datasets.formats import Format, label_rows, label_table
from lapel.datasets.importing import Imported, import_dataset, open_source
from lapel.decoding import decode_array
from lapel.errors import DatasetError, LapelError
from lapel.protocol import ItemProtocol, from_dict

from . import fake
from .pictures import pack

Use = Callable[[Format], None]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    def replace(form: Format) -> None:
        monkeypatch.setattr(datasets, "get", lambda name: form)

    return replace


@pytest.fixture
def data(tmp_path: Path, use: Use) -> Path:
    use(fake.make())
    return fake.write(tmp_path / "data")


def load(root: Path, to: Path, skip_faulty: bool = False, variant: str = "") -> Imported:
    return import_dataset("fake", root, to, variant, skip_faulty, quiet=True)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_whole_data_set(data: Path, tmp_path: Path) -> None:
    imported = load(data, tmp_path / "to")
    assert not imported.faults
    assert imported.notes == ("no boxes",)
    for found in (imported.catalogue, Catalogue.read(tmp_path / "to")):
        assert found.images.select(["image", "item", "split"]).to_pylist() == [
            {"image": image, "item": item, "split": split} for image, item, split in fake.ROWS
        ]
        assert [found.values_of(row) for row in range(5)] == [
            {"colour": (c,)} if c else {} for c in ("red", "", "blue", "", "red")
        ]
        assert found.attributes == ("colour",)
        assert found.relations["pairs"].num_rows == 2
        assert from_dict(found.record["protocol"]) == ItemProtocol()
        assert {key: found.record[key] for key in ("format", "title", "variant", "notes", "left_out")} == {
            "format": "fake", "title": "A fake", "variant": "small", "notes": ["no boxes"], "left_out": 0,
        }  # fmt: skip
        for path in found.paths():
            decode_array(path)
    assert set(content(tmp_path / "to")) == {"catalogue.parquet", "catalogue.pairs.parquet"}


@pytest.mark.parametrize(
    ("name", "where", "beneath"),
    [
        ("Img", "Img.zip", ""),
        ("Img", "Img.zip", "Img/"),
        ("Img/img", "Img/img.zip", "img/"),
        ("Eval", "Eval.zip", "Eval/"),
        ("Eval", "Eval.zip", ""),
        ("Anno", "Anno/any.zip", ""),
    ],
)
def test_parts_may_be_packed(data: Path, tmp_path: Path, name: str, where: str, beneath: str) -> None:
    shutil.move(data / name, tmp_path / "part")
    (data / where).parent.mkdir(exist_ok=True)
    pack(tmp_path / "part", data / where, beneath)
    found = load(data, tmp_path / "to").catalogue
    assert len(found) == 5
    for path in found.paths():
        decode_array(path)


@pytest.mark.parametrize("beneath", ["", "data/", "some name/"])
def test_all_may_be_packed(data: Path, tmp_path: Path, beneath: str) -> None:
    found = load(pack(data, tmp_path / "data.zip", beneath), tmp_path / "to").catalogue
    assert [found.values_of(row).get("colour") for row in range(5)] == [("red",), None, ("blue",), None, ("red",)]
    for path in found.paths():
        decode_array(path)


def test_all_may_move_together(data: Path, tmp_path: Path) -> None:
    pack(data, tmp_path / "data.zip")
    for root in (data, tmp_path / "data.zip"):
        load(root, tmp_path / f"{root.suffix}to")
    (tmp_path / "elsewhere").mkdir()
    for name in ("data", "data.zip", "to", ".zipto"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    for name in ("to", ".zipto"):
        for path in Catalogue.read(tmp_path / "elsewhere" / name).paths():
            assert path.is_relative_to(tmp_path / "elsewhere")
            decode_array(path)


@pytest.mark.parametrize("packed", [False, True])
def test_the_catalogue_may_move_alone(data: Path, tmp_path: Path, packed: bool) -> None:
    load(pack(data, tmp_path / "data.zip") if packed else data, tmp_path / "to")
    (tmp_path / "far/away").mkdir(parents=True)
    (tmp_path / "to").rename(tmp_path / "far/away/to")
    for path in Catalogue.read(tmp_path / "far/away/to").paths():
        decode_array(path)


# ---------------------------------------------------------------- what is wrong


def cut(data: Path) -> None:
    text = (data / "Eval/list.txt").read_text()
    (data / "Eval/list.txt").write_text(text[:-12])


def swap(data: Path) -> None:
    rows = [(item, image, split) for image, item, split in fake.ROWS]
    (data / "Eval/list.txt").write_text(fake.list_text(rows, "image item split"))


def misspell(data: Path) -> None:
    path = data / "Eval/list.txt"
    path.write_text(path.read_text().replace("query", "qurey"))


def recount(data: Path) -> None:
    path = data / "Eval/list.txt"
    path.write_text(path.read_text().replace("5", "7", 1))


def recode(data: Path) -> None:
    path = data / "Anno/colours.txt"
    path.write_text(path.read_text(), encoding="utf-16")


def latin(data: Path) -> None:
    path = data / "Anno/colours.txt"
    path.write_bytes(path.read_text().replace("blue", "grün").encode("latin-1"))


def lose(data: Path) -> None:
    (data / "Anno/colours.txt").unlink()


def lose_picture(data: Path) -> None:
    (data / "Img/img/e.jpg").unlink()


def lose_pictures(data: Path) -> None:
    shutil.rmtree(data / "Img")


def pack_badly(data: Path) -> None:
    archive = pack(data / "Img", data / "Img.zip")
    shutil.rmtree(data / "Img")
    archive.write_bytes(archive.read_bytes()[:-100])


DAMAGES: list[tuple[Callable[[Path], None], str, int]] = [
    (cut, "Eval/list.txt line 7: expected image item split, found 'img/e.jpg'", 4),
    (swap, "Eval/list.txt line 3: expected the path of an image in column 1, found '1'", -1),
    (misspell, "Eval/list.txt line 5: unknown split 'qurey'; did you mean 'query'?", 4),
    (recount, "Eval/list.txt: its first line says 7 rows, it holds 5: the file is cut short, unpack it again", 5),
    (recode, "Anno/colours.txt: UTF-16 text, expected UTF-8", -1),
    (latin, "Anno/colours.txt line 4: not UTF-8 text (byte 0xfc)", -1),
    (lose, "lacks Anno/colours.txt, which says which colour an image shows", -1),
    (lose_picture, "1 of 5 images are missing, the first: ", 4),
    (lose_pictures, "none of the 5 images is there: expected ", -1),
    (pack_badly, "Img.zip was not read: no zip archive, or one cut short", -1),
]


@pytest.mark.parametrize(("damage", "message", "left"), DAMAGES)
def test_damage_stops_the_import_and_changes_nothing(
    data: Path, tmp_path: Path, damage: Callable[[Path], None], message: str, left: int
) -> None:
    to = tmp_path / "to"
    load(data, to)
    before = content(to)
    damage(data)
    with pytest.raises(DatasetError) as caught:
        load(data, to)
    assert message in str(caught.value)
    assert content(to) == before
    if left < 0:
        with pytest.raises(DatasetError):
            load(data, to, skip_faulty=True)
        assert content(to) == before
        return
    imported = load(data, to, skip_faulty=True)
    assert len(imported.catalogue) == left
    assert imported.catalogue.record["left_out"] == len(imported.faults) == 1
    assert (to / "left-out.txt").read_text() == f"{imported.faults[0]}\n"


def test_relations_lose_what_is_left_out(data: Path, tmp_path: Path) -> None:
    lose_picture(data)
    found = load(data, tmp_path / "to", skip_faulty=True).catalogue
    assert found.relations["pairs"].to_pylist() == [
        {"split": "query", "query": "img/sub/c.jpg", "gallery": "img/sub/d.jpg"}
    ]
    assert [found.values_of(row).get("colour") for row in range(4)] == [("red",), None, ("blue",), None]


def test_a_list_of_what_was_left_out_does_not_outlive_it(data: Path, tmp_path: Path) -> None:
    picture = (data / "Img/img/e.jpg").read_bytes()
    lose_picture(data)
    load(data, tmp_path / "to", skip_faulty=True)
    assert (tmp_path / "to/left-out.txt").read_text() == "image missing: img/e.jpg\n"
    (data / "Img/img/e.jpg").write_bytes(picture)
    load(data, tmp_path / "to", skip_faulty=True)
    assert not (tmp_path / "to/left-out.txt").exists()


def test_pictures_that_are_usually_missing_are_no_fault(data: Path, tmp_path: Path, use: Use) -> None:
    use(fake.make("many links are dead"))
    lose_picture(data)
    imported = load(data, tmp_path / "to")
    assert (len(imported.catalogue), imported.absent, imported.faults) == (4, 1, ())
    assert imported.catalogue.record["absent"] == 1
    assert "1 of 5 images are not there: many links are dead" in imported.notes
    assert imported.catalogue.relations["pairs"].num_rows == 1
    lose_pictures(data)
    with pytest.raises(DatasetError, match="none of the 5 images is there"):
        load(data, tmp_path / "to")


def test_encrypted_pictures_are_not_there(data: Path, tmp_path: Path) -> None:
    from ..test_archives import encrypt

    archive = pack(data / "Img", data / "Img.zip")
    lose_pictures(data)
    archive.write_bytes(encrypt(bytearray(archive.read_bytes())))
    with pytest.raises(DatasetError, match=r"none of the 5 images .* Img.zip was not read: it is encrypted, unpack it"):
        load(data, tmp_path / "to")


def test_the_variant_that_is_there_is_taken(data: Path, tmp_path: Path) -> None:
    form = fake.make()
    assert open_source(form, data).variant == "small"
    (data / "big_list.txt").write_text((data / "Eval/list.txt").read_text())
    assert open_source(form, data).variant == "small"
    (data / "Eval/list.txt").unlink()
    assert open_source(form, data).variant == "big"
    assert load(data, tmp_path / "to").catalogue.record["variant"] == "big"
    lose(data)
    assert open_source(form, data).variant == "big"
    assert open_source(form, data, "small").variant == "small"
    with pytest.raises(DatasetError, match="fake: unknown variant 'bg'; did you mean 'big'"):
        open_source(form, data, "bg")


def test_nothing_there(tmp_path: Path, use: Use) -> None:
    use(fake.make())
    with pytest.raises(DatasetError, match=r"nothing at .*nowhere: expected the data set's own folder"):
        load(tmp_path / "nowhere", tmp_path / "to")
    with pytest.raises(DatasetError, match="nothing at"):
        load(tmp_path / "nowhere.zip" / "data", tmp_path / "to")


def test_no_rows(data: Path, tmp_path: Path) -> None:
    (data / "Eval/list.txt").write_text("0\nimage item split\n")
    with pytest.raises(DatasetError, match="no images are listed"):
        load(data, tmp_path / "to")


def test_a_full_disk_leaves_no_half(data: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("full_disk")
    with pytest.raises(LapelError, match="disk full"):
        load(data, tmp_path / "to")
    assert not content(tmp_path / "to")


def test_a_write_that_fails_late_leaves_the_relations_too(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "to"
    load(data, to)
    before = content(to)
    lose_picture(data)
    write_table = pyarrow.parquet.write_table

    def fail(table: pyarrow.Table, place: Path) -> None:
        if "image" in table.column_names:
            raise OSError(28, "No space left on device")
        write_table(table, place)

    monkeypatch.setattr(pyarrow.parquet, "write_table", fail)
    with pytest.raises(LapelError, match="disk full"):
        load(data, to, skip_faulty=True)
    assert content(to) == before
    assert len(Catalogue.read(to)) == 5


def test_an_unknown_format() -> None:
    with pytest.raises(DatasetError, match="unknown format 'deepfashion-inshp'; did you mean 'deepfashion-inshop'"):
        import_dataset("deepfashion-inshp", "x", "y")


def test_label_tables_of_lists_and_of_rows_agree() -> None:
    import numpy as np
    import pyarrow as pa

    lists = label_table({"fit": ["slim", None, ["wide", "long"]], "cut": [None, None, None]})
    rows = label_rows(
        {
            "fit": (np.array([0, 2, 2]), pa.array(["slim", "wide", "long"])),
            "cut": (np.zeros(0, int), pa.array([], pa.string())),
        }
    )
    assert lists.equals(rows.combine_chunks())
    assert label_table({}).num_rows == label_rows({}).num_rows == 0
    assert label_table({}).schema == lists.schema
