"""Small pictures: their size, what is kept, and what a changed or missing file does."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lapel.decoding import DecodeError, decode_array
from lapel.serve.thumbs import SIDES, Thumbs, shrink


def picture(path: Path, size: tuple[int, int] = (900, 600), orientation: int = 1, colour: str = "red") -> Path:
    image = Image.new("RGB", size, colour)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, quality=95, exif=exif)
    return path


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    return image


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("orientation", "wide"), [(1, True), (3, True), (6, False), (8, False)])
def test_upright_and_as_large_as_asked(tmp_path: Path, side: int, orientation: int, wide: bool) -> None:
    path = picture(tmp_path / "a.jpg", (900, 600), orientation)
    data, _ = Thumbs(1 << 20).get(path, side)
    longest, shortest = min(side, 900), round(min(side, 900) * 2 / 3)
    found = opened(data).size
    expected = (longest, shortest) if wide else (shortest, longest)
    assert all(abs(a - b) <= 1 for a, b in zip(found, expected, strict=True))


def test_the_short_way_to_a_small_jpeg_shows_the_same(tmp_path: Path) -> None:
    """Pixels that the thumbnail does not need are not decoded; what is seen hardly differs."""
    noise = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    path = tmp_path / "a.jpg"
    Image.fromarray(noise).resize((900, 600), Image.Resampling.BICUBIC).save(path, quality=95)
    short, long = (opened(data) for data in (Thumbs(1 << 20).get(path, 160)[0], shrink(path, 160)))
    difference = np.asarray(short, float) - np.asarray(long, float)
    assert short.size == long.size
    assert np.abs(difference).mean() < 3


def test_kept_until_the_file_changes(tmp_path: Path) -> None:
    thumbs, path = Thumbs(1 << 20), picture(tmp_path / "a.jpg")
    first, tag = thumbs.get(path, 320)
    assert thumbs.get(path, 320) == (first, tag)
    assert (thumbs.hits, thumbs.misses) == (1, 1)
    assert thumbs.tag(path, 160) != tag
    picture(path, colour="blue")
    os.utime(path, ns=(1, 1))
    second, other = thumbs.get(path, 320)
    assert other != tag
    assert second != first


def test_bounded(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{n}.jpg", colour=f"#{n}{n}{n}") for n in range(9)]
    size = len(shrink(paths[0], 320))
    thumbs = Thumbs(int(3.5 * size))
    for path in paths:
        thumbs.get(path, 320)
        assert thumbs.held <= thumbs.limit
    thumbs.get(paths[-1], 320)
    assert thumbs.hits == 1
    nothing = Thumbs(10)  # smaller than any picture
    assert nothing.get(paths[0], 320)[0]
    assert nothing.held == 0


def test_in_an_archive(tmp_path: Path) -> None:
    inside = picture(tmp_path / "a.jpg")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.write(inside, "x/a.jpg")
    data, tag = Thumbs(1 << 20).get(tmp_path / "photos.zip/x/a.jpg", 160)
    assert data == Thumbs(1 << 20).get(inside, 160)[0]
    assert tag


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("gone.jpg", None, "no such file"),
        ("nul\0.jpg", None, "it cannot be reached"),
        ("page.jpg", b"<html>", "an HTML page"),
        ("half.jpg", "half", "truncated"),
        ("junk.jpg", b"\xff\xd8\xff\xe0junk", "truncated or damaged"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, content: bytes | str | None, reason: str) -> None:
    path = tmp_path / name
    if content == "half":
        whole = picture(tmp_path / "whole.jpg", (400, 300)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(DecodeError) as caught:
        Thumbs(1 << 20).get(path, 160)
    assert reason in caught.value.reason


def test_a_png_with_transparency(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGBA", (300, 200), (255, 0, 0, 0)).save(path)
    data, _ = Thumbs(1 << 20).get(path, 160)
    assert decode_array(data).min() >= 250  # white
