"""The whole protocol by Python loops over tiny catalogues, for every combination of its switches; then the messages."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from lapel.errors import CatalogueError, LapelError
from lapel.evaluation.instances import instance_retrieval, select
from lapel.protocol import ItemProtocol, Side

from .item_world import catalogue_of, random_world, slow

SIDES = {
    "apart": (Side(("test",)), Side(("val",))),
    "same": (Side(("test",)), Side(("test",))),
    "more": (Side(("test",)), Side(("val", "test"))),
}
DOMAINS = {"consumer to shop": ("consumer", "shop"), "any": (None, None)}
SWITCHES = [
    ItemProtocol(
        *(Side(side.splits, domain) for side, domain in zip(SIDES[sides], DOMAINS[domains], strict=True)),
        relation=relation,
        match=match,
        asked=asked,
        within=within,
        only=only,
        ks=(1, 3, 20),
        groups=("pose", "fit"),
    )
    for sides, domains, relation in itertools.product(SIDES, DOMAINS, ("", "pairs"))
    for match, asked in itertools.product(("item", "image"), ("image", "pair"))
    for within, only in (("", ()), ("category", ()), ("category", ("c0", "c2")))
    if relation or (match, asked) == ("item", "image")
]


def named(protocol: ItemProtocol) -> str:
    sides = "+".join(protocol.query.splits) + ">" + "+".join(protocol.gallery.splits)
    return "-".join(
        filter(
            None,
            [sides, protocol.query.domain, protocol.relation, protocol.match, protocol.asked, protocol.within,
             *protocol.only],
        )
    )  # fmt: skip


@pytest.mark.parametrize("protocol", SWITCHES, ids=named)
def test_every_combination_of_switches_equals_loops(protocol):
    for seed, lacking in itertools.product(range(4), (0.0, 0.3)):
        catalogue, fits, vectors = random_world(seed)
        missing = np.random.default_rng(seed).random(len(catalogue)) < lacking
        expected, gallery, gone = slow(catalogue, protocol, vectors, missing)
        given = np.where(missing[:, None], np.nan, vectors)
        if not expected or not gallery:
            with pytest.raises(LapelError, match=r"nothing to evaluate|no gallery image"):
                instance_retrieval(given, catalogue, protocol, missing=missing)
            continue
        result = instance_retrieval(given, catalogue, protocol, missing=missing, samples=20, distractors=(0, 5, 999))
        found = zip(result.rows, result.ranks.rank, result.ranks.relevant, result.ranks.candidates, strict=True)
        assert [tuple(map(int, row)) for row in found] == expected
        assert (result.queries, result.gallery, result.missing) == (len(expected), len(gallery), len(gone))
        assert result.hopeless == sum(rank == 0 for _, rank, _, _ in expected)

        def accuracies(rows):
            return [np.mean([0 < rank <= k for _, rank, _, _ in rows]) for k in (1, 3, 20)]

        assert [interval.mean for interval in result.accuracy] == pytest.approx(accuracies(expected))
        assert result.distractors[999] == pytest.approx(accuracies(expected))
        poses = catalogue.images["pose"].to_pylist()
        for pose in {poses[row[0]] for row in expected} - {None}:
            rows = [row for row in expected if poses[row[0]] == pose]
            group = result.groups["pose"][str(pose)]
            assert [interval.mean for interval in group.accuracy] == pytest.approx(accuracies(rows))
            assert (group.queries, group.gallery) == (len(rows), len(gallery))
        for value, group in result.groups["fit"].items():
            rows = [row for row in expected if (row[0], value) in fits]
            assert (group.queries, group.hopeless) == (len(rows), sum(rank == 0 for _, rank, _, _ in rows))
        assert bool(result.within) == bool(protocol.within)
        categories = catalogue.images["category"].to_pylist()
        for value, group in result.within.items():
            rows = [row for row in expected if categories[row[0]] == value]
            assert [interval.mean for interval in group.accuracy] == pytest.approx(accuracies(rows))
            assert (group.queries, group.gallery) == (len(rows), sum(categories[g] == value for g in gallery))
        if protocol.within:
            assert sum(group.queries for group in result.within.values()) == result.queries
        json.dumps(result.to_dict(ranks=True), allow_nan=False)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_no_cut_changes_the_result(distance):
    protocol = ItemProtocol(Side(("test",)), Side(("val", "test")), within="category", groups=("pose",))
    catalogue, _, vectors = random_world(3, 60)
    vectors = vectors * np.random.default_rng(0).integers(1, 4, (60, 1))
    settings = {"distance": distance, "distractors": (1, 4), "samples": 50}
    whole = instance_retrieval(vectors, catalogue, protocol, **settings).to_dict(ranks=True)
    for chunk in (1, 3, 100):
        again = instance_retrieval(
            vectors.astype(np.float32),
            catalogue,
            protocol,
            chunk=chunk,
            selection=select(catalogue, protocol),
            **settings,
        )
        assert again.to_dict(ranks=True) == whole


def row(image, item="a", split="test", **more):
    return {"image": image, "item": item, "split": split, "domain": "shop", "category": "c", "pose": 1} | more


LEAVE_ONE_OUT = ItemProtocol(Side(("test",)), Side(("test",)), ks=(1, 2))


def test_a_query_is_never_its_own_candidate():
    """Another row with its picture is none either; another box of the same photograph is one."""
    rows = [row("1"), row("1"), row("1", box=[0.0, 0, 5, 5]), row("1", box=[0.0, 0, 5, 5], item="b"), row("2", "b")]
    catalogue = catalogue_of(rows)
    chosen = select(catalogue, LEAVE_ONE_OUT)
    assert [chosen.excluded[q].tolist() for q in range(5)] == [[0, 1], [0, 1], [2, 3], [2, 3], [4]]
    assert [chosen.relevance[q].tolist() for q in range(5)] == [[2], [2], [0, 1], [4], [3]]
    result = instance_retrieval(np.ones((5, 2)), catalogue, LEAVE_ONE_OUT)
    assert result.ranks.candidates.tolist() == [3, 3, 3, 3, 4]
    assert result.ranks.rank.tolist() == [1, 1, 1, 3, 4]


def test_a_single_image_of_an_item_is_hopeless_and_counts():
    catalogue = catalogue_of([row("1"), row("2"), row("3", "alone")])
    result = instance_retrieval(np.eye(3), catalogue, LEAVE_ONE_OUT)
    assert result.hopeless == 1
    assert result.accuracy[1].mean == pytest.approx(2 / 3)
    assert result.to_dict()["overall"]["queries_without_relevant"] == 1


def test_a_single_image_of_an_item_need_not_be_asked_but_distracts():
    catalogue = catalogue_of([row("1"), row("3", "alone"), row("2"), row("2", "also alone")])
    chosen = select(catalogue, replace(LEAVE_ONE_OUT, alone="skip"))
    assert (chosen.query.tolist(), chosen.gallery.tolist()) == ([0, 2], [0, 1, 2, 3])
    assert chosen.notes == {"queries_without_another_image": 2}
    result = instance_retrieval(np.eye(4), catalogue, replace(LEAVE_ONE_OUT, alone="skip"))
    every = instance_retrieval(np.eye(4), catalogue, LEAVE_ONE_OUT)
    assert result.ranks.rank.tolist() == every.ranks.rank[[0, 2]].tolist()
    assert result.ranks.candidates.tolist() == [3, 2]  # the same picture under another item is no candidate
    assert (result.queries, result.gallery, result.hopeless) == (2, 4, 0)
    with pytest.raises(CatalogueError, match=r"none of 2 queries has another image of its item .*alone 'miss'"):
        select(catalogue_of([row("1"), row("2", "b")]), replace(LEAVE_ONE_OUT, alone="skip"))


def test_images_without_item_are_not_asked_but_distract():
    catalogue = catalogue_of([row("1"), row("2", None), row("3")])
    result = instance_retrieval(np.ones((3, 2)), catalogue, LEAVE_ONE_OUT)
    assert result.rows.tolist() == [0, 2]
    assert result.gallery == 3
    assert result.ranks.rank.tolist() == [2, 1]
    assert result.notes == {"queries_without_item": 1}


def test_chance_is_the_mean_over_random_rankings():
    catalogue, _, _ = random_world(1, 60)
    protocol = ItemProtocol(Side(("test",)), Side(("val", "test")), ks=(1, 5))
    rng = np.random.default_rng(0)
    draws = [instance_retrieval(rng.normal(size=(60, 40)), catalogue, protocol, samples=1) for _ in range(300)]
    means = np.array([[interval.mean for interval in draw.accuracy] for draw in draws])
    assert np.abs(means.mean(axis=0) - draws[0].chance).max() < 4 * means.std(axis=0).max() / np.sqrt(300)


def test_the_record_in_percent():
    catalogue = catalogue_of([row("1"), row("2"), row("3", "b"), row("4", "b")])
    vectors = np.array([[1.0, 0], [1, 0.1], [0, 1], [1, 0.2]])
    found = instance_retrieval(vectors, catalogue, LEAVE_ONE_OUT, distractors=(1,)).to_dict(ranks=True)
    assert found["task"] == "instance retrieval"
    assert found["overall"]["accuracy_at"]["1"] == {"accuracy": 50.0, "low": 0.0, "high": 100.0, "chance": 33.3333}
    assert found["overall"]["accuracy_at"]["2"]["accuracy"] == 75.0
    assert found["overall"]["queries"] == found["overall"]["gallery"] == 4
    assert found["distractors"]["1"] == {"1": 62.5, "2": 100.0}
    assert found["query_rows"] == [0, 1, 2, 3]
    assert found["ranks"] == [1, 2, 1, 3]


def test_pairs_of_a_photograph_of_several_garments():
    """The box of the pair's item is meant; where no row is of that item nothing is guessed."""
    rows = [row("street", "a", box=[0.0, 0, 5, 5]), row("street", "b"), row("shop", "b"), row("other", "a")]
    pairs = [("test", "street", "shop", "b"), ("test", "street", "other", "a")]
    protocol = ItemProtocol(Side(("test",)), Side(("test",)), relation="pairs")
    chosen = select(catalogue_of(rows, pairs), protocol)
    assert chosen.query.tolist() == [0, 1]
    assert [chosen.gallery[chosen.relevance[q]].tolist() for q in (0, 1)] == [[3], [2]]
    with pytest.raises(CatalogueError, match="'street' has several rows in the catalogue, none of them of item 'x'"):
        select(catalogue_of(rows, [*pairs, ("test", "street", "shop", "x")]), protocol)


