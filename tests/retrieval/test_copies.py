"""Copies against a slow reference, one catalogue and two; invariants on random ones; what is refused."""

from __future__ import annotations

import errno
import itertools
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.errors import LapelError, SearchIndexError
from lapel.retrieval import copies as room
from lapel.retrieval import nearest_pairs
from lapel.retrieval.copies import compare, find_copies
from lapel.retrieval.copies_found import Copies
from lapel.retrieval.copies_rows import Side, _spool
from lapel.retrieval.indexing import index_catalogue
from lapel.retrieval.layout import IndexRecord, Source, columns_of

from . import designs

Sides = tuple[str, str]


@pytest.fixture(scope="module")
def shop(lasting_world: Any) -> Any:
    """An index of 49 images with imitations of some, and copies of files."""
    world = designs.fill(lasting_world)
    world.index(designs.embedder(world))
    return world


@pytest.fixture(scope="module")
def rival(tmp_path_factory: pytest.TempPathFactory, shop: Any) -> Any:
    """Another catalogue by the same run: the same designs, photographed again; two files are the shop's."""
    world = designs.fill(type(shop)(tmp_path_factory.mktemp("rival")), "r", start=500)
    for name in ("05-1.jpg", "x08.jpg"):
        world.add(f"copied-{name}", (shop.photos / name).read_text(), item=f"c{name}", colour="Red", price=1)
    world.index(designs.embedder(world))
    return world


# The slow obvious reference ------------------------------------------------------------------------------


class Reference:
    """Every pair one by one, in Python's own numbers."""

    def __init__(self, world: Any, other: Any | None = None, weights: dict[str, float] | None = None) -> None:
        self.vectors, self.rows = designs.stored(world), world.rows
        self.weights = weights or dict.fromkeys(designs.ATTRIBUTES, 1.0)
        self.files = {name: (world.photos / name).read_bytes() for name in world.rows}
        self.others = list(world.rows)
        if other is not None:
            self.vectors |= designs.stored(other)
            self.files |= {name: (other.photos / name).read_bytes() for name in other.rows}
            self.others = list(other.rows)
        self.own = list(world.rows)
        self.two = other is not None

    def similarity(self, a: str, b: str) -> float:
        total = 0.0
        for number, name in enumerate(designs.ATTRIBUTES):
            x, y = self.vectors[a][number], self.vectors[b][number]
            total += self.weights.get(name, 0) * float(x @ y) / math.sqrt(float(x @ x) * float(y @ y))
        return total / sum(map(abs, self.weights.values()))

    def comparable(self, a: str, b: str, within_item: bool) -> bool:
        if a == b or self.files[a] == self.files[b]:
            return False
        item = self.rows[a]["item"] if not self.two else None
        return within_item or item is None or item != self.rows[b]["item"]

    def pairs(
        self, threshold: float | None = None, nearness: float | None = None, within_item: bool = False
    ) -> dict[Sides, tuple[float, float]]:
        """Pair -> similarity, nearness."""
        count = min(len(self.own), len(self.others)) if self.two else len(self.own) - 1
        rank = min(20, math.ceil(count / 2))
        ranked, far = {}, {}
        for side, facing in ((self.own, self.others), (self.others, self.own)):
            for a in side:
                others = [b for b in facing if self.comparable(a, b, within_item)]
                ranked[a] = sorted(others, key=lambda b: (-self.similarity(a, b), b))
                far[a] = 1 - self.similarity(a, ranked[a][rank - 1]) if len(others) >= rank else 2.0
        found = {}
        for a in self.own:
            # Copies of a file are equally near: those that tie with the 20th are among the 20 nearest.
            for b in [b for b in ranked[a] if 1 - self.similarity(a, b) <= far[a] + 1e-12][: 1 if self.two else None]:
                pair = (a, b) if self.two else (min(a, b), max(a, b))
                alike = self.similarity(*pair)
                near = max(min(far[a], far[b]), 1e-4) / max(1 - alike, 1e-4)
                if (threshold is None or alike >= threshold) and (nearness is None or near >= nearness):
                    found[pair] = (alike, near)
        return found


def told(found: Copies) -> dict[Sides, tuple[float, float]]:
    every = [(pair.first.id, pair.second.id) for pair in found.pairs]
    assert len(set(every)) == len(every)
    return {ids: (pair.similarity, pair.nearness) for ids, pair in zip(every, found.pairs, strict=True)}


