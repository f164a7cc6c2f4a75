"""The files of a data set are found where they lie: usual places, other places, zip archives."""

from __future__ import annotations

import codecs
import shutil
from pathlib import Path

import pytest

from lapel import archives
from lapel.datasets.source import Fault, FileSpec, Source
from lapel.errors import DatasetError

from ..test_archives import encrypt
from .pictures import pack, paint

SPECS = (
    FileSpec(("Anno/list.txt", "list.txt", "Anno/old/list.txt"), "which colour an image shows"),
    FileSpec(("photos/", "images/photos/"), "what it looks like"),
)


@pytest.mark.parametrize("place", ["Anno/list.txt", "list.txt", "Anno/old/list.txt"])
@pytest.mark.parametrize("asked", ["Anno/list.txt", "list.txt"])
def test_a_file_lies_at_any_of_its_names(tmp_path: Path, place: str, asked: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).touch()
    assert Source(tmp_path, SPECS).find(asked) == tmp_path / place


@pytest.mark.parametrize(
    ("archive", "member"),
    [
        ("Anno.zip", "Anno/list.txt"),
        ("Anno.zip", "list.txt"),
        ("all.zip", "Anno/list.txt"),
        ("all.zip", "any name/Anno/list.txt"),
        ("Anno/some.zip", "list.txt"),
        ("Anno/some.zip", "some/list.txt"),
    ],
)
def test_a_file_lies_in_an_archive(tmp_path: Path, archive: str, member: str) -> None:
    (tmp_path / "in" / member).parent.mkdir(parents=True)
    (tmp_path / "in" / member).write_text("one\ntwo\n")
    (tmp_path / "data" / archive).parent.mkdir(parents=True)
    pack(tmp_path / "in", tmp_path / "data" / archive)
    source = Source(tmp_path / "data", SPECS)
    assert source.require("Anno/list.txt") == tmp_path / "data" / archive / member
    assert list(source.lines("Anno/list.txt")) == [(1, "one"), (2, "two")]


def test_files_of_one_name_in_several_archives(tmp_path: Path) -> None:
    specs = [FileSpec((f"part{number}/labels.csv",), "") for number in (1, 2)]
    for number in (1, 2):
        (tmp_path / f"part{number}").mkdir()
        (tmp_path / f"part{number}/labels.csv").write_text(str(number))
        pack(tmp_path / f"part{number}", tmp_path / f"part{number}.zip", f"part{number}/")
        shutil.rmtree(tmp_path / f"part{number}")
    source = Source(tmp_path, specs)
    assert [next(source.lines(f"part{number}/labels.csv"))[1] for number in (1, 2)] == ["1", "2"]


@pytest.mark.parametrize("beneath", ["photos/", "images/photos/", "any/photos/"])
def test_a_folder_is_asked_for_with_a_slash(tmp_path: Path, beneath: str) -> None:
    (tmp_path / "data").mkdir()
    source = Source(tmp_path / "data", SPECS)
    assert source.find("photos/") is None
    paint(tmp_path / "in/a.jpg")
    pack(tmp_path / "in", tmp_path / "data/some.zip", beneath)
    found = Source(tmp_path / "data", SPECS).find("photos/")
    assert found is not None
    assert archives.read_bytes(found / "a.jpg") == (tmp_path / "in/a.jpg").read_bytes()
    (tmp_path / "data/images/photos").mkdir(parents=True)
    assert source.find("photos/") == tmp_path / "data/images/photos"
    (tmp_path / "data/photos").touch()
    assert source.find("photos/") == tmp_path / "data/images/photos"


def test_what_is_missing_is_named_with_what_it_says(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        Source(tmp_path, SPECS).require("list.txt")
    assert str(caught.value) == (
        f"{tmp_path} lacks Anno/list.txt (or list.txt, Anno/old/list.txt), which says which colour an image shows"
    )


def test_an_archive_that_cannot_be_read_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "Anno.zip").write_bytes(b"")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/list.txt").touch()
    locked = pack(tmp_path / "in", tmp_path / "locked.zip")
    locked.write_bytes(encrypt(bytearray(locked.read_bytes())))
    with pytest.raises(DatasetError) as caught:
        Source(tmp_path, SPECS).require("Anno/list.txt")
    assert "Anno.zip was not read: no zip archive, or one cut short" in str(caught.value)
    assert "locked.zip was not read: it is encrypted, unpack it with the password" in str(caught.value)


def test_a_file_given_stands_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    source = Source(tmp_path / "a.csv")
    assert (source.given, source.root) == (tmp_path / "a.csv", tmp_path)
    assert Source(tmp_path).root == Source(tmp_path).given == tmp_path


