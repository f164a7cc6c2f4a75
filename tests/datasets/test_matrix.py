from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.datasets.matrix import LabelMatrix, read_label_matrix
from lapel.datasets.source import FileSpec, Source
from lapel.errors import DatasetError


def read(folder: Path, data: bytes, columns: int, strict: bool = True, **how: int) -> tuple[LabelMatrix, Source]:
    (folder / "labels.txt").write_bytes(data)
    source = Source(folder, strict=strict)
    return read_label_matrix(source, "labels.txt", columns, **how), source


def slow(data: bytes, columns: int, header: int) -> tuple[list[str], list[int], list[tuple[int, int]], list[int]]:
    """Names, lines and positives of the good rows, and the lines of the faulty ones: the obvious way."""
    names: list[str] = []
    lines: list[int] = []
    positives: list[tuple[int, int]] = []
    faulty: list[int] = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if number <= header or not line.split():
            continue
        name, *labels = line.split()
        if len(labels) != columns or any(label not in (b"1", b"-1", b"0") for label in labels):
            faulty.append(number)
            continue
        positives += [(len(names), place) for place, label in enumerate(labels) if label == b"1"]
        names.append(name.decode())
        lines.append(number)
    return names, lines, positives, faulty


def as_tuple(found: LabelMatrix) -> tuple[list[str], list[int], list[tuple[int, int]]]:
    assert found.rows.dtype == found.columns.dtype == np.int32
    return found.names, found.lines, list(zip(found.rows.tolist(), found.columns.tolist(), strict=True))


GAPS = st.sampled_from([" ", "  ", "\t", " \t ", "   "])
ENDS = st.sampled_from(["\n", "\r\n", " \n", "\t\r\n", "\n\n", "\n  \r\n"])
NAMES = st.sampled_from(["1", "-1", "0", "img/a b.jpg".replace(" ", "_"), "id_00000001", "img/é.jpg", "x" * 50, "11"])
LABELS = st.sampled_from(["1", "-1", "0"])
ODD = st.sampled_from(["1", "-1", "0", "0", "-1", "-", "--1", "10", "-0", "1-", "-10", "y", "01", "é", "-1\x00", "+1"])


@given(st.data())
def test_agrees_with_the_obvious_way(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    columns, header = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    label = ODD if data.draw(st.booleans()) else LABELS
    text, count = "", data.draw(st.integers(0, 8))
    for _ in range(count):
        width = columns if data.draw(st.integers(0, 5)) else data.draw(st.integers(0, columns + 2))
        text += data.draw(st.sampled_from(["", " "])) + data.draw(NAMES)
        for _ in range(width):
            text += data.draw(GAPS) + data.draw(label)
        text += data.draw(ENDS)
    if data.draw(st.booleans()):
        text = text.rstrip()
    head = f"{count}{data.draw(st.sampled_from(['', ' ', chr(13)]))}\n" + "name labels\r\n" * (header - 1)
    raw = (b"\xef\xbb\xbf" if data.draw(st.booleans()) else b"") + (head + text).encode()
    folder = tmp_path_factory.mktemp("matrix")
    found, source = read(folder, raw, columns, False, header=header, block=data.draw(st.integers(1, 200)))
    names, lines, positives, faulty = slow(raw, columns, header)
    assert as_tuple(found) == (names, lines, positives)
    assert [fault.line for fault in source.faults] == faulty


def test_block_size_does_not_matter(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice([-1, 0, 1], (40, 30))
    rows = "\n".join(f"img/{n:03d}.jpg  " + " ".join(map(str, row)) for n, row in enumerate(labels.tolist()))
    text = f"40\nimage_name attribute_labels\n{rows}\n".encode()
    whole, _ = read(tmp_path, text, 30)
    assert whole.rows.tolist() == np.nonzero(labels == 1)[0].tolist()
    assert whole.columns.tolist() == np.nonzero(labels == 1)[1].tolist()
    for block in (1, 7, 100, 1000):
        assert as_tuple(read(tmp_path, text, 30, block=block)[0]) == as_tuple(whole)


def test_reads_inside_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "Anno.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Anno/labels.txt", "2\nname labels\na.jpg 1 0\nb.jpg -1 1\n")
    source = Source(tmp_path, [FileSpec(("Anno/labels.txt",), "the labels")])
    assert as_tuple(read_label_matrix(source, "Anno/labels.txt", 2, block=3)) == (
        ["a.jpg", "b.jpg"], [3, 4], [(0, 0), (1, 1)],
    )  # fmt: skip


GOOD = b"3\nimage_name  attribute_labels\nimg/a.jpg  1 -1 0\nimg/b.jpg -1  0 1\nimg/c.jpg  0  1 1\n"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (GOOD[:-5], r"labels.txt line 5: expected a name and 3 labels, found 1 labels: 'img/c.jpg  0'"),
        (GOOD[:-19], r"labels.txt: its first line says 3 rows, it holds 2: the file is cut short"),
        (GOOD.replace(b"-1  0 1", b"-1  0 1 0"), r"line 4: expected a name and 3 labels, found 4 labels"),
        (GOOD.replace(b"-1  0 1", b"-1  2 1"), r"line 4: expected labels 1, -1 or 0, found '2' as label 2"),
        (GOOD.replace(b"img/b.jpg -1  0 1", b"-1 0 1 img/b.jpg"), r"found 'img/b.jpg' as label 3"),
        (GOOD.replace(b"3\n", b"", 1), r"labels.txt line 1: expected the number of rows, found 'image_name"),
        (GOOD.replace(b"3\n", b"4\n", 1), r"says 4 rows, it holds 3"),
        (GOOD.replace(b"3\n", b"2\n", 1), r"says 2 rows, it holds 3: the count or the rows were changed"),
        (GOOD.replace(b"b.jpg", b"\xe9.jpg"), r"labels.txt line 4: not UTF-8 text \(byte 0xe9\)"),
        (GOOD.decode().encode("utf-16"), r"labels.txt: UTF-16 text"),
        (b"", r"line 1: expected the number of rows, found ''"),
    ],
)
def test_damage_is_told(tmp_path: Path, damage: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read(tmp_path, damage, 3)


def test_missing_file_is_told(tmp_path: Path) -> None:
    source = Source(tmp_path, [FileSpec(("Anno/labels.txt", "labels.txt"), "what each image shows")])
    with pytest.raises(DatasetError, match=r"lacks Anno/labels.txt \(or labels.txt\), which says what each image"):
        read_label_matrix(source, "labels.txt", 3)


def test_damaged_archive_is_told(tmp_path: Path) -> None:
    path = tmp_path / "Anno.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labels.txt", GOOD)
    path.write_bytes(path.read_bytes().replace(b"img/b.jpg -1", b"img/b.jpg  1"))
    with pytest.raises(DatasetError, match=r"cannot read .*labels.txt"):
        read_label_matrix(Source(tmp_path), "labels.txt", 3)


def test_lenient_keeps_the_other_rows_and_the_first_fault_of_each(tmp_path: Path) -> None:
    text = GOOD.replace(b"img/b.jpg -1  0 1", b"img/b.jpg  y  n 1").replace(b"1 -1 0", b"1 -1")
    found, source = read(tmp_path, text, 3, strict=False)
    assert as_tuple(found) == (["img/c.jpg"], [5], [(0, 1), (0, 2)])
    assert [str(fault) for fault in source.faults] == [
        "labels.txt line 3: expected a name and 3 labels, found 2 labels: 'img/a.jpg  1 -1'",
        "labels.txt line 4: expected labels 1, -1 or 0, found 'y' as label 1",
    ]
