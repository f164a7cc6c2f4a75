"""What the tests of the server share: a shop, clients of its application, and a server that a browser can reach."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .shop import TOKEN, Shop, ready, running

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from lapel.catalogue import Catalogue


@pytest.fixture(scope="session")
def shop(garments: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """48 pictures of 24 garments, indexed by attributes and item: do not change it, see ``own_shop``."""
    return Shop.build(tmp_path_factory.mktemp("shop"), garments)


@pytest.fixture
def own_shop(garments: Catalogue, tmp_path: Path) -> Shop:
    """A shop that the test may change."""
    return Shop.build(tmp_path / "own", garments)


@pytest.fixture(scope="module")
def client(shop: Shop) -> Iterator[TestClient]:
    """A client of an application that is up; it sends the token."""
    from fastapi.testclient import TestClient

    headers = {"Authorization": f"Bearer {TOKEN}"}
    with TestClient(shop.app(), base_url="http://127.0.0.1", headers=headers) as opened:
        ready(opened)
        yield opened


@pytest.fixture(scope="session")
def live(shop: Shop) -> Iterator[str]:
    """The address of a real server on a free port, for a browser and for whole clients."""
    with running(shop.app()) as address:
        yield address
