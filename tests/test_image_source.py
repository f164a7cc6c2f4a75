"""Batches in order, the cache, the threads, and the share of failures that stops a job."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lapel import image_source
from lapel.errors import ImageError
from lapel.image_source import Failure, ImageSource
from lapel.images import Preprocessing, decode, prepare

PRE = Preprocessing(height=12, width=10)
BYTES = 12 * 10 * 3


def write(folder: Path, count: int, broken: tuple[int, ...] = ()) -> list[Path]:
    paths = []
    for row in range(count):
        path = folder / f"{row}.png"
        if row in broken:
            path.write_bytes(b"<html>gone</html>")
        else:
            pixels = np.random.default_rng(row).integers(0, 256, (20, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
        paths.append(path)
    return paths


def expected(paths: list[Path], rows: np.ndarray) -> torch.Tensor:
    return torch.stack([prepare(decode(paths[row]), PRE) for row in rows])


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files handed to the decoder, in order."""
    seen: list[str] = []

    def counting(path: Path, box: object = None) -> torch.Tensor:
        seen.append(path.stem)
        return decode(path, box)  # type: ignore[arg-type]

    monkeypatch.setattr(image_source, "decode", counting)
    return seen


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("room", [0, 3, 20])
@pytest.mark.parametrize("prefetch", [0, 2, 50])
def test_batches_keep_order_and_duplicates(tmp_path: Path, threads: int, room: int, prefetch: int) -> None:
    paths = write(tmp_path, 9, broken=(4,))
    source = ImageSource(paths, PRE, cache_bytes=room * BYTES, threads=threads, max_failed=0.2)
    wanted = [
        np.array([8, 0, 8]),
        np.array([4, 3]),
        np.array([], dtype=np.int64),
        np.array([4]),
        np.arange(9),
    ]
    for _ in range(2):  # the second time from memory, as far as it goes
        found = list(source.batches(iter(wanted), prefetch=prefetch))
        assert len(found) == len(wanted)
        for rows, (good, images) in zip(wanted, found, strict=True):
            assert good.tolist() == [row for row in rows if row != 4]
            assert images.shape == (len(good), 3, 12, 10)
            assert images.dtype == torch.uint8
            if len(good):
                assert torch.equal(images, expected(paths, good))
    assert source.failures == [Failure(paths[4], "an HTML page saved as an image")]
    assert len(source) == 9


def test_single_batch(tmp_path: Path) -> None:
    paths = write(tmp_path, 4)
    source = ImageSource([str(path) for path in paths], PRE)
    good, images = source.batch([2, 1])
    assert good.tolist() == [2, 1]
    assert torch.equal(images, expected(paths, good))
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_boxes_are_cut(tmp_path: Path) -> None:
    paths = write(tmp_path, 2)
    source = ImageSource(paths, PRE, boxes=[(2, 3, 14, 17), None])
    _, images = source.batch([0, 1])
    assert torch.equal(images[0], prepare(decode(paths[0])[:, 3:17, 2:14], PRE))
    assert torch.equal(images[1], prepare(decode(paths[1]), PRE))


def test_wrong_box_is_a_failure_not_a_crash(tmp_path: Path) -> None:
    source = ImageSource(write(tmp_path, 2), PRE, boxes=[(900, 0, 950, 9), None])
    good, _ = source.batch([0, 1])
    assert good.tolist() == [1]
    assert "box [900, 0, 950, 9]" in source.failures[0].reason


@pytest.mark.parametrize("room", [0, 20])
def test_sizes_are_those_of_what_was_read(tmp_path: Path, room: int) -> None:
    paths = write(tmp_path, 4, broken=(2,))
    Image.fromarray(np.zeros((9, 31, 3), np.uint8)).save(paths[3])
    source = ImageSource(paths, PRE, [None, (2, 3, 14.2, 90), None, None], room * BYTES, max_failed=1)
    assert source.sizes.tolist() == [[-1, -1]] * 4
    source.batch([1, 1])
    assert source.sizes.tolist() == [[-1, -1], [17, 13], [-1, -1], [-1, -1]]
    for _ in range(2):
        source.batch(np.arange(4))
        assert source.sizes.tolist() == [[20, 16], [17, 13], [-1, -1], [9, 31]]


def test_nothing_is_decoded_twice_while_the_cache_holds_it(tmp_path: Path, decodes: list[str]) -> None:
    source = ImageSource(write(tmp_path, 10, broken=(7,)), PRE, threads=3, max_failed=0.5)
    rows = [np.array([0, 1, 0]), np.array([1, 2, 7]), np.array([2, 7, 3]), np.arange(10)]
    for _ in range(3):
        list(source.batches(rows, prefetch=3))
    source.batch([7])
    assert sorted(decodes) == [str(row) for row in range(10)]
    assert source.decoded == 10