def same(found: dict[Sides, tuple[float, float]], expected: dict[Sides, tuple[float, float]]) -> None:
    assert found.keys() == expected.keys()
    for ids, figures in expected.items():
        assert found[ids] == pytest.approx(figures, rel=1e-9, abs=1e-12)


WAYS: list[dict[str, Any]] = [
    {"threshold": -1.0},
    {"threshold": 0.6},
    {"threshold": 0.95},
    {"nearness": 1.0},
    {"nearness": 4.0},
    {"nearness": 2.0, "threshold": 0.9},
    {"threshold": 0.0, "within_item": True},
    {"nearness": 2.0, "within_item": True},
    {"threshold": 0.2, "weights": {"pattern": 1.0}},
    {"threshold": 0.1, "weights": {"pattern": 1.0, "colour": -0.5, "neckline": 0.25}},
]


def split(way: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"weights": way.get("weights")}, {name: value for name, value in way.items() if name != "weights"}


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_one_catalogue_as_the_reference(shop: Any, way: dict[str, Any]) -> None:
    weights, how = split(way)
    found = find_copies(shop.index_path, **way, quiet=True)
    expected = Reference(shop, **weights).pairs(**how)
    same(told(found), expected)
    assert len(expected) > 3
    assert found.total == len(expected)
    nearness = [pair.nearness for pair in found.pairs]
    assert nearness == sorted(nearness, reverse=True)


@pytest.mark.parametrize("way", [way for way in WAYS if "within_item" not in way], ids=str)
def test_two_catalogues_as_the_reference(shop: Any, rival: Any, way: dict[str, Any]) -> None:
    weights, how = split(way)
    found = find_copies(shop.index_path, rival.index_path, **way, quiet=True)
    same(told(found), Reference(shop, rival, **weights).pairs(**how))
    assert found.images == (len(shop.rows), len(rival.rows))
    firsts = [pair.first.id for pair in found.pairs]
    assert len(set(firsts)) == len(firsts)  # its nearest only
    assert all(pair.second.image.startswith(str(rival.root)) for pair in found.pairs)