ROWS = [row("1"), row("2"), row("3", split="val"), row("4", None, "val", domain="consumer")]
PAIRS = [("test", "1", "2", "a"), ("val", "3", "1", None)]
T, V = Side(("test",)), Side(("val",))


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        (ItemProtocol(), "unknown or empty split 'query'. Known: test, val"),
        (ItemProtocol(T, Side(("test", "vall"))), "split 'vall'; did you mean 'val'"),
        (ItemProtocol(T, Side((), "shpo")), "unknown domain 'shpo'; did you mean 'shop'? Known: shop, consumer"),
        (ItemProtocol(Side(("test",), "consumer"), V), "no image of split test has domain 'consumer'"),
        (ItemProtocol(Side(("val",), "consumer"), T), "no query has an item"),
        (ItemProtocol(T, V, relation="pair"), "unknown relation 'pair'; did you mean 'pairs'"),
        (ItemProtocol(T, V, match="image"), "match 'image' needs a relation of pairs; without one, 'item' holds"),
        (ItemProtocol(T, V, asked="pair"), "asked 'pair' needs a relation of pairs"),
        (ItemProtocol(T, Side(("train",)), relation="pairs"), "relation 'pairs': unknown or empty split 'train'"),
        (ItemProtocol(V, T, relation="pairs"), r"no pair is left .* asked \({'pairs_without_item': 1}\)"),
        (ItemProtocol(T, V, within="categroy"), "within: unknown column 'categroy'; did you mean 'category'"),
        (ItemProtocol(T, V, within="fit"), "'fit' gives an image several values"),
        (ItemProtocol(T, V, within="box"), "unknown column 'box'"),
        (ItemProtocol(T, V, within="category", only=("d",)), "unknown value of 'category' 'd'"),
        (ItemProtocol(T, V, within="domain", only=("consumer",)), "no query has one of the asked values of 'domain'"),
        (
            ItemProtocol(T, Side(("val",), "consumer"), within="domain"),
            "no gallery image has a query's value of 'domain'",
        ),
        (ItemProtocol(T, V, only=("c",)), "only c of what"),
        (ItemProtocol(T, V, ks=()), "at least one K"),
        (ItemProtocol(T, V, ks=(0, 5)), "at least one K"),
        (ItemProtocol(T, V, groups=("poes",)), "groups: unknown column 'poes'; did you mean 'pose'"),
        (ItemProtocol(T, T, relation="pairs", match="imgae"), "unknown setting match 'imgae'; did you mean 'image'"),
        (ItemProtocol(T, T, alone="skipped"), "unknown setting alone 'skipped'; did you mean 'skip'"),
        (ItemProtocol(T, T, relation="pairs", asked="pairs"), "unknown setting asked 'pairs'; did you mean 'pair'"),
    ],
)
def test_what_a_catalogue_lacks(protocol, message):
    """It is said before a single image is embedded."""
    catalogue = catalogue_of(ROWS, PAIRS, [(0, "slim"), (0, "wide")])
    with pytest.raises(CatalogueError, match=message.replace("?", r"\?")):
        select(catalogue, protocol)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c, p: instance_retrieval(np.ones((3, 2)), c, p), ValueError, r"expected vectors \(4, D\)"),
        (lambda c, p: instance_retrieval(np.ones((4, 2, 1)), c, p), ValueError, r"expected vectors \(4, D\)"),
        (lambda c, p: instance_retrieval(np.ones((4, 2)), c, p, missing=np.ones(3)), ValueError, r"shape \(4,\)"),
        (lambda c, p: instance_retrieval(np.ones((4, 2)), c, p, distance="l1"), LapelError, "unknown distance 'l1'"),
        (lambda c, p: instance_retrieval(np.full((4, 2), np.nan), c, p), LapelError, "2 of 2 query embedding rows"),
        (
            lambda c, p: instance_retrieval(np.ones((4, 2)), c, p, missing=np.array([1, 1, 0, 0])),
            LapelError,
            "0 queries and 2 gallery images are left, 2 have no embedding",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(catalogue_of(ROWS), ItemProtocol(T, V))


def test_a_relation_without_its_columns():
    catalogue = catalogue_of(ROWS).with_relations(
        {"pairs": pa.table({"split": ["test"], "query": ["1"], "item": ["a"]})}
    )
    with pytest.raises(CatalogueError, match="relation 'pairs': unknown column 'gallery'"):
        select(catalogue, ItemProtocol(T, T, relation="pairs"))
