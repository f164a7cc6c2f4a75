"""Pictures in zip archives are read in place, by many threads, and whatever is wrong with one is said."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel import archives
from lapel.archives import ArchiveError, below, entry, members, open_binary, read_bytes, sha256, split

TEXT = b"image_name item_id\n" * 50_000
NOISE = random.Random(0).randbytes(300_000)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive with packed, stored and empty files, folders, and what macOS adds."""
    path = tmp_path / "Img" / "img.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as made:
        made.mkdir("img")
        made.writestr("img/noise.jpg", NOISE, zipfile.ZIP_STORED)
        made.writestr("img/packed noise.jpg", NOISE, zipfile.ZIP_DEFLATED)
        made.writestr("img/list.txt", TEXT, zipfile.ZIP_DEFLATED)
        made.writestr("img/袖.jpg", b"sleeve", zipfile.ZIP_DEFLATED)
        made.writestr("img/empty.jpg", b"", zipfile.ZIP_DEFLATED)
        made.writestr("img/zeros.jpg", bytes(5_000_000), zipfile.ZIP_DEFLATED)
        made.writestr("__MACOSX/img/._noise.jpg", b"?")
        made.writestr("img/lzma.jpg", b"x" * 99, zipfile.ZIP_LZMA)
    return path


FILES = {
    "img/noise.jpg": NOISE,
    "img/packed noise.jpg": NOISE,
    "img/list.txt": TEXT,
    "img/袖.jpg": b"sleeve",
    "img/empty.jpg": b"",
    "img/zeros.jpg": bytes(5_000_000),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_in_an_archive_is_as_on_disk(archive: Path, name: str) -> None:
    path = archive / name
    assert read_bytes(path) == FILES[name]
    assert sha256(path) == hashlib.sha256(FILES[name]).hexdigest()
    known = entry(path)
    assert known is not None
    assert (known.size, known.stamp) == (len(FILES[name]), zlib.crc32(FILES[name]))
    with open_binary(path) as stream:
        assert b"".join(iter(lambda: stream.read(7_919), b"")) == FILES[name]
    with open_binary(path) as stream:
        assert list(stream) == list(io.BytesIO(FILES[name]))


def test_folders_and_what_macos_adds_are_no_members(archive: Path) -> None:
    assert set(members(archive)) == {*FILES, "img/lzma.jpg"}


def test_a_file_on_disk_is_read_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"picture")
    assert read_bytes(path) == b"picture"
    assert sha256(path) == hashlib.sha256(b"picture").hexdigest()
    known = entry(path)
    assert known is not None
    assert (known.size, known.stamp) == (7, path.stat().st_mtime_ns)
    assert entry(tmp_path) is None
    assert entry(tmp_path / "b.jpg") is None
    assert entry(path / "c.jpg") is None
    with open_binary(path) as stream:
        assert stream.read() == b"picture"
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "b.jpg")


def test_an_ordinary_path_costs_no_look_at_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked the disk")

    for name in ("stat", "is_file", "exists"):
        monkeypatch.setattr(Path, name, refuse)
    assert split(Path("/photos/a.jpg")) is None
    assert below(Path("/photos")) is None


def test_a_folder_with_the_name_of_an_archive_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "img.zip"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"picture")
    assert split(folder / "a.jpg") is None
    assert below(folder) is None
    assert read_bytes(folder / "a.jpg") == b"picture"


def test_where_a_path_leaves_the_disk(archive: Path) -> None:
    assert split(archive) is None
    assert split(archive / "img" / "a.jpg") == (archive, "img/a.jpg")
    assert split(str(archive / "inner.zip" / "a.jpg")) == (archive, "inner.zip/a.jpg")
    assert split(archive.with_name("other.zip") / "a.jpg") is None
    assert split(archive.with_name("img.zipped") / "a.jpg") is None
    assert below(archive) == (archive, "")
    assert below(archive / "img") == (archive, "img/")
    assert below(archive.with_name("other.zip")) is None


def test_upper_case_suffixes(archive: Path) -> None:
    loud = archive.with_name("IMG.ZIP")
    archive.rename(loud)
    assert read_bytes(loud / "img/袖.jpg") == b"sleeve"


def test_a_missing_member_is_a_missing_file(archive: Path) -> None:
    assert entry(archive / "img/nowhere.jpg") is None
    assert entry(archive / "img") is None
    for read in (read_bytes, sha256, open_binary):
        with pytest.raises(FileNotFoundError, match="no such file in the archive"):
            read(archive / "img/nowhere.jpg")


@pytest.mark.parametrize(("stored", "name"), [("img\\a.jpg", "img/a.jpg"), ("./img/a.jpg", "img/a.jpg")])
def test_names_as_other_programs_write_them(tmp_path: Path, stored: str, name: str) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(stored, b"picture")
    assert read_bytes(path / name) == b"picture"


