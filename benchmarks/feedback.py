"""Which thumbs-up, thumbs-down rule finds more of what a user is after? Users simulated on a labelled index.

A user starts from one image and is after images that share its value of one or two attributes. In each round the ten
best images not seen yet are shown; thumbs go up for some that are right and down for some others, and the query moves
by all thumbs so far. Measured after each round on the images not seen yet. "next page" is the user who gives no thumbs
and looks on.

Three kinds of user: after one attribute and searching by it alone, after two and searching by these, and after two but
searching by all attributes at once, as a page does before a slider is touched. Four habits: a thumb for each of the
ten, one up and one down, two up, two down.

python benchmarks/feedback.py --index runs/mine-index --result benchmarks/results/feedback.json
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small products: threads would wait for each other

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lapel.evaluation.metrics import mean_interval, paired_difference
from lapel.evaluation.record import versions, write_result
from lapel.retrieval.feedback import BETA, RIDGE, moved
from lapel.retrieval.index import Index
from nameless import nameless

SHOWN, ROUNDS = 10, 3
LEAST = 60  # right images there must be, so that three rounds do not use them up
HABITS = {"all ten": (10, 10), "one up, one down": (1, 1), "two up": (2, 0), "two down": (0, 2)}
ROCCHIO = ((1, 0.5), (1, 1), (2, 1), (2, 1.5), (4, 2), (4, 3))
RIDGES, BETAS = (1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 3.0)

Rule = Callable[[Sequence[Any], Sequence[Sequence[Any]], Sequence[Sequence[Any]]], Sequence[Any]]


@dataclass(frozen=True)
class World:
    """Images with labels: vectors (A, N, D), values per attribute (N,) with "" where not labelled."""

    attributes: tuple[str, ...]
    vectors: np.ndarray
    values: dict[str, np.ndarray]


@dataclass(frozen=True)
class User:
    """Starts from image ``start``, is after images that share its value of all of ``wished``."""

    start: int
    wished: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--splits", default="val,test", help="images to start from and to find")
    parser.add_argument("--users", type=int, default=30, help="per attribute or pair of attributes")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--result", type=Path, required=True)
    args = parser.parse_args()

    world = read(Index.open(args.index), args.splits.split(","))
    rng = np.random.default_rng(args.seed)
    single = [users for name in world.attributes if len(users := drawn(world, (name,), args.users, rng))]
    double = [users for pair in combinations(world.attributes, 2) if len(users := drawn(world, pair, args.users, rng))]
    double = [double[place] for place in rng.permutation(len(double))[: args.pairs]]
    kinds = {"one": (single, False), "two": (double, False), "two of all": (double, True)}
    result: dict[str, Any] = {}
    start = time.process_time()
    for kind, (groups, every) in kinds.items():
        result[kind] = {"users": {"+".join(users[0].wished): len(users) for users in groups}}
        for habit, thumbs in HABITS.items():
            told = {name: [watched(world, users, every, thumbs, rule) for users in groups]
                    for name, rule in rules().items()}  # fmt: skip
            result[kind][habit] = {name: summary(found, told["next page"]) for name, found in told.items()}
            for name, row in result[kind][habit].items():
                print(f"{kind:10} {habit:18} {name:20} pages {row['pages']} gain {row['gain']} MAP {row['map']}")
    record = {
        "splits": args.splits,
        "images": world.vectors.shape[1],
        "rounds": "lists: before any thumb and after each of three rounds, in percent, over the images not seen yet",
        "precision": "share of right ones among the ten shown next",
        "map": "mean over users of the average precision of the ranking of the rest",
        "pages": "mean precision of the three pages after the first",
        "gain": "pages minus those of the next page, mean and 95 % bootstrap interval over users",
        "rules": "rocchio BETA GAMMA; ridge RIDGE BETA: lapel.retrieval.feedback, whose thumbs up pull by BETA first",
        "chosen": {"beta": BETA, "ridge": RIDGE},
        "seed": args.seed,
        "cpu_seconds": round(time.process_time() - start, 1),
        "versions": versions(),
        "command": nameless(sys.argv),
    }
    write_result(args.result, result, record)


def read(index: Index, splits: Sequence[str]) -> World:
    """Vectors and single labels of the images of some splits."""
    fields = {name: index.fields[name].field for name in index.labelled}
    table = pa.concat_tables(index.gallery.tables(["id", "split", *fields.values()]))
    table = table.filter(pa.array([split in splits for split in table["split"].to_pylist()]))
    places = [index.attributes.index(name) for name in index.labelled]
    found = index.vectors_of(table["id"].to_pylist())
    vectors = np.array([[image[place] for image in found] for place in places], np.float32)
    values = {name: np.array(["|".join(c or ()) for c in table[field].to_pylist()]) for name, field in fields.items()}
    return World(index.labelled, vectors, values)


def drawn(world: World, wished: tuple[str, ...], count: int, rng: np.random.Generator) -> list[User]:
    """Draw users after the values of some attributes, of which there must be enough right images."""
    starts = [
        place
        for place in rng.permutation(world.vectors.shape[1])
        if all(world.values[name][place] for name in wished)
        and right(world, User(int(place), wished)).sum() >= LEAST
        and right(world, User(int(place), wished)).mean() < 0.5
    ]
    return [User(int(place), wished) for place in starts[:count]]


def right(world: World, user: User) -> np.ndarray:
    """(N,) which images the user is after."""
    same = [world.values[name] == world.values[name][user.start] for name in user.wished]
    return np.logical_and.reduce(same)


def rules() -> dict[str, Rule | None]:
    """The ways of using thumbs, by name; None: not at all."""
    found: dict[str, Rule | None] = {"next page": None, "mean of thumbs up": mean_up()}
    for beta, gamma in ROCCHIO:
        found[f"rocchio {beta:g} {gamma:g}"] = rocchio(beta, gamma)
    found["ridge 2 0"] = ridge(2.0, 0.0)
    for size, beta in product(RIDGES, BETAS):
        if size == RIDGE or beta == BETA:
            found[f"ridge {size:g} {beta:g}"] = ridge(size, beta)
    return found


def rocchio(beta: float, gamma: float) -> Rule:
    """Rocchio's rule, attribute by attribute."""

    def rule(query: Sequence[Any], more: Sequence[Sequence[Any]], less: Sequence[Sequence[Any]]) -> list[Any]:
        found: list[Any] = []
        for place, vector in enumerate(query):
            for images, weight in ((more, beta), (less, -gamma)):
                if vector is not None and images:
                    vector = vector + weight * np.mean([image[place] for image in images], 0)
            found.append(vector if vector is None else vector / np.linalg.norm(vector))
        return found

    return rule


