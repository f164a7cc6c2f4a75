"""What is LanceDB's own: its files, and what goes wrong with them. ``test_store.py`` has what all engines do."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lapel.errors import LapelError, SearchIndexError
from lapel.retrieval.lance_store import LanceStore, _trouble, state

from .test_store import SCHEMA, rows


def test_state_names_the_newest_version(tmp_path: Path) -> None:
    assert state(tmp_path) is None
    store = LanceStore.create(tmp_path, SCHEMA)
    seen = [state(tmp_path)]
    for change in (
        lambda: store.upsert(rows(1)),
        lambda: store.delete(["it's 1"]),
        lambda: store.tidy(False),
    ):
        change()
        seen.append(state(tmp_path))
    numbers = [int(name or 0) for name in seen]
    assert numbers == sorted(numbers)
    assert numbers[0] < numbers[1] < numbers[2]
    assert seen[-1] == str(store.table.version) == store.version
    assert state(tmp_path) == seen[-1]


def test_opening(tmp_path: Path) -> None:
    with pytest.raises(SearchIndexError, match="has no rows yet"):
        LanceStore.open(tmp_path)
    LanceStore.create(tmp_path, SCHEMA).upsert(rows(1))
    assert len(LanceStore.create(tmp_path, SCHEMA)) == 1  # what is there stays
    for path in (tmp_path / "images.lance" / "data").iterdir():
        path.write_bytes(b"not lance")
    with pytest.raises(SearchIndexError, match="cannot read index"):
        LanceStore.open(tmp_path).read(["id"])


def test_a_creation_that_was_interrupted(tmp_path: Path) -> None:
    (tmp_path / "images.lance" / "data").mkdir(parents=True)
    assert len(LanceStore.create(tmp_path, SCHEMA)) == 0


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk full while writing"),
        (
            RuntimeError("lance error: LanceError(IO): No space left on device (os error 28)"),
            "disk full while writing",
        ),
        (
            RuntimeError("lance error: broken\nmore"),
            r"cannot write index .*: lance error: broken \(the rows written",
        ),
    ],
)
def test_trouble_becomes_advice(tmp_path: Path, error: Exception, message: str) -> None:
    with pytest.raises(LapelError, match=message), _trouble(tmp_path, "write"):
        raise error
