"""How long ``lapel data import`` takes, and how much memory, on every public format at its full size.

python benchmarks/parsing.py --result benchmarks/results/parsing.json

The files are written first (``fullsize.py``), so that they are read from memory rather than from disk, as on the second
run of a person's own import. Python's start and loading the packages count.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from fullsize import GENERATORS, generate
from lapel.evaluation.record import versions, write_result
from nameless import nameless

LIMITS = {"import_seconds": 60, "import_peak_mb": 2000}

READ = """
import sys, time
from lapel.catalogue import Catalogue
start = time.perf_counter()
catalogue = Catalogue.read(sys.argv[1])
relations = sum(table.num_rows for table in catalogue.relations.values())
print(time.perf_counter() - start, len(catalogue), len(catalogue.labels), relations)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(GENERATORS), default=list(GENERATORS), metavar="FORMAT")
    parser.add_argument("--share", type=float, default=1.0, help="of the full size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, help="a folder for the generated files, kept and used again there: 2 GB")
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()

    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in args.only:
            folder = (args.to or Path(temporary)) / f"{name}-{args.share:g}-{args.seed}"
            rows[name] = measure(name, folder, args.share, args.seed)
            print(name, rows[name], flush=True)
            if args.to is None:
                shutil.rmtree(folder)
    beyond = [name for name, row in rows.items() if any(row[key] > most for key, most in LIMITS.items())]
    print(f"beyond {LIMITS}: {', '.join(beyond) or 'none'}")
    if args.result is not None:
        record = {
            "cores": len(os.sched_getaffinity(0)),
            "seed": args.seed,
            "share": args.share,
            "versions": versions() | {"pyarrow": metadata.version("pyarrow")},
            "command": nameless(sys.argv),
        }
        write_result(args.result, {"units": "seconds, MB", "limits": LIMITS, "formats": rows}, record)


def measure(name: str, folder: Path, share: float, seed: int) -> dict[str, Any]:
    """Write a data set, import it, read what was imported."""
    root, to = folder / "root", folder / "catalogue"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        # In a process of its own: a child's peak memory counts from that of its parent.
        writer = multiprocessing.get_context("spawn").Process(target=generate, args=(name, root, share, seed))
        writer.start()
        writer.join()
        if writer.exitcode:
            raise SystemExit(f"could not write {name}")
        (folder / "done").touch()
    text = [path for path in files(root) if path.stat().st_size]
    seconds, cpu, peak, _ = timed(["-m", "lapel.cli", "data", "import", name, str(root), "--to", str(to), "--quiet"])
    _, _, read_peak, told = timed(["-c", READ, str(to)])
    read, count, labels, relations = told.splitlines()[-1].split()
    return {
        "rows": int(count),
        "labels": int(labels),
        "related": int(relations),
        "files_mb": megabytes(text),
        "import_seconds": round(seconds, 1),
        "import_cpu_seconds": round(cpu, 1),
        "rows_per_second": round(int(count) / seconds),
        "import_peak_mb": peak,
        "catalogue_mb": megabytes(list(to.glob("*.parquet"))),
        "read_seconds": round(float(read), 2),
        "read_peak_mb": read_peak,
    }


def timed(arguments: list[str]) -> tuple[float, float, int, str]:
    """Run Python with these arguments: seconds, processor seconds, peak memory in MB, what it printed."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert child.stdout is not None
    told = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"failed: {' '.join(arguments[:4])}\n{told}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024, told


def files(root: Path) -> list[Path]:
    """Every file below a folder."""
    return [Path(folder, name) for folder, _, names in os.walk(root) for name in names]


def megabytes(paths: list[Path]) -> float:
    """Size of files together."""
    return round(sum(path.stat().st_size for path in paths) / 1e6, 1)


if __name__ == "__main__":
    main()
