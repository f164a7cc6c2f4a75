"""When something is not there: the server, a photograph, a picture, a token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from ..shop import TOKEN, Shop, running
from .driver import Site, Watched, build_site, site_app

NOISE = ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "ERR_FAILED", "ERR_SOCKET")
GONE = {"error": {"code": "query_gone", "message": "the photograph is no longer kept", "request_id": "r"}}


def test_the_server_goes_and_comes_back(open_page: Any, site: Site, photo: Path) -> None:
    with running(site_app(site.shop)) as address:
        port = int(address.rpartition(":")[2])
        page: Watched = open_page("/", address)
        page.expect(*NOISE, "status of 410")
        page.send(photo)
        page.found()
        before = page.ids
    page.button("pattern").click()
    banner = page.find("#banner")
    expect(banner).to_contain_text("The server does not answer")
    assert page.ids == before  # what was found stays
    expect(page.find(".subject img")).to_be_visible()
    with running(site_app(site.shop), port):
        # The new server has never seen the photograph: the browser sends it again.
        expect(banner).to_be_hidden(timeout=15_000)
        expect(page.find("#heading")).to_have_text("Alike in pattern")
        page.found()
        assert any(each.method == "POST" and each.url.endswith("/v1/queries") for each in page.asked[1:])
        expect(page.find("#notice")).to_be_hidden()


def test_a_photograph_that_nobody_has_any_more(page: Watched, site: Site) -> None:
    page.expect("status of 410", "status of 404")
    page.open(f"/?q={'ab' * 16}&size=96x96")
    expect(page.find("#notice")).to_contain_text("send it again, or start from another garment")


def test_a_forgotten_photograph_is_sent_again(start: Watched, photo: Path) -> None:
    start.expect("status of 410")
    start.send(photo)
    start.found()
    answers = iter([GONE])

    def forget(route: Any) -> None:
        gone = next(answers, None)
        if gone:
            route.fulfill(status=410, json=gone)
        else:
            route.continue_()

    start.raw.route("**/v1/search", forget)
    with start.searching():
        start.button("colour").click()
    expect(start.find("#heading")).to_have_text("Alike in colour")
    expect(start.find("#notice")).to_be_hidden()
    sent = [each for each in start.asked if each.method == "POST" and each.url.endswith("/v1/queries")]
    assert len(sent) == 2


def test_a_busy_server_and_a_picture_that_cannot_be_shown(page: Watched, site: Site) -> None:
    page.expect("status of 404", "status of 429")
    busy = {"error": {"code": "busy", "message": "64 photographs wait", "request_id": "r"}}
    answers = iter([busy])

    def answer(route: Any) -> None:
        told = next(answers, None)
        if told:
            route.fulfill(status=429, json=told, headers={"Retry-After": "1"})
        else:
            route.continue_()

    page.raw.route("**/v1/search", answer)
    page.raw.route("**/v1/images/**", lambda route: route.fulfill(status=404, json={}))
    page.start_with(site.id(0))
    assert len(page.searches()) == 2  # asked again as it was told
    expect(page.find(".pick.no-picture").first).to_be_visible()
    expect(page.find(".card img").first).to_have_attribute("alt", "This photograph cannot be shown")
    page.find(".card .pick").first.click()  # and the garment can be asked for all the same
    page.found()


def test_a_server_that_asks_for_a_token(open_page: Any, site: Site) -> None:
    app = site_app(site.shop)
    app.state.security.__dict__["host"] = "0.0.0.0"  # as if other machines could reach it
    with running(app) as address:
        page: Watched = open_page(None, address)
        page.expect("status of 401")
        page.open("/")
        dialog = page.raw.get_by_role("dialog", name="This server asks for a token")
        expect(dialog).to_be_visible()
        page.find("#token").fill("not the token at all")
        page.button("Go on").click()
        expect(dialog).to_contain_text("did not take this token")
        page.find("#token").fill(TOKEN)
        page.raw.keyboard.press("Enter")
        expect(page.find(".card")).to_have_count(24)
        page.start_with(site.id(0))  # kept for this tab
        page.raw.wait_for_function("() => document.querySelector('.card img').naturalWidth > 0")
        assert page.find(".card img").first.get_attribute("src").startswith("blob:")  # type: ignore[union-attr]
        assert not any(TOKEN in each.url for each in page.asked)


def test_an_index_that_changes_under_the_page(open_page: Any, own_shop: Shop) -> None:
    with build_site(own_shop) as site:
        page: Watched = open_page("/", site.address)
        page.start_with(site.id(0))
        expect(page.find("#about")).to_have_text("48 pictures")
        version = page.raw.evaluate("async () => (await (await fetch('/v1/indexes')).json()).indexes[0].version")
        own_shop.reindex(own_shop.catalogue.take([row for row in range(48) if row != 9]))
        page.raw.wait_for_function(
            "async (version) => (await (await fetch('/v1/indexes')).json()).indexes[0].version !== version", arg=version
        )
        page.button("colour").click()
        expect(page.find("#about")).to_have_text("47 pictures")
        page.until(lambda: len(page.ids) > 0 and site.id(9) not in page.ids)
