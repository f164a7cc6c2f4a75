"""The two resize modes, normalisation, settings, thumbnails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lapel.errors import RecipeError
from lapel.images import DecodeError, Preprocessing, decode, normalise, prepare, thumbnail

COLOURS = [(220, 20, 30), (20, 200, 40), (30, 40, 210), (230, 220, 40)]


def quarters(width: int = 96, height: int = 64) -> Image.Image:
    """The four colours: top left, top right, bottom left, bottom right."""
    pixels = np.array(COLOURS, dtype=np.uint8).reshape(2, 2, 3)
    return Image.fromarray(pixels.repeat(height // 2, axis=0).repeat(width // 2, axis=1))


def corners(tensor: torch.Tensor) -> list[tuple[int, ...]]:
    """Colours of the four quarters' centres."""
    height, width = tensor.shape[1:]
    places = [(1, 1), (1, 3), (3, 1), (3, 3)]
    return [tuple(tensor[:, height * y // 4, width * x // 4].tolist()) for y, x in places]


sides = st.integers(8, 300)
frames = st.integers(1, 160)


@settings(max_examples=30, deadline=None)
@given(sides, sides, frames, frames, st.sampled_from(["crop", "letterbox"]))
def test_prepared_size_is_exact(height: int, width: int, h: int, w: int, mode: str) -> None:
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    prepared = prepare(image, Preprocessing(height=h, width=w, resize=mode))  # type: ignore[arg-type]
    assert prepared.shape == (3, h, w)
    assert prepared.dtype == torch.uint8


@settings(max_examples=30, deadline=None)
@given(st.integers(40, 300), st.integers(40, 300), st.integers(40, 160), st.integers(40, 160))
def test_letterbox_keeps_everything_in_proportion(height: int, width: int, h: int, w: int) -> None:
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    ends = ((0, 0, 0), (0, -1, 1), (-1, 0, 2), (-1, -1, 0))
    for y, x, channel in ends:  # a marked block in each corner
        rows = slice(0, height // 4) if y == 0 else slice(-(height // 4), None)
        columns = slice(0, width // 4) if x == 0 else slice(-(width // 4), None)
        image[channel, rows, columns] = 250
    prepared = prepare(image, Preprocessing(height=h, width=w, resize="letterbox", fill=77))
    inside = (prepared != 77).any(dim=0)
    rows, columns = inside.any(dim=1).nonzero(), inside.any(dim=0).nonzero()
    top, bottom = int(rows.min()), int(rows.max()) + 1
    left, right = int(columns.min()), int(columns.max()) + 1
    scale = min(h / height, w / width)
    assert abs((bottom - top) - height * scale) <= 1
    assert abs((right - left) - width * scale) <= 1
    assert abs(top - (h - bottom)) <= 1  # centred
    assert abs(left - (w - right)) <= 1
    content = prepared[:, top:bottom, left:right]
    for y, x, channel in ends:
        assert content[channel, y, x] >= 230


@settings(max_examples=20, deadline=None)
@given(st.integers(8, 300), st.integers(8, 300), st.sampled_from([32, 97, 224]), st.integers(0, 9))
def test_crop_is_torchvisions_resize_and_centre_crop(height: int, width: int, size: int, seed: int) -> None:
    from torchvision.transforms import v2

    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
    expected = v2.CenterCrop(size)(v2.Resize(size, antialias=True)(image))
    found = prepare(image, Preprocessing(height=size, width=size))
    assert (found.int() - expected.int()).abs().max() <= 1


def test_crop_covers_a_frame_of_another_shape() -> None:
    tall = prepare(decode(quarters(96, 64)), Preprocessing(height=64, width=32))
    assert corners(tall) == COLOURS
    wide = prepare(decode(quarters(96, 64)), Preprocessing(height=16, width=96))
    assert corners(wide) == COLOURS


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("stored", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_normalise_is_the_formula(
    memory_format: torch.memory_format, stored: torch.memory_format, dtype: torch.dtype
) -> None:
    pre = Preprocessing()
    batch = torch.randint(0, 256, (4, 3, 7, 5), dtype=torch.uint8).to(dtype).contiguous(memory_format=stored)
    before = batch.clone()
    expected = torch.empty(4, 3, 7, 5)
    for channel in range(3):
        expected[:, channel] = (before[:, channel].float() / 255 - pre.mean[channel]) / pre.std[channel]
    found = normalise(batch, pre, memory_format)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6, check_stride=False)
    assert torch.equal(batch, before)


def test_normalise_takes_an_empty_batch() -> None:
    empty = torch.empty(0, 3, 8, 8, dtype=torch.uint8)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        assert normalise(empty, Preprocessing(), memory_format).shape == (0, 3, 8, 8)


def test_preprocessing_round_trip() -> None:
    pre = Preprocessing(height=160, width=120, resize="letterbox", mean=(0.5, 0.5, 0.5), fill=0)
    assert Preprocessing.from_dict(pre.to_dict()) == pre
    assert isinstance(pre.to_dict()["mean"], list)


@pytest.mark.parametrize(
    ("values", "fragment"),
    [
        ({"heigth": 3}, "did you mean 'height'"),
        ({"resize": "leterbox"}, "did you mean 'letterbox'"),
        ({"height": 0}, "height must be a whole number"),
        ({"width": 10.5}, "width must be a whole number"),
        ({"std": [0.1, 0.0, 0.1]}, "std above 0"),
        ({"mean": [0.1]}, "3 numbers each"),
        ({"fill": 256}, "from 0 to 255"),
    ],
)
def test_wrong_preprocessing(values: dict[str, object], fragment: str) -> None:
    with pytest.raises(RecipeError, match=fragment):
        Preprocessing.from_dict(values)


def test_thumbnail_fits_and_crops(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    quarters(400, 200).save(path)
    assert thumbnail(path, size=100).size == (100, 50)
    assert thumbnail(path, size=(300, 20)).size == (40, 20)
    assert thumbnail(path, box=(0, 0, 50, 50), size=100).size == (50, 50)  # never enlarged
    assert thumbnail(path, box=(0, 0, 50, 50)).getpixel((5, 5)) == COLOURS[0]
    with pytest.raises(DecodeError, match="no such file"):
        thumbnail(tmp_path / "b.png")
