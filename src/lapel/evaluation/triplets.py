"""Triplet relation prediction (CSN, AG-MAN's table 4): is the positive closer to the anchor than the negative?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lapel import columns
from lapel.errors import CatalogueError, LapelError, unknown
from lapel.evaluation import metrics
from lapel.evaluation.metrics import LEVEL, Interval
from lapel.evaluation.queries import rows_of

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue

Array = NDArray[Any]
ROLES = ("anchor", "positive", "negative")


@dataclass(frozen=True)
class TripletResult:
    """Triplet prediction: share of right triplets with its interval, and the mean margin loss.

    Attributes:
        accuracy: share of triplets whose positive is strictly the closer one, with its interval ``low`` to ``high``.
        loss: mean margin loss of the same triplets.
        triplets: how many were asked.
        missing: triplets left out because one of their images has no embedding.
        right: (triplets,) bool, which were told right.
        places: (triplets,) their places among the attribute's triplets as listed, those left out counted.
    """

    accuracy: float
    low: float
    high: float
    loss: float
    triplets: int
    missing: int = 0
    right: Array = field(default_factory=lambda: np.zeros(0, bool), compare=False, repr=False)
    places: Array = field(default_factory=lambda: np.zeros(0, np.int64), compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON, accuracy in percent with 4 decimals."""
        head = {"task": "triplet prediction", "unit": "percent", "interval": LEVEL}
        return head | self.figures()

    def figures(self) -> dict[str, Any]:
        """Return the figures alone, as ``to_dict`` does."""
        shares = {name: round(100 * getattr(self, name), 4) for name in ("accuracy", "low", "high")}
        counts = {"triplets": self.triplets, "triplets_without_embedding": self.missing}
        return shares | {"average_loss": round(self.loss, 6)} | counts


