"""ASEN's lists: the published lines and counts, all three data sets, both places of the root, and damage."""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.datasets.asen import VARIANTS
from lapel.datasets.fashionai_values import VALUES
from lapel.errors import DatasetError
from lapel.standins import draw_standin
from lapel.standins.asen import META, draw_variant
from lapel.standins.studio import Drawn, Studio

from .asen_lists import lay_out, queries, small, take
from .conftest import ITEMS, SIZE, Standins
from .roundtrip import assert_same

# Test queries and candidates per attribute in the released FashionAI lists.
QUERIES = (422, 623, 535, 422, 341, 289, 703, 265)
CANDIDATES = (1703, 2383, 2088, 1722, 1401, 1269, 2734, 1100)


def shown(items: int, variant: str, to: Path) -> Drawn:
    return draw_variant(Studio(to, "asen", items, 0, SIZE, True), variant)


def test_published_lines(tmp_path: Path) -> None:
    sleeve = "test/Images/sleeve_length_labels/98cc08e67650d76f9f526c381d357f11.jpg"
    names = [sleeve, *(f"test/Images/x/{number}.jpg" for number in range(1, 13925))]
    lists = small("FashionAI") | {
        "filenames_test": "".join(f"{name}\n" for name in names),
        "candidate_test": "0 1 4\n",
        "query_test": "13924 6 0\n",
    }
    imported = take(lay_out(tmp_path / "data", "FashionAI", lists), tmp_path / "to")
    test = imported.catalogue.split("test")
    assert test.images["image"][0].as_py() == sleeve
    assert test.values_of(0) == {"sleeve_length": ("Elbow Sleeves",)}
    assert test.values_of(13924) == {"neckline_design": ("Invisible",)}
    assert [row for row in queries(imported.catalogue) if row[0] == "test"] == [
        ("test", "query", "neckline_design", "Invisible", "test/Images/x/13924.jpg"),
        ("test", "candidate", "sleeve_length", "Elbow Sleeves", sleeve),
    ]
    assert "neither a query nor a candidate list of test names 13,923 images" in imported.notes
    assert any(note.startswith("test has 1 queries and 1 candidates, the published lists") for note in imported.notes)


