"""Images kept in the index folder: stored once, found wherever the folder lies, removed when no row needs them."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lapel.errors import LapelError, SearchIndexError
from lapel.retrieval import kept
from lapel.retrieval.rows import row_ids

from .picture_world import PictureWorld, kept_files, new, picture


@pytest.fixture
def world(tmp_path: Path) -> PictureWorld:
    return PictureWorld(tmp_path)


class Rows:
    """As much of a store as ``collect`` needs."""

    def __init__(self, *images: str) -> None:
        self.images = images

    def read(self, columns: Any, ids: Any = None, where: Any = None) -> pa.Table:
        assert (columns, where) == (["image"], kept.OURS)
        return pa.table({"image": pa.array(self.images, pa.string())})


def aged(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("GIF", "gif"), ("BMP", "bmp"), ("TIFF", "tiff")],
)
def test_bytes_are_kept_as_received_and_once(tmp_path: Path, kind: str, suffix: str) -> None:
    data = picture(1, kind)
    name = kept.keep(tmp_path, data)
    digest = hashlib.sha256(data).hexdigest()
    assert name == kept.name_of(data) == f"kept://{digest[:2]}/{digest}.{suffix}"
    path = kept.path_of(tmp_path, "elsewhere", name)
    assert path == tmp_path / "kept" / digest[:2] / f"{digest}.{suffix}"
    assert path.read_bytes() == data
    aged(path, 5000)
    assert kept.keep(tmp_path, data) == name
    assert time.time() - path.stat().st_mtime < 1000  # its hour begins anew
    assert len([each for each in tmp_path.rglob("*") if each.is_file()]) == 1


def test_a_file_that_was_cut_short_is_written_again(tmp_path: Path) -> None:
    path = kept.path_of(tmp_path, "", kept.keep(tmp_path, picture(1)))
    path.write_bytes(b"half")
    kept.keep(tmp_path, picture(1))
    assert path.read_bytes() == picture(1)


def test_catalogue_paths_lie_below_the_root(tmp_path: Path) -> None:
    assert kept.path_of(tmp_path, "photos", "a/b.jpg") == Path("photos/a/b.jpg")
    assert kept.path_of(tmp_path, Path("photos"), "kept/a.jpg") == Path("photos/kept/a.jpg")


@pytest.mark.parametrize(
    "image",
    [
        "kept://",
        "kept://../../etc/passwd",
        f"kept://ab/{'cd' * 32}.png",  # not in the folder of its name
        f"kept://ab/ab{'0' * 62}.png/../x",
        f"kept://ab/ab{'0' * 62}.png\n",
        f"kept://AB/AB{'0' * 62}.png",
    ],
)
def test_no_altered_row_leads_elsewhere(tmp_path: Path, image: str) -> None:
    with pytest.raises(SearchIndexError, match="is no kept image"):
        kept.path_of(tmp_path, "photos", image)


def test_collect_waits_an_hour(tmp_path: Path) -> None:
    used, young, old = (kept.keep(tmp_path, picture(seed)) for seed in range(3))
    for name in (used, old):
        aged(kept.path_of(tmp_path, "", name), 4000)
    half = tmp_path / "kept" / "ab" / ".half.png"  # of a writer that was killed
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"")
    aged(half, 4000)
    assert kept.collect(tmp_path, Rows(used)) == 1
    assert set(kept_files_of(tmp_path)) == {kept.path_of(tmp_path, "", used), kept.path_of(tmp_path, "", young)}
    kept.release(tmp_path, [used, "a.jpg", "kept://" + "0" * 2 + "/" + "0" * 64 + ".png"])  # one, another's, one gone
    assert kept.collect(tmp_path, Rows()) == 2  # it is not needed any more, but was until now
    assert kept.collect(tmp_path, Rows(), grace=0) == 0
    assert kept_files_of(tmp_path) == []


def kept_files_of(folder: Path) -> list[Path]:
    return [path for path in (folder / "kept").rglob("*") if path.is_file()]


def test_nothing_to_collect(tmp_path: Path) -> None:
    assert kept.collect(tmp_path, Rows()) == 0


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(LapelError, match="disk full"):
        kept.keep(tmp_path, picture(1))
    assert kept_files_of(tmp_path) == []


def test_no_catalogue_may_list_one(world: PictureWorld) -> None:
    world.fill(2)
    catalogue = world.catalogue()
    images = catalogue.images.set_column(0, "image", pa.array(["kept://ab/x.jpg", "b.jpg"]))
    object.__setattr__(catalogue, "images", images)
    with pytest.raises(SearchIndexError, match=r"'kept://ab/x.jpg'; paths that begin with kept:// are those of images"):
        row_ids(catalogue)


def test_the_index_folder_moves_with_its_images(world: PictureWorld) -> None:
    world.fill(3).index()
    world.writer().upsert([new("mine")])
    assert world.open().get("mine").image == str(kept_files(world)[0])
    moved = world.index_path.rename(world.root / "moved")
    from lapel import Index

    image = Path(Index.open(moved, encoder=world.embedder().embed).get("mine").image)
    assert image.is_relative_to(moved)
    assert image.read_bytes() == picture("mine")