def test_faults_stop_or_are_collected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"^a.txt line 1,234: wrong$"):
        Source(tmp_path).fault("wrong", "a.txt", 1234)
    source = Source(tmp_path, strict=False)
    source.fault("wrong", "a.txt", 3)
    source.fault("odd", "a.txt")
    source.fault("empty")
    assert list(map(str, source.faults)) == ["a.txt line 3: wrong", "a.txt: odd", "empty"]
    assert source.faults[0] == Fault("a.txt", 3, "wrong")


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (codecs.BOM_UTF8 + "袖\n".encode(), ["袖"]),
        ("\n ä \n".encode(), ["", " ä "]),
    ],
)
def test_lines(tmp_path: Path, data: bytes, lines: list[str]) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    assert list(Source(tmp_path).lines("a.txt")) == list(enumerate(lines, 1))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("ä".encode("utf-16"), "a.txt: UTF-16 text, expected UTF-8: unpack it again, unchanged"),
        (codecs.BOM_UTF16_BE + b"\0a", "a.txt: UTF-16 text"),
        (b"a\nb\xff", "a.txt line 2: not UTF-8 text (byte 0xff): unpack it again, unchanged"),
    ],
)
def test_other_encodings(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(DatasetError) as caught:
        list(Source(tmp_path, strict=False).lines("a.txt"))
    assert message in str(caught.value)


def test_a_damaged_member_is_told_as_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("one\n" * 10)
    archive = pack(tmp_path / "in", tmp_path / "in.zip")
    archive.write_bytes(archive.read_bytes().replace(b"one\none", b"one\ntwo", 1))
    shutil.rmtree(tmp_path / "in")
    with pytest.raises(DatasetError, match=r"cannot read .*a.txt: damaged in the archive \(wrong checksum\)"):
        list(Source(tmp_path).lines("a.txt"))


def test_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(codecs.BOM_UTF8 + b'{"a":\r\n [1]}')
    assert Source(tmp_path).json("a.json") == {"a": [1]}
    (tmp_path / "a.json").write_text('{"a": [1')
    with pytest.raises(DatasetError, match=r"a.json is not JSON .*: it is cut short or damaged, unpack it again"):
        Source(tmp_path).json("a.json")


def test_pictures_and_all_files(tmp_path: Path) -> None:
    data = tmp_path / "data"
    paint(data / "b.JPG", data / "a/c.png", data / "a/b/d.webp", data / ".hidden/e.jpg")
    (data / "a/list.txt").touch()
    (data / "again").symlink_to(data)
    source = Source(data)
    files = ["b.JPG", "a/c.png", "a/list.txt", "a/b/d.webp"]
    assert list(source.walk()) == files
    assert list(source.pictures("")) == [name for name in files if not name.endswith(".txt")]
    assert list(source.pictures("a")) == ["c.png", "b/d.webp"]
    assert list(source.pictures("nowhere")) == []
    (data / "again").unlink()
    packed = Source(pack(data, tmp_path / "data.zip"))
    assert sorted(packed.walk()) == sorted(files)
    assert sorted(packed.pictures("a")) == ["b/d.webp", "c.png"]


NAMES = ["img/a.jpg", "img/b/c.jpg", "img/d.jpg"]


@pytest.mark.parametrize(
    ("where", "packed", "found"),
    [
        ("", "", ""),
        ("Img", "", "Img"),
        ("", "Img.zip", "Img.zip"),
        ("Img", "Img.zip", "Img.zip/Img"),
        ("other", "Img.zip", "Img.zip/other"),
        ("", "Img/img.zip", "Img/img.zip"),
        ("img", "Img/img.zip", "Img/img.zip/img"),
        ("all/Img", "data.zip", "data.zip/all/Img"),
    ],
)
def test_where_the_pictures_lie(tmp_path: Path, where: str, packed: str, found: str) -> None:
    for name in NAMES[:2]:
        (tmp_path / "in" / where / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / where / name).write_bytes(b"?")
    if packed:
        (tmp_path / "data" / packed).parent.mkdir(parents=True)
        pack(tmp_path / "in", tmp_path / "data" / packed)
    else:
        (tmp_path / "in").rename(tmp_path / "data")
    base, present = Source(tmp_path / "data").locate(("Img", ""), NAMES)
    assert base == tmp_path / "data" / found
    assert present.tolist() == [True, True, False]
    assert all(archives.read_bytes(base / name) == b"?" for name in NAMES[:2])


def test_nothing_is_found_at_the_usual_place(tmp_path: Path) -> None:
    base, present = Source(tmp_path).locate(("Img", ""), [*NAMES, "a\0b.jpg", "../" * 50 + "x" * 300])
    assert base == tmp_path / "Img"
    assert not present.any()


def test_each_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    names = [f"{folder}/{number}.jpg" for folder in "ab" for number in range(300)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(str(path)) or scandir(path))
    assert Source(tmp_path).locate(("",), names)[1].all()
    assert sorted(path for path in listed if path != str(tmp_path)) == [str(tmp_path / "a"), str(tmp_path / "b")]