def test_small_cache_is_first_come(tmp_path: Path, decodes: list[str]) -> None:
    source = ImageSource(write(tmp_path, 6), PRE, cache_bytes=4 * BYTES + 5, threads=2)
    for _ in range(2):
        source.batch(np.arange(6))
    assert sorted(decodes) == ["0", "1", "2", "3", "4", "4", "5", "5"]


@pytest.mark.parametrize(
    ("count", "broken", "share", "stops"),
    [
        (10, 1, 0.05, False),  # one failure is never too many ...
        (10, 2, 0.05, True),
        (40, 2, 0.05, False),
        (40, 3, 0.05, True),
        (10, 1, 0.0, True),  # ... unless none is allowed
        (1, 1, 0.05, False),
        (6, 6, 1.0, False),
    ],
)
def test_share_of_failures(tmp_path: Path, count: int, broken: int, share: float, stops: bool) -> None:
    source = ImageSource(write(tmp_path, count, tuple(range(broken))), PRE, max_failed=share)
    if stops:
        with pytest.raises(ImageError, match=f"of {count} images"):
            source.batch(np.arange(count))
    else:
        good, _ = source.batch(np.arange(count))
        assert len(good) == count - broken


def test_the_error_names_count_share_files_and_what_to_do(tmp_path: Path) -> None:
    paths = write(tmp_path, 20, broken=tuple(range(3, 12)))
    with pytest.raises(ImageError) as caught:
        list(ImageSource(paths, PRE, max_failed=0.3).batches([np.arange(20)]))
    message = str(caught.value)
    assert "7 of 20 images (35.0%) cannot be read, more than the 30.0% allowed" in message
    assert message.count("an HTML page saved as an image") == 5
    assert f"{paths[3]}: an HTML page" in message
    assert "and 2 more" in message
    assert "lapel data check" in message
    assert "max_failed" in message


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("lapel-decode")]


def test_leaving_early_stops_the_threads(tmp_path: Path, decodes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    slow = image_source.decode

    def slower(*arguments: object) -> torch.Tensor:
        time.sleep(0.01)
        return slow(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(image_source, "decode", slower)
    source = ImageSource(write(tmp_path, 40), PRE, threads=2)
    batches = source.batches([np.arange(1), np.arange(1, 40)])
    next(batches)
    assert ours()
    batches.close()
    assert not ours()
    assert len(decodes) < 40
    # What was cut off is simply asked for again.
    good, _ = source.batch(np.arange(40))
    assert len(good) == 40


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_errors_of_caller_and_threads_pass_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    source = ImageSource(write(tmp_path, 8), PRE, threads=2)

    def interrupted() -> Iterator[np.ndarray]:
        yield np.arange(3)
        raise error

    with pytest.raises(error):
        list(source.batches(interrupted()))
    assert not ours()

    def explode(*_: object) -> torch.Tensor:
        raise error

    monkeypatch.setattr(image_source, "prepare", explode)
    with pytest.raises(error):
        source.batch(np.arange(8))
    assert not ours()


def test_decoding_runs_ahead(tmp_path: Path, decodes: list[str]) -> None:
    source = ImageSource(write(tmp_path, 12), PRE, threads=2)
    batches = source.batches([np.arange(i, i + 2) for i in range(0, 12, 2)], prefetch=2)
    next(batches)
    deadline = time.monotonic() + 20
    while len(decodes) < 6 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(decodes) == 6  # the batch in hand and two more, no further
    batches.close()


@pytest.mark.parametrize("rows", [[5], [-1], [0, 99]])
def test_row_outside(tmp_path: Path, rows: list[int]) -> None:
    with pytest.raises(IndexError, match=r"outside 0 \.\. 4"):
        ImageSource(write(tmp_path, 5), PRE).batch(rows)


def test_wrong_arguments(tmp_path: Path) -> None:
    paths = write(tmp_path, 2)
    with pytest.raises(ImageError, match="2 images, 1 boxes"):
        ImageSource(paths, PRE, boxes=[None])
    with pytest.raises(ImageError, match="share from 0 to 1"):
        ImageSource(paths, PRE, max_failed=5)


def test_no_images() -> None:
    source = ImageSource([], PRE)
    assert len(source) == 0
    good, images = source.batch([])
    assert len(good) == 0
    assert images.shape == (0, 3, 12, 10)
