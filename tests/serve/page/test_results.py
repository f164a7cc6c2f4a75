"""What is found: cards, variants, endless scroll, honest nothing, the keyboard, feedback."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import expect

from ..shop import HOSTILE
from .driver import Site, Watched


def test_a_card_tells_how_alike_it_is_and_unfolds_its_variants(page: Watched, site: Site) -> None:
    page.start_with(site.id(0))
    card = page.find(".card").first
    expect(card.locator(".alike")).to_contain_text("%")
    expect(card.locator(".bars")).to_have_attribute("aria-label", re.compile(r"Alike: .*neckline .*%"))
    assert card.locator(".bars i").count() == 4
    expect(card.locator("img")).to_have_js_property("complete", True)
    shown = page.ids
    fold = page.find(".fold:visible").first
    expect(fold).to_have_text("+1")
    fold.click()
    expect(page.find(".card.variant")).to_have_count(1)
    place = page.raw.evaluate("[...document.querySelectorAll('.card')].findIndex((card) => card.matches('.variant'))")
    variant, item = page.ids[place], page.ids[place - 1]
    assert variant.partition("-")[0] == item.partition("-")[0]  # two views of one garment
    expect(fold).to_have_attribute("aria-expanded", "true")
    fold.click()
    assert page.ids == shown


def test_scrolling_on_comes_to_an_end(page: Watched, site: Site) -> None:
    page.raw.route(
        "**/v1/search",
        lambda route: route.continue_(
            post_data=route.request.post_data.replace('"group":true', '"group":false').replace('"k":24', '"k":12')
        ),
    )
    page.start_with(site.id(0))
    offsets = [each["offset"] for each in page.searches()]
    assert offsets[0] == 0
    end = page.find("#end")

    def reached() -> bool:
        end.scroll_into_view_if_needed()
        return "That is all" in end.inner_text()

    page.until(reached)
    assert len(page.ids) == len(set(page.ids))
    assert page.searches()[-1]["offset"] > 0


def test_nothing_above_the_threshold(page: Watched, site: Site) -> None:
    page.open(f"/?id={site.id(0)}&f.category=coat&least=0.99")
    empty = page.find(".empty")
    expect(empty).to_contain_text("Nothing above 99\u2009% alike")
    expect(empty).to_contain_text("The nearest is")
    empty.get_by_role("button", name="Lower it to").click()
    page.found()
    assert len(page.ids) >= 1
    assert 0 < float(page.address["least"][0]) < 0.99


def test_a_garment_that_is_not_there(page: Watched) -> None:
    page.expect("status of 404")
    page.open("/?id=gone.jpg")
    expect(page.find("#notice")).to_contain_text("no image 'gone.jpg'")
    page.button("Start again").click()
    expect(page.find(".welcome")).to_be_visible()


def test_hostile_metadata_is_text(page: Watched, site: Site) -> None:
    bad = "<img src=x onerror=alert(1)>"
    page.open("/?" + urlencode({"id": site.id(0), "why": site.id(0), "f.brand": bad, "has.name": "<script>"}))
    expect(page.find(".title")).to_have_text(HOSTILE)
    expect(page.find("#why-title")).to_have_text(HOSTILE)
    expect(page.find(".active .chip").first).to_contain_text("<img src=x")
    assert page.raw.evaluate("document.querySelectorAll('script').length") == 2
    assert page.raw.title() == f"{HOSTILE} \u2013 Lapel"
    assert page.find("img[src=x]").count() == 0


def test_the_keyboard_walks_and_asks(page: Watched, site: Site) -> None:
    page.start_with(site.id(0))
    page.raw.keyboard.press("?")
    dialog = page.raw.get_by_role("dialog", name="Keys")
    expect(dialog).to_contain_text("find a filter")
    page.raw.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.find("#results").focus()
    page.raw.keyboard.press("ArrowRight")
    assert focused(page) == page.ids[0]
    page.raw.keyboard.press("ArrowRight")
    page.raw.keyboard.press("ArrowRight")
    assert focused(page) == page.ids[2]
    page.raw.keyboard.press("ArrowDown")
    below = page.ids.index(focused(page))
    assert below > 2
    page.raw.keyboard.press("ArrowUp")
    assert focused(page) == page.ids[2]
    page.raw.keyboard.press("End")
    assert focused(page) == page.ids[-1]
    page.raw.keyboard.press("Home")
    page.raw.keyboard.press("Tab")  # the buttons of the card in hand
    assert page.holds_focus(".card .fold, .card .act")
    page.raw.keyboard.press("ArrowLeft")
    chosen = page.ids[1]
    page.raw.keyboard.press("ArrowRight")
    with page.searching():
        page.raw.keyboard.press("Enter")
    page.found()
    assert page.address["id"] == [chosen]
    assert page.holds_focus(".card .pick")  # the keyboard stays in the results


def focused(page: Watched) -> Any:
    return page.raw.evaluate("document.activeElement.closest('.card')?.dataset.id")


def test_feedback_moves_the_query_and_goes_in_one_key(page: Watched, site: Site) -> None:
    page.start_with(site.id(0))
    before = page.ids
    page.find(".card .pick").nth(4).focus()
    with page.searching():
        page.raw.keyboard.press("m")
    page.found()
    disliked = page.ids[2]
    page.find(".card .pick").nth(2).focus()
    with page.searching():
        page.raw.keyboard.press("l")
    page.found()
    assert page.searches()[-1]["more"] == [before[4]]
    assert page.searches()[-1]["less"] == [disliked]
    assert page.ids != before
    expect(page.find(".rated .swatch")).to_have_count(2)
    expect(page.find('.card.liked [data-act="more"][aria-pressed="true"]')).to_have_count(1)
    page.raw.keyboard.press("r")
    expect(page.find("#feedback")).to_be_hidden()
    page.found()
    assert page.ids == before
    assert "more" not in page.address
    page.raw.go_back()
    page.find(".rated.less .swatch").click()  # or one by one
    expect(page.find(".rated.less")).to_have_count(0)
    assert page.address["more"] == [before[4]]
    assert "less" not in page.address