@dataclass(frozen=True)
class TripletsResult:
    """Triplet prediction per attribute and over all triplets together.

    Attributes:
        attributes: attribute -> its figures.
        overall: over all triplets of these attributes.
        margin: of the average loss.
        source: where the triplets come from.
        not_evaluated: attribute -> why it could not be measured.
    """

    attributes: Mapping[str, TripletResult]
    overall: TripletResult
    margin: float
    source: str
    not_evaluated: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, attribute: str) -> TripletResult:
        if attribute not in self.attributes:
            raise KeyError(unknown("attribute", attribute, self.attributes))
        return self.attributes[attribute]

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON, accuracies in percent with 4 decimals."""
        return {
            "task": "triplet prediction",
            "unit": "percent",
            "interval": LEVEL,
            "margin": self.margin,
            "attributes": {name: found.figures() for name, found in self.attributes.items()},
            "overall": self.overall.figures(),
            "not_evaluated": dict(self.not_evaluated),
        }


def triplets_of(table: pa.Table, split: str, source: str) -> pa.Table:
    """Return the triplets of one split: a table ``attribute, anchor, positive, negative`` of text.

    Raises:
        CatalogueError: a column or a cell is missing; no triplets of this split.
    """
    for name in ("split", "attribute", *ROLES):
        if name not in table.column_names:
            found = ", ".join(table.column_names)
            raise CatalogueError(f"{source}: expected columns split, attribute, {', '.join(ROLES)}, found {found}")
    chosen = table.filter(pc.equal(table["split"], split))
    if not chosen.num_rows:
        raise CatalogueError(f"{source}: {unknown('split', split, table['split'].drop_null().unique().to_pylist())}")
    text = pa.table({name: columns.text(columns.plain(chosen[name])) for name in ("attribute", *ROLES)})
    for name in text.column_names:
        if text[name].null_count:
            raise CatalogueError(f"{source}: {text[name].null_count} triplets of split {split!r} have no {name}")
    return text


def triplet_prediction(
    vectors: Array,
    attributes: Sequence[str],
    catalogue: Catalogue,
    table: pa.Table,
    split: str = "test",
    margin: float = 0.2,
    *,
    distance: str = "cosine",
    missing: Array | None = None,
    source: str = "relation 'triplets'",
    chunk: int = 4096,
    samples: int = 2000,
    seed: int = 0,
) -> TripletsResult:
    """Measure triplet prediction on the triplets of one split, each under its own attribute.

    Args:
        vectors: (N, A, D) embeddings of the catalogue's rows.
        attributes: names of axis 1.
        catalogue: N images; those that the triplets of these attributes name must be among them.
        table: triplets ``split, attribute, anchor, positive, negative``, images named as the catalogue names them.
        split: which of them.
        margin: of the average loss.
        distance: by which the closer one is told: ``cosine``, or ``euclidean`` of the vectors as they are.
        missing: (N,) bool, images without an embedding; triplets that name one are left out and counted.
        source: what messages and the record call the table.
        chunk: triplets at a time; memory is about 60 ``chunk`` D bytes.
        samples: bootstrap samples behind each interval.
        seed: of the bootstrap.

    Raises:
        CatalogueError: the table lacks something, or names images that the catalogue lacks.
        LapelError: NaN in an embedding that a triplet uses; nothing can be evaluated; an unknown distance.
        ValueError: shapes do not fit.
    """
    if vectors.ndim != 3 or vectors.shape[:2] != (len(catalogue), len(attributes)):
        raise ValueError(f"expected vectors ({len(catalogue)}, {len(attributes)}, D), found {vectors.shape}")
    absent = np.zeros(len(catalogue), bool) if missing is None else np.asarray(missing, dtype=bool)
    if absent.shape != (len(catalogue),):
        raise ValueError(f"expected missing of shape ({len(catalogue)},), found {absent.shape}")
    every = triplets_of(table, split, source)
    counts = {row["values"]: row["counts"] for row in every["attribute"].value_counts().to_pylist()}
    reasons = {name: f"no triplets of it in split {split!r}" for name in attributes if name not in counts}
    for name in counts.keys() - set(attributes):
        reasons[name] = f"{counts[name]} triplets, but the embeddings have no such attribute"
    text = every.filter(pc.is_in(every["attribute"], pa.array(list(attributes), pa.string())))
    rows = np.stack([rows_of(text[role], catalogue, source) for role in ROLES], axis=1)
    encoded = text["attribute"].combine_chunks().dictionary_encode()
    chosen: dict[str, Array] = {}
    gone: dict[str, int] = {}
    kept_places: dict[str, Array] = {}
    for code, name in enumerate(encoded.dictionary.to_pylist()):
        listed = rows[encoded.indices.to_numpy() == code]
        present = ~absent[listed].any(axis=1)
        kept = listed[present]
        if len(kept):
            chosen[name], gone[name] = kept, len(listed) - len(kept)
            kept_places[name] = np.flatnonzero(present)
        else:
            reasons[name] = f"all {len(listed)} triplets name an image without an embedding"
    if not chosen:
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise LapelError(f"no triplet can be evaluated in catalogue {catalogue.name!r}: {why}")
    places = {name: list(attributes).index(name) for name in chosen}
    similar = {
        name: _similarities(vectors, kept, np.full(len(kept), places[name]), chunk, distance)
        for name, kept in chosen.items()
    }
    each = {
        name: replace(_result([found], margin, samples, seed, gone[name]), places=kept_places[name])
        for name, found in similar.items()
    }
    overall = _result(list(similar.values()), margin, samples, seed, sum(gone.values()))
    return TripletsResult(each, overall, margin, f"{source}, split {split!r}", reasons)


def triplet_relation(
    vectors: Array,
    triplets: Array,
    attribute_index: Array,
    margin: float = 0.2,
    *,
    chunk: int = 4096,
    samples: int = 2000,
    seed: int = 0,
) -> TripletResult:
    """Measure triplet prediction on triplets given as rows: the plain form of ``triplet_prediction``.

    Args:
        vectors: (N, A, D) embeddings.
        triplets: (T, 3) rows of anchor, positive, negative. CSN's files list anchor, far, close: swap first.
        attribute_index: (T,) the attribute of each triplet, a position on axis 1.
        margin: of the average loss.
        chunk: triplets at a time; memory is about 60 ``chunk`` D bytes.
        samples: bootstrap samples (over triplets) behind the interval of the accuracy.
        seed: of the bootstrap.

    Raises:
        LapelError: NaN in an embedding that a triplet uses.
        ValueError: shapes do not fit or an index is out of range.
    """
    index, asked = np.asarray(triplets, dtype=np.int64), np.asarray(attribute_index, dtype=np.int64)
    if vectors.ndim != 3 or index.ndim != 2 or index.shape[1] != 3 or asked.shape != index.shape[:1]:
        found = f"{vectors.shape}, {index.shape} and {asked.shape}"
        raise ValueError(f"expected vectors (N, A, D), triplets (T, 3) and attributes (T,), found {found}")
    for kind, used, size in (("row", index, vectors.shape[0]), ("attribute", asked, vectors.shape[1])):
        if used.size and (used.min() < 0 or used.max() >= size):
            raise ValueError(f"triplets name {kind} {used.min()} to {used.max()}, expected 0 to {size - 1}")
    return _result([_similarities(vectors, index, asked, chunk)], margin, samples, seed)


def similarities(anchor: Array, other: Array, distance: str = "cosine") -> Array:
    """Return how similar rows (n, D) are to their counterparts: cosines, or Euclidean distances below zero; float64.

    Raises:
        LapelError: an unknown distance.

    >>> near = np.array([[3.0, 4.0]])
    >>> similarities(near, 2 * near).round(6).tolist(), similarities(near, 2 * near, "euclidean").tolist()
    ([1.0], [-5.0])
    """
    if distance == "euclidean":
        gap: Array = np.asarray(anchor, np.float64) - other
        return np.asarray(-np.sqrt(np.square(gap).sum(axis=1)))
    if distance != "cosine":
        raise LapelError(unknown("distance", distance, ("cosine", "euclidean")))
    return np.asarray((metrics.unit_vectors(anchor) * metrics.unit_vectors(other)).sum(axis=1))


def _similarities(vectors: Array, index: Array, asked: Array, chunk: int, distance: str = "cosine") -> Array:
    """Return how similar each anchor is to its positive and its negative, (2, T) float64."""
    similar = np.empty((2, len(index)))
    for start in range(0, len(index), chunk):
        part = slice(start, start + chunk)
        anchor, *others = (vectors[index[part, side], asked[part]] for side in range(3))
        for side, other in enumerate(others):
            similar[side, part] = similarities(anchor, other, distance)
    return similar


def _result(groups: Sequence[Array], margin: float, samples: int, seed: int, missing: int = 0) -> TripletResult:
    similar = np.concatenate(list(groups), axis=1)
    accuracy = metrics.triplet_accuracy(similar[0], similar[1])
    interval = _interval([positive > negative for positive, negative in groups], samples, seed)
    loss = metrics.triplet_margin_loss(similar[0], similar[1], margin)
    right = similar[0] > similar[1]
    places = np.arange(len(right))
    return TripletResult(accuracy, interval.low, interval.high, loss, similar.shape[1], missing, right, places)


def _interval(groups: Sequence[Array], samples: int, seed: int) -> Interval:
    """Return the mean of groups of right and wrong answers with its bootstrap interval.

    Resampling n answers of which a share p is right gives a binomial number of right ones, so that number is drawn
    itself: the bootstrap of ``metrics.mean_interval`` without its n draws per sample.
    """
    total = sum(map(len, groups))
    sums = np.zeros(samples)
    for number, right in enumerate(groups):
        sums += np.random.default_rng([seed, number]).binomial(len(right), right.mean(), samples)
    low, high = np.quantile(sums / total, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(sum(right.sum() for right in groups)) / total, float(low), float(high))
