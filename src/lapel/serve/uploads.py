"""Photographs that clients send: out of a multipart body, checked by their header, decoded within a bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from PIL import Image
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from lapel.decoding import FORMATS, Box, Pixels, decode_array, what_is
from lapel.errors import unknown
from lapel.serve.anatomy import oddity
from lapel.serve.errors import Busy, Invalid, NotAnImage, TooLarge

T = TypeVar("T")

KINDS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "AVIF")
"""What browsers and cameras give. Others of ``FORMATS`` are for files of one's own: their readers are far larger."""
OTHERS = {
    b"II*\0": "a TIFF file",
    b"MM\0*": "a TIFF file",
    b"BM": "a BMP file",
    b"\0\0\1\0": "an icon",
    b"\0\0\0\x0cjP": "a JPEG 2000 file",
    b"\xff\x4f\xff\x51": "a JPEG 2000 file",
    b"8BPS": "a Photoshop file",
    b"%!PS": "a PostScript file",
    b"PK\3\4": "a zip archive",
}
COST, COSTS = 17, {"WEBP": 25, "AVIF": 25}
"""Bytes for each pixel while it is decoded, measured: most at the end, when Pillow's picture becomes an array."""
MB = 1 << 20


@dataclass(frozen=True)
class Upload:
    """What a multipart body held: the bytes of the file, empty where none was sent, and the text fields."""

    image: bytes
    fields: dict[str, str] = field(default_factory=dict)