@pytest.mark.parametrize("block", [1, 7, 48])
def test_blocks_change_nothing(shop: Any, rival: Any, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for against in (None, rival.index_path):
        expected = told(find_copies(shop.index_path, against, threshold=0.0, quiet=True))
        monkeypatch.setattr(nearest_pairs, "BLOCK", block)
        monkeypatch.setattr(nearest_pairs, "DENSE", 0.05)
        monkeypatch.setattr(nearest_pairs, "PORTION", 100)
        same(told(find_copies(shop.index_path, against, threshold=0.0, quiet=True)), expected)
        monkeypatch.undo()


def test_an_engine_gives_what_a_snapshot_gives(shop: Any, tmp_path: Path) -> None:
    world = type(shop)(tmp_path, {**shop.rows})
    (tmp_path / "photos").symlink_to(shop.photos)
    world.index(designs.embedder(world), exact_below=0)
    index = room.Index.open(world.index_path)
    assert not index.exact
    same(told(find_copies(index, threshold=0.0, quiet=True)), Reference(shop).pairs(threshold=0.0))
    where = "price < 9"
    some = told(find_copies(index, threshold=-1.0, where=where, quiet=True))
    same(some, told(find_copies(shop.index_path, threshold=-1.0, where=where, quiet=True)))
    assert {name for pair in some for name in pair} == {name for name, row in shop.rows.items() if row["price"] < 9}


def test_by_default_what_stands_out(shop: Any) -> None:
    found = find_copies(shop.index_path, quiet=True)
    assert found.nearness == 4
    assert ("00-0.jpg", "x00.jpg") in told(found)  # its imitation is as good as a variant
    assert all(pair.first.id[:2] == pair.second.id[1:3] for pair in found.pairs if pair.second.id.startswith("x"))
    assert found.rule == (
        "Look-alikes are pairs of images, at least 4 times nearer to each other than either is to its 20th nearest."
    )


def test_top_gives_those_that_stand_out_most(shop: Any) -> None:
    every = find_copies(shop.index_path, threshold=-1.0, quiet=True)
    for top in (1, 5, 17, 100_000):
        for how in ({}, {"threshold": 0.5}, {"nearness": 1.5}):
            found = find_copies(shop.index_path, top=top, **how, quiet=True)
            passing = [
                pair
                for pair in every.pairs
                if pair.similarity >= how.get("threshold", -1) and pair.nearness >= how.get("nearness", 0)
            ]
            assert [*told(found)] == [(pair.first.id, pair.second.id) for pair in passing[:top]]
            assert found.total is None


def test_more_pairs_than_a_page_holds_are_cut(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST", 7)
    found = find_copies(shop.index_path, threshold=-1.0, quiet=True)
    assert len(found.pairs) == 7
    assert found.total == len(Reference(shop).pairs())
    assert "here are the 7 that stand out most" in found.rule


# Copies of files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how", [{}, {"threshold": 1.0}, {"threshold": -1.0}, {"nearness": 1000.0}, {"top": 1}], ids=str
)
def test_copies_of_files_whatever_the_limits(shop: Any, how: dict[str, Any]) -> None:
    found = find_copies(shop.index_path, **how, quiet=True)
    groups = [[entry.id for entry in group.first] for group in found.exact]
    assert groups == [["01-0.jpg", "y3.jpg"], ["03-0.jpg", "y0.jpg", "y1.jpg"], ["x06.jpg", "y2.jpg"]]
    exact = {frozenset(pair) for group in groups for pair in itertools.combinations(group, 2)}
    assert not exact & {frozenset(pair) for pair in told(found)}


def test_copies_of_files_in_another_catalogue(shop: Any, rival: Any) -> None:
    found = find_copies(shop.index_path, rival.index_path, threshold=0.999, quiet=True)
    assert [([e.id for e in group.first], [e.id for e in group.second]) for group in found.exact] == [
        (["05-1.jpg"], ["copied-05-1.jpg"]),
        (["x08.jpg"], ["copied-x08.jpg"]),
    ]


def test_boxes(world: Any) -> None:
    """Two boxes of one picture are no copies; a file under two names with other boxes is a look-alike, and said so."""
    designs.fill(world)
    catalogue = world.catalogue()
    table, names = catalogue.images, catalogue.images["image"].to_pylist()
    box: dict[str, list[float]] = {"03-0.jpg": [0, 0, 5, 5], "y0.jpg": [0, 0, 5, 5], "y1.jpg": [0, 0, 6, 5]}
    again = table.slice(names.index("07-0.jpg"), 1)
    table = pa.concat_tables([table, again.set_column(table.column_names.index("item"), "item", pa.array(["b"]))])
    boxes = pa.array(
        [*(box.get(name) or ([0, 0, 3, 5] if name == "07-0.jpg" else None) for name in names), [0, 0, 4, 5]]
    )
    table = table.set_column(table.column_names.index("box"), "box", boxes.cast(table.schema.field("box").type))
    index_catalogue(replace(catalogue, images=table), designs.embedder(world), world.index_path, quiet=True)
    found = find_copies(world.index_path, threshold=0.99, quiet=True)
    assert [[entry.id for entry in group.first] for group in found.exact][1] == ["03-0.jpg", "y0.jpg"]
    pairs = {(pair.first.id, pair.second.id): pair for pair in found.pairs}
    assert pairs["03-0.jpg", "y1.jpg"].same_file
    assert pairs["03-0.jpg", "y1.jpg"].second.box == (0, 0, 6, 5)
    assert pairs["03-0.jpg", "y1.jpg"].similarity == 1
    assert not any(pair.same_file for ids, pair in pairs.items() if "y1.jpg" not in ids)
    assert len([name for name in Side.of(room.Index.open(world.index_path)).rows["id"].to_pylist() if "#" in name]) == 2
    assert not any("07-0.jpg#" in first and "07-0.jpg#" in second for first, second in pairs)


# Invariants ----------------------------------------------------------------------------------------------


class Plain(room.Index):
    """An index in memory, as far as a side asks for it."""

    def __init__(self, folder: str, dims: tuple[int, ...], rows: pa.Table) -> None:
        names = tuple(f"a{number}" for number in range(len(dims)))
        sources = tuple(Source("run", name, (name,), dim) for name, dim in zip(names, dims, strict=True))
        self.folder, self.record = Path(folder), IndexRecord(sources, "c", ".")
        self._columns = columns_of(rows.schema)


def side(rows: list[dict[str, Any]], folder: str = "one") -> Side:
    """Rows of ``vectors`` (A of some numbers), ``hash`` and ``item``."""
    ordered = sorted(rows, key=lambda row: row["id"])
    text = {name: pa.array([row[name] for row in ordered], pa.string()) for name in ("id", "hash", "item")}
    table = pa.table({**text, "image": text["id"]})
    stacked = [np.array([row["vectors"][n] for row in ordered], np.float32) for n in range(len(rows[0]["vectors"]))]
    blocks = tuple(block / np.linalg.norm(block, axis=1, keepdims=True) for block in stacked)
    index = Plain(folder, tuple(block.shape[1] for block in blocks), table)
    return Side(index, table, blocks, np.arange(len(rows)), None)


numbers = st.sampled_from([-2.0, -1.0, -0.5, 0.25, 0.5, 1.0, 1.001, 3.0])


@st.composite
def catalogues(draw: st.DrawFn, least: int = 2) -> list[dict[str, Any]]:
    """Up to ten images of two attributes; vectors, files and items repeat now and then."""
    count = draw(st.integers(least, 10))
    pool = draw(st.lists(st.tuples(st.tuples(numbers, numbers, numbers), st.tuples(numbers, numbers)), min_size=2))
    rows = []
    for number in range(count):
        file = draw(st.integers(0, 12))
        rows.append(
            {
                "id": f"{number:02}",
                "hash": f"h{file}",
                "item": draw(st.sampled_from(["a", "b", "c", "d", None])),
                # The same file has the same vectors.
                "vectors": pool[file % len(pool)],
            }
        )
    return rows


@given(catalogues(), st.floats(-1, 1), st.floats(-1, 1), st.floats(1, 20), st.booleans())
def test_invariants(rows: list[dict[str, Any]], one: float, other: float, nearness: float, within: bool) -> None:
    low, high = sorted((one, other))
    known = {row["id"]: row for row in rows}

    def search(**how: Any) -> Copies:
        return compare(side(rows), None, within_item=within, quiet=True, **how)

    loose, strict = search(threshold=low), search(threshold=high)
    pairs = told(loose)
    assert {ids for ids, (alike, _) in pairs.items() if alike >= high} == set(told(strict))
    assert {ids for ids, (_, near) in pairs.items() if near >= nearness} == set(
        told(search(threshold=low, nearness=nearness))
    )
    files: dict[str, list[str]] = {}
    for row in rows:
        files.setdefault(row["hash"], []).append(row["id"])
    expected = sorted(names for names in files.values() if len(names) > 1)
    for found in (loose, strict):
        assert [[entry.id for entry in group.first] for group in found.exact] == expected
    for first, second in pairs:
        a, b = known[first], known[second]
        assert first < second
        assert a["hash"] != b["hash"]
        assert within or a["item"] is None or a["item"] != b["item"]
    grouped = [(pair.first.id, pair.second.id) for group in loose.groups for pair in group.pairs]
    assert sorted(grouped) == sorted(pairs)


@given(catalogues(), st.permutations(range(10)))
def test_names_change_nothing(rows: list[dict[str, Any]], order: list[int]) -> None:
    """Symmetric: which of two images comes first decides nothing, to the last bit."""
    renamed = [{**row, "id": f"{order[number]:02}"} for number, row in enumerate(rows)]
    names = {row["id"]: renamed[number]["id"] for number, row in enumerate(rows)}
    found = told(compare(side(rows), None, threshold=-1.0, quiet=True))
    again = told(compare(side(renamed), None, threshold=-1.0, quiet=True))
    assert {tuple(sorted((names[a], names[b]))): figures for (a, b), figures in found.items()} == again


@given(catalogues(1), catalogues(1), st.floats(-1, 1))
def test_invariants_of_two(rows: list[dict[str, Any]], others: list[dict[str, Any]], threshold: float) -> None:
    others = [{**row, "id": f"o{row['id']}"} for row in others]
    left, right = side(rows), side(others, "two")
    found, every = (compare(left, right, threshold=least, quiet=True) for least in (threshold, -1.0))
    assert {ids for ids, (alike, _) in told(every).items() if alike >= threshold} == set(told(found))
    facing = {row["hash"] for row in others}
    expected = sorted({row["hash"] for row in rows if row["hash"] in facing})
    hashes = {row["id"]: row["hash"] for row in [*rows, *others]}
    assert sorted(hashes[group.first[0].id] for group in found.exact) == expected
    assert all({hashes[e.id] for e in [*group.first, *group.second]} <= set(expected) for group in found.exact)
    assert all(group.second for group in found.groups)


def test_equal_vectors_are_alike_to_the_end() -> None:
    """A re-saved picture has the very same vector: similarity 1, and a nearness that is a number."""
    rng = np.random.default_rng(0)
    rows = [{"id": f"{n:02}", "hash": f"{n}", "item": None, "vectors": rng.normal(size=(3, 5))} for n in range(30)]
    rows[7]["vectors"] = rows[3]["vectors"]
    found = compare(side(rows), None, threshold=1.0, quiet=True)
    assert [*told(found)] == [("03", "07")]
    assert found.pairs[0].similarity == 1
    assert 100 < found.pairs[0].nearness <= 2e4


@pytest.mark.parametrize(("count", "pairs"), [(1, 0), (2, 1), (3, 2)])
def test_tiny_catalogues(count: int, pairs: int) -> None:
    rows = [{"id": f"{n}", "hash": f"{n}", "item": None, "vectors": [(1.0, float(n))]} for n in range(count)]
    assert len(compare(side(rows), None, threshold=-1.0, quiet=True).pairs) == pairs
    assert compare(side(rows), side(rows[:1], "two"), threshold=-1.0, quiet=True).total == count - 1


# How it is asked -----------------------------------------------------------------------------------------


def test_progress_and_stopping(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest_pairs, "BLOCK", 20)
    shares: list[float] = []
    find_copies(shop.index_path, quiet=True, between=shares.append)
    assert shares == pytest.approx([number / 6 for number in range(1, 7)])

    def stop(_: float) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        find_copies(shop.index_path, quiet=True, between=stop)


def test_labels_that_differ(shop: Any) -> None:
    found = find_copies(shop.index_path, threshold=0.9, within_item=True, quiet=True)
    differs = {(pair.first.id, pair.second.id): pair.differs for pair in found.pairs}
    assert differs["02-0.jpg", "02-1.jpg"] == {"colour": (("Red",), ("Blue",))}
    assert differs["02-0.jpg", "02-2.jpg"] == {}  # one has no label
    assert {pair.same_item for pair in found.pairs} == {True, False}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"threshold": 1.01}, "expected a threshold from -1 to 1, found 1.01"),
        ({"threshold": math.nan}, "expected a threshold from -1 to 1, found nan"),
        ({"nearness": 0.5}, "expected a nearness of at least 1, found 0.5"),
        ({"nearness": math.inf}, "expected a nearness of at least 1, found inf"),
        ({"top": 0}, "expected a number of pairs of at least 1, found 0"),
        ({"weights": {"neklin": 1.0}}, "unknown attribute 'neklin'; did you mean 'neckline'?"),
        ({"weights": {"colour": 0.0}}, "every weight is zero"),
        ({"where": "price <"}, "bad filter"),
        ({"against": "nowhere"}, "nowhere is not an index"),
    ],
)
def test_refused(shop: Any, how: dict[str, Any], message: str) -> None:
    with pytest.raises(SearchIndexError, match=message.replace("?", r"\?")):
        find_copies(shop.index_path, **how, quiet=True)


