"""The page for everybody: axe finds nothing serious in any state, both themes, a phone, less motion, no mouse."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from .driver import PHONE, Site, Watched

AXE = Axe().axe_script
RUN = """(rules) => axe.run(
  {exclude: [[".card:nth-child(n+5)"], [".group:nth-child(n+4)"]]},  // more of the same
  {resultTypes: ["violations"], ...(rules.length && {runOnly: rules})},
)"""


def faults(page: Watched, *rules: str) -> list[str]:
    """What axe finds serious or critical, by these rules or by all."""
    return [
        f"{each['id']}: {node['html'][:160]} {node['failureSummary']}"
        for each in page.raw.evaluate(RUN, rules)["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def at_the_start(page: Watched, site: Site) -> None:
    expect(page.find(".card").first).to_be_visible()


def with_results(page: Watched, site: Site) -> None:
    page.start_with(
        site.id(0),
        **{"w.pattern": "2", "w.colour": "-1", "f.category": "dress", "more": site.id(4), "less": site.id(6)},
    )
    page.find(".card .pick").first.focus()


def with_a_menu_and_a_crop(page: Watched, site: Site) -> None:
    page.start_with(site.id(0), box="10,10,60,80", **{"2.id": site.id(8)})
    page.find(".opener").filter(has_text="Category").click()
    expect(page.find(".menu:popover-open .chip").first).to_be_visible()


def with_a_range_and_suggestions(page: Watched, site: Site) -> None:
    page.start_with(site.id(0))
    page.find(".opener").filter(has_text="Price").click()
    page.raw.keyboard.press("Escape")
    page.find("#find").fill("r")
    expect(page.find(".suggestions li").first).to_be_visible()


def with_an_explanation(page: Watched, site: Site) -> None:
    page.open(f"/?id={site.id(0)}&why={site.id(6)}")
    expect(page.find("dialog.why canvas.drawn")).to_have_count(2)
    expect(page.find("dialog.why tbody tr").first).to_be_visible()


def with_two_indexes(page: Watched, site: Site) -> None:
    page.start_with(site.id(0), **{"with": "other"})


def with_nothing(page: Watched, site: Site) -> None:
    page.open(f"/?id={site.id(0)}&f.category=coat&least=0.99")
    expect(page.button("No threshold")).to_be_visible()


def with_trouble(page: Watched, site: Site) -> None:
    page.expect("status of 404")
    page.open("/?id=gone.jpg")
    expect(page.find("#notice")).to_be_visible()


def with_copies(page: Watched, site: Site) -> None:
    page.open("/?view=copies&least=0.7")
    expect(page.find("#copies .group").first).to_be_visible()


def with_keys(page: Watched, site: Site) -> None:
    at_the_start(page, site)
    page.raw.keyboard.press("?")
    expect(page.find("dialog[open]")).to_be_visible()


STATES = (
    at_the_start,
    with_results,
    with_a_menu_and_a_crop,
    with_a_range_and_suggestions,
    with_an_explanation,
    with_two_indexes,
    with_nothing,
    with_trouble,
    with_copies,
    with_keys,
)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_axe_finds_nothing_serious(open_page: Any, site: Site, state: Any) -> None:
    page = open_page("/" if state in (at_the_start, with_keys) else None)
    state(page, site)
    page.raw.evaluate(AXE)
    assert faults(page) == []
    page.raw.emulate_media(color_scheme="dark")
    assert faults(page, "color-contrast", "link-in-text-block") == []


# What a finger would hardly hit.
SMALL = """() => [...document.querySelectorAll("a, button, select, input:not([type=file])")].map((each) => {
  const {width, height} = each.getBoundingClientRect();
  return [each.outerHTML.slice(0, 90), Math.min(width, height), Math.max(width, height)];
}).filter(([, less, more]) => less > 1 && less < 20 && more < 40)"""


@pytest.mark.parametrize("state", [at_the_start, with_results, with_an_explanation, with_two_indexes, with_copies])
def test_a_phone(open_page: Any, site: Site, state: Any) -> None:
    page = open_page("/" if state is at_the_start else None, viewport=PHONE, has_touch=True, is_mobile=True)
    state(page, site)
    wide = page.raw.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1] == PHONE["width"]
    if state is not with_copies:
        across = page.raw.evaluate(
            "new Set([...document.querySelectorAll('.card')].slice(0, 8).map((card) => card.offsetLeft)).size"
        )
        assert across == (1 if state is with_two_indexes else 2)  # of each
    assert page.raw.evaluate(SMALL) == []


def test_a_finger_crops_after_the_button(open_page: Any, site: Site) -> None:
    page = open_page(None, viewport=PHONE, has_touch=True, is_mobile=True)
    page.start_with(site.id(0))
    narrow = page.find(".subject").bounding_box()["width"]
    with page.searching():
        page.button("Crop").tap()
    assert page.find(".subject").bounding_box()["width"] > 1.5 * narrow
    expect(page.find(".box-frame")).to_be_visible()
    page.find(".fine summary").tap()
    expect(page.raw.get_by_role("slider", name="Pattern")).to_be_visible()
    page.find(".opener").filter(has_text="Category").tap()
    menu = page.find(".menu:popover-open").bounding_box()
    assert menu["y"] + menu["height"] == pytest.approx(PHONE["height"] - 8, abs=2)  # at the bottom, within reach


def test_the_skip_link_the_theme_and_stillness(start: Watched) -> None:
    expect(start.find(".card").first).to_be_visible()
    start.raw.keyboard.press("Tab")
    assert start.holds_focus(".skip")
    start.raw.keyboard.press("Enter")
    assert start.holds_focus("#results")
    start.raw.keyboard.press("ArrowRight")
    assert start.raw.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    durations = (
        "[...document.querySelectorAll('*')].map((each) => parseFloat(getComputedStyle(each).transitionDuration))"
    )
    assert start.raw.evaluate(f"Math.max(...{durations})") == 0
    paper = "getComputedStyle(document.body).backgroundColor"
    light = start.raw.evaluate(paper)
    for told in ("as the system", "light"):
        start.raw.get_by_role("button", name=f"Colours: {told}. Change").click()
    dark = start.raw.evaluate(paper)
    assert dark != light
    start.raw.reload()
    assert start.raw.evaluate(paper) == dark
    start.raw.get_by_role("button", name="Colours: dark. Change").click()
    assert start.raw.evaluate(paper) == light


def test_files_are_short_and_nothing_is_inline(site: Site) -> None:
    from lapel.serve.routes_page import FOLDER

    lines = {path.name: len(path.read_text("utf-8").splitlines()) for path in FOLDER.iterdir()}
    assert max(lines.values()) <= 350
    index = (FOLDER / "index.html").read_text("utf-8")
    assert [name for name in lines if name != "index.html" and f'"/page/{name}"' not in index] == ["icons.svg"]
    for path in FOLDER.iterdir():
        text = path.read_text("utf-8")
        for wrong in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert wrong not in text, path.name
        if path.suffix == ".html":
            assert "style=" not in text
            assert " on" not in text.replace(" on ", "")
            assert "<style" not in text
        if path.suffix != ".svg":
            assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
            assert "https://" not in text