def test_utf_8_names_that_do_not_say_so(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("Ärmel.jpg", b"picture")
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.index(mark) + place
        data[at : at + 2] = struct.pack("<H", struct.unpack("<H", data[at : at + 2])[0] & ~0x800)
    path.write_bytes(data)
    assert list(members(path)) == ["Ärmel.jpg"]
    assert read_bytes(path / "Ärmel.jpg") == b"picture"


def test_the_directory_is_parsed_once(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_bytes(archive / "img/袖.jpg")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("parsed again")

    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    for name, content in FILES.items():
        assert read_bytes(archive / name) == content
        assert entry(archive / name) is not None


def test_an_archive_written_anew_is_read_anew(archive: Path) -> None:
    assert read_bytes(archive / "img/袖.jpg") == b"sleeve"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("img/袖.jpg", b"short sleeve")
    assert read_bytes(archive / "img/袖.jpg") == b"short sleeve"


def test_many_threads_read_one_archive(tmp_path: Path) -> None:
    path = tmp_path / "img.zip"
    contents = {f"{number}.jpg": random.Random(number).randbytes(20_000 + number) for number in range(64)}
    with zipfile.ZipFile(path, "w") as made:
        for number, (name, content) in enumerate(contents.items()):
            made.writestr(name, content, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[number % 2])
    names = list(contents) * 20
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda name: read_bytes(path / name) == contents[name], names))


def test_a_fork_reads_on(archive: Path) -> None:
    read_bytes(archive / "img/袖.jpg")
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:  # no assertion may leave the child
            right = all(read_bytes(archive / name) == content for name, content in FILES.items())
            os._exit(0 if right else 1)
        children.append(child)
    for _ in range(20):
        assert read_bytes(archive / "img/noise.jpg") == NOISE
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]


# ---------------------------------------------------------------- damage


def encrypt(data: bytearray) -> bytearray:
    """Set the mark of encryption in every header."""
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + place] |= 1
            at = data.find(mark, at + 4)
    return data


def overwrite(data: bytearray, what: bytes, by: bytes) -> bytearray:
    at = data.index(what)
    data[at : at + len(by)] = by
    return data


DAMAGES: dict[str, tuple[Callable[[bytearray], bytearray], str, str]] = {
    "encrypted": (encrypt, "img/noise.jpg", "encrypted: unpack the archive with the password"),
    "another method": (lambda data: data, "img/lzma.jpg", "packed by method 14, which is not read in place"),
    "cut short": (lambda data: data[: len(data) // 2], "img/noise.jpg", "no zip archive, or one cut short"),
    "empty": (lambda data: bytearray(), "img/noise.jpg", "no zip archive, or one cut short"),
    "a page": (lambda data: bytearray(b"<html>gone</html>"), "img/noise.jpg", "no zip archive"),
    "stored bytes": (lambda data: overwrite(data, NOISE[:9], b"\0\0"), "img/noise.jpg", "damaged in the archive"),
    "packed bytes": (
        lambda data: overwrite(data, b"img/list.txt", b"img/list.txt" + b"\xff" * 40),
        "img/list.txt",
        "damaged in the archive",
    ),
    "no header": (lambda data: overwrite(data, b"PK\3\4", b"????"), "img/", "damaged in the archive (no header)"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told(archive: Path, damage: str) -> None:
    change, name, message = DAMAGES[damage]
    archive.write_bytes(change(bytearray(archive.read_bytes())))
    if name == "img/":
        name = "img/noise.jpg"
        with zipfile.ZipFile(archive, "w") as made:
            made.writestr(name, NOISE)
        archive.write_bytes(change(bytearray(archive.read_bytes())))

    def stream(path: Path) -> bytes:
        with open_binary(path) as opened:
            return opened.read()

    for read in (read_bytes, stream, sha256):
        with pytest.raises(ArchiveError) as caught:
            read(archive / name)
        assert message in str(caught.value.strerror)
        assert str(archive) not in str(caught.value.strerror)


def test_what_is_longer_than_it_says_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a.jpg", bytes(3_000_000))
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")
    data[at + 24 : at + 28] = struct.pack("<I", 1000)
    path.write_bytes(data)
    for read in (read_bytes, sha256):
        with pytest.raises(ArchiveError, match="damaged in the archive"):
            read(path / "a.jpg")


def test_a_size_that_cannot_be_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "huge.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a.jpg", b"picture")
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")
    data[at + 20 : at + 28] = struct.pack("<II", 0xFFFF_FFF0, 0xFFFF_FFF0)
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="wrong size"):
        read_bytes(path / "a.jpg")


def small() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("img/a.jpg", b"picture" * 30, zipfile.ZIP_DEFLATED)
        made.writestr("img/b.jpg", b"another")
    return stream.getvalue()


SMALL = small()


@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), max_size=4), st.integers(0, 60))
def test_any_damage_gives_the_file_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(SMALL)
    for place, byte in changes:
        data[place] = byte
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    path.write_bytes(data[: len(data) - cut])
    for name, content in (("img/a.jpg", b"picture" * 30), ("img/b.jpg", b"another")):
        with contextlib.suppress(OSError):
            assert read_bytes(path / name) == content
        with contextlib.suppress(OSError), open_binary(path / name) as stream:
            assert stream.read() == content
    archives._opened.cache_clear()
