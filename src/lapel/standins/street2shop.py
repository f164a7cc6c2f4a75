"""A stand-in for Street2Shop: street photos with boxes, shop photos, and photos that nobody could fetch."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from lapel.datasets.street2shop import CATEGORIES, list_name
from lapel.garments import VALUES, Rendered, render
from lapel.standins.studio import Drawn, Studio, View

STREET, SHOP = 2, 3  # photos per product

_NAMES = {
    "top": ("tops", "hats", "eyewear"),
    "dress": ("dresses", "footwear"),
    "skirt": ("skirts", "belts"),
    "trousers": ("pants", "leggings"),
    "coat": ("outerwear", "bags"),
}
"""What a garment is called: the first name, and all of them from 60 items on."""

_MANY = 60


@dataclass(frozen=True)
class _Product:
    item: int
    category: str
    number: int
    split: str


@dataclass
class _Category:
    """The three lists of a category, as they are written, and as the importer must find them."""

    train_pairs: list[dict[str, Any]] = field(default_factory=list)
    test_pairs: list[dict[str, Any]] = field(default_factory=list)
    retrieval: list[dict[str, Any]] = field(default_factory=list)
    found: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {"train_pairs": [], "test_pairs": [], "retrieval": []}
    )


class _Shelf:
    """Photos by number, and what the lists say of them."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.categories: dict[str, _Category] = {}
        self.photos: list[int] = []

    def number(self) -> int:
        """Return the number of a further photo; they have gaps."""
        last = self.photos[-1] if self.photos else 0
        self.photos.append(last + int(self.studio.rng.integers(1, 40)))
        return self.photos[-1]

    def list_street(self, photo: int, product: _Product, box: list[int] | None, path: str | None) -> None:
        """Say that a product is in a street photo; without ``box`` it has no size, without ``path`` it is not there."""
        x1, y1, x2, y2 = box or [0, 0, 0, 0]
        sides = {"width": x2 - x1, "top": y1, "left": x1, "height": y2 - y1}
        bbox = sides if box else {"top": 0, "left": 0}
        self._list(f"{product.split}_pairs", product, photo, {"bbox": bbox}, path, product.split, "consumer", box)

    def list_shop(self, photo: int, product: _Product, path: str | None) -> None:
        """Say that a shop photo shows a product."""
        split = "train" if product.split == "train" else "gallery"
        self._list("retrieval", product, photo, {}, path, split, "shop", None)

    def _list(
        self,
        kind: str,
        product: _Product,
        photo: int,
        more: dict[str, Any],
        path: str | None,
        split: str,
        domain: str,
        box: list[int] | None,
    ) -> None:
        lists = self.categories.setdefault(product.category, _Category())
        getattr(lists, kind).append({"photo": photo, "product": product.number, **more})
        if path is not None:
            item = f"{product.category}/{product.number}"
            row = {"image": path, "item": item, "split": split, "domain": domain}
            lists.found[kind].append(row | {"box": box, "photo": photo, "product": product.number})


def draw(studio: Studio) -> Drawn:
    """Draw the stand-in: two street and three shop photos per product, the categories' lists and ``photos.txt``."""
    shelf = _Shelf(studio)
    products = _products(studio)
    views: dict[str, tuple[int, _Product]] = {}
    order: list[View] = []
    for product in products:
        street = STREET if product.split else 0
        for number in range(street + SHOP):
            photo, domain = shelf.number(), "consumer" if number < street else "shop"
            suffix = ".jpeg" if photo % 4 == 0 else ".jpg"
            path = f"photos/{photo:09d}{suffix}"
            views[path] = photo, product
            order.append(View(path, product.item, number, domain))
    boxless = next((product for product in products if product.split == "train"), None)
    for view, picture in studio.draw(order):
        photo, product = views[view.path]
        if view.domain == "shop":
            shelf.list_shop(photo, product, view.path)
            continue
        box = [int(side) for side in picture.box]
        sizeless = product is boxless and view.view == 0
        shelf.list_street(photo, product, None if sizeless else box, view.path)
        if view.view == 1 and product.number % 3 == 1:
            # The same product marked twice, once more tightly.
            inset = [(box[2] - box[0]) // 8, (box[3] - box[1]) // 8]
            tight = [box[0] + inset[0], box[1] + inset[1], box[2] - inset[0], box[3] - inset[1]]
            shelf.list_street(photo, product, tight, view.path)
    _draw_together(shelf, products)
    _list_dead_links(shelf, products)
    return _write(studio, shelf)


def _products(studio: Studio) -> list[_Product]:
    """Return what each garment is sold as; every seventh is in no street photo."""
    seen: dict[str, int] = {}
    counted: dict[str, int] = {}
    products = []
    for item in range(studio.items):
        garment = studio.garment(item)
        names = _NAMES[garment.category][: None if studio.items >= _MANY else 1]
        category = names[seen.get(garment.category, 0) % len(names)]
        seen[garment.category] = seen.get(garment.category, 0) + 1
        place = counted[category] = counted.get(category, 0) + 1
        # Training and testing take turns; every second category begins with testing.
        turn = place + VALUES["category"].index(garment.category)
        split = "" if item % 7 == 6 else ("train", "test")[turn % 2]
        products.append(_Product(item, category, 10 * place + 1, split))
    return products


def _draw_together(shelf: _Shelf, products: list[_Product]) -> None:
    """Draw a PNG per pair of neighbouring products of a category and split: one street photo that shows both."""
    waiting: dict[tuple[str, str], _Product] = {}
    for product in products:
        key = (product.category, product.split)
        if not product.split or key not in waiting:
            waiting[key] = product
            continue
        both = (waiting.pop(key), product)
        pictures = [_picture(shelf.studio, one) for one in both]
        photo = shelf.number()
        path = f"photos/{photo:09d}.png"
        stream = io.BytesIO()
        Image.fromarray(np.concatenate([picture.image for picture in pictures], axis=1)).save(stream, "PNG")
        shelf.studio.write(path, stream.getvalue())
        shift = 0
        for one, picture in zip(both, pictures, strict=True):
            x1, y1, x2, y2 = map(int, picture.box)
            shelf.list_street(photo, one, [x1 + shift, y1, x2 + shift, y2], path)
            shift += picture.image.shape[1]


def _picture(studio: Studio, product: _Product) -> Rendered:
    seed = (studio.seed * 1_000_003 + product.item * 1009 + STREET + SHOP) * 2 + 1
    return render(studio.garment(product.item), seed, "consumer", max(32, studio.size // 2))


def _list_dead_links(shelf: _Shelf, products: list[_Product]) -> None:
    """List photos that are not there: of every fifth product one in the shop, of every tenth one in the street."""
    for product in products[::5]:
        shelf.list_shop(shelf.number(), product, None)
    for product in products[::10]:
        if product.split:
            shelf.list_street(shelf.number(), product, [1, 2, 30, 31], None)


def _write(studio: Studio, shelf: _Shelf) -> Drawn:
    rows: list[dict[str, Any]] = []
    labels: set[tuple[int, str, str]] = set()
    for category in CATEGORIES:
        lists = shelf.categories.get(category)
        if lists is None:
            continue
        for kind, found in lists.found.items():
            studio.write(list_name(kind, category), json.dumps(getattr(lists, kind)))
            rows += found
            labels |= {(row, "category", category) for row in range(len(rows) - len(found), len(rows))}
    # Links may hold commas.
    links = "".join(f"{photo:09d},shop.example/{photo}.jpg?size=1,2\n" for photo in shelf.photos)
    studio.write("photos/photos.txt", links)
    return Drawn(rows, labels, ("category",))
