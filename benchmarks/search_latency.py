"""How long a search takes: from the shell, and in a process that holds the index open.

python benchmarks/search_latency.py --index runs/mine-index --image PHOTO.jpg --attribute neckline --result FILE.json
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from lapel.evaluation.record import versions, write_result
from nameless import nameless


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--attribute", required=True)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--result", type=Path, required=True)
    args = parser.parse_args()

    command = [str(Path(sys.executable).with_name("lapel")), "search", args.index, args.image]
    command += ["--attribute", args.attribute, "--json"]
    shell = [timed(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(args.runs)]

    from lapel.retrieval.index import Index

    first = timed(lambda: Index.open(args.index).search(args.image, weights={args.attribute: 1.0}))
    index = Index.open(args.index)
    index.search(args.image, weights={args.attribute: 1.0})
    warm = [timed(lambda: index.search(args.image, weights={args.attribute: 1.0})) for _ in range(5 * args.runs)]
    result = {
        "unit": "seconds",
        "rows": len(index),
        "shell": {"median": statistics.median(shell), "min": min(shell), "max": max(shell)},
        "in_process_first": first,
        "in_process": {"median": statistics.median(warm), "min": min(warm), "max": max(warm)},
    }
    record = {
        "cores": len(os.sched_getaffinity(0)),
        "versions": versions(),
        "command": nameless(sys.argv),
    }
    write_result(args.result, result, record)
    print(result)


def timed(action: object) -> float:
    """Seconds that one call takes."""
    assert callable(action)
    start = time.perf_counter()
    action()
    return round(time.perf_counter() - start, 4)


if __name__ == "__main__":
    main()
