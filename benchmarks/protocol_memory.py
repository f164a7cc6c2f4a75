"""Memory and time of the protocols at the data sets' full size, on random clustered vectors of known rank.

python benchmarks/protocol_memory.py [--case inshop|large|attribute|screening] [--share 1]

Each case runs in a process of its own, so that its peak memory is its own; the peak counts the vectors, which are
given, too. A case that is not run keeps the figures it has in the result file. ``large`` takes minutes of all cores.
``screening`` times the float32 screening against float64 alone, which gives the same ranks, in one process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lapel.evaluation.record import read_result, versions, write_result
from nameless import nameless

RESULT = Path(__file__).parent / "results" / "protocol_memory.json"
SEED = 0
KS = (1, 10, 20, 30, 40, 50)

# name -> (queries, gallery, dimension, noise around an item's centre, limit of the whole process in GB)
ITEMS = {"inshop": (14_218, 12_612, 1024, 3.0, 1.0), "large": (50_000, 400_000, 512, 2.5, 4.0)}
CASES = (*ITEMS, "attribute", "screening")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, help="by default all but large")
    parser.add_argument("--share", type=float, default=1.0, help="of the queries and of the gallery, for a trial")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        print(json.dumps(measure(args.case, args.share)))
        return
    found = read_result(args.result)[0] if args.result.exists() else {}
    for case in [args.case] if args.case else ["inshop", "attribute", "screening"]:
        command = [sys.executable, __file__, "--inside", "--case", case, "--share", str(args.share)]
        figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        found[case] = figures | {"command": nameless([Path(__file__).name, *sys.argv[1:]])}
        print(case, json.dumps(found[case], indent=2))
    record = {"seed": SEED, "cores": len(os.sched_getaffinity(0)), "versions": versions()}
    write_result(args.result, found, record)


def measure(case: str, share: float) -> dict[str, Any]:
    """Figures of one case, and the peak memory of this process."""
    start = peak_gb()
    result = {"attribute": attribute, "screening": screening}[case](share) if case not in ITEMS else items(case, share)
    result |= {"peak_gb": peak_gb(), "peak_gb_before": start}
    if share != 1:
        result["share"] = share
    return result


def items(case: str, share: float) -> dict[str, Any]:
    """Instance retrieval: 2 to 5 relevant images for each query, all items in one gallery."""
    from lapel.evaluation import ranking

    queries, gallery, dimension, noise, limit = ITEMS[case]
    queries, gallery = round(queries * share), round(gallery * share)
    rng = np.random.default_rng(SEED)
    item_of = np.repeat(np.arange(gallery), rng.integers(2, 6, gallery))[:gallery]
    asked = item_of[rng.integers(0, gallery, queries)]
    vectors = [clustered(rng, side, dimension, noise) for side in (asked, item_of)]
    inputs = sum(side.nbytes for side in vectors) / 1e9
    relevance, found = timed(lambda: ranking.relevance_by_group(asked, item_of)), {}
    for distance in ("cosine", "euclidean"):
        ranks = timed(lambda distance=distance: ranking.first_relevant_ranks(*vectors, relevance[1], distance=distance))
        hits = ranking.accuracy_at(ranks[1], KS).mean(axis=1)
        accuracy = {str(k): round(100 * float(hit), 4) for k, hit in zip(KS, hits, strict=True)}
        found[distance] = {"seconds": ranks[0], "accuracy_at": accuracy}
    sizes = (1_000, 10_000, 100_000)
    curve = timed(lambda: ranking.expected_accuracy(ranks[1], sizes, KS))
    return {
        "queries": queries,
        "gallery": gallery,
        "dimension": dimension,
        "limit_gb": limit,
        "input_gb": round(inputs, 3),
        "relevance_seconds": relevance[0],
        **found,
        "distractor_curve_seconds": curve[0],
    }


def attribute(share: float) -> dict[str, Any]:
    """Attribute-specific retrieval: FashionAI's 3,600 queries and 14,400 candidates, as if of one attribute."""
    from lapel.evaluation import metrics

    queries, candidates, dimension = round(3_600 * share), round(14_400 * share), 1024
    rng = np.random.default_rng(SEED)
    values = [rng.integers(0, 10, side) for side in (queries, candidates)]
    vectors = [clustered(rng, side, dimension, 4.0) for side in values]
    labels = [np.eye(10, dtype=bool)[side] for side in values]
    seconds, aps = timed(lambda: metrics.average_precisions(*vectors, *labels))
    return {
        "queries": queries,
        "candidates": candidates,
        "dimension": dimension,
        "limit_gb": 1.0,
        "input_gb": round(sum(side.nbytes for side in vectors) / 1e9, 3),
        "seconds": seconds,
        "map": round(100 * float(aps.mean()), 4),
    }