def test_vectors_of_other_runs_do_not_compare(shop: Any, world: Any) -> None:
    with pytest.raises(SearchIndexError, match="is compared with itself: leave the second index out"):
        find_copies(shop.index_path, Path(os.path.relpath(shop.index_path)), quiet=True)
    designs.fill(world)
    world.index(designs.embedder(world, fingerprint="e" * 64))
    with pytest.raises(SearchIndexError, match=r"no vectors of the same run .* lapel index CATALOGUE --run RUN"):
        find_copies(shop.index_path, world.index_path, quiet=True)


def test_what_the_same_run_embedded_compares(shop: Any, world: Any) -> None:
    """An index of two runs, of which the other index has one: that one's attributes compare."""
    designs.fill(world)
    plain = designs.embedder(world, "mine", fingerprint="1" * 64, attributes=("item",), dim=8)
    plain.vectors = lambda data: designs.vectors_of(data)[:1]
    world.index([plain, designs.embedder(world)])
    found = find_copies(world.index_path, shop.index_path, threshold=0.99, quiet=True)
    assert tuple(found.weights) == designs.ATTRIBUTES
    with pytest.raises(SearchIndexError, match="unknown attribute 'item'"):
        find_copies(world.index_path, shop.index_path, weights={"item": 1.0}, quiet=True)


def test_a_full_disk_is_told(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    designs.fill(world)
    world.index(designs.embedder(world), exact_below=0)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(LapelError, match="disk full"):
        find_copies(world.index_path, quiet=True)


def test_a_row_that_goes_while_vectors_are_read_is_told(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = room.Index.open(shop.index_path).gallery
    rows = pa.concat_tables(gallery.tables(["id"]))["id"].to_pylist()
    vectors = pa.array([[0.5] * 24] * (len(rows) - 1), pa.list_(pa.float16(), 24))
    monkeypatch.setattr(gallery, "tables", lambda _: iter([pa.table({"id": rows[1:], "vector": vectors})]))
    with pytest.raises(SearchIndexError, match="written to while its vectors were read: run the same command again"):
        _spool(gallery, rows, 24)
