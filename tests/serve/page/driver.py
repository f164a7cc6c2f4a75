"""Driving the page in a browser: a site to visit, a page that notes every trouble, and what tests do on it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from lapel.frame import Preprocessing
from lapel.retrieval.index import Index
from lapel.retrieval.indexing import index_catalogue
from lapel.serve.explaining import Explainer

from ..shop import ATTRIBUTES, Seer, Shop, running

if TYPE_CHECKING:
    from fastapi import FastAPI
    from playwright.sync_api import Locator, Page, Request

DESKTOP, PHONE = {"width": 1100, "height": 700}, {"width": 360, "height": 740}
SUGGESTED = [16.0, 8.0, 80.0, 72.0]
WAIT_MS = 10_000


class Gazer:
    """Looks at the upper left for the neckline, at the lower right for anything else."""

    gazes, preprocessing = ATTRIBUTES, Preprocessing(height=96, width=96)

    def attention(self, images: Any) -> np.ndarray:
        maps = np.zeros((len(images), len(ATTRIBUTES), 6, 6), np.float32)
        maps[:, 0, 1, 1], maps[:, 1:, 4, 4] = 1, 1
        return maps


class Looker(Explainer):
    """Explains by ``Gazer`` and suggests one box for every photograph."""

    def locates(self, sources: Any) -> Any:
        return sources[0]

    async def suggest(self, source: Any, picture: Any) -> list[float] | None:
        return SUGGESTED


@dataclass
class Site:
    """A running server: ``shop`` and ``other``, one catalogue as two runs see it."""

    shop: Shop
    app: FastAPI
    address: str = ""

    def id(self, number: int) -> str:
        return self.shop.images[number]


def site_app(shop: Shop, **changes: Any) -> FastAPI:
    """The application of a site; ``changes`` are settings."""
    other = Seer(shop.root / "looks-2", seed=7, fingerprint="c" * 64)
    folder = shop.root / "other"
    if not folder.exists():
        other.write()
        index_catalogue(shop.catalogue, other, folder, quiet=True)

    def read(path: Path) -> Index:
        return Index.open(path, encoder=[other.embed]) if path == folder else shop.read(path)

    settings = {"indexes": (("shop", shop.folder), ("other", folder)), **changes}
    app = replace_reader(shop, read).app(**settings)
    app.state.lapel.explainer = Looker(load=lambda run: Gazer())  # type: ignore[arg-type,return-value]
    return app


def replace_reader(shop: Shop, read: Any) -> Shop:
    """A shop like this one that opens its indexes by ``read``."""
    made = replace(shop)
    made.read = read  # type: ignore[method-assign]
    return made


@contextlib.contextmanager
def build_site(shop: Shop, **changes: Any) -> Iterator[Site]:
    app = site_app(shop, **changes)
    with running(app) as address:
        yield Site(shop, app, address)


@dataclass
class Watched:
    """A tab with the page in it. ``troubles`` holds errors, what the console was told, and visits elsewhere."""

    raw: Page
    base: str
    troubles: list[str] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    expected: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.raw.set_default_timeout(WAIT_MS)
        self.listening = {
            "pageerror": lambda error: self.note(f"{error}"),
            "console": lambda told: self.note(told.text) if told.type in ("error", "warning") else None,
            "request": self.seen,
        }
        for event, listener in self.listening.items():
            self.raw.on(event, listener)  # type: ignore[call-overload]

    def note(self, trouble: str) -> None:
        if not any(each in trouble for each in self.expected):
            self.troubles.append(trouble)

    def seen(self, request: Request) -> None:
        self.asked.append(request)
        if not request.url.startswith((self.base, "blob:", "data:")):
            self.note(f"asked for {request.url}")

    def expect(self, *troubles: str) -> None:
        """Let the browser tell troubles with these words: it reports each answer that is an error."""
        self.expected += troubles

    def open(self, path: str) -> None:
        self.raw.goto(self.base + path)

    def close(self) -> None:
        """Leave nothing behind for the next test in this tab."""
        for event, listener in self.listening.items():
            self.raw.remove_listener(event, listener)
        self.raw.unroute_all(behavior="ignoreErrors")
        self.raw.goto("about:blank")
        self.raw.emulate_media(color_scheme="light")
        session = self.raw.context.new_cdp_session(self.raw)
        session.send("Storage.clearDataForOrigin", {"origin": self.base, "storageTypes": "local_storage,indexeddb"})
        session.detach()

    def find(self, selector: str) -> Locator:
        return self.raw.locator(selector)

    def button(self, name: str) -> Locator:
        return self.raw.get_by_role("button", name=name, exact=True)

    def start_with(self, image_id: str, **more: str) -> None:
        """Open a search with a garment of the catalogue, and wait for what is found."""
        from urllib.parse import urlencode

        self.open("/?" + urlencode({"id": image_id, **more}))
        self.found()

    def found(self) -> None:
        """Wait until results are shown and nothing is on its way."""
        self.raw.wait_for_function(
            "() => document.querySelector('.card .alike')?.textContent"
            " && document.querySelector('#results').getAttribute('aria-busy') !== 'true'"
        )

    @property
    def ids(self) -> list[str]:
        """Ids of the cards, in order."""
        return [
            str(each) for each in self.raw.evaluate("[...document.querySelectorAll('.card')].map(c => c.dataset.id)")
        ]

    @property
    def address(self) -> dict[str, list[str]]:
        """The query string of the page's address."""
        return parse_qs(urlsplit(self.raw.url).query)

    def searches(self) -> list[dict[str, Any]]:
        """Bodies of the searches so far."""
        sent = [each.post_data for each in self.asked if urlsplit(each.url).path == "/v1/search"]
        return [json.loads(body) for body in sent if body]

    def until(self, holds: Callable[[], bool]) -> None:
        """Let the browser go on until something holds on this side."""
        for _ in range(WAIT_MS // 10):
            if holds():
                return
            self.raw.wait_for_timeout(10)
        raise AssertionError("it did not come to hold")

    def searching(self) -> Any:
        """Wait, as a context, for the answer to the next search."""
        return self.raw.expect_response(lambda answer: urlsplit(answer.url).path == "/v1/search" and answer.ok)

    def send(self, *files: Path | dict[str, Any]) -> None:
        """Choose a photograph."""
        self.find("input[type=file]").first.set_input_files(list(files))  # type: ignore[arg-type]

    def module(self, name: str, expression: str, argument: Any = None) -> Any:
        """Evaluate an expression over a module ``m`` of the page."""
        return self.raw.evaluate(
            f"async (a) => {{ const m = await import('/page/{name}.js'); return {expression}; }}", argument
        )

    def holds_focus(self, selector: str) -> bool:
        return bool(self.raw.evaluate("(s) => document.activeElement?.matches(s) ?? false", selector))