async def receive(
    request: Request, fields: Sequence[str] = (), image: str = "image", required: bool = True, field_bytes: int = MB
) -> Upload:
    """Read a multipart/form-data body, in memory; :class:`lapel.serve.bodies.Body` bounds its bytes and its time.

    Args:
        request: whose body nobody has read yet.
        fields: names of the text fields that may come along.
        image: name of the file's field.
        required: whether the file must be there.
        field_bytes: of one text field at most.

    Raises:
        Invalid: no such body, damaged, a field that is missing, unknown, there twice or no UTF-8.
        TooLarge: a text field is too long.
        ClientDisconnect: the client left meanwhile.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    expected = " and ".join([f"the file in field {image!r}", *(f"text in {name!r}" for name in fields)])
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise Invalid(f"expected a body of multipart/form-data with {expected}; found Content-Type {_shown(kind)}")
    parts = _Parts(image, tuple(fields), field_bytes)
    try:
        parser = MultipartParser(options[b"boundary"], parts.callbacks())
        async for chunk in request.stream():
            parser.write(chunk)
    except BaseException as error:
        parts.found.clear()  # an exception holds on to this frame while it is answered
        if isinstance(error, FormParserError):
            raise Invalid(f"the multipart body is damaged: {error}") from None
        raise
    if not parts.ended:
        raise Invalid("the multipart body is cut short: its last boundary is missing")
    found = parts.joined()
    data = found.pop(image, None)
    if required and data is None:
        raise Invalid(f"the body has no file in field {image!r}; expected {expected}")
    try:
        return Upload(data or b"", {name: text.decode() for name, text in found.items()})
    except UnicodeDecodeError:
        raise Invalid("a text field is no UTF-8") from None


class _Parts:
    """Collects what the parser finds; whatever is not expected is refused as soon as its header is there."""

    def __init__(self, image: str, fields: tuple[str, ...], field_bytes: int) -> None:
        self.image, self.fields, self.field_bytes = image, fields, field_bytes
        self.found: dict[str, list[bytes]] = {}
        self.ended = False
        self._name, self._size = "", 0
        self._header, self._value, self._disposition = bytearray(), bytearray(), b""

    def callbacks(self) -> Any:
        """Return what the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._named,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def joined(self) -> dict[str, bytes]:
        """Return the fields, and let go of their pieces."""
        return {name: b"".join(self.found.pop(name)) for name in list(self.found)}

    def _begin(self) -> None:
        self._disposition, self._size = b"", 0

    def _header_end(self) -> None:
        if bytes(self._header).strip().lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _named(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise Invalid("a part of the multipart body has no name in its Content-Disposition")
        name = options[b"name"].decode("utf-8", "replace")[:100]
        if name not in (self.image, *self.fields):
            raise Invalid(unknown("field", name, [self.image, *self.fields]))
        if name in self.found:
            raise Invalid(f"field {name!r} is there twice: send one")
        self._name, self.found[name] = name, []

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._name != self.image and self._size > self.field_bytes:
            raise TooLarge(f"field {self._name!r} is longer than {self.field_bytes} bytes, the limit here")
        self.found[self._name].append(data[start:end])

    def _end(self) -> None:
        self.ended = True


def _shown(kind: bytes) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", kind.decode("latin-1"))[:80] or "(none)"


@dataclass(frozen=True)
class Header:
    """What the header of an encoded image declares: its format, pixels as stored, and the memory it takes to decode."""

    kind: str
    width: int
    height: int
    cost: int


def header(data: bytes, max_pixels: int, max_frames: int) -> Header:
    """Check an encoded image before anything of it is decoded.

    Raises:
        NotAnImage: none that this server reads, or damaged in its header.
        TooLarge: too many declared pixels or frames, or pieces that would take far too long to read.
    """
    if found := oddity(data):
        raise TooLarge(f"the image {found}: save it again, as one plain picture")
    try:
        with Image.open(io.BytesIO(data), formats=_kinds()) as image:
            kind, (width, height) = image.format or "", image.size
            # GIF alone would read on to count; ``oddity`` has done that.
            frames = 1 if kind == "GIF" else int(getattr(image, "n_frames", 1))
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_many_pixels(int(pixels[0]) if pixels else 0, max_pixels) from None
    except Exception:  # Pillow raises a dozen types on damaged headers
        raise NotAnImage(f"cannot read the image: {_reason(data)}") from None
    frames = max(frames, data.count(b"\x21\xf9\x04") if kind == "GIF" else 1)
    if width * height > max_pixels:
        raise _too_many_pixels(width * height, max_pixels)
    if frames > max_frames:
        raise TooLarge(f"the image has {frames} frames, the limit is {max_frames}: send one of them")
    return Header(kind, width, height, width * height * COSTS.get(kind, COST))


def _too_many_pixels(found: int, most: int) -> TooLarge:
    return TooLarge(
        f"the image declares {found / 1e6:.1f} megapixels, the limit is {most / 1e6:.1f}: send a smaller one"
    )


def _reason(data: bytes) -> str:
    if not data.strip(b"\0"):
        return "a file of zeros" if data else "an empty file"
    other = next((name for start, name in OTHERS.items() if data.startswith(start)), None)
    return f"{other}: send it as JPEG, PNG, WebP, GIF or AVIF" if other else what_is(data)


@functools.cache
def _kinds() -> tuple[str, ...]:
    Image.init()
    return tuple(kind for kind in KINDS if kind in FORMATS and kind in Image.OPEN)


class Run(Protocol):
    """Runs a function in one of a bounded number of threads."""

    def __call__(self, work: Callable[..., T], *args: Any) -> Coroutine[Any, Any, T]:
        """Return what ``work(*args)`` returns."""


class Photographs:
    """Opens uploads: header first, then the pixels, as many at a time as fit into a bounded memory.

    Args:
        run: where to decode, such as ``lapel.serve.workers.Workers``.
        max_pixels: declared.
        max_frames: of an animation, of which only the first is read.
        memory: bytes for all photographs that are being decoded or are open.
        waiting: photographs that may wait for memory; one more raises Busy.
    """

    def __init__(
        self, run: Run, max_pixels: int = 40_000_000, max_frames: int = 1000, memory: int = 1024 * MB, waiting: int = 64
    ) -> None:
        self.max_pixels, self.max_frames = max_pixels, max_frames
        self._run, self._room = run, _Room(memory, waiting)

    @contextlib.asynccontextmanager
    async def open(self, data: bytes, box: Box | None = None) -> AsyncIterator[Pixels]:
        """Decode an encoded image, or a box of it: (H, W, 3) uint8, upright, RGB, transparency on white.

        Its memory counts until the context is left, so nothing may keep the pixels for longer.

        Args:
            data: the encoded image.
            box: x1, y1, x2, y2 in pixels of the upright image.

        Raises:
            NotAnImage, DecodeError: it cannot be read, or the box is empty (``BoxError``).
            TooLarge: too many pixels or frames.
            Busy: too many wait.
        """
        found = await self._run(header, data, self.max_pixels, self.max_frames)
        cost = await self._room.take(found.cost)
        try:
            pixels = await self._run(decode_array, data, box)
            cost -= self._room.give(cost - min(cost, 3 * found.width * found.height))  # the decoder's copies are gone
            yield pixels
        finally:
            self._room.give(cost)


class _Room:
    """A number of bytes that takers share, first come first served."""

    def __init__(self, size: int, waiting: int) -> None:
        self.size = self.free = size
        self.most = waiting
        self.queue: deque[tuple[asyncio.Future[None], int]] = deque()

    async def take(self, wanted: int) -> int:
        """Wait for bytes and return how many were taken: not more than there are."""
        wanted = min(wanted, self.size)
        if not self.queue and self.free >= wanted:
            self.free -= wanted
            return wanted
        if len(self.queue) >= self.most:
            raise Busy(1, f"{self.most} photographs wait to be decoded")
        entry = (asyncio.get_running_loop().create_future(), wanted)
        self.queue.append(entry)
        try:
            await entry[0]
        except asyncio.CancelledError:
            if entry in self.queue:
                self.queue.remove(entry)
                self.give(0)  # the next may be a small one
            elif not entry[0].cancelled():
                self.give(wanted)  # granted in the same moment
            raise
        return wanted

    def give(self, taken: int) -> int:
        """Give bytes back, and return how many."""
        self.free += taken
        while self.queue and self.queue[0][1] <= self.free:
            future, wanted = self.queue.popleft()
            if not future.done():
                self.free -= wanted
                future.set_result(None)
        return taken
