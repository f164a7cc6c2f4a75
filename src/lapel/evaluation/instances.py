"""Instance retrieval (AHBN): is an image of the query's item among the first K of the gallery?

In-Shop, Consumer-to-Shop and Street2Shop differ only in their ``ItemProtocol``. ``select`` turns one into the rows of
a catalogue that are asked and ranked; ``instance_retrieval`` ranks vectors of those rows, whatever made them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lapel.errors import LapelError
from lapel.evaluation import ranking
from lapel.evaluation.metrics import LEVEL, Interval
from lapel.evaluation.prediction import LandmarkResult, PredictionResult
from lapel.evaluation.ranking import Ranks
from lapel.evaluation.reranking import Rerank, reranked
from lapel.evaluation.selection import Selection, coded, select

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue
    from lapel.protocol import ItemProtocol

__all__ = ["GroupResult", "ItemResult", "Rerank", "Selection", "instance_retrieval", "select"]

Array = NDArray[Any]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class GroupResult:
    """The result of some of the queries.

    Attributes:
        queries: how many they are.
        gallery: images they are ranked against.
        hopeless: queries without a relevant image in the gallery; they count as misses.
        accuracy: Acc@K with its interval, one for each K.
        chance: expected Acc@K of a random ranking, one for each K.
    """

    queries: int
    gallery: int
    hopeless: int
    accuracy: tuple[Interval, ...]
    chance: tuple[float, ...]

    def to_dict(self, ks: Sequence[int]) -> dict[str, Any]:
        """Return it ready for JSON, in percent."""
        figures = {
            str(k): {name: _percent(value) for name, value in zip(("accuracy", "low", "high"), found, strict=True)}
            | {"chance": _percent(chance)}
            for k, found, chance in zip(ks, self.accuracy, self.chance, strict=True)
        }
        counts = {"queries": self.queries, "gallery": self.gallery, "queries_without_relevant": self.hopeless}
        return {"accuracy_at": figures} | counts


@dataclass(frozen=True, eq=False)
class ItemResult:
    """Instance retrieval; shares between 0 and 1.

    Attributes:
        ks: the K of Acc@K.
        accuracy: Acc@K over all queries with its bootstrap interval, one for each K.
        chance: expected Acc@K of a random ranking, one for each K.
        queries: number of queries counted.
        gallery: number of gallery images ranked.
        hopeless: queries without a relevant image in the gallery; they count as misses.
        missing: images left out because they have no embedding.
        ranks: of each query.
        rows: (queries,) their rows in the catalogue.
        within: value of the column that query and candidate share -> its queries' result against its own gallery.
        groups: column -> value -> the result of the queries with it, against the whole gallery.
        distractors: number of distractors -> expected Acc@K, one for each K.
        notes: what else was left out, counted.
        tags: how well the model's attribute branch predicts, where it has one and the images are labelled.
        landmarks: how well its localisation branch predicts, likewise.
    """

    ks: tuple[int, ...]
    accuracy: tuple[Interval, ...]
    chance: tuple[float, ...]
    queries: int
    gallery: int
    hopeless: int
    missing: int
    ranks: Ranks
    rows: Integers
    within: Mapping[str, GroupResult] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, GroupResult]] = field(default_factory=dict)
    distractors: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)
    tags: PredictionResult | None = None
    landmarks: LandmarkResult | None = None

    def to_dict(self, ranks: bool = False) -> dict[str, Any]:
        """Return it ready for JSON, in percent with 4 decimals; ``ranks`` adds each query's row and rank.

        Rank 0 stands for a query without a relevant image in the gallery.
        """
        beside = {"tags": self.tags, "landmarks": self.landmarks}
        overall = GroupResult(self.queries, self.gallery, self.hopeless, self.accuracy, self.chance)
        curve = {
            str(size): {str(k): _percent(value) for k, value in zip(self.ks, found, strict=True)}
            for size, found in self.distractors.items()
        }
        return {
            "task": "instance retrieval",
            "unit": "percent",
            "interval": LEVEL,
            "overall": overall.to_dict(self.ks) | {"images_without_embedding": self.missing},
            "within": {value: found.to_dict(self.ks) for value, found in self.within.items()},
            "groups": {
                column: {value: found.to_dict(self.ks) for value, found in values.items()}
                for column, values in self.groups.items()
            },
            "distractors": curve,
            "notes": dict(self.notes),
            **{name: found.to_dict() for name, found in beside.items() if found is not None},
            **({"query_rows": self.rows.tolist(), "ranks": self.ranks.rank.tolist()} if ranks else {}),
        }


def instance_retrieval(
    vectors: Array,
    catalogue: Catalogue,
    protocol: ItemProtocol,
    *,
    selection: Selection | None = None,
    distance: str = "cosine",
    missing: Array | None = None,
    distractors: Sequence[int] = (),
    seed: int = 0,
    samples: int = 2000,
    chunk: int | None = None,
    rerank: Rerank | None = None,
) -> ItemResult:
    """Measure Acc@K of the protocol's queries against its gallery.

    Args:
        vectors: (N, D) embeddings of the catalogue's rows; those of rows that do not take part are not looked at.
        catalogue: N images.
        protocol: who is asked and ranked, and what is a hit.
        selection: that of ``select``, where it was made before.
        distance: ``cosine`` or ``euclidean``.
        missing: (N,) bool, images without an embedding; they are left out as queries and from the gallery, and counted.
        distractors: sizes for the distractor curve: expected accuracy in a gallery of the query's relevant images and
            so many others.
        seed: of the bootstrap.
        samples: bootstrap samples (over queries) behind each interval.
        chunk: queries ranked at a time; changes memory, never the result.
        rerank: a second look at the first candidates of each query.

    Memory: that of ``ranking.first_relevant_ranks`` (and of ``reranking.reranked``); the vectors are not copied.

    Raises:
        CatalogueError: the catalogue lacks what the protocol asks for.
        LapelError: NaN in an embedding that takes part; no query or no gallery image has an embedding; distractors of
            what is re-ranked.
        ValueError: shapes do not fit.
    """
    if vectors.ndim != 2 or len(vectors) != len(catalogue):
        raise ValueError(f"expected vectors ({len(catalogue)}, D), found {vectors.shape}")
    if rerank is not None and len(distractors):
        raise LapelError("distractors are of one ranking: leave them out, or leave re-ranking out")
    chosen = select(catalogue, protocol) if selection is None else selection
    absent = np.zeros(len(catalogue), bool) if missing is None else np.asarray(missing, dtype=bool)
    if absent.shape != (len(catalogue),):
        raise ValueError(f"expected missing of shape ({len(catalogue)},), found {absent.shape}")
    gone = np.unique(np.concatenate([side[absent[side]] for side in (chosen.query, chosen.gallery)]))
    if len(gone):
        chosen = chosen.keep(~absent[chosen.query], ~absent[chosen.gallery])
    if not len(chosen.query) or not len(chosen.gallery):
        left = f"{len(chosen.query)} queries and {len(chosen.gallery)} gallery images are left"
        raise LapelError(f"nothing to evaluate in catalogue {catalogue.name!r}: {left}, {len(gone)} have no embedding")
    ranks = _ranks(vectors, chosen, distance, chunk, rerank)
    hits, chances = ranking.accuracy_at(ranks, protocol.ks), ranking.chance_accuracy(ranks, protocol.ks)

    def result(queries: Array, gallery: int) -> GroupResult:
        intervals = tuple(ranking.share_interval(hit[queries], samples, seed) for hit in hits)
        chance = tuple(float(values[queries].mean()) for values in chances)
        hopeless = int(np.count_nonzero(ranks.rank[queries] == 0))
        return GroupResult(int(np.count_nonzero(queries)), gallery, hopeless, intervals, chance)

    every = result(np.ones(len(chosen.query), bool), len(chosen.gallery))
    within = {}
    if chosen.within is not None:
        asked, ranked, names = chosen.within
        for code in np.unique(asked):
            within[names[code]] = result(asked == code, int(np.count_nonzero(ranked == code)))
    groups: dict[str, dict[str, GroupResult]] = {}
    for column in protocol.groups:
        rows, codes, names = coded(catalogue, column, "groups")
        groups[column] = {}
        for code in np.unique(codes[np.isin(rows, chosen.query)]):
            members = np.isin(chosen.query, rows[codes == code])
            groups[column][names[code]] = result(members, len(chosen.gallery))
    expected = ranking.expected_accuracy(ranks, distractors, protocol.ks)
    curve = {size: tuple(map(float, found)) for size, found in zip(distractors, expected, strict=True)}
    return ItemResult(
        tuple(protocol.ks),
        every.accuracy,
        every.chance,
        every.queries,
        every.gallery,
        every.hopeless,
        len(gone),
        ranks,
        chosen.query,
        within,
        groups,
        curve,
        chosen.notes,
    )


def _ranks(vectors: Array, chosen: Selection, distance: str, chunk: int | None, rerank: Rerank | None) -> Ranks:
    """Rank each value of ``within`` in its own gallery, or all in one."""

    def ranked(part: Selection) -> Ranks:
        found = ranking.first_relevant_ranks(
            vectors,
            vectors,
            part.relevance,
            excluded=part.excluded,
            distance=distance,
            chunk=chunk,
            query_rows=part.query,
            gallery_rows=part.gallery,
        )
        return found if rerank is None else reranked(found, vectors, part, distance, rerank)

    if chosen.within is None:
        return ranked(chosen)
    asked, candidates, _ = chosen.within
    whole = Ranks(*(np.zeros(len(chosen.query), np.int64) for _ in range(3)))
    for code in np.unique(asked):
        part = ranked(replace(chosen, within=None).keep(asked == code, candidates == code))
        for target, found in zip((whole.rank, whole.relevant, whole.candidates), _arrays(part), strict=True):
            target[asked == code] = found
    return whole


def _arrays(ranks: Ranks) -> tuple[Integers, Integers, Integers]:
    return ranks.rank, ranks.relevant, ranks.candidates


def _percent(share: float) -> float:
    return round(100 * share, 4)
