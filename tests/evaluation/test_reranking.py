"""Re-ranking against a sorted list per query; what changes a rank and what must not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lapel.errors import LapelError
from lapel.evaluation import reranking
from lapel.evaluation.instances import Rerank, instance_retrieval, select
from lapel.evaluation.reranking import first_candidates
from lapel.protocol import ItemProtocol, Side

from .item_world import random_world, slow

ALL, SPLIT = Side(), Side(("test",))
PROTOCOLS = [
    ItemProtocol(*sides, within=within, ks=(1, 3, 20))
    for sides in ((ALL, ALL), (SPLIT, ALL))
    for within in ("", "category")
]


def by_table(table, asked=None):
    """Sort candidates by a table of pairs of rows, best first, the first order where they tie."""

    def sort(queries, candidates):
        found = np.full_like(candidates, -1)
        for place, (query, near) in enumerate(zip(queries, candidates, strict=True)):
            given = [int(row) for row in near if row >= 0]
            if asked is not None:
                asked.append((int(query), list(given)))
            given.sort(key=lambda row: -table[query, row])
            found[place, : len(given)] = given
        return found

    return sort


@pytest.mark.parametrize("first", [1, 2, 5, 200])
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=["all", "all-within", "test", "test-within"])
def test_it_equals_a_sorted_list(protocol, first):
    for seed, lacking in itertools.product(range(4), (0.0, 0.3)):
        catalogue, _, vectors = random_world(seed)
        rng = np.random.default_rng(seed)
        missing, table = rng.random(len(catalogue)) < lacking, rng.integers(0, 4, (len(catalogue),) * 2)
        given = np.where(missing[:, None], np.nan, vectors)
        asked = []
        again = Rerank(first, by_table(table, asked))
        found = instance_retrieval(given, catalogue, protocol, missing=missing, rerank=again)
        plain = instance_retrieval(given, catalogue, protocol, missing=missing)
        expected = [row for row, *_ in slow(catalogue, protocol, vectors, missing)[0]]
        assert found.rows.tolist() == expected
        for place, query in enumerate(found.rows.tolist()):
            ranking, right = ranked(catalogue, protocol, vectors, missing, query)
            again = sorted(ranking[:first], key=lambda row: -table[query, row]) + ranking[first:]
            rank = next((number for number, row in enumerate(again, 1) if row in right), 0)
            assert found.ranks.rank[place] == rank
            if plain.ranks.rank[place] == 0 or plain.ranks.rank[place] > first:
                assert query not in [row for row, _ in asked]  # nothing to gain: its pairs are not scored
        for query, near in asked:
            assert near == ranked(catalogue, protocol, vectors, missing, query)[0][:first]
        np.testing.assert_array_equal(found.ranks.relevant, plain.ranks.relevant)
        np.testing.assert_array_equal(found.ranks.candidates, plain.ranks.candidates)


def ranked(catalogue, protocol, vectors, missing, query):
    """Return one query's candidates by Python's sort, best first, and which are right."""
    rows = catalogue.images.to_pylist()

    def picture(row):
        return rows[row]["image"], rows[row]["box"]

    near = [row for row in range(len(rows)) if not missing[row] and picture(row) != picture(query)]
    if protocol.within:
        near = [row for row in near if rows[row]["category"] == rows[query]["category"]]
    near.sort(key=lambda row: (-(vectors[query] @ vectors[row]), row))
    return near, {row for row in near if rows[row]["item"] == rows[query]["item"]}


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_the_first_candidates_are_those_of_the_exact_ranking(distance):
    catalogue, _, _ = random_world(5, 60)
    vectors = np.random.default_rng(0).integers(-3, 4, (60, 2)).astype(np.float32)  # many ties
    chosen = select(catalogue, ItemProtocol(ALL, ALL))
    found = first_candidates(vectors, chosen, distance, 7)
    length = np.linalg.norm(vectors.astype(float), axis=1)
    for place, query in enumerate(chosen.query):
        product = vectors.astype(float) @ vectors[query]
        score = np.round(product / np.maximum(length * length[query], 1e-9), 6)
        if distance == "euclidean":
            score = -np.square(vectors.astype(float) - vectors[query]).sum(1)
        gone = set(chosen.excluded[place].tolist())
        order = [row for row in sorted(range(60), key=lambda row: (-score[row], row)) if row not in gone]
        assert found[place].tolist() == order[:7]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rerank": Rerank(0, by_table(np.zeros((45, 45))))}, LapelError, "the first 0 candidates: expected 1 or more"),
        ({"rerank": Rerank(3, lambda _, near: near[:, ::-1] + 1)}, ValueError, "the same candidates in another order"),
        (
            {"rerank": Rerank(3, lambda _, near: near), "distractors": (5,)},
            LapelError,
            "are of one ranking",
        ),
    ],
)
def test_what_cannot_be_reranked(change, error, message):
    catalogue, _, vectors = random_world(0)
    with pytest.raises(error, match=message):
        instance_retrieval(vectors, catalogue, PROTOCOLS[0], **change)


def test_a_query_whose_right_images_are_not_among_the_sorted_keeps_its_rank(monkeypatch):
    """As where the last bits of a score put the right image just behind them."""
    catalogue, _, vectors = random_world(0)
    protocol = ItemProtocol(ALL, ALL, ks=(1,))
    plain = instance_retrieval(vectors, catalogue, protocol)

    def wrong(vectors, chosen, distance, count):
        taken = {*chosen.relevance.rows.tolist()}
        others = [row for row in range(len(chosen.gallery)) if row not in taken][:1]
        return np.array([others or [-1]] * len(chosen.query))

    monkeypatch.setattr(reranking, "first_candidates", wrong)
    monkeypatch.setattr(reranking, "_CELLS", 1)  # one query at a time
    found = instance_retrieval(vectors, catalogue, protocol, rerank=Rerank(2, lambda _, near: near))
    assert found.ranks.rank.tolist() == plain.ranks.rank.tolist()
