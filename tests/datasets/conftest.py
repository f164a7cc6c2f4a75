"""Stand-ins for the tests of the formats: drawn once for all workers."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from lapel.standins import draw_standin
from lapel.standins.studio import Drawn

ITEMS, SIZE = 16, 64

Standins = Callable[[str], tuple[Path, Drawn]]


@pytest.fixture(scope="session")
def standins(shared_folder: Path) -> Standins:
    """Return (folder, what was drawn) of a format's stand-in: 16 items, 64 pixels. Copy it before changing anything."""

    def get(name: str) -> tuple[Path, Drawn]:
        folder, account = shared_folder / f"standin-{name}", shared_folder / f"standin-{name}.json"
        with (shared_folder / f"standin-{name}.lock").open("w") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            if not account.exists():
                drawn = draw_standin(name, folder, items=ITEMS, size=SIZE, quiet=True)
                account.write_text(json.dumps(asdict(drawn) | {"labels": sorted(drawn.labels)}))
        data = json.loads(account.read_text())
        labels = {(row, attribute, value) for row, attribute, value in data["labels"]}
        return folder, Drawn(data["rows"], labels, tuple(data["attributes"]), data["relations"])

    return get


@pytest.fixture
def own(standins: Standins, tmp_path: Path) -> Callable[[str], Path]:
    """Return a copy of a stand-in that a test may damage."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(standins(name)[0], tmp_path / "data"))

    return copy
