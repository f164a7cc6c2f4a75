"""The filter bar: menus with counts, ranges, words, and the text that it makes of them."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from lapel.retrieval.filter_tree import Column
from lapel.retrieval.filters import parse

from .driver import Site, Watched

KINDS = {"colour": "labels", 'a "b"': "text", "price": "number", "stock": "integer", "new": "boolean", "name": "text"}
EMPTY: dict[str, Any] = {"values": {}, "missing": [], "ranges": {}, "has": {}}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({}, None),
        ({"values": {"colour": ["red"]}}, "\"colour\" = 'red'"),
        ({"values": {"colour": ["red", "blue"]}}, "\"colour\" IN ('red', 'blue')"),
        ({"values": {"colour": ["O'Neill"], 'a "b"': ["'"]}}, "\"colour\" = 'O''Neill' AND \"a \"\"b\"\"\" = ''''"),
        ({"values": {"colour": ["red"]}, "missing": ["colour"]}, '("colour" = \'red\' OR "colour" IS NULL)'),
        ({"ranges": {"price": [None, 5.5]}}, '"price" <= 5.5'),
        ({"ranges": {"stock": [1, 3]}}, '"stock" >= 1 AND "stock" <= 3'),
        ({"values": {"new": ["true"]}}, '"new" = TRUE'),
        ({"has": {"name": "A%_\\"}}, None),
        ({"values": {"gone": ["x"]}}, None),
    ],
)
def test_the_filter_text(modules: Watched, state: dict[str, Any], expected: str | None) -> None:
    made = modules.module("where", "m.where(a.state, a.kinds)", {"state": {**EMPTY, **state}, "kinds": KINDS})
    if "has" in state:
        assert made.startswith("(\"name\" LIKE '%A\\%\\_\\\\%' OR")
    else:
        assert made == expected
    if made is not None:  # and the server can read it
        kinds = {name: "truth" if kind == "boolean" else kind for name, kind in KINDS.items()}
        parse(made, [Column(name, name, kind) for name, kind in kinds.items()])  # type: ignore[arg-type]


def choose(page: Watched, column: str, *values: str) -> None:
    """Open a column's menu and press values."""
    page.find(
        ".opener",
    ).filter(has_text=column).click()
    for value in values:
        with page.searching():
            page.find(".menu:popover-open .chip").filter(has_text=value).click()
    page.raw.keyboard.press("Escape")


def labels(site: Site, name: str, ids: list[str]) -> list[tuple[str, ...]]:
    values = dict(zip(site.shop.images, range(10_000), strict=False))
    return [site.shop.catalogue.values_of(values[each]).get(name, ()) for each in ids]


def test_values_within_a_column_are_any_and_across_columns_all(page: Watched, site: Site) -> None:
    page.start_with(site.id(0))
    choose(page, "Category", "dress", "skirt")
    page.found()
    assert {found for each in labels(site, "category", page.ids) for found in each} == {"dress", "skirt"}
    expect(page.find("#count")).to_contain_text(" of 48 pictures")
    choose(page, "Pattern", "solid")
    page.found()
    assert {found for each in labels(site, "pattern", page.ids) for found in each} == {"solid"}
    assert page.searches()[-1]["where"] == "\"category\" IN ('dress', 'skirt') AND \"pattern\" = 'solid'"
    # What else could be chosen in a column is counted as if nothing were chosen there.
    page.find(".opener").filter(has_text="Category").click()
    solid = [each for each in site.shop.images if labels(site, "pattern", [each]) == [("solid",)]]
    for category in ("top", "dress", "coat"):
        count = labels(site, "category", solid).count((category,))
        expect(page.find(".menu:popover-open .chip").filter(has_text=category)).to_have_text(f"{category}{count}")
    page.raw.keyboard.press("Escape")
    page.button("Remove the filter category dress").click()
    page.raw.wait_for_url(lambda url: "dress" not in url)
    assert page.address["f.category"] == ["skirt"]
    page.button("Remove all").click()
    expect(page.find(".active .chip")).to_have_count(0)
    assert page.address == {"id": [site.id(0)]}


def test_a_range_with_two_ends_and_those_without_a_value(page: Watched, site: Site) -> None:
    page.start_with(site.id(0))
    page.find(".opener").filter(has_text="Price").click()
    least = page.raw.get_by_role("spinbutton", name="Least price")
    with page.searching():
        least.fill("30")
        least.press("Enter")
    with page.searching():
        page.raw.get_by_role("slider", name="Greatest price").press("Home")  # it cannot pass the other end
    page.raw.keyboard.press("Escape")
    assert page.address["r.price"] == ["30..30"]
    page.raw.go_back()
    page.found()
    assert page.address["r.price"] == ["30.."]
    prices = page.raw.evaluate("[...document.querySelectorAll('.labels')].map((each) => parseFloat(each.textContent))")
    assert prices
    assert min(prices) >= 30
    choose(page, "Neckline", "none")
    page.found()
    assert page.searches()[-1]["where"] == '"neckline" IS NULL AND "price" >= 30'
    assert set(labels(site, "neckline", page.ids)) == {()}
    page.button("Remove the filter price from 30").click()
    page.raw.wait_for_url(lambda url: "price" not in url)


def test_the_field_finds_values_and_words(page: Watched, site: Site) -> None:
    page.start_with(site.id(0))
    page.raw.keyboard.press("/")
    expect(page.find("#find")).to_be_focused()
    page.raw.keyboard.type("skir")
    expect(page.find(".suggestions li")).to_have_count(3)  # the value, and words in item and name
    page.raw.keyboard.press("ArrowDown")
    page.raw.keyboard.press("ArrowUp")
    with page.searching():
        page.raw.keyboard.press("Enter")
    assert page.address["f.category"] == ["skirt"]
    page.raw.keyboard.type("SKIRT")
    with page.searching():
        page.find(".suggestions li").filter(has_text="has").first.click()
    assert page.address["has.name"] == ["SKIRT"]
    page.found()
    assert page.ids


def test_a_filter_that_the_server_refuses(page: Watched, site: Site) -> None:
    page.expect("status of 400")
    page.start_with(site.id(0))
    before = page.ids
    refusal = {"error": {"code": "bad_request", "message": "bad filter: it means nothing here", "request_id": "r"}}
    page.raw.route("**/v1/search", lambda route: route.fulfill(status=400, json=refusal))
    page.find(".opener").filter(has_text="Category").click()
    page.find(".menu:popover-open .chip").first.click()
    expect(page.find("#notice")).to_contain_text("bad filter: it means nothing here")
    assert page.ids == before
    page.raw.unroute("**/v1/search")
    page.find("#notice").get_by_role("button", name="Remove the filters").click()
    page.raw.wait_for_url(lambda url: "category" not in url)
    expect(page.find("#notice")).to_be_hidden()
