"""The page of copies."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from .driver import Site, Watched


def test_copies_by_attribute_and_threshold(start: Watched, site: Site) -> None:
    start.raw.get_by_role("link", name="Copies").click()
    expect(start.raw.get_by_role("heading", name="Copies", level=1)).to_be_visible()
    expect(start.find("#copies header p")).to_contain_text("Look-alikes are")
    start.find("#copies-attribute").select_option("colour")
    start.raw.wait_for_url("**attribute=colour**")
    start.find("#copies-least").evaluate(
        "(slider) => { slider.value = 0.8; slider.dispatchEvent(new Event('change', {bubbles: true})); }"
    )
    start.raw.wait_for_url("**least=0.8**")
    expect(start.find("#copies .group").first).to_contain_text("alike")
    link = start.raw.get_by_role("link", name="Download as CSV")
    with start.raw.expect_download() as caught:
        link.click()
    rows = caught.value.path().read_text().splitlines()
    assert rows[0].startswith("kind,group,nearness,similarity")
    assert len(rows) > 1
    start.raw.get_by_role("link", name="Side by side").first.click()
    expect(start.find("dialog.why canvas.drawn")).to_have_count(2)
    start.raw.go_back()
    expect(start.find("#copies .group").first).to_be_visible()
    start.find("#copies .group .pick").first.click()
    start.found()
    start.raw.go_back()
    start.raw.go_back()
    start.raw.wait_for_url(lambda url: "least" not in url)


def test_copies_from_their_address(page: Watched) -> None:
    page.open("/?view=copies&attribute=pattern&least=0.7&within=1")
    expect(page.find("#copies .group").first).to_be_visible()
    expect(page.find("#copies-attribute")).to_have_value("pattern")
    expect(page.find("#copies-within")).to_be_checked()
    page.raw.get_by_role("link", name="Search", exact=True).click()
    expect(page.find(".welcome")).to_be_visible()


def test_no_copies_and_patience(page: Watched) -> None:
    answers = iter(
        [
            (429, {"error": {"code": "busy", "message": "all images are being compared, 40% done", "request_id": "r"}}),
            (200, None),
        ]
    )

    def answer(route: Any) -> None:
        status, body = next(answers, (200, None))
        if body is None:
            told = route.fetch().json()
            route.fulfill(json={**told, "groups": [], "exact": [], "groups_total": 0, "exact_total": 0, "left": False})
        else:
            route.fulfill(status=status, json=body, headers={"Retry-After": "1"})

    page.expect("status of 429")
    page.raw.route("**/v1/copies?*", answer)
    page.open("/?view=copies")
    expect(page.find("#copies .status")).to_contain_text("40% done")
    expect(page.find("#copies .empty")).to_contain_text("No copies")


@pytest.mark.parametrize("against", ["other"])
def test_indexes_of_other_runs_do_not_compare(page: Watched, against: str) -> None:
    page.expect("status of 400")
    page.open(f"/?view=copies&against={against}")
    expect(page.find("#copies .status")).to_contain_text("Copies cannot be found")
