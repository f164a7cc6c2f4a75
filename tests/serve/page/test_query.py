"""The query: photographs from outside, garments of the catalogue, the crop."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from playwright.sync_api import expect

from .driver import SUGGESTED, Site, Watched

CARRY = """(given) => {
  const bytes = Uint8Array.from(atob(given.bytes), (c) => c.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], "photo.png", {type: "image/png"}));
  const event = given.how === "paste"
    ? new ClipboardEvent("paste", {clipboardData: carried, bubbles: true, cancelable: true})
    : new DragEvent(given.how, {dataTransfer: carried, bubbles: true, cancelable: true});
  document.body.dispatchEvent(event);
}"""


def bytes_of(photo: Path) -> str:
    return base64.b64encode(photo.read_bytes()).decode()


def test_the_start_and_a_surprise(start: Watched, site: Site) -> None:
    expect(start.find("h2").filter(has_text="Start with a garment")).to_be_visible()
    expect(start.find(".card")).to_have_count(24)
    first, *others = start.ids
    assert {first, *others} <= set(site.shop.images)
    start.button("Show others").click()
    start.until(lambda: len(start.ids) == 24 and start.ids != [first, *others])
    first = start.ids[0]
    start.find(".card .pick").first.click()
    start.found()
    assert start.address == {"id": [first]}
    assert first not in start.ids
    start.raw.go_back()
    start.button("Surprise me").click()
    start.found()
    assert set(start.address) == {"id"}


def test_a_photograph_is_chosen_and_its_suggested_crop_taken(start: Watched, photo: Path, site: Site) -> None:
    start.send(photo)
    start.found()
    assert start.ids[0] == site.id(4)  # itself
    assert start.find(".card .alike").first.inner_text().startswith("100")
    assert set(start.address) == {"q", "size"}
    assert start.address["size"] == ["96x96"]
    expect(start.find(".title")).to_have_text("Your photograph")
    with start.searching():
        start.button("Suggested crop").click()
    assert crop(start) == SUGGESTED
    expect(start.button("Suggested crop")).to_have_count(0)


def test_photographs_are_dropped_and_pasted(start: Watched, site: Site) -> None:
    carried = [bytes_of(site.shop.photo(number)) for number in (4, 8)]
    start.raw.evaluate(CARRY, {"bytes": carried[0], "how": "dragenter"})
    expect(start.find("#veil")).to_be_visible()
    start.raw.evaluate(CARRY, {"bytes": carried[0], "how": "drop"})
    start.found()
    expect(start.find("#veil")).to_be_hidden()
    assert start.ids[0] == site.id(4)
    start.raw.evaluate(CARRY, {"bytes": carried[1], "how": "paste"})
    start.until(lambda: start.ids[:1] == [site.id(8)])


def test_broken_images_are_told_and_nothing_is_lost(page: Watched, site: Site) -> None:
    page.expect("status of 4")
    page.start_with(site.id(0))
    before = page.ids
    broken: list[tuple[str, str, bytes, str]] = [
        ("broken.png", "image/png", b"\x89PNG\r\n\x1a\n and no more", "cannot be used"),
        ("empty.jpg", "image/jpeg", b"", "cannot be used"),
        ("notes.txt", "text/plain", b"no picture", "is no photograph"),
        ("large.jpg", "image/jpeg", b"large", "at most 20 MB"),
    ]
    too_large = {"error": {"code": "too_large", "message": "at most 20 MB", "request_id": "r"}}
    for name, kind, data, told in broken:
        if name == "large.jpg":
            page.raw.route("**/v1/queries", lambda route: route.fulfill(status=413, json=too_large))
        page.send({"name": name, "mimeType": kind, "buffer": data})
        expect(page.find("#notice")).to_contain_text(told)
        assert page.ids == before
        assert page.address == {"id": [site.id(0)]}
        expect(page.find(".subject")).not_to_have_class("subject waiting")
        page.button("Put this message away").click()
        expect(page.find("#notice")).to_be_hidden()


def drag(page: Watched, start: tuple[float, float], end: tuple[float, float], on: str = ".cropper") -> None:
    """Drag over an element, places in shares of its size."""
    box = page.find(on).bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.raw.mouse.move(*places[0])
    page.raw.mouse.down()
    page.raw.mouse.move(*places[1], steps=3)
    page.raw.mouse.up()


def crop(page: Watched) -> list[int]:
    return [int(each) for each in page.address["box"][0].split(",")]


def test_a_crop_is_drawn_moved_resized_and_cleared(start: Watched, photo: Path) -> None:
    start.send(photo)
    start.found()
    sent = len(start.searches())
    drag(start, (0.5, 0.5), (0.51, 0.51))  # a press, no crop
    assert "box" not in start.address
    assert len(start.searches()) == sent
    with start.searching():
        drag(start, (0.25, 0.25), (0.75, 0.5))
    assert crop(start) == pytest.approx([24, 24, 72, 48], abs=1)
    assert start.searches()[-1]["parts"][0]["box"] == crop(start)
    with start.searching():
        drag(start, (0.5, 0.5), (0.5, 1.5), ".box-frame")  # down by its own height
    assert crop(start) == pytest.approx([24, 48, 72, 72], abs=1)
    with start.searching():
        drag(start, (0.5, 0.5), (-2, 0.5), ".handle.w")  # two and a half of its widths
    left, *rest = crop(start)
    assert left < 24
    assert rest == pytest.approx([48, 72, 72], abs=1)
    sent = len(start.searches())
    start.button("Whole picture").click()
    expect(start.find(".box-frame")).to_be_hidden()
    assert "box" not in start.address
    start.found()
    assert len(start.searches()) == sent  # it was asked before


def test_a_crop_is_made_with_the_keyboard(page: Watched, site: Site) -> None:
    page.start_with(site.id(0))
    with page.searching():
        page.button("Crop").press("Enter")
    assert crop(page) == [19, 14, 77, 82]
    expect(page.find(".box-frame")).to_be_focused()
    with page.searching():
        page.raw.keyboard.press("ArrowRight")
        page.raw.keyboard.press("Shift+ArrowDown")
    assert crop(page) == [21, 14, 79, 84]
    expect(page.find(".box-frame")).to_have_attribute(
        "aria-label",
        "Crop of 58 by 70 pixels at 21, 14. Arrow keys move it, with Shift they resize it, Delete takes it away.",
    )
    page.raw.keyboard.press("Delete")
    expect(page.find(".box-frame")).to_be_hidden()
    page.raw.wait_for_url(lambda url: "box" not in url)


def test_garments_are_mixed(page: Watched, site: Site) -> None:
    page.start_with(site.id(0))
    card = page.find(".card").nth(3)
    mixed = page.ids[3]
    card.hover()
    with page.searching():
        card.get_by_role("button", name="Mix it into the query").click()
    assert page.address["id"] == [site.id(0)]
    assert page.address["2.id"] == [mixed]
    with page.searching():
        page.button("pattern").click()  # of the one mixed in
    assert [part.get("weights") for part in page.searches()[-1]["parts"]] == [None, {"pattern": 1}]
    with page.searching():
        page.button("Take garment 1 out").click()
    assert page.address["id"] == [mixed]
    assert page.address["w.pattern"] == ["1"]
