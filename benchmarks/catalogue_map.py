"""Train and measure on one catalogue from start to end: chance, frozen trunk, the paper's triplets, our pairs.

    python benchmarks/catalogue_map.py --catalogue PATH --weights trunk.safetensors --trunk mobilenetv2_100 \
        --trunk-options '{pad_type: same}' --mean 0.5 --std 0.5 --minutes 25 --to runs/bench --result result.json

Every trained system gets the same wall time, the same trunk, images and queries. Rows whose run is already complete in
``--to`` are measured again without training, so an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import torch
import yaml

from lapel.catalogue import Catalogue
from lapel.config import Recipe, load_recipe
from lapel.evaluate import evaluate
from lapel.evaluation.protocols import RetrievalResult, compare
from lapel.evaluation.record import protocol_record, write_result
from lapel.evaluation.tables import print_systems
from lapel.runs import CONFIG, note
from lapel.training import train
from nameless import nameless

# The paper's recipe but for trunk and frame, which are given; and ours.
SYSTEMS = {
    "triplets": ("agman", ["model.options={width: 512}"]),
    "pairs": ("laptop", []),
}


def recipe_of(name: str, args: argparse.Namespace, settings: list[str]) -> Recipe:
    """A recipe with the trunk and the catalogue that are given."""
    given = [
        f"data.catalogue={args.catalogue}",
        f"data.attributes={args.attributes}",
        f"model.trunk={args.trunk}",
        f"model.weights={args.weights or 'hub'}",
        f"model.trunk_options={args.trunk_options}",
        f"model.mean={[args.mean] * 3}",
        f"model.std={[args.std] * 3}",
    ]
    return load_recipe(name, [*given, *settings])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalogue", required=True)
    parser.add_argument("--attributes", default="", help="comma-separated; default: every trainable one")
    parser.add_argument("--trunk", default="mobilenetv2_100")
    parser.add_argument("--weights", default=None, help="local safetensors; default: the hub")
    parser.add_argument("--trunk-options", type=yaml.safe_load, default={})
    parser.add_argument("--mean", type=float, default=0.5)
    parser.add_argument("--std", type=float, default=0.5)
    parser.add_argument("--minutes", type=float, default=25.0, help="training time of each system")
    parser.add_argument("--systems", default="pairs,triplets")
    parser.add_argument("--set", action="append", default=[], help="further recipe settings for every system")
    parser.add_argument("--to", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--result", type=Path, required=True)
    args = parser.parse_args()

    results: dict[str, RetrievalResult] = {}
    facts: dict[str, object] = {}
    for name in args.systems.split(","):
        recipe_name, settings = SYSTEMS[name]
        frame = load_recipe("laptop").image
        settings = [
            f"image.height={frame.height}",
            f"image.width={frame.width}",
            f"image.resize={frame.resize}",
            f"training.minutes={args.minutes}",
            "training.epochs=1000",
            *settings,
            *args.set,
        ]
        recipe = recipe_of(recipe_name, args, settings)
        run = args.to / name
        start = time.monotonic()
        # A finished run resumes to nothing; one that was stopped goes on.
        train(recipe, run, resume=(run / CONFIG).exists())
        facts[name] = note(run) | {"recipe": recipe.to_dict(), "wall_seconds": round(time.monotonic() - start)}
        results[name] = evaluate(run)
    # The floor, at its recipe's 224 px: one vector for every attribute.
    floor = train(recipe_of("frozen", args, []), args.to / "frozen", resume=(args.to / "frozen" / CONFIG).exists())
    results = {"frozen trunk": evaluate(floor)} | results
    catalogue = Catalogue.read(args.catalogue).name
    print_systems(results, title=f"{catalogue}, test split, {args.minutes:g} minutes of training each")
    gaps = {
        f"{first} - {second}": {
            key: [round(100 * v, 4) for v in (gap.mean, gap.low, gap.high)] for key, gap in found.items()
        }
        for first, second in (("pairs", "frozen trunk"), ("pairs", "triplets"), ("triplets", "frozen trunk"))
        if first in results and second in results
        for found in [compare(results[first], results[second])]
    }
    record = protocol_record(
        split="test",
        preprocessing=None,
        query_source=next(iter(results.values())).query_source,
        weights=None,
        seed=0,
        catalogue=catalogue,
        cores=len(os.sched_getaffinity(0)),
        threads=torch.get_num_threads(),
        minutes=args.minutes,
        systems=nameless(facts),
        command=nameless([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )
    write_result(
        args.result, {name: found.to_dict() for name, found in results.items()} | {"differences": gaps}, record
    )
    print(f"written: {args.result}")


if __name__ == "__main__":
    main()
