"""How long the service takes to answer: the first result after a photograph, a slider's move, and many clients at once.

The server is a process of its own on this machine, and its clients share the cores with it.

python benchmarks/service_latency.py --index runs/mine-index --photographs FOLDER --result FILE.json
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import lapel
from lapel.evaluation.record import versions, write_result
from nameless import nameless

PICTURES = (".jpg", ".jpeg", ".png", ".webp")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", required=True)
    parser.add_argument("--photographs", type=Path, required=True, help="a folder of pictures to ask with")
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--result", type=Path, required=True)
    args = parser.parse_args()

    found = sorted(path for path in args.photographs.rglob("*") if path.suffix.lower() in PICTURES)
    photographs = random.Random(args.seed).sample(found, 3 * args.queries)
    once, moved, many = (photographs[start::3] for start in range(3))
    command = [
        str(Path(sys.executable).with_name("lapel")),
        "serve",
        args.index,
        "--port",
        "0",
        "--no-open",
        "--no-warm",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            told = re.search(r"http://[^\s]+", server.stdout.readline())
            assert told is not None
            with lapel.Client(told[0].rstrip("/")) as client:
                names = [one.name for one in client.indexes()[0].attributes]
                start = timed(lambda: ask(client, once[0]))
                first = [timed(lambda each=each: ask(client, each)) for each in once[1:]]
                slid = [timed(move) for move in moves(client, moved, names)]
            began = time.perf_counter()
            with ThreadPoolExecutor(args.clients) as pool:
                busy = [*pool.map(lambda part: alone(told[0].rstrip("/"), part), split(many, args.clients))]
            seconds = time.perf_counter() - began
            with lapel.Client(told[0].rstrip("/")) as client:
                rows = client.indexes()[0].images
        finally:
            server.terminate()
    result = {
        "unit": "milliseconds",
        "images": rows,
        "attributes": len(names),
        "first_of_the_process": round(1000 * start, 1),
        "first_result": spread(first),
        "slider": spread(slid),
        "with_clients_at_once": {
            "clients": args.clients,
            "first_result": spread([each for part in busy for each in part]),
            "photographs_a_second": round(len(many) / seconds, 1),
        },
    }
    record = {
        "first_result": "from sending the photograph to the 24 best garments, likely values left out",
        "slider": "another weighting of the same photograph, to the 24 best garments",
        "seed": args.seed,
        "cores": len(os.sched_getaffinity(0)),
        "versions": versions(),
        "command": nameless(sys.argv),
    }
    write_result(args.result, result, record)
    print(result)


def ask(client: lapel.Client, photograph: Path) -> Any:
    """Send a photograph and have its first page of results."""
    return client.search(client.upload(photograph))


def alone(url: str, photographs: Sequence[Path]) -> list[float]:
    """What one of many clients waits for each of its photographs, in seconds."""
    with lapel.Client(url) as client:
        return [timed(lambda each=each: ask(client, each)) for each in photographs]


def moves(client: lapel.Client, photographs: Sequence[Path], names: Sequence[str]) -> list[Callable[[], Any]]:
    """For each photograph, already sent, one search under other weights."""
    sent = [client.upload(each) for each in photographs]
    for query in sent:
        client.search(query)
    weighted = [{name: (place + turn) % 5 / 2 - 0.5 for turn, name in enumerate(names)} for place in range(len(sent))]
    return [
        lambda q=query, w=weights: client.search(q, weights=w) for query, weights in zip(sent, weighted, strict=True)
    ]


def split(photographs: Sequence[Path], count: int) -> list[Sequence[Path]]:
    """One part for each client."""
    return [photographs[start::count] for start in range(count)]


def timed(action: Callable[[], Any]) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and largest, in milliseconds."""
    found = {"median": np.median(seconds), "p95": np.quantile(seconds, 0.95), "max": max(seconds)}
    return {name: round(1000 * float(value), 1) for name, value in found.items()}


if __name__ == "__main__":
    main()
