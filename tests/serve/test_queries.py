"""Photographs are kept for a while, bounded in number, bytes and time, with the vectors they gave."""

from __future__ import annotations

import hashlib
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.serve.errors import NotFound, QueryGone
from lapel.serve.queries import BOXES, OVERHEAD, Queries

VECTORS = (np.ones(8, np.float32), None, np.zeros(4, np.float32))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_same_photograph_has_the_same_id() -> None:
    queries = Queries()
    kept = queries.keep(b"a photograph", 30, 40)
    assert kept.query == hashlib.sha256(b"a photograph").hexdigest()[:32]
    assert (kept.width, kept.height, kept.image) == (30, 40, b"a photograph")
    assert queries.keep(b"a photograph", 30, 40) is kept
    assert queries.get(kept.query) is kept
    assert queries.keep(b"another", 1, 1).query != kept.query
    assert len(queries) == 2


def test_the_one_used_least_recently_goes_first() -> None:
    queries = Queries(most=3)
    names = [queries.keep(bytes([n]), 1, 1).query for n in range(3)]
    queries.get(names[0])
    queries.keep_vectors(names[2], ["run"], None, VECTORS)  # keeping is no use
    queries.vectors(names[1], ["run"])  # nor is a look that finds nothing
    queries.keep(b"new", 1, 1)
    with pytest.raises(QueryGone, match=names[1]):
        queries.get(names[1])
    queries.vectors(names[2], ["run"])
    queries.keep(b"newer", 1, 1)
    assert queries.get(names[2]).image == bytes([2])
    with pytest.raises(QueryGone):
        queries.get(names[0])
    assert len(queries) == 3


def test_bytes_are_bounded_and_the_newest_stays() -> None:
    queries = Queries(megabytes=1)
    first, second = (queries.keep(bytes([n]) * 400_000, 1, 1).query for n in range(2))
    assert queries.size == 800_000 + 2 * OVERHEAD
    third = queries.keep(bytes([3]) * 400_000, 1, 1).query
    with pytest.raises(QueryGone):
        queries.get(first)
    assert queries.get(second)
    large = queries.keep(bytes(5_000_000), 1, 1).query  # larger than all that may be kept
    assert queries.get(large)
    assert len(queries) == 1
    queries.keep(b"small", 1, 1)
    with pytest.raises(QueryGone):
        queries.get(large)
    with pytest.raises(QueryGone):
        queries.get(third)


def test_vectors_count_and_go_with_their_photograph() -> None:
    queries = Queries(megabytes=1)
    first = queries.keep(b"first", 1, 1).query
    second = queries.keep(b"second", 1, 1).query
    before = queries.size
    queries.keep_vectors(first, ["run"], None, VECTORS)
    assert queries.size == before + 48 + OVERHEAD
    queries.keep_vectors(first, ["run"], None, VECTORS)  # in place of the same
    assert queries.size == before + 48 + OVERHEAD
    queries.keep_vectors(second, ["run"], None, (np.zeros(200_000, np.float64),))
    with pytest.raises(QueryGone):
        queries.get(first)
    assert queries.vectors(first, ["run"]) is None
    queries.keep_vectors(first, ["run"], None, VECTORS)  # it is gone: nothing to keep them with
    assert queries.vectors(first, ["run"]) is None


def test_vectors_are_told_apart_by_runs_and_box() -> None:
    queries = Queries()
    query = queries.keep(b"a", 1, 1).query
    tables = {
        (("a",), None): (np.full(2, 1.0),),
        (("b",), None): (np.full(2, 2.0),),
        (("a", "b"), None): (np.full(2, 3.0),),
        (("a",), (0, 0, 10, 10)): (np.full(2, 4.0),),
        (("a",), (0.5, 0, 10, 10)): (np.full(2, 5.0),),
    }
    for (runs, box), vectors in tables.items():
        queries.keep_vectors(query, runs, box, vectors)
    for (runs, box), vectors in tables.items():
        assert queries.vectors(query, list(runs), box and [float(x) for x in box]) is vectors
    assert queries.vectors(query, ["c"]) is None
    assert queries.lookups == (5, 1)


def test_dragging_a_box_about_keeps_the_last_boxes_only() -> None:
    queries = Queries()
    query = queries.keep(b"a", 1, 1).query
    for x in range(BOXES + 10):
        queries.keep_vectors(query, ["run"], (x, 0, 9, 9), VECTORS)
    assert queries.vectors(query, ["run"], (9, 0, 9, 9)) is None
    assert queries.vectors(query, ["run"], (10, 0, 9, 9)) is not None
    assert queries.size == len(b"a") + OVERHEAD + BOXES * (48 + OVERHEAD)


def test_a_photograph_nobody_uses_is_dropped_in_time() -> None:
    clock = Clock()
    queries = Queries(seconds=60, clock=clock)
    query = queries.keep(b"a", 1, 1).query
    clock.now = 59
    queries.get(query)
    clock.now = 118
    assert len(queries) == 1
    clock.now = 120
    assert len(queries) == 0
    with pytest.raises(QueryGone, match="send it to /v1/queries again"):
        queries.get(query)
    assert queries.size == 0


@pytest.mark.parametrize("query", ["", "x" * 32, "A" * 32, "a" * 31, "a" * 33, "a" * 32 + "\n", "../../etc/passwd"])
def test_what_is_no_id_is_not_found(query: str) -> None:
    with pytest.raises(NotFound, match="32 hexadecimal digits"):
        Queries().get(query)


@given(st.lists(st.tuples(st.sampled_from("kgv"), st.integers(0, 9), st.integers(0, 3)), max_size=60))
def test_the_books_balance(steps: list[tuple[str, int, int]]) -> None:
    queries = Queries(most=4, megabytes=0.03)
    for what, number, more in steps:
        image = bytes([number]) * (3000 * (number + 1))
        if what == "k":
            queries.keep(image, 1, 1)
        elif what == "g":
            queries.vectors(queries.name(image), ["run"], (more, 0, 1, 1))
        else:
            queries.keep_vectors(queries.name(image), ["run"], (more, 0, 1, 1), (np.zeros(100 * more),))
        held = sum(
            len(entry.kept.image) + OVERHEAD + sum(OVERHEAD + vector[0].nbytes for vector in entry.vectors.values())
            for entry in queries._entries.values()
        )
        assert queries.size == held
        assert len(queries) <= 4
        assert queries.size <= queries.limit or len(queries) == 1


def test_threads_may_use_it_together() -> None:
    queries = Queries(most=5)
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for n in range(300):
                query = queries.keep(bytes([(seed * n) % 11]), 1, 1).query
                queries.keep_vectors(query, ["run"], (n % 3, 0, 1, 1), VECTORS)
                queries.vectors(query, ["run"], (n % 3, 0, 1, 1))
                len(queries)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(queries) <= 5
