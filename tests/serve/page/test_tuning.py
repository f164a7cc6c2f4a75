"""What counts: sliders, presets, likely values, effective weights."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import expect

from .driver import Site, Watched

SLIDE = """([selector, values]) => {
  const slider = document.querySelector(selector);
  slider.focus();
  for (const value of values) {
    slider.value = value;
    slider.dispatchEvent(new Event("input", {bubbles: true}));
  }
  slider.dispatchEvent(new Event("change", {bubbles: true}));
}"""


def slider(page: Watched, name: str) -> Any:
    return page.raw.get_by_role("slider", name=name, exact=True)


def slide(page: Watched, name: str, *values: float) -> None:
    """Drag a slider over some values and let it go."""
    selector = f"#{slider(page, name).get_attribute('id')}"
    page.raw.evaluate(SLIDE, [selector, list(values)])


def test_a_slider_asks_once_and_the_order_follows(page: Watched, site: Site) -> None:
    page.start_with(site.id(0))
    sent = len(page.searches())
    with page.searching():
        slide(page, "Pattern", 1.4, 1.7, 2)
    assert [each["parts"][0]["weights"] for each in page.searches()[sent:]] == [
        {"neckline": 1, "pattern": 2, "colour": 1, "item": 1}
    ]
    page.found()
    answered = page.raw.evaluate(
        "async (body) => (await (await fetch('/v1/search', {method: 'POST', body: JSON.stringify(body),"
        " headers: {'Content-Type': 'application/json'}})).json()).hits.map((hit) => hit.id)",
        page.searches()[-1],
    )
    assert page.ids[: len(answered)] == answered
    assert page.address["w.pattern"] == ["2"]


def test_the_old_grid_stays_until_the_new_one_is_there(page: Watched, site: Site) -> None:
    page.expect("net::ERR_FAILED")
    page.start_with(site.id(0))
    before, held, given_up = page.ids, [], []
    page.raw.on("requestfailed", lambda request: given_up.append(request.url))
    page.raw.route("**/v1/search", lambda route: held.append(route))
    slide(page, "Pattern", 2)
    expect(page.find("#results")).to_have_attribute("aria-busy", "true")
    assert page.ids == before
    slide(page, "Colour", -2)
    page.until(lambda: len(held) == 2)
    assert page.ids == before
    assert any(url.endswith("/v1/search") for url in given_up)  # the first of the two
    held[-1].continue_()
    expect(page.find("#heading")).to_have_text("Alike in neckline, pattern and item, unlike in colour")
    page.found()
    assert page.ids != before


def test_weights_by_keyboard_are_one_step_back(page: Watched, site: Site) -> None:
    page.start_with(site.id(0))
    slider(page, "Pattern").focus()
    for _ in range(3):
        page.raw.keyboard.press("ArrowLeft")
    expect(page.find(".sliders li").filter(has_text="Pattern").locator("output")).to_have_text("0.7")
    page.raw.wait_for_url("**w.pattern=0.7**")
    page.raw.go_back()
    expect(page.find(".sliders li").filter(has_text="Pattern").locator("output")).to_have_text("1.0")
    assert "w.pattern" not in page.address


def test_presets(page: Watched, site: Site) -> None:
    page.start_with(site.id(0), **{"w.colour": "2"})
    for preset, weights in (
        ("neckline", {"neckline": 1}),
        ("Exactly this item", {"item": 1}),
        ("Alike in everything", None),
    ):
        expect(page.button(preset)).to_have_attribute("aria-pressed", "false")
        with page.searching():
            page.button(preset).click()
        assert page.searches()[-1]["parts"][0].get("weights") == weights
        expect(page.button(preset)).to_have_attribute("aria-pressed", "true")


def test_effective_weights_and_likely_values(page: Watched, site: Site) -> None:
    page.start_with(site.id(0), **{"w.pattern": "2", "w.colour": "-2"})
    rows = page.find(".sliders li")
    expect(rows.filter(has_text="Pattern").locator(".share")).to_have_text("50\u2009%")
    expect(rows.filter(has_text="Neckline").locator("output")).to_have_text("off")
    expect(slider(page, "Colour")).to_have_attribute("aria-valuetext", "less like this, 2.0")
    row = rows.filter(has_text="Pattern")
    value = row.locator("button.value")
    shown = value.inner_text()
    expect(row.locator(".votes")).to_contain_text("%")
    value.click()
    page.raw.wait_for_url("**f.pattern=**")
    assert page.address["f.pattern"] == [shown]


def test_all_off_keeps_what_was_found(page: Watched, site: Site) -> None:
    page.start_with(site.id(0), **{"w.pattern": "1"})
    before, sent = page.ids, len(page.searches())
    slide(page, "Pattern", 0)
    expect(page.find("#notice")).to_contain_text("Every attribute is off")
    assert page.ids == before
    assert len(page.searches()) == sent
    with page.searching():
        slide(page, "Pattern", -1)
    expect(page.find("#notice")).to_be_hidden()
