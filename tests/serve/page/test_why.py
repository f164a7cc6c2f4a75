"""Why this one: maps over query and result, figures, and the maps under the pointer."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import expect

from .driver import Site, Watched

BRIGHT = """(canvas) => {
  const pen = canvas.getContext("2d");
  const at = (x, y) => pen.getImageData(Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1).data[3];
  return [at(0.25, 0.25), at(0.75, 0.75)];
}"""


def test_the_maps_side_by_side(page: Watched, site: Site) -> None:
    page.expect("Canvas2D")  # reading it here is slow, and the browser says so
    page.start_with(site.id(0))
    card = page.find(".card").nth(2)
    chosen = page.ids[2]
    card.hover()
    card.get_by_role("button", name="Why this one").click()
    dialog = page.find("dialog.why")
    maps = dialog.locator("canvas.look.drawn")
    expect(maps).to_have_count(2)
    assert page.address["why"] == [chosen]
    for number in (0, 1):
        upper, lower = maps.nth(number).evaluate(BRIGHT)
        assert upper > 150 > 20 > lower
    dialog.get_by_role("button", name="pattern", exact=True).click()
    expect(dialog.locator('[aria-pressed="true"].chip')).to_have_text("pattern")
    page.raw.wait_for_url("**by=pattern**")
    page.until(lambda: maps.nth(1).evaluate(BRIGHT)[1] > 150)
    expect(dialog.locator(".legend")).to_be_visible()
    expect(dialog.locator("tbody tr")).to_have_count(4)
    expect(dialog.locator("tbody tr").first).to_contain_text("%")
    dialog.get_by_role("button", name="The next one").click()
    page.raw.wait_for_url(lambda url: chosen not in url)
    page.raw.keyboard.press("ArrowLeft")
    page.raw.wait_for_url(lambda url: chosen in url)
    page.raw.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.until(lambda: page.address == {"id": [site.id(0)]})  # closing undoes the step that opened it


def test_loading_and_failing_are_told(page: Watched, site: Site) -> None:
    page.expect("status of 409")
    held: list[Any] = []
    page.raw.route("**/v1/explain", lambda route: held.append(route))
    page.start_with(site.id(0))
    page.find(".card .pick").first.focus()
    page.raw.keyboard.press("w")
    told = page.find("dialog.why .progress")
    expect(told).to_contain_text("the first time, the model is loaded")
    page.until(lambda: len(held) == 2)
    gone = {"error": {"code": "no_run", "message": "run 'looks' is not there", "request_id": "r"}}
    for route in held:
        route.fulfill(status=409, json=gone)
    expect(told).to_contain_text("run 'looks' is not there")
    page.raw.keyboard.press("Escape")
    page.until(lambda: "why" not in page.address)
    page.raw.unroute("**/v1/explain")
    page.raw.keyboard.press("w")  # the card has the focus again, and what failed is asked anew
    expect(page.find("dialog.why canvas.drawn")).to_have_count(2)


def test_maps_under_the_pointer_and_on_the_query(page: Watched, site: Site) -> None:
    page.start_with(site.id(0), **{"w.neckline": "1"})
    page.find(".card").nth(1).hover()
    assert page.find("canvas.drawn").count() == 0
    page.raw.keyboard.press("s")
    page.raw.wait_for_url("**by=neckline**")
    page.find(".card").nth(2).hover()
    expect(page.find(".card").nth(2).locator("canvas.drawn")).to_have_count(1)
    expect(page.find(".subject canvas.drawn")).to_have_count(1)
    page.find(".card .pick").nth(3).focus()  # by keyboard as well
    expect(page.find(".card").nth(3).locator("canvas.drawn")).to_have_count(1)
    expect(page.find(".card").nth(2).locator("canvas.drawn")).to_have_count(0)
    page.raw.keyboard.press("s")
    expect(page.find("canvas.drawn")).to_have_count(0)


def test_an_explanation_from_its_address(page: Watched, site: Site) -> None:
    page.open(f"/?id={site.id(0)}&why={site.id(6)}&by=colour")
    expect(page.find("dialog.why canvas.drawn")).to_have_count(2)
    expect(page.find('dialog.why [aria-pressed="true"].chip')).to_have_text("colour")
    page.button("More like this").last.click()
    page.raw.wait_for_url("**more=**")
    page.button("Search with this one").click()
    expect(page.find("dialog.why")).to_be_hidden()
    assert page.address["id"] == [site.id(6)]


def test_a_catalogue_without_its_run(page: Watched, site: Site) -> None:
    def without(route: Any) -> None:
        answer = route.fetch()
        told = answer.json()
        for index in told["indexes"]:
            index["explains"] = False
        route.fulfill(json=told)

    page.raw.route("**/v1/indexes", without)
    page.open(f"/?id={site.id(0)}&why={site.id(6)}")
    expect(page.find("dialog.why .progress")).to_contain_text("is not on this machine")
    expect(page.find("dialog.why tbody tr").first).to_be_visible()
    assert page.find("#by").count() == 0