def screening(share: float) -> dict[str, Any]:
    """Seconds of float64 alone for each second with screening: easy, hard and hopeless queries; ranks compared."""
    from lapel.evaluation import exact, ranking

    queries, gallery, dimension = round(5_000 * share), round(40_000 * share), 512

    def float64_alone(left: Any, space: exact.Space, best: Any, place: Any) -> Any:
        counts = np.zeros(len(left), np.int64)
        for block in space.blocks():
            right, rows = space.candidates(block), np.arange(block.start, block.stop)
            for start in range(0, len(left), 1024):
                part = slice(start, start + 1024)
                scores, goal = left[part] @ right.T, best[part, None]
                better = (scores > goal) | ((scores == goal) & (rows < place[part, None]))
                counts[part] += np.bitwise_count(np.packbits(better, axis=1)).sum(axis=1, dtype=np.int64)
        return counts

    rng = np.random.default_rng(SEED)
    item_of, screened, found = np.arange(gallery) // 4, ranking.count_better, {}
    asked = item_of[rng.integers(0, gallery, queries)]
    relevance = ranking.relevance_by_group(asked, item_of)
    for name, noise in (("easy", 1.0), ("hard", 3.0), ("hopeless", 30.0)):
        vectors = [clustered(rng, side, dimension, noise) for side in (asked, item_of)]
        for distance in ("cosine", "euclidean"):
            seconds, ranks = [], []
            for count in 3 * (screened, float64_alone):
                ranking.count_better = count
                run = timed(lambda: ranking.first_relevant_ranks(*vectors, relevance, distance=distance))  # noqa: B023
                seconds.append(run[0])
                ranks.append(run[1].rank)
            assert all((ranks[0] == other).all() for other in ranks[1:])
            best = min(seconds[::2]), min(seconds[1::2])
            accuracy = round(100 * float((ranks[0] <= 1).mean()), 2)
            found[f"{name}, {distance}"] = {
                "accuracy_at_1": accuracy,
                "screened_seconds": best[0],
                "float64_seconds": best[1],
                "ratio": round(best[1] / best[0], 2),
            }
    return {"queries": queries, "gallery": gallery, "dimension": dimension, "repeats": 3, **found}


def clustered(rng: np.random.Generator, members: np.ndarray, dimension: int, noise: float) -> np.ndarray:
    """(n, D) float32 vectors around one centre for each member's number, made block by block."""
    vectors = np.empty((len(members), dimension), np.float32)
    for start in range(0, len(vectors), 4096):
        part = members[start : start + 4096]
        numbers, place = np.unique(part, return_inverse=True)
        centres = np.stack([np.random.default_rng([SEED, int(n)]).normal(size=dimension) for n in numbers])
        vectors[start : start + 4096] = centres[place] + noise * rng.standard_normal((len(part), dimension), np.float32)
    return vectors


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that one call takes, and what it returns."""
    start = time.perf_counter()
    result = action()
    return round(time.perf_counter() - start, 2), result


def peak_gb() -> float:
    """Most memory that this process has held, in GB of 10**9 bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 3)


if __name__ == "__main__":
    main()
