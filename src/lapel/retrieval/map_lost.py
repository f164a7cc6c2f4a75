"""What shorter vectors cost: the MAP of each attribute among the rows of an index, before and after.

Leave-one-out: each query is a row with a value of the attribute that another row has too, and ranks all other labelled
rows by cosine. Average precision, its ties and the interval are those of ``lapel.evaluation.metrics``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lapel.evaluation.metrics import Interval, average_precision_from_scores, fixed_point, paired_difference

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

CELLS = 2**22  # scores held at a time


@dataclass(frozen=True)
class Lost:
    """Of one attribute, or of all.

    Attributes:
        queries: how many rows were looked for.
        candidates: rows that each was ranked against; of all attributes the most.
        before: MAP of the vectors as they were.
        after: MAP of the shorter ones.
        difference: ``after - before``, the mean with the ends of its 95 % interval.
    """

    queries: int
    candidates: int
    before: float
    after: float
    difference: Interval


@dataclass(frozen=True)
class Labelled:
    """The rows that have a value of an attribute, and the queries among them.

    Attributes:
        rows: (n,) their places.
        values: per value the numbers among ``rows`` that have it, ascending.
        queries: numbers among ``rows``.
    """

    rows: Places
    values: Sequence[Places]
    queries: Places

    @classmethod
    def of(cls, column: pa.ChunkedArray, queries: int, seed: Sequence[int]) -> Labelled | None:
        """Read a column of text or of lists of it, and draw queries; None where no two rows have a value in common."""
        cells = column.combine_chunks()
        if pa.types.is_list(cells.type):
            owners, flat = pc.list_parent_indices(cells).to_numpy(), pc.list_flatten(cells)
        else:
            owners, flat = np.flatnonzero(pc.is_valid(cells).to_numpy(zero_copy_only=False)), cells.drop_null()
        owners = owners.astype(np.int64)
        rows, numbers = np.unique(owners, return_inverse=True)
        codes = flat.dictionary_encode().indices.to_numpy(zero_copy_only=False)
        order = np.lexsort((numbers, codes))
        groups = np.split(numbers[order], np.flatnonzero(np.diff(codes[order])) + 1)
        values = [np.unique(group) for group in groups]
        shared = [group for group in values if len(group) > 1]
        if not shared:
            return None
        eligible = np.unique(np.concatenate(shared))
        chosen = np.random.default_rng(seed).choice(eligible, min(queries, len(eligible)), replace=False)
        return cls(rows, values, np.sort(chosen))

    def relevant(self, queries: Places) -> npt.NDArray[np.bool_]:
        """Return which rows share a value with each query: (q, n)."""
        found = np.zeros((len(queries), len(self.rows)), bool)
        for group in self.values:
            found[np.ix_(np.isin(queries, group), group)] = True
        return found


def precisions(labelled: Labelled, vectors: Floats) -> Doubles:
    """Return the average precision of each query against all labelled rows but itself.

    Args:
        labelled: n rows and Q queries.
        vectors: (n, D) of those rows.

    Returns:
        (Q,). Memory beyond the input: 8 n D bytes, and about 200 MB.
    """
    points, total = fixed_point(vectors), len(vectors)
    step, found = max(1, CELLS // total), []
    for start in range(0, len(labelled.queries), step):
        queries = labelled.queries[start : start + step]
        others = np.ones((len(queries), total), bool)
        others[np.arange(len(queries)), queries] = False
        shape = len(queries), total - 1
        scores = (points[queries] @ points.T)[others].reshape(shape)
        found.append(average_precision_from_scores(scores, labelled.relevant(queries)[others].reshape(shape)))
    return np.concatenate(found)


def lost(labelled: Sequence[Labelled], before: Sequence[Doubles], after: Sequence[Doubles]) -> Lost:
    """Return what one or more attributes lose: average precisions (Q,) of each, before and after."""
    queries, most = sum(len(one.queries) for one in labelled), max(len(one.rows) - 1 for one in labelled)
    means = [float(np.concatenate(groups).mean()) for groups in (before, after)]
    return Lost(queries, most, means[0], means[1], paired_difference(after, before))
