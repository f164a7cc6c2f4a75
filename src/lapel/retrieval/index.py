"""An indexed catalogue, searched by any weighting of what its runs embed: attributes, the item, or both.

One column holds the A unit vectors of a row one after the other, so for any weights w

    sum_a w_a cos(q_a, x_a) = < concat_a(w_a q_a), concat_a(x_a) >

and weights live in the query alone: zero leaves an attribute out, a negative weight asks for less of it. Vectors of
different runs may differ in size; each counts by its cosine all the same. Where the item weighs, the images of one
item become one hit.

An index may be searched by many threads at once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy.typing as npt

from lapel.decoding import decode_array
from lapel.errors import SearchIndexError
from lapel.retrieval.feedback import steered
from lapel.retrieval.hits import Found, Hit
from lapel.retrieval.layout import ITEM
from lapel.retrieval.opened import Opened, one_array
from lapel.retrieval.parts import Part, combine
from lapel.retrieval.query import Asked, Doubles, Weights, similarity, unit, weigh, whole
from lapel.retrieval.ranking import Question, cosines
from lapel.retrieval.snapshot import Blocks, Floats
from lapel.retrieval.votes import NEAREST, WARMTH, Vote, likely


class Index(Opened):
    """A catalogue's vectors, opened for searching. It stays as it was when opened; see ``refresh``."""

    def search(
        self,
        image: Any,
        weights: Weights = None,
        k: int = 10,
        where: str | None = None,
        box: Sequence[float] | None = None,
        group: bool | None = None,
    ) -> list[Hit]:
        """Find the images most like ``image`` under the weighted attributes.

        Args:
            image: path, bytes, PIL image or (H, W, 3) uint8 array.
            weights: attribute -> weight; attributes not named weigh zero; None weighs every attribute 1.
            k: hits wanted; fewer come back if fewer pass the filter.
            where: filter (grammar: ``lapel.retrieval.filters``), applied before ranking.
            box: x1, y1, x2, y2 of the garment in pixels of the upright image; give it where the catalogue has boxes.
            group: whether the images of one item make one hit, that of the best of them, with the others' ids in
                ``Hit.others``; images without an item stand alone. None: where ``item`` weighs.

        Returns:
            Hits, best first; equal scores in order of id.

        Raises:
            SearchIndexError: unknown attribute, weights all zero, bad k or filter, the run's weights changed.
            ImageError: the image cannot be read.
        """
        weighing = self._check(weights, k, where)  # before the seconds that loading a model takes
        found = self._encoders(image if box is None else decode_array(image, box), weighing)
        return self._search(unit(found, self.dims, weighing), weighing, k, where, group)

    def search_id(
        self,
        image_id: str,
        weights: Weights = None,
        k: int = 10,
        where: str | None = None,
        group: bool | None = None,
    ) -> list[Hit]:
        """Find the images most like one of the index, which is itself left out; no model is needed."""
        weighing = self._check(weights, k, where)
        return self._search(unit(self.vectors(image_id), self.dims, weighing), weighing, k, where, group, (image_id,))

    def search_vector(
        self,
        query: npt.ArrayLike | Sequence[npt.ArrayLike],
        weights: Weights = None,
        k: int = 10,
        where: str | None = None,
        group: bool | None = None,
    ) -> list[Hit]:
        """Find the images nearest to A vectors of ``dims`` numbers: one per attribute, of any length but 0."""
        weighing = self._check(weights, k, where)
        return self._search(unit(query, self.dims, weighing), weighing, k, where, group)

    def search_parts(
        self,
        parts: Sequence[Part],
        k: int = 10,
        offset: int = 0,
        where: str | None = None,
        group: bool | None = None,
        without: Collection[str] = frozenset(),
        threshold: float | None = None,
        more: Sequence[str] = (),
        less: Sequence[str] = (),
    ) -> Found:
        """Find the images most like several query images together, a page at a time.

        Args:
            parts: the query images with their weights; they become one query, see ``lapel.retrieval.parts``.
            k: hits on the page.
            offset: hits before it. The pages of one query, however cut, repeat and miss nothing.
            where: filter, applied before ranking.
            group: as in ``search``.
            without: ids of images left out, such as the query's own; unknown ones are no mistake.
            threshold: least similarity of a hit, from -1 to 1: its score over the sum of the weights' sizes.
            more: ids of images of the index that the query moves towards (``lapel.retrieval.feedback``).
            less: ids that it moves away from; they are left out, with all of their item where hits are grouped.

        Raises:
            SearchIndexError: unknown attribute, nothing that weighs, bad vectors, k, offset, threshold or filter, an
                id of ``more`` or ``less`` that is not in the index or is in both.
        """
        whole("k", k, 1)
        whole("offset", offset, 0)
        similarity("threshold", threshold)
        tree = self.filter(where)
        mixed = combine(parts, self.attributes, self.dims)
        if more or less:
            mixed = steered(mixed, self._judged(more, less), self._judged(less, more))
        grouped = self._grouped(mixed.weights, group)
        items = self.gallery.fetch(less)[0][ITEM].drop_null().to_pylist() if grouped and less else []
        barred = frozenset(without).union(less)
        question = Question(mixed.vectors, mixed.weights, tree, grouped, barred, frozenset(items), threshold)
        hits, left = self._hits(question, offset, offset + k)
        weights = dict(zip(self.attributes, mixed.weights.tolist(), strict=True))
        near = [min(1.0, max(-1.0, hit.score / question.size)) for hit in hits]  # but for rounding it is so already
        return Found(hits, near, left, weights)

    def encode(self, image: Any, box: Sequence[float] | None = None) -> Floats | Blocks:
        """Return the unit vectors of a query image, or of its part in ``box``, in the form of ``vectors``.

        The encoders stored with the index are loaded on first use, or the runs where there are none.

        Raises:
            SearchIndexError: a run is gone, or has other weights than the index was built with.
            ImageError: the image cannot be read, or the box is empty.
        """
        return one_array(self.encode_many([image], [box])[0])

    def encode_many(self, images: Sequence[Any], boxes: Sequence[Sequence[float] | None] | None = None) -> list[Blocks]:
        """Return the unit vectors of several query images, each run embedding all of them in one pass.

        Args:
            images: as ``search`` takes them.
            boxes: one for each, or None, as ``search`` takes it.

        Returns:
            Per image and attribute (D,) float32.

        Raises:
            SearchIndexError: a run is gone, or has other weights than the index was built with; another number of
                boxes than images.
            ImageError: an image cannot be read, or a box is empty.
        """
        crops = [None] * len(images) if boxes is None else boxes
        if len(crops) != len(images):
            raise SearchIndexError(f"expected a box or None for each of {len(images)} images, found {len(crops)}")
        cut = [image if box is None else decode_array(image, box) for image, box in zip(images, crops, strict=True)]
        return self._encoders.many(cut)

    def likely(
        self,
        vectors: Sequence[Floats | Doubles | None],
        attribute: str,
        without: Collection[str] = (),
        nearest: int = NEAREST,
        warmth: float = WARMTH,
    ) -> list[Vote]:
        """Tell a query's value of an attribute by the vote of its nearest images; see ``lapel.retrieval.votes``."""
        return likely(self, vectors, attribute, without, nearest, warmth)

    def _check(self, weights: Weights, k: int, where: str | None) -> Doubles:
        """Check a query's settings and return the weights as (A,)."""
        whole("k", k, 1)
        self.filter(where)
        return weigh(weights, self.attributes)

    def _grouped(self, weighing: Doubles, group: bool | None) -> bool:
        names = self.attributes
        return bool(ITEM in names and weighing[names.index(ITEM)] != 0) if group is None else group

    def _search(
        self,
        asked: Asked,
        weighing: Doubles,
        k: int,
        where: str | None,
        group: bool | None,
        without: Collection[str] = (),
    ) -> list[Hit]:
        """Rank by one query image, leaving out the images ``without``."""
        grouped = self._grouped(weighing, group)
        return self._hits(Question(asked, weighing, self.filter(where), grouped, frozenset(without)), 0, k)[0]

    def _hits(self, question: Question, start: int, stop: int) -> tuple[list[Hit], bool]:
        """Return places ``start`` to ``stop`` of a ranking, and whether more follow."""
        page = self.gallery.page(question, start, stop)
        found = cosines(question.asked, page.vectors, self.attributes)
        hits = []
        for place, (result, entry) in enumerate(zip(page.results, self.entries(page.rows), strict=True)):
            scores = {name: float(every[place]) for name, every in found.items()}
            hits.append(Hit(**vars(entry), score=result.score, scores=scores, others=result.others))
        return hits, page.left

    def _judged(self, ids: Sequence[str], others: Collection[str]) -> list[Blocks]:
        both = next((name for name in ids if name in others), None)
        if both is not None:
            raise SearchIndexError(f"image {both!r} is wanted both more and less of: give it once")
        return self.vectors_of(ids)