def test_published_counts(tmp_path: Path) -> None:
    """As many as the released lists have for the test: 18,000 images, 3,600 queries, 14,400 candidates."""
    lists = small("FashionAI")
    attributes, roles, names = list(VALUES), {"query": QUERIES, "candidate": CANDIDATES}, []
    for role, counts in roles.items():
        lines = []
        for attribute, count in enumerate(counts):
            for number in range(count):
                lines.append(f"{len(names)} {attribute} {number % len(VALUES[attributes[attribute]])}\n")
                names.append(f"fashionAI_attributes_train{number % 2 + 1}/Images/x_labels/{len(names):032x}.jpg")
        lists[f"{role}_test"] = "".join(lines)
    lists["filenames_test"] = "".join(f"{name}\n" for name in names)
    imported = take(lay_out(tmp_path / "data", "FashionAI", lists), tmp_path / "to")
    test = imported.catalogue.split("test")
    assert len(test) == 18_000
    found = Counter((row[1], row[2]) for row in queries(imported.catalogue) if row[0] == "test")
    for role, counts in roles.items():
        assert tuple(found[role, attribute] for attribute in attributes) == counts
    assert sum(QUERIES) == 3600
    assert [note for note in imported.notes if "test" in note] == []
    assert test.labels.num_rows == 18_000
    assert [imported.catalogue.values(attribute) for attribute in attributes] == [
        tuple(sorted(values)) for values in VALUES.values()
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_standin_comes_back(standins: Standins, tmp_path: Path, variant: str) -> None:
    folder, fashionai = standins("asen")
    drawn = shown(ITEMS, variant, tmp_path)
    if variant == "FashionAI":
        assert (drawn.rows, drawn.labels, drawn.relations) == (fashionai.rows, fashionai.labels, fashionai.relations)
    imported = take(folder, tmp_path / "to", variant)
    assert_same(imported.catalogue, drawn)
    assert imported.faults == ()
    assert imported.catalogue.record["variant"] == variant
    assert all(path.stat().st_size for path in imported.catalogue.paths())
    inside = take(folder / variant, tmp_path / "inside", variant)
    assert_same(inside.catalogue, drawn)
    assert inside.catalogue.paths()[0].resolve() == imported.catalogue.paths()[0].resolve()


@pytest.mark.parametrize("variant", VARIANTS)
def test_standin_can_be_trained_and_scored(standins: Standins, tmp_path: Path, variant: str) -> None:
    catalogue = take(standins("asen")[0], tmp_path, variant).catalogue
    train = catalogue.split("train")
    useful = [name for name in train.attributes if (train.multi_hot(name).sum(0) >= 2).sum() >= 2]
    assert len(useful) >= 4
    for split in ("val", "test"):
        asked = {row[2:4] for row in queries(catalogue) if row[:2] == (split, "query")}
        ranked = {row[2:4] for row in queries(catalogue) if row[:2] == (split, "candidate")}
        assert len(asked & ranked) >= 5
    several = Counter(row[::4] + row[1:3] for row in queries(catalogue))
    assert (max(several.values()) > 1) == (variant == "DeepFashion")


def test_standin_of_few_items_and_another_seed(tmp_path: Path) -> None:
    for seed in range(2):
        drawn = draw_standin("asen", tmp_path / f"{seed}", items=4, seed=seed, size=32, quiet=True)
        assert_same(take(tmp_path / f"{seed}", tmp_path / "to").catalogue, drawn)


def test_protocol_has_the_papers_headings(standins: Standins, tmp_path: Path) -> None:
    for variant, expected in {
        "FashionAI": "Skirt-l,Sleeve-l,Coat-l,Pant-l,Collar,Lapel,Neckline,Neck",
        "DeepFashion": "Texture,Fabric,Shape,Part,Style",
        "DARN": "Category,Button,Color,Length,Pattern,Shape,Collar shape,Sleeve length,Sleeve shape",
    }.items():
        protocol = take(standins("asen")[0], tmp_path / variant, variant).catalogue.record["protocol"]
        assert ",".join(heading for _, heading in protocol["headings"]) == expected
        assert (protocol["task"], protocol["split"], protocol["relation"]) == ("attributes", "test", "queries")


def test_pictures_elsewhere_and_lists_in_an_archive(own: Callable[[str], Path], tmp_path: Path) -> None:
    data = own("asen")
    before = take(data, tmp_path / "before").catalogue
    for part in sorted((data / "FashionAI").glob("fashionAI_*")):
        shutil.move(part, data / part.name)
    above = take(data, tmp_path / "above").catalogue
    inside = take(data / "FashionAI", tmp_path / "inside").catalogue
    with zipfile.ZipFile(data / "data.zip", "w") as archive:
        for file in [data / "meta.json", *sorted((data / "FashionAI").glob("*.txt"))]:
            archive.write(file, Path("data") / file.relative_to(data))
            file.unlink()
    packed = take(data, tmp_path / "packed").catalogue
    for found in (above, inside, packed):
        assert found.images.to_pylist() == before.images.to_pylist()
        assert found.root.resolve() == data.resolve()
        assert queries(found) == queries(before)


def test_the_folder_of_a_data_set_says_which_it_is(standins: Standins, tmp_path: Path) -> None:
    folder, _ = standins("asen")
    assert take(folder / "DARN", tmp_path).catalogue.record["variant"] == "DARN"
    with pytest.raises(DatasetError, match="holds the lists of DARN, not of FashionAI: give --variant DARN"):
        take(folder / "DARN", tmp_path, "FashionAI")


@pytest.mark.parametrize("variant", VARIANTS)
def test_small_lists_and_harmless_differences(tmp_path: Path, variant: str) -> None:
    lists = small(variant)
    plain = take(lay_out(tmp_path / "plain", variant, lists), tmp_path / "a", variant)
    data = lay_out(tmp_path / "odd", variant, lists)
    for name in lists:
        path = data / variant / f"{name}.txt"
        text = path.read_text().replace(" ", "   ") if "filenames" not in name else path.read_text()
        path.write_bytes(("\ufeff" + text.replace("\n", " \r\n") + "\r\n").encode())
    odd = take(data, tmp_path / "b", variant)
    assert odd.catalogue.images.to_pylist() == plain.catalogue.images.to_pylist()
    assert odd.catalogue.labels.to_pylist() == plain.catalogue.labels.to_pylist()
    assert queries(odd.catalogue) == queries(plain.catalogue)
    assert odd.notes == plain.notes
    first = plain.catalogue.values_of(0)
    if variant == "FashionAI":
        assert first == {"coat_length": ("High Waist Length",)}
    else:
        names = list(META[variant])
        assert first == {names[0]: ("4",), names[2]: ("1", "3")}
        assert "label_train.txt gives no value for 1 images" in plain.notes


def test_an_image_listed_twice_stays_twice(tmp_path: Path) -> None:
    lists = small("DeepFashion") | {"query_test": "1 2 0\n1 2 7\n1 2 7\n", "candidate_test": "0 2 7\n2 2 1\n1 2 5\n"}
    imported = take(lay_out(tmp_path / "data", "DeepFashion", lists), tmp_path / "to", "DeepFashion")
    test = imported.catalogue.split("test")
    assert test.values_of(1) == {"shape-related": ("0", "5", "7")}
    image = "img/A_Coat/test1.jpg"
    assert [row[1:4] for row in queries(imported.catalogue) if row[0] == "test" and row[4] == image] == [
        ("query", "shape-related", "0"),
        ("query", "shape-related", "7"),
        ("query", "shape-related", "7"),
        ("candidate", "shape-related", "5"),
    ]
    assert "query_test.txt repeats 1 of its lines: they count as often as they stand there" in imported.notes
    assert "1 images of test are queries and candidates of one attribute" in imported.notes


def test_image_in_two_splits_is_noted(tmp_path: Path) -> None:
    lists = small("DARN")
    lists["filenames_test"] = lists["filenames_test"].replace("test2", "train0")
    imported = take(lay_out(tmp_path / "data", "DARN", lists), tmp_path / "to", "DARN")
    assert "1 images are in more than one split: figures on them are too high" in imported.notes
    assert len(imported.catalogue) == 9


def test_pictures_of_darn_may_be_gone(own: Callable[[str], Path], tmp_path: Path) -> None:
    data = own("asen")
    count = len(take(data, tmp_path / "whole", "DARN").catalogue)
    gone = sorted((data / "DARN" / "pic").iterdir())[::5]
    for path in gone:
        path.unlink()
    imported = take(data, tmp_path / "to", "DARN")
    assert imported.absent == len(gone)
    assert len(imported.catalogue) == count - len(gone)
    names = set(imported.catalogue.images["image"].to_pylist())
    assert {row[4] for row in queries(imported.catalogue)} <= names
    (data / "DeepFashion" / "img").rename(data / "DeepFashion" / "images")
    with pytest.raises(DatasetError, match="none of the 112 images is there"):
        take(data, tmp_path / "to", "DeepFashion")


ENTRY = st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 155))


