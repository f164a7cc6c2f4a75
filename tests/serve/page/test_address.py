"""Every state has an address: back, forward, a new tab."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from .driver import Site, Watched

HEX = "0123456789abcdef" * 2
ODD = "a&b=c#d%20é/\"'<>.jpg"


@pytest.mark.parametrize(
    "address",
    [
        "/",
        f"/?q={HEX}&size=10x20&box=1,2,3,4&w.a=-0.5&f.colour=red&f.colour=blue&no.fit=1&r.price=..5&r.size=1..2",
        "/?id=a/b.jpg&of=other&2.id=c.jpg&2.w.pattern=1&part=2&least=0.6&more=x&more=y&less=z&with=other&why=x&by=a",
        f"/?id={quote(ODD, safe='/')}&f.{quote('a.b=c', safe='')}={quote('x&y', safe='')}&has.name=50%25",
        "/?view=copies&index=shop&attribute=colour&against=other&least=0.9&within=1",
    ],
)
def test_an_address_is_read_and_written(modules: Watched, address: str) -> None:
    state = modules.module("address", "m.read(a)", address[1:])
    written = modules.module("address", "m.write(a)", state)
    assert modules.module("address", "m.read(a)", written[1:]) == state
    assert sorted(written[2:].split("&")) == sorted(address[2:].replace("%20", "+").split("&")) or "%" in address


@pytest.mark.parametrize(
    ("address", "field", "expected"),
    [
        ("?q=xyz", "parts", []),
        ("?id=a&box=5,5,1,1", "parts", [{"id": "a"}]),
        ("?id=a&box=1,2,x,4&size=0x5&w.b=no", "parts", [{"id": "a"}]),
        ("?id=a&w.b=99", "parts", [{"id": "a", "weights": {"b": 10}}]),
        ("?least=nothing", "least", None),
        ("?r.p=a..b&r.q=1", "ranges", {}),
        ("?more=a&less=a&less=b", "less", ["b"]),
        ("?view=else", "view", "search"),
        ("?id=a&part=9", "active", 0),
    ],
)
def test_what_an_address_says_wrongly_is_left_out(modules: Watched, address: str, field: str, expected: Any) -> None:
    assert modules.module("address", "m.read(a)", address)[field] == expected


def test_back_and_forward(start: Watched, site: Site) -> None:
    expect(start.find(".card")).to_have_count(24)
    first = start.ids
    start.find(".card .pick").first.click()
    start.found()
    second = start.ids
    with start.searching():
        start.button("pattern").click()
    start.found()
    third = start.ids
    start.raw.go_back()
    start.raw.wait_for_function("(wanted) => document.querySelector('.card').dataset.id === wanted", arg=second[0])
    assert start.ids == second
    expect(start.button("Alike in everything")).to_have_attribute("aria-pressed", "true")
    start.raw.go_back()
    expect(start.find(".welcome")).to_be_visible()
    start.until(lambda: start.ids == first)
    start.raw.go_forward()
    start.raw.go_forward()
    start.until(lambda: start.ids == third)
    expect(start.button("pattern")).to_have_attribute("aria-pressed", "true")


def test_a_state_in_another_tab(start: Watched, site: Site, photo: Path) -> None:
    start.send(photo)
    start.found()
    query = start.address["q"][0]
    start.open(
        f"/?q={query}&size=96x96&box=10,10,80,80&w.pattern=2&w.colour=-1&f.category=dress&f.category=top"
        f"&r.price=10..&least=0.05&more={site.id(8)}&by=pattern"
    )
    start.found()
    assert start.searches()[-1] | {"likely": True} == {
        "index": "shop",
        "parts": [{"query": query, "box": [10, 10, 80, 80], "weights": {"pattern": 2, "colour": -1}}],
        "k": 24,
        "group": True,
        "where": "\"category\" IN ('dress', 'top') AND \"price\" >= 10",
        "threshold": 0.05,
        "more": [site.id(8)],
        "offset": 0,
        "likely": True,
    }
    expect(start.find(".box-frame")).to_be_visible()
    expect(start.find("#least")).to_have_value("0.05")
    expect(start.find("#by")).to_have_value("pattern")
    expect(start.find(".active .chip")).to_have_count(3)
    expect(start.raw.get_by_role("slider", name="Pattern")).to_have_value("2")
    expect(start.find(".rated.more .swatch")).to_have_count(1)


def test_the_way_back_finds_the_place(page: Watched, site: Site) -> None:
    page.start_with(site.id(0))
    page.find(".card").last.scroll_into_view_if_needed()
    place = page.raw.evaluate("Math.round(scrollY)")
    assert place > 100
    page.find(".card .pick").last.click()
    page.raw.wait_for_function("() => scrollY === 0")
    page.raw.go_back()
    page.raw.wait_for_function("(place) => Math.abs(scrollY - place) < 3", arg=place)


def test_a_result_opens_in_a_new_tab(page: Watched, site: Site) -> None:
    page.start_with(site.id(0))
    wanted = page.ids[1]
    with page.raw.context.expect_page() as caught:
        page.find(".card .pick").nth(1).click(modifiers=["ControlOrMeta"])
    caught.value.wait_for_url(f"**/?id={wanted}")
    caught.value.close()
    assert page.address == {"id": [site.id(0)]}
