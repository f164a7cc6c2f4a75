"""What all tests share: one thread per worker, no network, a plain shell, and a small drawn catalogue."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before anything imports numpy or torch: the workers of pytest-xdist must not fight over the cores, and
# with one thread a sum has one order, alone or in parallel.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ.update(HF_HUB_OFFLINE="1", MPLBACKEND="Agg", NO_COLOR="1", COLUMNS="120", TERM="dumb")
for variable in ("LAPEL_DEBUG", "RANK", "WORLD_SIZE", "LOCAL_RANK", "FORCE_COLOR"):
    os.environ.pop(variable, None)

import hypothesis  # noqa: E402
import pytest  # noqa: E402

from .milvus_server import MilvusServer, why_not  # noqa: E402

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue

# The same examples every time, and no example database in the working folder.
hypothesis.settings.register_profile(
    "lapel", deadline=None, max_examples=25, derandomize=True, database=None, print_blob=False
)
hypothesis.settings.load_profile("lapel")


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker of tests that talk to a Milvus server."""
    config.addinivalue_line("markers", "milvus: needs a Milvus server; `make test` runs these on their own")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Keep torch, where a test uses it, to one thread; a test that does not is not made to load it."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads") and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold a lock that the other workers of pytest-xdist respect."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this test session share."""
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    shared.mkdir(exist_ok=True)
    return shared


@pytest.fixture(scope="session")
def garments(shared_folder: Path) -> Catalogue:
    """24 drawn garments in two views each, 96 pixels, drawn once for all workers: do not change its files."""
    from lapel.catalogue import Catalogue
    from lapel.garments import draw_catalogue

    folder, done = shared_folder / "garments", shared_folder / "garments.done"
    with lock(shared_folder / "garments.lock"):
        if not done.exists():
            draw_catalogue(folder, items=24, views=2, seed=0, size=96, quiet=True)
            done.touch()
    return Catalogue.read(folder)


TINY = ("training.epochs=2", "training.batch=16", "image.height=64", "image.width=48", "model.options.width=32")


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Settings that make a recipe train in seconds."""
    return TINY


@pytest.fixture(scope="session")
def trained(garments: Catalogue, shared_folder: Path) -> Path:
    """A run of two epochs on ``garments``, trained once for all workers: copy it before changing anything."""
    from lapel.config import load_recipe
    from lapel.training import train

    run, done = shared_folder / "run", shared_folder / "run.done"
    with lock(shared_folder / "run.lock"):
        if not done.exists():
            train(load_recipe("demo", [f"data.catalogue={garments.root}", *TINY]), run, quiet=True)
            done.touch()
    return run


@pytest.fixture(scope="session")
def indexed(garments: Catalogue, trained: Path, shared_folder: Path) -> Path:
    """The index of ``garments`` by ``trained``, made once for all workers: copy it before changing anything."""
    from lapel.retrieval.embedder import load
    from lapel.retrieval.indexing import index_catalogue

    index, done = shared_folder / "index", shared_folder / "index.done"
    with lock(shared_folder / "index.lock"):
        if not done.exists():
            index_catalogue(garments, load(trained), index, quiet=True)
            done.touch()
    return index


@pytest.fixture(scope="session")
def milvus() -> Iterator[MilvusServer]:
    """A Milvus server, for tests marked ``milvus``: they run in a network of their own (see ``milvus_server``)."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    server = MilvusServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whatever writes a path's bytes or text, or brings a file to disk, fail as on a full disk."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("write_bytes", "write_text"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr(os, "fsync", refuse)
