from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from lapel.errors import LapelError
from lapel.files import atomic_path, atomic_write, disk_error, sha256


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("data", [b"\x00\xff bytes", "text, ünïcode", b"", ""])
def test_write_then_read(tmp_path: Path, data: bytes | str) -> None:
    path = tmp_path / "new folder" / "result.json"
    atomic_write(path, data)
    assert path.read_bytes() == (data.encode() if isinstance(data, str) else data)
    assert leftovers(path.parent) == ["result.json"]


def test_a_path_may_be_a_string_and_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic_write(str(path), "one")
    atomic_write(str(path), "two")
    assert path.read_text() == "two"


def test_the_temporary_file_has_the_same_suffix_and_folder(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "figure.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path
        assert not (tmp_path / "figure.png").exists()
        temporary.write_bytes(b"picture")
    assert (tmp_path / "figure.png").read_bytes() == b"picture"


def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a", "x")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("failure", [ValueError("half way"), KeyboardInterrupt()])
def test_a_failure_half_way_leaves_the_old_file_whole(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "weights"
    atomic_write(path, "old")

    def half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("ne")
            raise failure

    with pytest.raises(type(failure)):
        half()
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == ["weights"]


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_says_so_and_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    with path.open("w") as stream:
        stream.write("old")
    with pytest.raises(LapelError, match=r"disk full while writing .*metrics\.json: free some space"):
        atomic_write(path, "new")
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == ["metrics.json"]


def test_a_full_disk_met_by_the_system_itself(tmp_path: Path) -> None:
    """Linux has a device that is always full: the error is the kernel's own."""
    path = tmp_path / "metrics.json"
    atomic_write(path, "old")

    def write() -> None:
        with atomic_path(path) as temporary:
            temporary.unlink()
            temporary.symlink_to("/dev/full")
            temporary.write_bytes(b"x" * 100_000)

    with pytest.raises(LapelError, match="disk full"):
        write()
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == ["metrics.json"]


def test_a_file_where_a_folder_must_be(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(LapelError, match=r"cannot write .*config\.json"):
        atomic_write(tmp_path / "run" / "config.json", "{}")


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, "disk full while writing a.txt: free some space"),
        (errno.EDQUOT, "disk full while writing a.txt: free some space"),
        (errno.EACCES, "cannot write a.txt: Permission denied"),
        (errno.EROFS, "cannot write a.txt: Read-only file system"),
    ],
)
def test_disk_error(number: int, expected: str) -> None:
    message = str(disk_error(Path("a.txt"), OSError(number, os.strerror(number))))
    assert message.startswith(expected)


@pytest.mark.parametrize("size", [0, 1, 300_001])
def test_sha256(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "file").write_bytes(data[:size])
    assert sha256(tmp_path / "file") == hashlib.sha256(data[:size]).hexdigest()
