"""Image files that mean harm, and some that only look as if they did; made here, never stored."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from lapel.serve.anatomy import CHUNKS, PIECES, SCANS

PNG_START = b"\x89PNG\r\n\x1a\n"


def picture(width: int = 96, height: int = 64, mode: str = "RGB") -> Image.Image:
    """A picture with something to see."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([rows * 3 % 256, columns * 2 % 256, (rows + columns) % 256], axis=2).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(kind: str = "JPEG", image: Image.Image | None = None, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image or picture()).save(stream, kind, **options)
    return stream.getvalue()


def chunk(name: bytes, data: bytes = b"", crc: int | None = None) -> bytes:
    """A chunk of a PNG."""
    return (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) if crc is None else crc)
    )


def png(width: int, height: int, pixels: bytes, *more: bytes, depth: int = 8, colours: int = 2) -> bytes:
    """A PNG that declares a size; ``pixels`` are its rows before compression, ``more`` are chunks before them."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))
    return PNG_START + header + b"".join(more) + chunk(b"IDAT", zlib.compress(pixels, 9)) + chunk(b"IEND")


def after_start(data: bytes, piece: bytes) -> bytes:
    """A JPEG with something put in behind its first marker."""
    return data[:2] + piece + data[2:]


def before_pixels(data: bytes, *chunks: bytes) -> bytes:
    """A PNG with chunks put in before its pixels."""
    at = data.index(b"IDAT") - 4
    return data[:at] + b"".join(chunks) + data[at:]


def gif(blocks: bytes, **options: Any) -> bytes:
    """A GIF with blocks put in before its picture."""
    data = encoded("GIF", picture(mode="P"), **options)
    at = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    return data[:at] + blocks + data[at:]


def webp_canvas(width: int, height: int) -> bytes:
    """An animated WebP that declares a canvas far larger than its one frame."""
    frame = encoded("WEBP", picture(16, 16), lossless=True)[12:]
    sizes = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
    inner = bytes(6) + (15).to_bytes(3, "little") * 2 + bytes(4) + frame
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0]) + sizes
    body += b"ANIM" + struct.pack("<I", 6) + bytes(6) + b"ANMF" + struct.pack("<I", len(inner)) + inner
    return b"RIFF" + struct.pack("<I", len(body)) + body


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated: each costs a pass over all of the picture."""
    whole = encoded(image=picture(mode="L"), progressive=True)
    start, end = whole.rindex(b"\xff\xda"), whole.rindex(b"\xff\xd9")
    return whole[:start] + whole[start:end] * count + whole[end:]


def frames(kind: str, count: int) -> bytes:
    """A moving picture of 9x9 pixels."""
    first, *rest = [picture(9, 9).point(lambda value, n=n: (value + 40 * n) % 256) for n in range(count)]
    options = {"lossless": True} if kind == "WEBP" else {}
    return encoded(kind, first, save_all=True, append_images=rest, duration=10, **options)


def tiff_bomb() -> bytes:
    """A TIFF whose every tag points at the same large block."""
    tags, size = 500, 200_000
    start = 8 + 2 + 12 * tags + 4
    entries = b"".join(struct.pack("<HHII", 1000 + n, 1, size, start) for n in range(tags))
    return b"II*\0" + struct.pack("<IH", 8, tags) + entries + bytes(4) + bytes(size)


JPEG, PNG = encoded(), encoded("PNG")
EXIF = Image.Exif()
EXIF[0x0112] = 6  # a camera held upright

GOOD: dict[str, bytes] = {
    "jpeg": JPEG,
    "jpeg, progressive": encoded(progressive=True),
    "jpeg, grey": encoded(image=picture(mode="L")),
    "jpeg, cmyk": encoded(image=picture(mode="CMYK")),
    "jpeg, turned": encoded(image=picture(64, 96), exif=EXIF),
    "jpeg, colour profile of junk": encoded(icc_profile=b"junk" * 5000),
    "jpeg, junk behind": JPEG + b"junk" * 100,
    "jpeg, html in a comment": after_start(JPEG, b"\xff\xfe\x00\x21<html><script>alert(1)</script>"),
    "jpeg and zip": JPEG + b"PK\3\4" + bytes(26) + b"PK\5\6" + bytes(18),
    "jpeg, damaged exif": after_start(JPEG, b"\xff\xe1\x00\x14Exif\0\0II*\0\xff\xff\xff\xff\0\0\0\0"),
    "jpeg, fill bytes": after_start(JPEG, b"\xff" * 100),
    "two pictures in one": encoded("MPO", save_all=True, append_images=[picture(16, 16)]),
    "png": PNG,
    "png, 16 bits": png(96, 64, (b"\0" + b"\x12\x34" * 288) * 64, depth=16),
    "png, grey, 16 bits": png(96, 64, (b"\0" + b"\x12\x34" * 96) * 64, depth=16, colours=0),
    "png, see-through": encoded("PNG", picture(mode="RGBA")),
    "png, palette": encoded("PNG", picture(mode="P")),
    "png, interlaced rows of one colour": png(96, 64, (b"\0" + b"\xff" * 288) * 64),
    "png, unknown chunks": before_pixels(PNG, *[chunk(b"abCd", b"x")] * 100),
    "gif": encoded("GIF", picture(mode="P")),
    "gif, comments": gif(b"\x21\xfe\x05hello\0" * 50),
    "gif, some frames": frames("GIF", 5),
    "webp": encoded("WEBP"),
    "webp, some frames": frames("WEBP", 5),
    "avif": encoded("AVIF"),
    "png, some frames": frames("PNG", 5),
}
"""By name; each is 96x64 upright or 9x9 where it moves."""

