"""Two indexes on one query, and another index chosen."""

from __future__ import annotations

from playwright.sync_api import expect

from .driver import Site, Watched

# Item and mark of every card, of both grids.
LISTS = """[...document.querySelectorAll(".comparison .grid")].map((grid) => [...grid.children].map((card) => {
  const mark = card.querySelector(".mark");
  return [card.dataset.id.slice(7, 13), mark.hidden ? "" : mark.textContent];
}))"""


def test_two_indexes_side_by_side(page: Watched, site: Site) -> None:
    page.start_with(site.id(0))
    page.find("#other").select_option("other")
    expect(page.find(".comparison .grid")).to_have_count(2)
    page.found()
    assert page.address["with"] == ["other"]
    expect(page.find(".summary")).to_contain_text("only in other")
    expect(page.find(".comparison")).to_contain_text("other cannot search by item")
    both, mine, theirs = (int(each) for each in page.find(".summary b").all_inner_texts())
    assert both + mine == both + theirs == 23 or both > 0
    lists = page.raw.evaluate(LISTS)
    ranks = [{item: rank for rank, (item, _) in enumerate(each)} for each in lists]
    for side, hits in enumerate(lists):
        for rank, (item, mark) in enumerate(hits):
            there = ranks[1 - side].get(item)
            expected = "only here" if there is None else "" if there == rank else f"\u2009{abs(there - rank)}"
            assert mark.lstrip("\u2191\u2193") == expected
    page.find(".columns section").nth(1).locator(".card .pick").first.click()
    page.raw.wait_for_url("**of=other**")
    page.found()
    page.raw.go_back()
    expect(page.find(".comparison .grid")).to_have_count(2)
    page.find("#other").select_option("")
    expect(page.find(".comparison")).to_have_count(0)
    expect(page.find(".grid")).to_have_count(1)


def test_another_index(page: Watched, site: Site) -> None:
    page.start_with(site.id(0), **{"w.item": "1"})
    with page.searching():
        page.find("#index").select_option("other")
    assert page.address["index"] == ["other"]
    expect(page.find(".title")).to_be_visible()
    assert page.searches()[-1]["index"] == "other"
    assert page.searches()[-1]["parts"] == [{"id": site.id(0), "of": "shop"}]
    expect(page.raw.get_by_role("slider", name="This very item")).to_have_count(0)
    page.raw.go_back()
    expect(page.raw.get_by_role("slider", name="This very item")).to_have_value("1")
    assert page.address == {"id": [site.id(0)], "w.item": ["1"]}
