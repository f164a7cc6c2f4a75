"""How often is an attribute's likely value right, and how far can its share be believed? Measured on a labelled index.

Each image drawn is taken out, and its value told by the vote of the nearest among the others, as the page tells it.

python benchmarks/votes.py --index runs/mine-index --result benchmarks/results/votes.json
"""

from __future__ import annotations

import argparse
import math
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lapel.evaluation.record import versions, write_result
from lapel.retrieval.index import Index
from lapel.retrieval.votes import NEAREST, WARMTH
from nameless import nameless

COUNTS, WARMTHS = (5, 10, 20, 40), (0.02, 0.05, 0.1, 0.2, 1e9)
LEAST = 0.01  # a true value without a vote counts as having had this share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--splits", default="val,test", help="images to draw from; all of the index vote")
    parser.add_argument("--images", type=int, default=60, help="per attribute")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--result", type=Path, required=True)
    args = parser.parse_args()

    index, rng = Index.open(args.index), np.random.default_rng(args.seed)
    drawn = {name: draw(index, name, args.splits.split(","), args.images, rng) for name in index.labelled}
    result: dict[str, Any] = {}
    for nearest, warmth in product(COUNTS, WARMTHS):
        figures = {name: measure(index, name, ids, nearest, warmth) for name, ids in drawn.items()}
        overall = np.mean([*figures.values()], axis=0)
        result[f"nearest {nearest}, warmth {warmth:g}"] = {
            "right": round(100 * overall[0], 2),
            "loss": round(overall[1], 4),
            "right_by_attribute": {name: round(100 * right, 1) for name, (right, _) in figures.items()},
        }
        print(nearest, warmth, overall.round(4))
    record = {
        "images": {name: len(ids) for name, ids in drawn.items()},
        "right": "images whose first value is the true one, percent, mean over attributes",
        "loss": f"mean of -log of the true value's share, at least {LEAST}; lower: shares can be believed more",
        "chosen": {"nearest": NEAREST, "warmth": WARMTH},
        "splits": args.splits,
        "seed": args.seed,
        "versions": versions(),
        "command": nameless(sys.argv),
    }
    write_result(args.result, result, record)


def draw(index: Index, name: str, splits: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """Draw labelled images of some splits."""
    field = index.fields[name].field
    table = pa.concat_tables(index.gallery.tables(["id", "split", field]))
    rows = [row for row in table.to_pylist() if row["split"] in splits and row[field]]
    return [rows[place]["id"] for place in rng.permutation(len(rows))[:count]]


def measure(index: Index, name: str, ids: list[str], nearest: int, warmth: float) -> tuple[float, float]:
    """Share of images told right, and mean loss."""
    right = loss = 0.0
    for image_id, vectors in zip(ids, index.vectors_of(ids), strict=True):
        true = index.get(image_id).labels[name]
        votes = index.likely(vectors, name, {image_id}, nearest, warmth)
        right += votes[0].value in true
        loss -= math.log(max(LEAST, sum(vote.share for vote in votes if vote.value in true)))
    return right / len(ids), loss / len(ids)


if __name__ == "__main__":
    main()
