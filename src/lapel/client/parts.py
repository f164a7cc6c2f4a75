"""What a search starts from, and photographs as the bytes that are sent."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from lapel.client.images import Listed, Query
from lapel.errors import ImageError, SearchIndexError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

    Photo: TypeAlias = str | Path | bytes | Image | npt.NDArray[np.uint8]
    """A file, its bytes, a Pillow image, or an (H, W, 3) uint8 array."""
    Picture: TypeAlias = Photo | Query | Listed
    """A photograph, what ``Client.upload`` made of one, or an image of an index, such as a hit."""

EXACT_BELOW = 2_000_000  # pixels; more would be a larger file than the server takes
QUALITY = 95


@dataclass(frozen=True, eq=False)
class Part:
    """One image of a search, and how much each of its attributes counts.

    Attributes:
        image: a photograph, what ``Client.upload`` made of one, or a hit; or
        id: of an image of an index.
        of: name of the index that ``id`` belongs to, if it is not the one searched.
        box: x1, y1, x2, y2 of what is meant, in pixels of the upright image; None: all of it.
        weights: attribute -> -10 to 10, above 0 more like this, below 0 less; those not named count 0. None: 1 each.

    Raises:
        SearchIndexError: neither an image nor an id, or both.
    """

    image: Picture | None = None
    id: str | None = None
    of: str | None = None
    box: Sequence[float] | None = None
    weights: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if (self.image is None) == (self.id is None):
            raise SearchIndexError("expected either an image or the id of one: give exactly one of image and id")

    def source(self, query: Query | None) -> dict[str, Any]:
        """Return the part as the server reads it, without weights; ``query`` is what its photograph is known by."""
        if query is not None:
            told: dict[str, Any] = {"query": query.query}
        elif isinstance(self.image, Listed):
            told = {"id": self.image.id, "of": self.image.index}
        else:
            told = {"id": self.id} if self.of is None else {"id": self.id, "of": self.of}
        return told if self.box is None else {**told, "box": list(self.box)}

    def body(self, query: Query | None) -> dict[str, Any]:
        """Return the part as the server reads it."""
        return self.source(query) if self.weights is None else {**self.source(query), "weights": dict(self.weights)}


def encoded(photo: Photo) -> bytes:
    """Return the bytes to send: a file's as they are; pixels as PNG, or as JPEG from 2 megapixels on.

    Raises:
        ImageError: the file cannot be read, or it is no image.
    """
    if isinstance(photo, bytes):
        return photo
    if isinstance(photo, str | Path):
        try:
            return Path(photo).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            reason = getattr(error, "strerror", None) or str(error)
            raise ImageError(f"cannot read {photo}: {reason}; an image of an index is given by id=...") from error
    from PIL import Image

    from lapel.decoding import decode_array

    pixels = decode_array(photo)
    sink = io.BytesIO()
    if pixels.shape[0] * pixels.shape[1] < EXACT_BELOW:
        Image.fromarray(pixels).save(sink, "PNG", compress_level=1)
    else:
        Image.fromarray(pixels).save(sink, "JPEG", quality=QUALITY, subsampling=0)
    return sink.getvalue()


def quoted(image_id: str) -> str:
    """Quote an id as the end of a path; what somebody on the way might take for a folder's name is quoted too.

    >>> quoted("red dresses/50%.jpg"), quoted("a//b"), quoted("..")
    ('red%20dresses/50%25.jpg', 'a%2F%2Fb', '%2E%2E')
    """
    plain = all(part not in ("", ".", "..") for part in image_id.split("/"))
    found = quote(image_id, safe="/" if plain else "", errors="surrogatepass")
    return found.replace(".", "%2E") if image_id in (".", "..") else found
