"""UT-Zappos50K: what each kind of damage is called, that nothing is lost by it, and the two ways to read a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel import datasets
from lapel.datasets import zappos_triplets
from lapel.datasets.importing import open_source
from lapel.datasets.source import Source
from lapel.errors import DatasetError

from .conftest import Standins
from .test_zappos50k import CLASS_TRAIN, FILENAMES, META, PICTURES, Own, cells, load, make, numbered


def last_line(text: str, line: str) -> str:
    return "".join(text.splitlines(keepends=True)[:-1]) + line


def first_line_again(text: str) -> str:
    return text.splitlines(keepends=True)[0] + text


def without_last(text: str) -> str:
    return last_line(text, "")


DAMAGE = [
    (FILENAMES, lambda t: t[:-9], "filenames.json line 98: expected the path of an image, found "),
    (FILENAMES, lambda t: last_line(t, "Shoes/a.jpg\n"), "line 98: expected <category>/<subcategory>/<brand>/<file>"),
    (FILENAMES, lambda t: t.replace("Boots/", "Boot/", 1), "unknown category 'Boot'; did you mean 'Boots'?"),
    (FILENAMES, first_line_again, "filenames.json line 2: Boots/Ankle/"),
    (FILENAMES, first_line_again, "again, as in line 1"),
    (FILENAMES, lambda t: t.replace(".72.jpg", ".99.jpg", 1), "1 of 99 images are missing, the first: "),
    (FILENAMES, lambda t: t.encode("utf-16"), "data/filenames.json: UTF-16 text, expected UTF-8"),
    (FILENAMES, lambda t: b"Caf\xe9" + t.encode(), "data/filenames.json line 1: not UTF-8 text (byte 0xe9)"),
    (CLASS_TRAIN, lambda t: last_line(t, "1 2"), "class_tripletlist_train.txt line 144: expected anchor far close, "),
    (
        CLASS_TRAIN,
        lambda t: "1 2 3 4\n" + t,
        "class_tripletlist_train.txt line 1: expected anchor far close, found '1 ",
    ),
    (
        CLASS_TRAIN,
        lambda t: "1 2\n3 4 5 6\n",
        "class_tripletlist_train.txt line 1: expected anchor far close, found '1 ",
    ),
    (CLASS_TRAIN, lambda t: "1 x 3\n" + t, "line 1: expected whole numbers, found '1 x 3'"),
    (CLASS_TRAIN, lambda t: "1 2.0 3\n" + t, "line 1: expected whole numbers, found '1 2.0 3'"),
    (CLASS_TRAIN, lambda t: t + "1 98 3\n", "line 145: expected the numbers, 0 to 97, of lines of filenames.json"),
    (CLASS_TRAIN, lambda t: t + "1 98 3\n", "that name an image, found '1 98 3'"),
    (CLASS_TRAIN, lambda t: "-1 2 3\n" + t, "found '-1 2 3'"),
    (CLASS_TRAIN, lambda t: f"{10**30} 2 3\n" + t, "line 1: expected the numbers, 0 to 97"),
    (CLASS_TRAIN, lambda t: t.encode("utf-16"), "class_tripletlist_train.txt: UTF-16 text, expected UTF-8"),
    (META, lambda t: t[:-30], "meta-data.csv line 99: expected CID,Category,"),
    (META, lambda t: t.split("\n", 1)[1], "meta-data.csv line 1: expected CID,Category,SubCategory,HeelHeight,Insole"),
    (
        META,
        lambda t: t.replace("CID,Category,Sub", "Category,CID,Sub"),
        "line 2: expected a CID such as 100627-72 in column 2, found '",
    ),
    (META, lambda t: t.replace(",Shoes,", ",Shoe,", 1), ": unknown category 'Shoe'; did you mean 'Shoes'?"),
    (META, lambda t: t + t.splitlines()[3], "meta-data.csv line 100: 100627-74 again, as in line 4"),
    (META, lambda t: t.encode("utf-16"), "ut-zap50k-data/meta-data.csv: UTF-16 text"),
]


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGE)
def test_damage_is_told_and_an_earlier_catalogue_stays(
    name: str, damage: Callable[[str], str | bytes], message: str, own: Own, tmp_path: Path
) -> None:
    root = own("zappos50k")
    load(root, tmp_path / "to")
    before = {path.name: path.read_bytes() for path in (tmp_path / "to").iterdir()}
    damaged = damage((root / name).read_text("utf-8"))
    (root / name).write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
    with pytest.raises(DatasetError) as error:
        load(root, tmp_path / "to")
    assert message in str(error.value)
    assert {path.name: path.read_bytes() for path in (tmp_path / "to").iterdir()} == before


def test_faulty_rows_can_be_left_out_and_nothing_else(own: Own, standins: Standins, tmp_path: Path) -> None:
    root = own("zappos50k")
    drawn = standins("zappos50k")[1]
    names = (root / FILENAMES).read_text("utf-8").splitlines()
    (root / FILENAMES).write_text("\n".join([names[0], "no picture", *names[2:]]) + "\n")
    with (root / CLASS_TRAIN).open("a") as stream:
        stream.write("5 6\n1 2 3\n9 9 1\n")
    found = load(root, tmp_path / "to", skip_faulty=True)
    texts = "\n".join(map(str, found.faults))
    assert "data/filenames.json line 2: expected the path of an image, found 'no picture'" in texts
    assert f"{CLASS_TRAIN} line 145: expected anchor far close, found '5 6'" in texts
    assert (tmp_path / "to/left-out.txt").read_text() == f"{texts}\n"
    gone = drawn.rows[1]["image"]
    kept = [row for row in drawn.relations["triplets"] if gone not in row.values()]
    # Its picture is there all the same: an image without a number, at the end.
    assert cells(found.catalogue, "image") == [r["image"] for r in drawn.rows if r["image"] != gone] + [gone]
    assert found.catalogue.relations["triplets"].to_pylist() == kept


def test_a_missing_picture_takes_its_triplets_along(own: Own, standins: Standins, tmp_path: Path) -> None:
    root = own("zappos50k")
    gone = standins("zappos50k")[1].rows[5]["image"]
    (root / PICTURES / gone).unlink()
    found = load(root, tmp_path / "to", skip_faulty=True)
    # What it is called on disk cannot be known, so it is named as it is listed.
    assert [fault.message.partition("/")[0] for fault in found.faults] == ["image missing: Boots"]
    left = [row for row in standins("zappos50k")[1].relations["triplets"] if gone not in row.values()]
    assert found.catalogue.relations["triplets"].to_pylist() == left


def test_a_list_of_a_hundred_thousand_wrong_lines_is_one_fault(tmp_path: Path) -> None:
    names = numbered(3)
    text = "0 1 2\n" + "0 1 7\n" * 100_000
    root = make(tmp_path / "data", names, names, lists={"class_tripletlist_train": text})
    source = open_source(datasets.get("zappos50k"), root, strict=False)
    draft = datasets.get("zappos50k").read(source)
    assert [str(fault).endswith("found '0 1 7' (100,000 such lines in all)") for fault in source.faults] == [True]
    assert source.faults[0].line == 2
    assert draft.relations["triplets"].num_rows == 1


LINE = st.lists(st.sampled_from(["0", "1", "7", "12", "5000", "+3", "x", "-1", "1e2"]), max_size=4)


@given(
    lines=st.lists(st.one_of(LINE, st.lists(st.sampled_from(["0", "3", "11"]), min_size=3, max_size=3)), max_size=6),
    gaps=st.sampled_from([" ", "  ", "\t"]),
    end=st.sampled_from(["\n", "\r\n", " \n"]),
    last=st.booleans(),
)
def test_the_fast_way_reads_as_the_slow_one(
    lines: list[list[str]], gaps: str, end: str, last: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("lists")
    text = end.join(gaps.join(line) for line in lines) + (end if last else "")
    (root / "list.txt").write_bytes(text.encode())
    expected = [(n, [int(t) for t in line]) for n, line in enumerate(lines, 1) if len(line) == 3 and plain(line)]
    whole = any(lines) and all(len(line) in (0, 3) and plain(line) for line in lines)
    fast = zappos_triplets._parse_fast(Source(root), "list.txt")
    slow = zappos_triplets._parse_line_by_line(Source(root, strict=False), "list.txt")
    assert (fast is not None) == whole
    for found in (fast, slow) if whole else ():
        assert found is not None
        assert list(zip(found[0].tolist(), found[1].tolist(), strict=True)) == expected


def plain(line: Sequence[str]) -> bool:
    return all(token.isdigit() for token in line)
