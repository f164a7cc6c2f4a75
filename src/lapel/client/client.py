"""The client: photographs, searches, explanations and writes, beside what ``reading`` has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, cast

from lapel.client.asking import Asker, as_json
from lapel.client.images import Explanation, Hit, Listed, Query, SearchResult
from lapel.client.indexes import Value
from lapel.client.parts import Part, encoded, quoted
from lapel.client.reading import Reading
from lapel.client.sending import kept, send, sent
from lapel.errors import SearchIndexError

if TYPE_CHECKING:
    import httpx

    from lapel.client.parts import Photo, Picture

T = TypeVar("T")
Side = Literal[160, 320, 640, 1280]
Change = Literal["added", "changed", "updated", "unchanged"]
LAST = 10_000  # hits that a search can skip


class Rest(TypedDict, total=False):
    """What ``pages`` and ``hits`` take as ``search`` does."""

    id: str | None
    parts: Sequence[Part] | None
    box: Sequence[float] | None
    index: str | None
    where: str | None
    more: Sequence[str]
    less: Sequence[str]
    group: bool | None
    threshold: float | None
    likely: bool


class Client(Reading):
    """A connection to ``lapel serve``; a context manager, and to be shared by threads.

    Every method raises ``ApiFailure`` where the server refuses, with its status, code and message, and ``NoAnswer``
    where there is none; both are ``LapelError``. Where the server says that it is busy or starting, it is asked again
    after the time it names. A photograph that it no longer keeps is sent again.

    Args:
        url: of the server.
        token: of the server; for writes, and for everything where other machines can reach it.
        index: the index that is asked where a method names none; None: the server's first.
        timeout: seconds without a byte after which an answer is given up. Copies may take a minute.
        patience: seconds in all that a call waits while the server is busy; then it raises.
        transport: of httpx, in the place of the network; for tests.

    Raises:
        LapelError: ``url`` or ``token`` cannot be one.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        token: str | None = None,
        index: str | None = None,
        timeout: float = 90.0,
        patience: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(Asker(url, token, timeout, patience, transport), index)

    def image(self, of: str | Listed | Query, side: Side = 320, index: str | None = None) -> bytes:
        """Return a picture as JPEG, upright, its longest side not more than ``side`` pixels.

        Args:
            of: the id of an image, a hit or entry, or a photograph that was sent.
            side: 160, 320, 640 or 1280.
            index: that the id belongs to.
        """
        if isinstance(of, Query):
            path = f"/v1/queries/{of.query}/image"
            return kept(self._asker, [of], None, lambda: self._asker.ask("GET", path, params={"side": side})).content
        image_id, index = (of.id, of.index) if isinstance(of, Listed) else (of, index)
        return self._asker.ask("GET", f"/v1/images/{quoted(image_id)}", params=self._asked(index, side=side)).content

    def upload(self, image: Photo, index: str | None = None) -> Query:
        """Send a photograph to search with; the same photograph gets the same id.

        Args:
            image: a file, its bytes, a Pillow image, or an (H, W, 3) uint8 array.
            index: that will be searched, whose run may suggest a box.

        Raises:
            ImageError: it cannot be read.
        """
        return send(self._asker, encoded(image), index or self.default)

    def query(self, query: Query) -> Query:
        """Return what the server knows of a photograph by now: finding the box it suggests may take it seconds."""
        path = f"/v1/queries/{query.query}"

        def read(told: Any) -> Query:
            return Query.of(told, query.photograph)

        return kept(self._asker, [query], self.default, lambda: self._asker.told(read, "GET", path))

    def search(
        self,
        image: Picture | None = None,
        weights: Mapping[str, float] | None = None,
        *,
        id: str | None = None,
        parts: Sequence[Part] | None = None,
        box: Sequence[float] | None = None,
        index: str | None = None,
        k: int = 24,
        offset: int = 0,
        where: str | None = None,
        more: Sequence[str] = (),
        less: Sequence[str] = (),
        group: bool | None = None,
        threshold: float | None = None,
        likely: bool = False,
    ) -> SearchResult:
        """Find the images most like a photograph, an image of an index, or several of them, best first.

        A photograph that is searched with more than once is best sent by ``upload`` before.

        Args:
            image: a photograph, what ``upload`` made of one, or a hit; or
            id: of an image of the index; or
            parts: up to eight images, each with weights and a box of its own.
            weights: attribute -> -10 to 10, above 0 more like this, below 0 less; those not named count 0.
                None: 1 each.
            box: x1, y1, x2, y2 of what is meant, in pixels of the upright image.
            index: the one searched.
            k: hits wanted, up to 200.
            offset: hits to skip.
            where: a filter, such as ``"colour = 'red' and price < 50"``.
            more: ids of results to move towards.
            less: ids of results to move away from.
            group: whether images of one item are one hit; None: where the item weighs.
            threshold: least similarity of a hit, -1 to 1.
            likely: whether to tell the query's likely value of each attribute.
        """
        name = index or self.default
        chosen = _parts(image, weights, id, parts, box)
        held = [sent(self._asker, part, name) for part in chosen]
        body = self._asked(
            name,
            parts=[part.body(query) for part, query in zip(chosen, held, strict=True)],
            k=k,
            offset=offset,
            where=where,
            more=list(more),
            less=list(less),
            group=group,
            threshold=threshold,
            likely=likely,
        )
        return kept(self._asker, held, name, lambda: self._asker.told(SearchResult.of, "POST", "/v1/search", body=body))

    def pages(
        self,
        image: Picture | None = None,
        weights: Mapping[str, float] | None = None,
        *,
        k: int = 100,
        **rest: Unpack[Rest],
    ) -> Iterator[SearchResult]:
        """Yield all hits of a search page by page, ``k`` each; a server skips 10,000 hits at most, there it ends.

        ``index.version`` of the pages says whether the index changed meanwhile.
        """
        options, name = cast(dict[str, Any], rest), rest.get("index") or self.default
        chosen = _parts(image, weights, *(options.pop(each, None) for each in ("id", "parts", "box")))
        held = [sent(self._asker, part, name) for part in chosen]  # once, for all pages
        chosen = [replace(part, image=query or part.image) for part, query in zip(chosen, held, strict=True)]
        for offset in range(0, LAST + 1, k):
            page = self.search(parts=chosen, k=k, offset=offset, **options)
            yield page
            if not page.left:
                return

    def hits(
        self,
        image: Picture | None = None,
        weights: Mapping[str, float] | None = None,
        *,
        k: int = 100,
        **rest: Unpack[Rest],
    ) -> Iterator[Hit]:
        """Yield all hits of a search best first, fetched ``k`` at a time, as ``pages`` does."""
        for page in self.pages(image, weights, k=k, **rest):
            yield from page.hits

    def explain(
        self, part: Part | Picture, attribute: str, *, gaze: str | None = None, index: str | None = None
    ) -> Explanation:
        """Return where a run looks on an image for one attribute.

        Args:
            part: a photograph, what ``upload`` made of one, or a hit; or ``Part(id=...)``, an image of the index.
            attribute: of the index.
            gaze: of the item: which branch of the model; None: the mean of all.
            index: whose runs are asked.
        """
        asked = {"attribute": attribute, "gaze": gaze}
        return self._explained(
            part, index, asked, lambda body: self._asker.told(Explanation.of, "POST", "/v1/explain", body=body)
        )

    def explain_png(
        self, part: Part | Picture, attribute: str, *, gaze: str | None = None, index: str | None = None
    ) -> bytes:
        """Return what ``explain`` finds as a PNG: the photograph, at most 640 pixels a side, with the map on top."""
        asked = {"attribute": attribute, "gaze": gaze, "format": "png"}
        response = self._explained(part, index, asked, lambda body: self._asker.ask("POST", "/v1/explain", body=body))
        return response.content

    def upsert(
        self,
        image: Photo,
        id: str,
        *,
        item: str | None = None,
        labels: Mapping[str, Sequence[str] | str] | None = None,
        metadata: Mapping[str, Value | None] | None = None,
        split: str | None = None,
        domain: str | None = None,
        box: Sequence[float] | None = None,
        index: str | None = None,
    ) -> Change:
        """Add an image to an index, or replace the one of this id with all that was known of it; needs the token.

        Returns:
            ``added``; ``changed``, another image or box than before; ``updated``, other labels or metadata;
            ``unchanged``. It is on disk then.
        """
        entry = {
            "index": index or self.default,
            "id": id,
            "item": item,
            "labels": {name: [each] if isinstance(each, str) else list(each) for name, each in (labels or {}).items()},
            "metadata": dict(metadata or {}),
            "split": split,
            "domain": domain,
            "box": None if box is None else list(box),
        }
        data = {"entry": as_json({name: value for name, value in entry.items() if value is not None})}
        files = {"image": encoded(image)}
        return self._asker.told(lambda told: cast(Change, told["change"]), "POST", "/v1/items", files=files, data=data)

    def delete(self, ids: Sequence[str], index: str | None = None) -> int:
        """Remove images from an index by id, and return how many there were; needs the token."""
        body = self._asked(index, ids=[ids] if isinstance(ids, str) else list(ids))
        return self._asker.told(lambda told: int(told["deleted"]), "POST", "/v1/items/delete", body=body)

    def _explained(
        self, picture: Part | Picture, index: str | None, asked: Mapping[str, Any], ask: Callable[[Any], T]
    ) -> T:
        part = picture if isinstance(picture, Part) else Part(picture)
        query = sent(self._asker, part, index or self.default)
        body = self._asked(index, part=part.source(query), **asked)
        return kept(self._asker, [query], index or self.default, lambda: ask(body))


def _parts(
    image: Picture | None,
    weights: Mapping[str, float] | None,
    id: str | None,
    parts: Sequence[Part] | None,
    box: Sequence[float] | None,
) -> list[Part]:
    """Return the parts of a search, however they are given."""
    if sum(each is not None for each in (image, id, parts)) != 1:
        raise SearchIndexError("expected one thing to search with: give exactly one of image, id and parts")
    if parts is None:
        return [Part(image, id, box=box, weights=weights)]
    if weights is not None or box is not None:
        raise SearchIndexError("weights and box belong into each of the parts: Part(..., weights=...)")
    return list(parts)
