"""Bilinear pooling: what the public per-position FFT costs, and what two shorter ways to the same vector cost.

python benchmarks/bilinear.py --result benchmarks/results/bilinear.json

Three ways to the averaged compact bilinear vector, forwards and backwards, in turn so that a busy spell of the machine
meets all of them; ratios are of medians. Times are those of the processor, so that other work beside it counts little;
on a GPU they are those of the clock. ``positions`` is the public formulation: sketches, FFT, product and inverse
FFT at every position, then the average. ``spectra`` averages the product of spectra and has one inverse FFT per image.
``outer`` is Lapel's: the averaged outer product, each entry into its bucket. Peak memory is that of a process of its
own, above what it held before the call, on the processor; of the allocator on a GPU.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lapel.evaluation.record import versions, write_result
from lapel.models.bilinear import CompactBilinear
from nameless import nameless

WAYS = ("positions", "spectra", "outer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, nargs=2, default=(1536, 256))
    parser.add_argument("--side", type=int, default=8)
    parser.add_argument("--sketch", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--note", default="", help="what else the machine was doing")
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()

    problem = (*args.channels, args.side, args.sketch, args.batch, args.seed, args.device)
    ways, maps = prepare(*problem)
    with torch.no_grad():
        found = {name: way(*maps) for name, way in ways.items()}
    expected = found["positions"]
    errors = {name: float((found[name] - expected).abs().max() / expected.abs().max()) for name in WAYS}
    seconds = {name: ([], []) for name in WAYS}  # type: dict[str, tuple[list[float], list[float]]]
    for _ in range(args.repeats):
        for name, way in ways.items():
            for kept, took in zip(seconds[name], once(way, maps), strict=True):
                kept.append(took)
    rows: dict[str, Any] = {}
    for name in WAYS:
        forward, backward = (statistics.median(kept) for kept in seconds[name])
        rows[name] = {
            "forward_ms": round(1000 * forward, 1),
            "backward_ms": round(1000 * backward, 1),
            "both_ms": round(1000 * statistics.median(map(sum, zip(*seconds[name], strict=True))), 1),
            "forward_ms_range": [round(1000 * end(seconds[name][0]), 1) for end in (min, max)],
            "backward_ms_range": [round(1000 * end(seconds[name][1]), 1) for end in (min, max)],
            "peak_mb": round(peak(name, problem) / 1e6),
            "largest_error": errors[name],
        }
        print(name, rows[name], flush=True)
    keys = ("forward_ms", "backward_ms", "both_ms", "peak_mb")
    ratios = {name: {key: round(rows["positions"][key] / rows[name][key], 1) for key in keys} for name in WAYS[1:]}
    print("positions over", ratios)
    if args.result is not None:
        record = {
            "channels": list(args.channels),
            "side": args.side,
            "sketch": args.sketch,
            "batch": args.batch,
            "repeats": args.repeats,
            "seed": args.seed,
            "device": torch.cuda.get_device_name(args.device) if args.device != "cpu" else "cpu",
            "threads": torch.get_num_threads(),
            "cores": len(os.sched_getaffinity(0)),
            "note": args.note,
            "versions": versions(),
            "command": nameless(sys.argv),
        }
        result = {
            "units": "milliseconds (medians, processor time on a processor), MB",
            "ways": rows,
            "positions_over": ratios,
        }
        write_result(args.result, result, record)


def prepare(
    first: int, second: int, side: int, size: int, batch: int, seed: int, device: str
) -> tuple[dict[str, Callable[[Tensor, Tensor], Tensor]], tuple[Tensor, Tensor]]:
    """Return the three ways, of one sketch, and two maps as after a ReLU."""
    torch.manual_seed(seed)
    pool = CompactBilinear(first, second, size, seed).to(device)

    def sketches(x: Tensor, buckets: Tensor, signs: Tensor) -> Tensor:
        at = (x * signs[:, None, None]).flatten(2).transpose(1, 2)
        return at.new_zeros(*at.shape[:2], size).index_add(2, buckets, at)

    def product(x: Tensor, y: Tensor) -> Tensor:
        one = torch.fft.rfft(sketches(x, pool.first_buckets, pool.first_signs))
        return one * torch.fft.rfft(sketches(y, pool.second_buckets, pool.second_signs))

    ways: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "positions": lambda x, y: torch.fft.irfft(product(x, y), n=size).mean(1),
        "spectra": lambda x, y: torch.fft.irfft(product(x, y).mean(1), n=size),
        "outer": pool,
    }
    x, y = (torch.randn(batch, channels, side, side, device=device).relu_() for channels in (first, second))
    return ways, (x.requires_grad_(), y.requires_grad_())


def once(way: Callable[[Tensor, Tensor], Tensor], maps: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Seconds of one pass forwards and one backwards."""
    for one in maps:
        one.grad = None
    wait(maps[0])
    clock = time.perf_counter if maps[0].is_cuda else time.process_time
    start = clock()
    found = way(*maps)
    wait(found)
    middle = clock()
    found.backward(torch.ones_like(found))
    wait(found)
    return middle - start, clock() - middle


def wait(tensor: Tensor) -> None:
    """Until what was asked of the tensor's device is done."""
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)


def peak(name: str, problem: tuple[Any, ...]) -> float:
    """Bytes that one pass forwards and backwards takes above what was held before, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return float(pool.apply(peak_here, (name, problem)))


def peak_here(name: str, problem: tuple[Any, ...]) -> float:
    *sizes, size, batch, seed, device = problem
    # Everything is loaded by a small problem before.
    ways, maps = prepare(8, 8, 2, 16, 2, seed, device)
    once(ways[name], maps)
    ways, maps = prepare(*sizes, size, batch, seed, device)
    if device != "cpu":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        once(ways[name], maps)
        return float(torch.cuda.max_memory_allocated(device) - before)
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew
    held = status("VmRSS")
    once(ways[name], maps)
    return status("VmHWM") - held


def status(key: str) -> float:
    """A figure that Linux keeps of this process, in bytes: ``VmRSS`` held now, ``VmHWM`` the most so far."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


if __name__ == "__main__":
    main()