def mean_up() -> Rule:
    """The mean of what got thumbs up in place of the query."""

    def rule(query: Sequence[Any], more: Sequence[Sequence[Any]], _: Sequence[Sequence[Any]]) -> Sequence[Any]:
        if not more:
            return query
        return [vector if vector is None else np.mean([each[a] for each in more], 0) for a, vector in enumerate(query)]

    return rule


def ridge(size: float, beta: float) -> Rule:
    return lambda query, more, less: moved(query, more, less, beta, size)


def watched(world: World, users: Sequence[User], every: bool, limits: tuple[int, int], rule: Rule | None) -> np.ndarray:
    """Follow users through the rounds: (users, ROUNDS + 1, 2) of precision at ten and AP over what is not seen yet."""
    asked = [every or name in users[0].wished for name in world.attributes]
    queries = [
        [vector[user.start] if on else None for vector, on in zip(world.vectors, asked, strict=True)] for user in users
    ]
    goal = np.array([right(world, user) for user in users])
    # Only what is labelled can be told right from wrong.
    hidden = ~np.logical_and.reduce([world.values[name] != "" for name in users[0].wished])
    seen = np.array([hidden | (np.arange(len(hidden)) == user.start) for user in users])
    thumbs: list[tuple[list[int], list[int]]] = [([], []) for _ in users]
    now, figures = queries, np.zeros((len(users), ROUNDS + 1, 2))
    for turn in range(ROUNDS + 1):
        scores = sum(
            np.array([query[place] for query in now], np.float32) @ world.vectors[place].T
            for place, on in enumerate(asked)
            if on
        )
        order = np.argsort(-np.where(seen, -np.inf, scores), axis=1, kind="stable")
        ranked = np.take_along_axis(goal & ~seen, order, 1)
        figures[:, turn, 0] = ranked[:, :SHOWN].mean(1)
        precision = ranked.cumsum(1) / np.arange(1, ranked.shape[1] + 1)
        figures[:, turn, 1] = (precision * ranked).sum(1) / np.maximum(ranked.sum(1), 1)
        for number, (up, down) in enumerate(thumbs):
            shown = order[number, :SHOWN]
            up += shown[goal[number, shown]][: limits[0]].tolist()
            down += shown[~goal[number, shown]][: limits[1]].tolist()
            seen[number, shown] = True
        if rule is not None:
            now = [
                rule(query, judged(world, up, asked), judged(world, down, asked))
                for query, (up, down) in zip(queries, thumbs, strict=True)
            ]
    return figures


def judged(world: World, places: Sequence[int], asked: Sequence[bool]) -> list[list[Any]]:
    """Vectors of some images, of the attributes that are asked by."""
    pairs = [*zip(world.vectors, asked, strict=True)]
    return [[vector[place] if on else None for vector, on in pairs] for place in places]


def summary(found: Sequence[np.ndarray], base: Sequence[np.ndarray]) -> dict[str, Any]:
    """Means over users in percent, by round, and the gain over looking at the next page."""
    means = 100 * np.concatenate(found).mean(0)
    pages = [100 * each[:, 1:, 0].mean(1) for each in found]
    gain = paired_difference(pages, [100 * each[:, 1:, 0].mean(1) for each in base])
    return {
        "precision": means[:, 0].round(2).tolist(),
        "map": means[:, 1].round(2).tolist(),
        "pages": round(mean_interval(pages).mean, 2),
        "gain": [round(value, 2) for value in (gain.mean, gain.low, gain.high)],
    }


if __name__ == "__main__":
    main()
