"""The wrong folder, or the wrong format, is told with the right one: by an import as by a check."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest

from lapel.datasets.checking import check_dataset
from lapel.datasets.importing import import_dataset
from lapel.errors import DatasetError

from .conftest import Standins

NAMES = ("deepfashion-attributes", "deepfashion-inshop", "deepfashion-consumer2shop", "zappos50k")


def refused(name: str, root: Path, to: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        import_dataset(name, root, to, quiet=True)
    assert not to.exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("fashionai", "fashionAI_attributes_train1/Annotations"),
        ("deepfashion-attributes", "Anno_coarse"),
        ("deepfashion-inshop", "Anno"),
        ("deepfashion-inshop", "Eval/list_eval_partition.txt"),
        ("deepfashion-consumer2shop", "Img/img"),
        ("zappos50k", "ut-zap50k-images"),
        ("street2shop", "meta/json"),
        ("street2shop", "photos"),
        ("deepfashion-inshop", ".."),
    ],
)
def test_a_folder_too_deep_or_not_deep_enough(
    name: str, given: str, own: Callable[[str], Path], tmp_path: Path
) -> None:
    data = own(name)
    message = refused(name, data / given if given != ".." else tmp_path, tmp_path / "to")
    assert message.endswith(f"; the data set seems to be in {data}: give that folder")


def test_each_of_the_data_sets_of_one_root_is_a_root(own: Callable[[str], Path], tmp_path: Path) -> None:
    data = own("asen")
    message = refused("asen", data / "DARN/pic", tmp_path / "to")
    assert message.endswith(f"; the data set seems to be in {data / 'DARN'}: give that folder")


@pytest.mark.parametrize(("name", "asked"), permutations(NAMES, 2))
def test_the_files_of_another_data_set(name: str, asked: str, standins: Standins, tmp_path: Path) -> None:
    """Several have a list of the same name: it is told whose files there are most of."""
    report = check_dataset(asked, standins(name)[0], quiet=True)
    assert [problem for problem in report.problems if problem.startswith(f"these are the files of {name}: ")]
    message = refused(asked, standins(name)[0], tmp_path / "to")
    assert f"; these are the files of {name}: " in message


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_not_taken_for_another_data_set(name: str, own: Callable[[str], Path], tmp_path: Path) -> None:
    data = own(name)
    for path in [*data.glob("Eval/*.txt"), *data.glob("data/*.json")]:
        path.write_bytes(path.read_text().encode("utf-16"))
    message = refused(name, data, tmp_path / "to")
    assert re.search(r": UTF-16 text, expected UTF-8: unpack it again, unchanged$", message)
    report = check_dataset(name, data, quiet=True)
    assert [problem for problem in report.problems if "these are" in problem or "seems to be" in problem] == []
