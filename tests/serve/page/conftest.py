"""One browser and one server for all tests of the page; each test has a page of its own, watched for trouble."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..shop import Shop
from .driver import DESKTOP, Site, Watched, build_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from lapel.catalogue import Catalogue

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextlib.contextmanager
def at_work(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let Playwright's loop be this thread's while the browser is used, and only then: other tests run loops too."""
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium, else Playwright's own; without either these tests are skipped."""
    from playwright.sync_api import Error, sync_playwright

    manager = sync_playwright()
    playwright = manager.start()
    loop = asyncio.get_running_loop()
    found = next(filter(None, map(shutil.which, NAMES)), None)
    try:
        opened = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
    except Error as error:
        playwright.stop()
        asyncio._set_running_loop(None)
        pytest.skip(f"there is no browser here: {str(error).splitlines()[0]}")
    asyncio._set_running_loop(None)
    yield opened
    with at_work(loop):
        opened.close()
        playwright.stop()


@pytest.fixture(scope="session")
def site(garments: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two indexes of one drawn catalogue behind one server: do not change them."""
    shop = Shop.build(tmp_path_factory.mktemp("site"), garments)
    with build_site(shop) as built:
        yield built


@pytest.fixture(scope="session")
def tabs() -> dict[str, Page]:
    """The browser's tabs by their options."""
    return {}


@pytest.fixture
def open_page(browser: Browser, tabs: dict[str, Page], site: Site) -> Iterator[Any]:
    """Opens pages: ``open_page(path, **options of the browser's context)``; none may have met an error."""
    opened: list[Watched] = []

    def open_one(path: str | None = "/", base: str | None = None, **options: Any) -> Watched:
        # One tab for all tests with the same options: a new one would be a new process.
        key = repr(sorted(options.items()))
        if key not in tabs:
            context = browser.new_context(**{"viewport": DESKTOP, "reduced_motion": "reduce", **options})
            tabs[key] = context.new_page()
        watched = Watched(tabs[key], base or site.address)
        opened.append(watched)
        if path is not None:
            watched.open(path)
        return watched

    with at_work(browser._loop):
        try:
            yield open_one
            for each in opened:
                assert each.troubles == []
        finally:
            for each in opened:
                each.close()


@pytest.fixture
def page(open_page: Any) -> Watched:
    """A tab on a desktop's screen, still empty."""
    watched: Watched = open_page(None)
    return watched


@pytest.fixture
def start(page: Watched) -> Watched:
    """The page at its start."""
    page.open("/")
    return page


@pytest.fixture(scope="session")
def quiet_page(browser: Browser, site: Site) -> Watched:
    """A page where nothing runs, of the same origin: modules can be loaded in it one by one."""
    with at_work(browser._loop):
        watched = Watched(browser.new_page(), site.address)
        watched.open("/v1/health")
    return watched


@pytest.fixture
def modules(browser: Browser, quiet_page: Watched) -> Iterator[Watched]:
    """To evaluate expressions over single modules."""
    with at_work(browser._loop):
        yield quiet_page


@pytest.fixture
def photo(site: Site) -> Path:
    """A photograph to search with."""
    return site.shop.photo(4)
