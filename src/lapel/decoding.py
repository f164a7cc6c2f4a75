"""Any image file to upright RGB pixels, or a short reason why not; never a crash, whatever the bytes."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import re
import stat
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from lapel import archives
from lapel.errors import ImageError

Pixels = npt.NDArray[np.uint8]
Source = Path | str | bytes | Image.Image | Pixels
Box = Sequence[float]

MAX_PIXELS = 120_000_000  # declared size above which nothing is decoded: about 1 GB a thread
MAX_BYTES = 1 << 29  # no product photograph is larger than this on disk
MAX_ASPECT = 50  # longer side / shorter side
MIN_SIDE = 8  # pixels; below it there is nothing to see
# Raster formats only: Pillow would otherwise hand EPS to Ghostscript and open a dozen scientific formats.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO")

# Declared sizes are checked below, and a warning in the middle of a progress bar helps nobody.
warnings.filterwarnings("ignore", module=r"PIL\.")


class DecodeError(ImageError):
    """One image that cannot be used; ``reason`` is short and free of the path."""

    def __init__(self, reason: str, source: object = None) -> None:
        self.reason = reason
        name = source if isinstance(source, str | Path) else "the image"
        super().__init__(f"cannot read {name}: {reason}")


class BoxError(DecodeError):
    """The image is fine, the box is not: empty, or outside of the image."""


def decode_array(source: Source, box: Box | None = None, torchvision: bool = False) -> Pixels:
    """Read one image: RGB, upright (EXIF orientation applied), transparency on white, first frame.

    Args:
        source: a path, an encoded file's bytes, a Pillow image or an (H, W, 3) uint8 array.
        box: x1, y1, x2, y2 in pixels of the upright image; what lies outside the frame is clipped.
        torchvision: hand JPEG to torchvision, which is faster and costs seconds to import; everything else and what
            it refuses goes through Pillow. Both give the same pixels.

    Returns:
        (H, W, 3) uint8; a view of ``source`` where that is an array already.

    Raises:
        DecodeError: an :class:`lapel.errors.ImageError` whose ``reason`` says what is wrong; a ``BoxError`` where that
            is the box alone.
    """
    try:
        return _crop(_pixels(source, torchvision), box)
    except DecodeError as error:
        raise type(error)(error.reason, source) from error.__cause__
    except MemoryError as error:
        raise DecodeError("not enough memory to decode it", source) from error


def upright_size(path: Path | str) -> tuple[int, int]:
    """Return (width, height) in pixels of the upright image that ``decode_array`` would give; reads the header alone.

    Raises:
        DecodeError: it is no image, or its header is damaged.
    """
    try:
        with Image.open(io.BytesIO(_read(Path(path))), formats=_formats()) as image:
            if image.format == "TIFF":  # Pillow turns it itself, sooner or later
                image.load()
            width, height = image.size
            return (height, width) if 5 <= _orientation(image) <= 8 else (width, height)
    except DecodeError as error:
        raise DecodeError(error.reason, path) from error.__cause__
    except Exception as error:  # Pillow raises a dozen types on damaged headers
        raise DecodeError("not an image, or damaged in its header", path) from error


def _pixels(source: Source, torchvision: bool) -> Pixels:
    if isinstance(source, np.ndarray):
        if source.ndim != 3 or source.shape[2] != 3 or source.dtype != np.uint8:
            raise DecodeError(f"expected a (H, W, 3) uint8 array, got {tuple(source.shape)} {source.dtype}")
        _check_size(source.shape[1], source.shape[0])
        return source
    if isinstance(source, Image.Image):
        _check_size(*source.size)
        return _decode_pillow(source, b"")
    if isinstance(source, str | Path):
        source = _read(Path(source))
    if not isinstance(source, bytes | bytearray | memoryview):
        raise DecodeError(f"expected a path, bytes, a Pillow image, an array or a tensor, got {type(source)}")
    return _decode_bytes(bytes(source), torchvision)


def _read(path: Path) -> bytes:
    try:
        if archives.split(path) is None:
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                raise DecodeError("a folder, not an image")
            if not stat.S_ISREG(status.st_mode):  # a pipe would block the job for ever
                raise DecodeError("not a regular file")
            size = status.st_size
        else:
            found = archives.entry(path)
            size = 0 if found is None else found.size
        if size > MAX_BYTES:
            raise DecodeError(f"a file of {size / 1e9:.1f} GB, limit {MAX_BYTES / 1e9:.1f}")
        return archives.read_bytes(path)
    except FileNotFoundError:
        raise DecodeError("no such file") from None
    except PermissionError:
        raise DecodeError("no permission to read it") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise DecodeError(getattr(error, "strerror", None) or str(error)) from error


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DecodeError(_bomb(f"{width}x{height} = ", width * height))
    if min(width, height) < MIN_SIDE:
        raise DecodeError(f"{width}x{height} pixels: nothing to see (each side needs {MIN_SIDE} or more)")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise DecodeError(f"{width}x{height} pixels: a strip, one side over {MAX_ASPECT} times the other")


def _bomb(size: str, pixels: int) -> str:
    return f"decompression bomb: {size}{pixels / 1e6:.0f} megapixels, limit {MAX_PIXELS / 1e6:.0f}"


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@functools.cache
def _torchvision_io() -> ModuleType | None:
    """Return torchvision.io, imported late because it takes seconds; None where it cannot be loaded."""
    try:
        import torchvision  # not "torchvision.io": threads would take the two import locks in opposite orders
    except (ImportError, OSError, RuntimeError):  # Pillow gives the same pixels, more slowly
        return None
    module: ModuleType = torchvision.io
    return module


def _decode_bytes(data: bytes, torchvision: bool) -> Pixels:
    if not data.strip(b"\0"):
        raise DecodeError("empty file" if not data else "a file of zeros")
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=_formats())  # header only
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        raise DecodeError(_bomb("", int(pixels[0]) if pixels else MAX_PIXELS)) from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises a dozen types on damaged headers
        raise DecodeError(what_is(data)) from error
    _check_size(*image.size)
    if image.format in ("JPEG", "MPO") and _cut_short(data, "JPEG"):
        raise DecodeError("truncated")  # a decoder may fill the rest with grey
    if torchvision and image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):  # not CMYK, YCCK
        module = _torchvision_io()
        if module is not None:
            with contextlib.suppress(RuntimeError):  # Pillow below finds the reason, or reads it after all
                return _upright(_decode_jpeg(data, module), _orientation(image))
    return _decode_pillow(image, data)


def _decode_jpeg(data: bytes, module: ModuleType) -> Pixels:
    import torch

    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    found: Pixels = module.decode_jpeg(encoded, mode=module.ImageReadMode.RGB).permute(1, 2, 0).numpy()
    return found


def _decode_pillow(image: Image.Image, data: bytes) -> Pixels:
    """Decode the first frame with Pillow; ``data`` is the encoded file, for the reason of a failure."""
    try:
        image.load()
        orientation = _orientation(image)  # after load: Pillow's TIFF reader turns the picture itself
        pixels = np.array(rgb(image))
    except MemoryError:
        raise
    except Exception as error:
        kind = image.format or "image"
        short = (data and _cut_short(data, kind)) or "truncated" in str(error).lower()
        raise DecodeError("truncated" if short else f"damaged {kind} data: {error}") from error
    return _upright(pixels, orientation)


def rgb(image: Image.Image) -> Image.Image:
    """Return any Pillow image in RGB: 16 bits and floats scaled to 8 bits, transparency on white."""
    if image.mode.startswith("I;16"):  # 16 bits: keep the high byte, as Pillow does for 16-bit colour
        return Image.fromarray((np.array(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        return Image.fromarray(_levels(np.array(image))).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba).convert("RGB")
    return image.convert("RGB")


def _levels(wide: npt.NDArray[np.int32] | npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Bring wide integers or floats to 0..255: the smallest usual range (1, 255, 65535) that holds them."""
    with np.errstate(invalid="ignore"):  # signalling NaNs
        values = np.nan_to_num(wide.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    top = float(values.max())
    full = next((limit for limit in (1.0, 255.0, 65535.0) if top <= limit), top)
    return np.clip(np.rint(values * (255.0 / full)), 0, 255).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    try:  # the base class's getexif: PNG's own would decode the picture once more
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
        return int(value)
    except Exception:  # damaged EXIF says nothing about the pixels
        return 1


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation 1..8 of an (H, W, 3) array; anything else counts as 1."""
    if 5 <= orientation <= 8:
        pixels = pixels.transpose(1, 0, 2)
    axes = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}.get(orientation)
    return np.flip(pixels, axes) if axes else pixels


def _cut_short(data: bytes, kind: str) -> bool:
    """Whether the end of an encoded file is missing, as far as its format shows it cheaply."""
    if kind in ("JPEG", "MPO"):
        # Walk the header's segments: the EXIF thumbnail has an end marker of its own.
        at = 2
        while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
            at += 2 + int.from_bytes(data[at + 2 : at + 4]) if data[at + 1] != 0xFF else 1
        return data.find(b"\xff\xd9", at) < 0
    if kind == "PNG":
        return b"IEND" not in data[-4096:] and b"IEND" not in data
    if kind == "WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return kind == "GIF" and b"\x3b" not in data[-64:]


def what_is(data: bytes) -> str:
    """Name what was saved under an image's name: bytes that cannot be decoded.

    >>> what_is(b"%PDF-1.7")
    'a PDF document, not an image'
    """
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")) or b"<html" in head:
        return "an HTML page saved as an image"
    if head.startswith(b"<svg") or (head.startswith(b"<?xml") and b"<svg" in head):
        return "an SVG drawing: export it as PNG or JPEG"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"heim", b"heis"):
        return "an HEIC photograph: export it as JPEG or PNG"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer: run git lfs pull"
    if head.startswith(b"%pdf"):
        return "a PDF document, not an image"
    if data.startswith((b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*")) or data[8:12] == b"WEBP":
        return "truncated or damaged in its header"
    if head.startswith((b"{", b"[", b"<?xml", b"<")):
        return "JSON or XML text, not an image"
    return "not an image"


def _crop(image: Pixels, box: Box | None) -> Pixels:
    if box is None:
        return image
    height, width = image.shape[:2]
    shown = "[" + ", ".join(f"{value:g}" for value in box) + "]"
    if len(box) != 4 or not all(math.isfinite(value) for value in box):
        raise BoxError(f"box {shown} is not four numbers x1, y1, x2, y2")
    if box[2] <= box[0] or box[3] <= box[1]:
        raise BoxError(f"box {shown} is empty: x2 must exceed x1, and y2 must exceed y1")
    left, top = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    right, bottom = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
    if min(right - left, bottom - top) < MIN_SIDE:
        covered = f"{max(0, right - left)}x{max(0, bottom - top)}"
        raise BoxError(
            f"box {shown} covers {covered} pixels of a {width}x{height} image: nothing to see "
            f"(each side needs {MIN_SIDE} or more)"
        )
    return image[top:bottom, left:right]
