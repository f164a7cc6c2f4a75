"""Processes that write to an index and are killed: each is forked off one that has loaded the engine already.

As a program: reads jobs from standard input, one JSON object a line, and answers each with the exit status of the
process that did it. What a process has done it notes in a file: ``try`` before a change, ``done`` once it was told
that the change is on disk.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
LONGEST_S = 120  # no job takes as long, on the busiest machine


@dataclass
class Nursery:
    """The process that forks the others."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls) -> Nursery:
        code = "from tests.retrieval.killing import main; main()"
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        return cls(subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, **pipes))

    def run(self, root: Path, job: str, **options: Any) -> int:
        """Do a job in a process of its own and return its exit status, -9 if it was killed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"root": str(root), "job": job, **options}) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def stop(self) -> None:
        self.process.communicate()


def main() -> None:
    """Fork a process for each job; after so many changes it is killed, at a random moment of the next."""
    for module in ("lancedb", "tests.retrieval.picture_world", "lapel.retrieval.writing"):
        importlib.import_module(module)  # seconds, once
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            status = 1
            signal.alarm(LONGEST_S)
            try:
                JOBS[job["job"]](job)
                status = 0
            except BaseException:
                traceback.print_exc()
            os._exit(status)
        if "kill" in job:
            _kill(child, job)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _kill(child: int, job: dict[str, Any]) -> None:
    give_up = time.monotonic() + LONGEST_S
    notes = Path(job["root"]) / "notes"
    while time.monotonic() < give_up and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        text = notes.read_text() if notes.is_file() else ""
        if text.count('"done"') >= job["kill"]:
            time.sleep(job["wait"])
            os.kill(child, signal.SIGKILL)
            return
        time.sleep(0.001)


def notes(root: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what every row must hold, None where it must be gone, and the changes that were not finished."""
    path, state, tried = root / "notes", {}, []
    for line in path.read_text().splitlines() if path.is_file() else ():
        kind, change = json.loads(line)
        if kind == "try":
            tried.append(change)
        else:
            tried.remove(change)
            state |= change
    return state, tried


def settle(root: Path, state: dict[str, Any]) -> None:
    """Note that this is how it is, after all."""
    (root / "notes").write_text("".join(json.dumps([kind, state]) + "\n" for kind in ("try", "done")))


def write(job: dict[str, Any]) -> None:
    """Write and delete at random, and tidy between: a change is id -> seed of its picture, None where it goes."""
    from lapel.retrieval import snapshot, writing

    world = _world(job)
    # Everything that comes once in a while comes often.
    writing.TIDY_COMMITS, writing.TIDY_EVERY_S, snapshot.ROOM_LEAST = 3, 0.0, 16
    writer = world.writer()
    for change in changes(job["seed"], job.get("count", 40)):
        _do(Path(job["root"]), job, writer, change)


def changes(seed: int, count: int) -> Iterator[dict[str, Any]]:
    random = np.random.default_rng(seed)
    for step in range(count):
        names = [f"w{n}" for n in random.choice(12, random.integers(1, 4), replace=False)]
        gone = random.random() < 0.25
        yield {name: None if gone else f"{seed} {step} {name}" for name in names}


def _do(root: Path, job: dict[str, Any], writer: Any, change: dict[str, Any]) -> None:
    from .picture_world import new

    with (root / "notes").open("a") as stream:
        stream.write(json.dumps(["try", change]) + "\n")
        stream.flush()
        _arm(job)
        if None in change.values():
            writer.delete(list(change))
        else:
            writer.upsert([new(name, seed, metadata={"seed": seed}) for name, seed in change.items()])
        stream.write(json.dumps(["done", change]) + "\n")
        stream.flush()
    writer.rest()


def index(job: dict[str, Any]) -> None:
    """Index a catalogue that changes, while written rows are in the index."""
    world = _world(job)
    for number in range(job["files"]):
        world.add(f"{number:03}.jpg", f"{job['seed']} {number}", item=f"i{number}", price=number * job["price"])
    _arm(job)
    world.index(commit_rows=4)


def fill(job: dict[str, Any]) -> None:
    """Write five images, of which three while no file may grow past a size; the outcomes are in ``told``."""
    import resource

    from lapel.errors import LapelError

    from .picture_world import new

    writer, told = _world(job).writer(), []
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for number in range(5):
        size = job["size"] if 1 <= number <= 3 else resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        try:
            told += writer.upsert([new(f"w{number}", str(number), metadata={"seed": str(number)})])
        except LapelError as error:
            told.append(str(error))
    (Path(job["root"]) / "told").write_text(json.dumps(told))


JOBS: dict[str, Callable[[dict[str, Any]], None]] = {"write": write, "index": index, "fill": fill}


def _world(job: dict[str, Any]) -> Any:
    from .picture_world import PictureWorld

    return PictureWorld(Path(job["root"]))


def _arm(job: dict[str, Any]) -> None:
    """Have this process kill itself before or after a function is called, the n-th time from now."""
    if "stop" not in job or job.get("armed"):
        return
    job["armed"] = True
    place, when, left = job["stop"], job["when"], [job.get("nth", 1)]
    module, _, name = place.rpartition(".")
    owner: Any = importlib.import_module(f"lapel.retrieval.{module.partition(':')[0]}")
    owner = getattr(owner, module.partition(":")[2]) if ":" in module else owner
    plain = getattr(owner, name)

    def stopping(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        if not left[0] and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        found = plain(*args, **options)
        if not left[0] and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(owner, name, stopping)
