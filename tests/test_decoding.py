"""Hostile files, odd formats, orientations and boxes, through both decoders."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lapel import decoding
from lapel.errors import ImageError
from lapel.images import DecodeError, decode

# Pillow reports on the damaged files made here; lapel.decoding silences it outside pytest.
pytestmark = pytest.mark.filterwarnings("ignore:Image size", "ignore:Corrupt EXIF")

RED, GREEN, BLUE, YELLOW = (220, 20, 30), (20, 200, 40), (30, 40, 210), (230, 220, 40)


def quarters(width: int = 96, height: int = 64) -> Image.Image:
    """Red top left, green top right, blue bottom left, yellow bottom right."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    top, left = height // 2, width // 2
    pixels[:top, :left], pixels[:top, left:] = RED, GREEN
    pixels[top:, :left], pixels[top:, left:] = BLUE, YELLOW
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def corners(tensor: torch.Tensor) -> list[tuple[int, ...]]:
    """Colours of the four quarters' centres."""
    height, width = tensor.shape[1:]
    places = [(1, 1), (1, 3), (3, 1), (3, 3)]
    return [tuple(tensor[:, height * y // 4, width * x // 4].tolist()) for y, x in places]


def close(found: list[tuple[int, ...]], expected: list[tuple[int, ...]], tolerance: int) -> bool:
    return bool(np.abs(np.array(found) - np.array(expected)).max() <= tolerance)


@pytest.fixture(params=["torchvision", "pillow"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "pillow":
        monkeypatch.setattr(decoding, "_torchvision_io", lambda: None)
    return str(request.param)


# ---------------------------------------------------------------- files that must be refused


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def noise(width: int = 200, height: int = 160) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def with_thumbnail(share: float) -> bytes:
    """A cut JPEG whose EXIF block holds a whole small JPEG, end marker included."""
    small = b"Exif\0\0" + encoded(quarters(), "JPEG")
    whole = encoded(noise(), "JPEG")
    whole = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small + whole[2:]
    return whole[: int(len(whole) * share)]


def cut(kind: str, share: float = 0.6, **options: object) -> bytes:
    whole = encoded(noise(), kind, **options)
    return whole[: int(len(whole) * share)]


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty file"),
    "zeros": (bytes(5000), "zeros"),
    "html": (b"\n <!DOCTYPE html><html><body>404</body></html>", "an HTML page saved as an image"),
    "xhtml": (b"<?xml version='1.0'?><html>gone</html>", "an HTML page saved as an image"),
    "svg": (b"<?xml version='1.0'?><svg width='9'/>", "SVG"),
    "json": (b'{"error": "AccessDenied"}', "JSON or XML"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99) + b"x", "HEIC"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
    "pdf": (b"%PDF-1.7 ...", "PDF"),
    "random": (np.random.default_rng(1).bytes(3000), "not an image"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", "not an image"),
    "jpeg start only": (b"\xff\xd8\xff", "header"),
    "jpeg header only": (cut("JPEG", 0.001), "header"),
    "jpeg cut": (cut("JPEG"), "truncated"),
    "jpeg cut by little": (cut("JPEG", 0.97), "truncated"),
    "jpeg progressive cut": (cut("JPEG", progressive=True), "truncated"),
    "jpeg cut, with a thumbnail": (with_thumbnail(0.6), "truncated"),
    "jpeg cut and padded": (cut("JPEG") + bytes(40_000), "truncated"),
    "jpeg grey cut": (encoded(noise().convert("L"), "JPEG")[:9000], "truncated"),
    "png cut": (cut("PNG"), "truncated"),
    "gif cut": (cut("GIF"), "truncated"),
    "webp cut": (cut("WEBP"), "truncated"),
    "tiff cut": (cut("TIFF"), "truncated"),
    "bmp cut": (cut("BMP"), "truncated"),
    "png damaged": (encoded(noise(), "PNG").replace(b"IDAT", b"IDAT" + bytes(30), 1), "damaged PNG"),
    "one pixel": (encoded(Image.new("RGB", (1, 1)), "PNG"), "1x1 pixels: nothing to see"),
    "one wide": (encoded(Image.new("RGB", (1, 400)), "JPEG"), "1x400 pixels: nothing to see"),
    "strip": (encoded(Image.new("RGB", (900, 10)), "PNG"), "a strip"),
    "bomb": (png_header(12_000, 12_000), "decompression bomb: 12000x12000 = 144 megapixels, limit 120"),
    "large bomb": (png_header(30_000, 30_000), "decompression bomb: 900 megapixels, limit 120"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_gives_a_reason(name: str, tmp_path: Path, decoder: str) -> None:
    data, fragment = HOSTILE[name]
    path = tmp_path / "garment.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError) as caught:
        decode(path)
    assert isinstance(caught.value, DecodeError)
    assert fragment in caught.value.reason
    assert str(path) not in caught.value.reason
    assert str(caught.value) == f"cannot read {path}: {caught.value.reason}"


def test_places_that_are_not_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    table = [
        (tmp_path / "absent.jpg", "no such file"),
        (tmp_path, "a folder"),
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path / "loop", "symbolic links"),
        ("a\0b.jpg", "null"),
    ]
    for path, fragment in table:
        with pytest.raises(DecodeError, match=fragment):
            decode(path)


def test_file_without_permission_and_file_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    quarters().save(path)

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:  # the tests may run as root, whom no mode bits stop
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(DecodeError, match="no permission"):
            decode(path)
    monkeypatch.setattr(decoding, "MAX_BYTES", 100)
    with pytest.raises(DecodeError, match="limit"):
        decode(path)


@pytest.mark.parametrize(
    ("source", "fragment"),
    [
        (torch.zeros(1, 20, 20, dtype=torch.uint8), r"\(3, H, W\) uint8 tensor, got \(1, 20, 20\)"),
        (torch.zeros(3, 20, 20), "got .* torch.float32"),
        (np.zeros((20, 20), np.uint8), r"\(H, W, 3\) uint8 array, got \(20, 20\)"),
        (np.zeros((20, 4, 3), np.uint8), "4x20 pixels: nothing to see"),
        (Image.new("RGB", (0, 9)), "nothing to see"),
        (7, "expected a path"),
    ],
)
def test_wrong_thing_in_memory(source: object, fragment: str) -> None:
    with pytest.raises(DecodeError, match=fragment):
        decode(source)  # type: ignore[arg-type]


MUTABLE = [
    encoded(quarters(), "JPEG"),
    encoded(quarters(), "PNG"),
    encoded(quarters().convert("P"), "GIF"),
    encoded(quarters(), "TIFF"),
    encoded(quarters(), "WEBP"),
    encoded(quarters().convert("CMYK"), "JPEG"),
]


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(MUTABLE),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12),
    st.floats(0.3, 1),
)
def test_any_bytes_give_an_image_or_an_image_error(
    whole: bytes, changes: list[tuple[float, int]], share: float
) -> None:
    data = bytearray(whole)
    for place, value in changes:
        data[int(place * len(data))] = value
    try:
        tensor = decode(bytes(data[: int(len(data) * share)]) if share < 0.8 else bytes(data))
    except ImageError:
        return
    assert tensor.dtype == torch.uint8
    assert tensor.shape[0] == 3


# ---------------------------------------------------------------- files that must be read


def cmyk() -> Image.Image:
    return quarters().convert("CMYK")


def rgba() -> Image.Image:
    image = quarters().convert("RGBA")
    alpha = np.full((64, 96), 255, np.uint8)
    alpha[:32, :48] = 0  # the red quarter is transparent
    alpha[32:, 48:] = 128  # and yellow half so
    image.putalpha(Image.fromarray(alpha))
    return image


def palette_with_hole() -> bytes:
    image = Image.new("P", (96, 64), 0)
    image.putpalette([*RED, *GREEN, *BLUE, *YELLOW])
    image.paste(1, (48, 0, 96, 32))
    image.paste(2, (0, 32, 48, 64))
    image.paste(3, (48, 32, 96, 64))
    return encoded(image, "PNG", transparency=0)


def rgb16() -> bytes:
    """16 bits a channel, which Pillow reads but does not write."""
    wide = np.asarray(quarters()).astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    return _png16(rows, colour_type=2)


def _png16(rows: bytes, colour_type: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 96, 64, 16, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def grey(levels: np.ndarray) -> np.ndarray:
    """Quarters of the four levels."""
    return np.kron(levels.reshape(2, 2), np.ones((32, 48), levels.dtype))


def animated(kind: str) -> bytes:
    return encoded(quarters(), kind, save_all=True, append_images=[Image.new("RGB", (96, 64), "black")] * 2)


WHITE = (255, 255, 255)
COLOURS = [RED, GREEN, BLUE, YELLOW]
HALF_YELLOW = tuple(round(255 + (c - 255) * 128 / 255) for c in YELLOW)
GREYS = [(v, v, v) for v in (0, 60, 130, 255)]
LEVELS = np.array([0, 60, 130, 255])
SEEN_THROUGH = [WHITE, GREEN, BLUE, HALF_YELLOW]
READABLE: dict[str, tuple[bytes, list[tuple[int, ...]], int]] = {
    "jpeg": (encoded(quarters(), "JPEG", quality=95), COLOURS, 4),
    "jpeg progressive": (encoded(quarters(), "JPEG", quality=95, progressive=True), COLOURS, 4),
    "jpeg, garbage behind": (encoded(quarters(), "JPEG", quality=95) + b"junk" * 9, COLOURS, 4),
    "jpeg grey": (encoded(Image.fromarray(grey(LEVELS).astype(np.uint8)), "JPEG", quality=95), GREYS, 3),
    "jpeg cmyk": (encoded(cmyk(), "JPEG", quality=95), COLOURS, 5),
    "mpo": (encoded(quarters(), "MPO", quality=95, save_all=True, append_images=[noise()]), COLOURS, 4),
    "png": (encoded(quarters(), "PNG"), COLOURS, 0),
    "png palette": (encoded(quarters().convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), COLOURS, 2),
    "png palette with a hole": (palette_with_hole(), [WHITE, *COLOURS[1:]], 0),
    "png rgba": (encoded(rgba(), "PNG"), SEEN_THROUGH, 1),
    "png la": (
        encoded(Image.merge("LA", [Image.fromarray(grey(LEVELS).astype(np.uint8)), rgba().split()[3]]), "PNG"),
        [WHITE, GREYS[1], GREYS[2], GREYS[3]],
        1,
    ),
    "png with a transparent colour": (
        encoded(quarters(), "PNG", transparency=RED),
        [WHITE, *COLOURS[1:]],
        0,
    ),
    "png 16-bit": (rgb16(), COLOURS, 0),
    "png 16-bit grey": (encoded(Image.fromarray(grey(LEVELS * 257).astype(np.uint16)), "PNG"), GREYS, 0),
    "png 1-bit": (encoded(quarters().convert("1"), "PNG"), [], 0),
    "png animated": (animated("PNG"), COLOURS, 0),
    "gif animated": (animated("GIF"), COLOURS, 3),
    "webp": (encoded(quarters(), "WEBP", lossless=True), COLOURS, 0),
    "webp rgba": (encoded(rgba(), "WEBP", lossless=True), SEEN_THROUGH, 1),
    "webp animated": (
        encoded(quarters(), "WEBP", lossless=True, save_all=True, append_images=[noise(96, 64)]),
        COLOURS,
        0,
    ),
    "bmp": (encoded(quarters(), "BMP"), COLOURS, 0),
    "tiff": (encoded(quarters(), "TIFF", compression="tiff_lzw"), COLOURS, 0),
    "tiff cmyk": (encoded(cmyk(), "TIFF"), COLOURS, 1),
    "tiff 16-bit": (encoded(Image.fromarray(grey(LEVELS * 257).astype(np.uint16)), "TIFF"), GREYS, 0),
    "tiff float 0..1": (encoded(Image.fromarray(grey(LEVELS / 255).astype(np.float32)), "TIFF"), GREYS, 0),
    "tiff float 0..255": (encoded(Image.fromarray(grey(LEVELS).astype(np.float32)), "TIFF"), GREYS, 0),
    "tiff float with holes": (
        encoded(Image.fromarray(grey(np.array([np.nan, 60, 130, 255.0])).astype(np.float32)), "TIFF"),
        GREYS,
        0,
    ),
    "tiff int": (encoded(Image.fromarray(grey(LEVELS * 257).astype(np.int32)), "TIFF"), GREYS, 0),
}


@pytest.mark.parametrize("name", READABLE)
def test_odd_format_gives_its_colours(name: str, tmp_path: Path, decoder: str) -> None:
    data, expected, tolerance = READABLE[name]
    path = tmp_path / "garment.jpg"  # the name says nothing about the format
    path.write_bytes(data)
    tensor = decode(str(path))
    assert tensor.shape == (3, 64, 96)
    assert tensor.dtype == torch.uint8
    assert torch.equal(tensor, decode(data))
    if expected:
        assert close(corners(tensor), expected, tolerance), corners(tensor)
    else:
        assert set(tensor.unique().tolist()) == {0, 255}


def test_sources_in_memory_are_the_same_picture() -> None:
    image = quarters()
    array = np.array(image)
    array.flags.writeable = False
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    for source in (image, array, tensor, rgba().convert("RGB")):
        assert torch.equal(decode(source), tensor)
    assert close(corners(decode(rgba())), SEEN_THROUGH, 1)


def test_both_decoders_give_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [encoded(noise(201, 163), "JPEG", quality=q, subsampling=s) for q, s in [(95, 0), (80, 1), (60, 2)]]
    fast = [decode(data) for data in files]
    monkeypatch.setattr(decoding, "_torchvision_io", lambda: None)
    for data, expected in zip(files, fast, strict=True):
        assert (decode(data).int() - expected.int()).abs().max() <= 1


# How a camera stores an upright picture under each EXIF orientation.
STORED: dict[int, Callable[[Image.Image], Image.Image]] = {
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_every_orientation_gives_the_upright_picture(orientation: int, kind: str, decoder: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    data = encoded(STORED[orientation](quarters()), kind, exif=exif, **options)
    tensor = decode(data)
    assert tensor.shape == (3, 64, 96)
    assert close(corners(tensor), COLOURS, 4)
    # The same file, opened by the caller.
    assert close(corners(decode(Image.open(io.BytesIO(data)))), COLOURS, 4)
    # Boxes are in pixels of the upright picture.
    green = decode(data, box=(50, 0, 96, 30))
    assert green.shape == (3, 30, 46)
    assert close([tuple(green[:, 15, 23].tolist())], [GREEN], 4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_the_upright_size_is_read_from_the_header(orientation: int, kind: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo"
    path.write_bytes(encoded(STORED[orientation](quarters()), kind, exif=exif))
    assert decoding.upright_size(path) == (96, 64)


@pytest.mark.parametrize("name", HOSTILE)
def test_the_size_of_a_hostile_file_is_a_size_or_a_reason(name: str, tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(HOSTILE[name][0])
    with contextlib.suppress(DecodeError):
        assert min(decoding.upright_size(path)) >= 1
    with pytest.raises(DecodeError, match="nothing: no such file"):
        decoding.upright_size(tmp_path / "nothing")


def test_damaged_exif_is_ignored() -> None:
    whole = encoded(quarters(), "JPEG", quality=95)
    block = b"Exif\0\0II*\0\xff\xff\xff\xff"
    data = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + whole[2:]
    assert close(corners(decode(data)), COLOURS, 4)


@pytest.mark.parametrize(
    ("box", "shape"),
    [
        ((10, 8, 60, 40), (3, 32, 50)),
        ((10.4, 8.2, 59.5, 39.1), (3, 32, 50)),
        ((-20, -5, 30, 1000), (3, 64, 30)),
        (np.array([0.0, 0.0, 96.0, 64.0]), (3, 64, 96)),
    ],
)
def test_box_is_cut_and_clipped(box: tuple[float, ...], shape: tuple[int, ...]) -> None:
    tensor = decode(quarters(), box)
    assert tensor.shape == shape
    x, y = max(0, int(box[0])), max(0, int(box[1]))
    assert torch.equal(tensor, decode(quarters())[:, y : y + shape[1], x : x + shape[2]])


@pytest.mark.parametrize(
    ("box", "fragment"),
    [
        ((10, 10, 10, 40), r"box \[10, 10, 10, 40\] is empty"),
        ((50, 10, 20, 40), "is empty"),
        ((200, 0, 300, 40), r"covers 0x40 pixels of a 96x64 image"),
        ((-50, -50, -10, -10), "covers 0x0 pixels"),
        ((10, 10, 12, 60), "covers 2x50 pixels"),
        ((0, 0, float("nan"), 5), "not four numbers"),
        ((0, 0, float("inf"), 50), "not four numbers"),
        ((1, 2, 3), "not four numbers"),
    ],
)
def test_wrong_box_is_named(box: tuple[float, ...], fragment: str) -> None:
    with pytest.raises(DecodeError, match=fragment):
        decode(quarters(), box)


# ---------------------------------------------------------------- in archives


def test_an_image_in_an_archive_is_decoded_as_on_disk(tmp_path: Path, decoder: str) -> None:
    with zipfile.ZipFile(tmp_path / "img.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("img/a.jpg", encoded(quarters(), "JPEG"))
    assert torch.equal(decode(tmp_path / "img.zip/img/a.jpg"), decode(encoded(quarters(), "JPEG")))
    assert torch.equal(decode(str(tmp_path / "img.zip/img/a.jpg")), decode(encoded(quarters(), "JPEG")))


def test_what_is_wrong_in_an_archive_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "img.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", cut("JPEG"))
        archive.writestr("page.jpg", "<html>gone</html>")
        archive.writestr("big.jpg", bytes(1000))
        archive.writestr("empty.jpg", b"")
    monkeypatch.setattr(decoding, "MAX_BYTES", 30_000)
    expected = {"a.jpg": "truncated", "page.jpg": "HTML page", "empty.jpg": "empty file", "b.jpg": "no such file"}
    for name, reason in expected.items():
        with pytest.raises(DecodeError, match=reason):
            decode(path / name)
    monkeypatch.setattr(decoding, "MAX_BYTES", 999)
    with pytest.raises(DecodeError, match=r"a file of 0\.0 GB, limit 0\.0"):
        decode(path / "big.jpg")
    monkeypatch.setattr(decoding, "MAX_BYTES", 30_000)
    data = path.read_bytes()
    path.write_bytes(data[:-9])
    with pytest.raises(DecodeError) as caught:
        decode(path / "a.jpg")
    assert caught.value.reason.startswith("no zip archive, or one cut short")
    assert str(tmp_path) not in caught.value.reason
    path.write_bytes(data.replace(b"PK\1\2\x14\x03\x14\0\0", b"PK\1\2\x14\x03\x14\0\1"))
    with pytest.raises(DecodeError, match="encrypted: unpack the archive with the password that its owners give"):
        decode(path / "a.jpg")
    with pytest.raises(DecodeError, match="no such file"):
        decode(tmp_path / "nowhere.zip/a.jpg")
    with pytest.raises(DecodeError, match="not an image"):
        decode(path)