BAD: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 415, "an empty file"),
    "zeros": (bytes(4096), 415, "a file of zeros"),
    "text": (b"hello, this is no picture", 415, "not an image"),
    "html": (b"<!doctype html><script>alert(1)</script>", 415, "an HTML page"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", 415, "an SVG drawing"),
    "svg with an entity": (b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><svg>&b;</svg>",
                           415, "SVG"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n(x) run", 415, "a PostScript file"),
    "pdf": (b"%PDF-1.7 ...", 415, "a PDF"),
    "json": (b'{"a": 1}', 415, "JSON"),
    "zip": (b"PK\3\4" + bytes(100) + b"x", 415, "a zip archive"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99) + b"x", 415, "HEIC"),
    "tiff": (encoded("TIFF"), 415, "a TIFF file: send it as JPEG"),
    "tiff bomb": (tiff_bomb(), 415, "a TIFF file"),
    "bmp": (encoded("BMP"), 415, "a BMP file"),
    "icon": (encoded("ICO", picture(32, 32)), 415, "an icon"),
    "jpeg 2000": (encoded("JPEG2000"), 415, "a JPEG 2000 file"),
    "portable pixmap": (encoded("PPM"), 415, "not an image"),
    "photoshop": (b"8BPS\0\1" + bytes(60) + b"x", 415, "a Photoshop file"),
    "gif and javascript": (b"GIF89a/*" + bytes(8) + b"*/=1;alert(1)", 415, "damaged"),
    "jpeg, start alone": (b"\xff\xd8\xff", 415, "header"),
    "jpeg, cut": (JPEG[: len(JPEG) // 2], 415, "truncated"),
    "jpeg, no picture": (after_start(b"\xff\xd8\xff\xd9", b"\xff\xe0\0\2"), 415, "header"),
    "jpeg of no size": (JPEG.replace(b"\x08\0\x40\0\x60", b"\x08\0\0\0\0"), 415, ""),
    "jpeg, declared huge": (JPEG.replace(b"\x08\0\x40\0\x60", b"\x08\xff\xff\xff\xff"), 413, "megapixels"),
    "png, cut": (PNG[: len(PNG) // 2], 415, "truncated"),
    "png, wrong sum of its header": (PNG[:29] + b"\0\0\0\0" + PNG[33:], 415, "header"),
    "png, wrong sum of a text": (before_pixels(PNG, chunk(b"tEXt", b"a\0b", crc=1)), 415, "header"),
    "png, damaged pixels": (PNG.replace(b"IDAT", b"IDAT" + bytes(20)), 415, "damaged"),
    "png, declared huge": (png(60_000, 60_000, bytes(100)), 413, "megapixels"),
    "png, declared beyond all": (png(2**31 - 1, 2**31 - 1, bytes(100)), 413, "megapixels"),
    "png, just above the limit": (png(7000, 6000, bytes(100)), 413, "42.0 megapixels, the limit is 40.0"),
    "png of no size": (png(0, 0, b""), 415, ""),
    "png, a strip": (png(30_000, 10, (b"\0" + bytes(90_000)) * 10), 415, "a strip"),
    "png, a dot": (png(3, 3, (b"\0" + bytes(9)) * 3), 415, "nothing to see"),
    "png, text that unpacks to much": (
        before_pixels(PNG, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(5_000_000), 9))), 415, "header"),
    "png, profile that unpacks to much": (
        before_pixels(PNG, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(5_000_000), 9))), 415, ""),
    "png, endless chunks": (before_pixels(PNG, chunk(b"abCd") * (CHUNKS + 1)), 413, "chunks"),
    "png, length beyond the end": (PNG_START + b"\xff\xff\xff\xffIHDR" + bytes(20), 415, ""),
    "jpeg, endless segments": (after_start(JPEG, b"\xff\xe5\0\2" * (PIECES + 1)), 413, "pieces in its header"),
    "jpeg, endless fill": (after_start(JPEG, b"\xff" * 1_000_000), 413, "pieces in its header"),
    "jpeg, junk between segments": (
        after_start(JPEG, b"\xff\xe5\0\2" + b"\1" * 1_000_000), 413, "between its segments"),
    "jpeg, junk without end": (b"\xff\xd8\xff\xe5\0\2" + b"\1" * 1_000_000, 413, "between its segments"),
    "jpeg, endless scans": (scans(5000), 413, f"the limit is {SCANS}"),
    "gif, endless comments": (gif(b"\x21\xfe\0" * (PIECES + 1)), 413, "blocks before its picture"),
    "gif, endless comment": (gif(b"\x21\xfe" + b"\1c" * (PIECES + 1) + b"\0"), 413, "blocks before its picture"),
    "gif, thousands of frames": (
        encoded("GIF", picture(mode="P")) [:-1] + b"\x21\xf9\4\0\0\0\0\0" * 1100 + b";", 413, "frames"),
    "png, thousands of frames": (
        before_pixels(PNG, chunk(b"acTL", struct.pack(">II", 100_000, 0))), 413, "frames, the limit is 1000"),
    "webp, a huge canvas": (webp_canvas(16_384, 16_384), 413, "megapixels"),
    "webp, cut": (encoded("WEBP")[:60], 415, ""),
    "avif, cut": (encoded("AVIF")[:200], 415, ""),
    "random": (np.random.default_rng(1).bytes(5000), 415, "not an image"),
}  # fmt: skip
"""By name: the file, the status that answers it, and a part of the message."""
