"""Does bf16 converge like fp32, and how much faster is it? The same training in both, on drawn garments.

python benchmarks/precision.py --to runs/precision --result benchmarks/results/precision.json
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from lapel.config import load_recipe
from lapel.evaluate import evaluate
from lapel.evaluation.record import protocol_record, write_result
from lapel.garments import draw_catalogue
from lapel.training import train
from nameless import nameless


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--result", type=Path, required=True)
    args = parser.parse_args()

    draw_catalogue(args.to / "catalogue", items=args.items, views=2, seed=0, size=160, shares=(0.6, 0.1, 0.3))
    rows: list[dict[str, Any]] = []
    for seed in range(args.seeds):
        # In turn, so that a busy spell of the machine meets both.
        for precision in ("fp32", "bf16"):
            settings = [f"training.epochs={args.epochs}", f"training.seed={seed}", f"training.precision={precision}"]
            recipe = load_recipe("demo", [f"data.catalogue={args.to / 'catalogue'}", *settings])
            start = time.monotonic()
            run = train(recipe, args.to / f"{precision}-{seed}")
            seconds = time.monotonic() - start
            result = evaluate(run)
            row = {
                "precision": precision,
                "seed": seed,
                "map": round(100 * result.map, 2),
                "seconds": round(seconds, 1),
            }
            rows.append(row | {"low": round(100 * result.low, 2), "high": round(100 * result.high, 2)})
            print(rows[-1], file=sys.stderr)
    mean = {
        kind: {key: statistics.mean(row[key] for row in rows if row["precision"] == kind) for key in ("map", "seconds")}
        for kind in ("fp32", "bf16")
    }
    ratio = round(mean["fp32"]["seconds"] / mean["bf16"]["seconds"], 2)
    summary = {
        "mean": mean,
        "map_difference": round(mean["bf16"]["map"] - mean["fp32"]["map"], 2),
        "speed_ratio": ratio,
    }
    record = protocol_record(
        split="test",
        preprocessing=None,
        query_source=result.query_source,
        weights=None,
        seed=0,
        catalogue=f"{args.items} drawn garments, 2 views",
        recipe="demo",
        epochs=args.epochs,
        cores=len(os.sched_getaffinity(0)),
        command=nameless(sys.argv),
    )
    write_result(args.result, {"rows": rows, **summary}, record)
    print(summary)


if __name__ == "__main__":
    main()
