"""Small right lists of ASEN's, to change and to damage."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from lapel.catalogue import Catalogue
from lapel.datasets.importing import Imported, import_dataset
from lapel.standins.asen import META

SPLITS = ("train", "valid", "test")

Lists = dict[str, str]


def lay_out(root: Path, variant: str, lists: Lists, meta: object = None) -> Path:
    """Write lists of one data set below ``root``, and an archive with an empty file for each picture."""
    whole = {name: {"ATTRIBUTES": list(counts), "ATTRIBUTES_NUM": counts} for name, counts in META.items()}
    (root / variant).mkdir(parents=True, exist_ok=True)
    (root / "meta.json").write_text(json.dumps(whole if meta is None else meta))
    for name, text in lists.items():
        (root / variant / f"{name}.txt").write_text(text)
    images = {image for split in SPLITS for image in lists[f"filenames_{split}"].split("\n") if image}
    with zipfile.ZipFile(root / variant / "pictures.zip", "w") as archive:
        for image in sorted(images):
            archive.writestr(image, b"")
    return root


def take(root: Path, to: Path, variant: str = "", skip_faulty: bool = False) -> Imported:
    return import_dataset("asen", root, to, variant=variant, skip_faulty=skip_faulty)


def queries(catalogue: Catalogue) -> list[tuple[str, ...]]:
    return [tuple(row.values()) for row in catalogue.relations["queries"].to_pylist()]


def small(variant: str) -> Lists:
    """Return small right lists: three images for training, two in the other splits."""
    suffix = {"FashionAI": "test/Images/coat_length_labels", "DeepFashion": "img/A_Coat", "DARN": "pic"}[variant]
    lists = {f"filenames_{split}": "".join(f"{suffix}/{split}{n}.jpg\n" for n in range(3)) for split in SPLITS}
    lists["label_train"] = "0 2 1\n1 2 0\n2 3 5\n" if variant == "FashionAI" else "0 2 1 2 3 0 4\n1 2 0\n2\n"
    for split in SPLITS[1:]:
        lists[f"query_{split}"] = "1 2 0\n"
        lists[f"candidate_{split}"] = "0 2 0\n2 2 1\n"
    return lists