@given(st.lists(ENTRY, max_size=12), st.lists(ENTRY, max_size=12), st.lists(ENTRY, max_size=12))
def test_any_lists(
    tmp_path_factory: pytest.TempPathFactory,
    train: list[tuple[int, int, int]],
    asked: list[tuple[int, int, int]],
    ranked: list[tuple[int, int, int]],
) -> None:
    lists = small("DeepFashion")
    lists["label_train"] = "".join(
        f"{image}" + "".join(f" {a} {v}" for number, a, v in train if number == image) + "\n" for image in range(3)
    )
    for role, entries in (("query", asked), ("candidate", ranked)):
        lists[f"{role}_test"] = "".join(f"{image} {a} {v}\n" for image, a, v in entries)
    root = tmp_path_factory.mktemp("data")
    catalogue = take(lay_out(root / "data", "DeepFashion", lists), root / "to", "DeepFashion").catalogue
    names = list(META["DeepFashion"])
    expected = [
        ("test", role, names[a], str(v), f"img/A_Coat/test{image}.jpg")
        for role, entries in (("query", asked), ("candidate", ranked))
        for image, a, v in entries
    ]
    assert [row for row in queries(catalogue) if row[0] == "test"] == expected
    for split, entries in (("train", train), ("test", asked + ranked)):
        labels = catalogue.split(split).labels.to_pylist()
        found = [(row["image"], row["attribute"], row["value"]) for row in labels]
        assert sorted(found) == sorted({(image, names[a], str(v)) for image, a, v in entries})
