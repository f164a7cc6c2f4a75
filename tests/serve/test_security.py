"""Who may come in: tokens, hosts, origins."""

from __future__ import annotations

from typing import Any

import pytest

from lapel.serve.errors import ApiError, Forbidden, Unauthorised, WrongHost
from lapel.serve.security import HEADERS, Security, SecurityError, host_name, is_loopback

TOKEN = "correct-horse-battery"
BEARER = {"authorization": f"Bearer {TOKEN}"}


def scope(method: str = "GET", path: str = "/v1/indexes", **headers: str) -> dict[str, Any]:
    sent = {"host": "127.0.0.1:8000"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
    }


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.4", False),
        ("shop.example", False),
        ("localhost.evil.example", False),
    ],
)
def test_which_addresses_stay_on_this_machine(host: str, answer: bool) -> None:
    assert is_loopback(host) is answer
    if answer:
        assert Security(host).local
    else:
        with pytest.raises(SecurityError, match="expected a token that they must show"):
            Security(host)
        assert not Security(host, TOKEN).local


@pytest.mark.parametrize(
    "token", ["", "short", "a" * 15, "with a space in it", "ünïcödé-ünïcödé-ü", "tab\tin-the-token-x"]
)
def test_a_token_that_is_easily_guessed_or_garbled_is_refused(token: str) -> None:
    with pytest.raises(SecurityError, match="16 or more printable ASCII characters") as caught:
        Security("127.0.0.1", token)
    assert not token or token not in str(caught.value)


def test_whoever_wants_a_token_of_everyone_needs_one() -> None:
    with pytest.raises(SecurityError, match=r"--token-for-all.*--token-file or in LAPEL_TOKEN"):
        Security(everyone=True)


LOCAL, LOCAL_WITH = Security(), Security(token=TOKEN)
PUBLIC = Security("0.0.0.0", TOKEN)
PROXIED = Security(hosts=["Shop.example:443"])
GUARDED = Security(token=TOKEN, hosts=["shop.example"], everyone=True)


@pytest.mark.parametrize(
    ("security", "asked", "error"),
    [
        # Reading on this machine needs nothing, and a token does no harm.
        (LOCAL, scope(), None),
        (LOCAL, scope("POST", "/v1/search"), None),
        (LOCAL_WITH, scope("POST", "/v1/search"), None),
        (LOCAL_WITH, scope(**BEARER), None),
        # Writes always need one.
        (LOCAL, scope("POST", "/v1/items"), Forbidden),
        (LOCAL, scope("POST", "/v1/items", **BEARER), Forbidden),
        (LOCAL, scope("DELETE", "/v1/items/delete"), Forbidden),
        (LOCAL_WITH, scope("POST", "/v1/items"), Unauthorised),
        (LOCAL_WITH, scope("POST", "/v1/items/delete"), Unauthorised),
        (LOCAL_WITH, scope("POST", "/v1/items", **BEARER), None),
        (PUBLIC, scope("POST", "/v1/items", host="a.example"), Unauthorised),
        # Elsewhere everything does, but for what holds no data.
        (PUBLIC, scope(host="a.example"), Unauthorised),
        (PUBLIC, scope(host="a.example", **BEARER), None),
        (PUBLIC, scope("POST", "/v1/search", **BEARER), None),
        (PUBLIC, scope("HEAD", "/v1/search"), Unauthorised),
        (PUBLIC, scope("OPTIONS", "/v1/search"), Unauthorised),
        (PUBLIC, scope(path="/metrics"), Unauthorised),
        (PUBLIC, scope(path="/openapi.json"), Unauthorised),
        (PUBLIC, scope(path="/v1/images/a.jpg"), Unauthorised),
        (PUBLIC, scope(path="/v1/healthy"), Unauthorised),
        (PUBLIC, scope(path="/v1/health"), None),
        (PUBLIC, scope(path="/v1/ready"), None),
        (PUBLIC, scope(path="/"), None),
        (PUBLIC, scope(path="/page/app.js"), None),
        (PUBLIC, scope(path="/pages"), Unauthorised),
        # Behind a proxy on this machine, where it was asked for.
        (GUARDED, scope(host="shop.example"), Unauthorised),
        (GUARDED, scope(), Unauthorised),
        (GUARDED, scope("POST", "/v1/search"), Unauthorised),
        (GUARDED, scope(path="/metrics"), Unauthorised),
        (GUARDED, scope(host="shop.example", **BEARER), None),
        (GUARDED, scope(host="other.example", **BEARER), WrongHost),
        (GUARDED, scope(path="/", host="shop.example"), None),
        (GUARDED, scope(path="/v1/ready"), None),
        # Wrong tokens.
        (PUBLIC, scope(authorization=TOKEN), Unauthorised),
        (PUBLIC, scope(authorization="Bearer"), Unauthorised),
        (PUBLIC, scope(authorization="Bearer "), Unauthorised),
        (PUBLIC, scope(authorization=f"Basic {TOKEN}"), Unauthorised),
        (PUBLIC, scope(authorization=f"Bearer {TOKEN}x"), Unauthorised),
        (PUBLIC, scope(authorization=f"Bearer {TOKEN[:-1]}"), Unauthorised),
        (PUBLIC, scope(authorization=f"Bearer {TOKEN.upper()}"), Unauthorised),
        (PUBLIC, scope(authorization="Bearer \xff\xfe"), Unauthorised),
        (PUBLIC, scope(authorization=f"bearer   {TOKEN} "), None),
        # A name that somebody else made resolve to this machine.
        (LOCAL, scope(host="evil.example"), WrongHost),
        (LOCAL, scope(host="evil.example:8000"), WrongHost),
        (LOCAL, scope(host=""), WrongHost),
        (LOCAL, scope(host="127.0.0.1.evil.example"), WrongHost),
        (LOCAL, scope(host="localhost:8000@evil.example"), WrongHost),
        (LOCAL, scope(path="/", host="evil.example"), WrongHost),
        (LOCAL_WITH, scope(host="evil.example", **BEARER), WrongHost),
        (LOCAL, scope(host="localhost:1"), None),
        (LOCAL, scope(host="LOCALHOST"), None),
        (LOCAL, scope(host="[::1]:8000"), None),
        (Security("127.0.0.2"), scope(host="127.0.0.2:8000"), None),
        (PROXIED, scope(host="shop.example"), None),
        (PROXIED, scope(host="other.example"), WrongHost),
        # A page of another origin that posts to this machine.
        (LOCAL, scope("POST", "/v1/queries", origin="http://127.0.0.1:8000"), None),
        (LOCAL, scope("POST", "/v1/queries", origin="http://127.0.0.1:9"), Forbidden),
        (LOCAL, scope("POST", "/v1/queries", origin="https://evil.example"), Forbidden),
        (LOCAL, scope("POST", "/v1/queries", origin="null"), Forbidden),
        (LOCAL, scope("POST", "/v1/queries", origin=""), Forbidden),
        (LOCAL, scope("POST", "/v1/queries", sec_fetch_site="cross-site"), Forbidden),
        (LOCAL, scope("POST", "/v1/queries", sec_fetch_site="same-site"), Forbidden),
        (LOCAL, scope("POST", "/v1/queries", sec_fetch_site="same-origin"), None),
        # It may lead here, but neither read nor make this machine work.
        (LOCAL, scope("GET", "/", sec_fetch_site="cross-site", sec_fetch_mode="navigate"), None),
        (LOCAL, scope("GET", "/v1/copies", sec_fetch_site="cross-site", sec_fetch_mode="no-cors"), Forbidden),
        (LOCAL, scope("GET", "/v1/facets", sec_fetch_site="cross-site"), Forbidden),
        (LOCAL, scope("GET", "/v1/facets", origin="https://evil.example"), Forbidden),
        (LOCAL, scope("GET", "/v1/facets", sec_fetch_site="same-origin", sec_fetch_mode="cors"), None),
        (LOCAL, scope("GET", "/v1/facets", origin="http://127.0.0.1:8000"), None),
        (LOCAL, scope("POST", "/v1/queries", sec_fetch_site="cross-site", sec_fetch_mode="navigate"), Forbidden),
        (PROXIED, scope("POST", "/v1/queries", host="127.0.0.1", origin="https://shop.example"), None),
    ],
)
def test_who_comes_in(security: Security, asked: dict[str, Any], error: type[ApiError] | None) -> None:
    if error is None:
        security.check(asked)
        return
    with pytest.raises(error) as caught:
        security.check(asked)
    assert TOKEN not in caught.value.message


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("a.example:80", "a.example"),
        (" A.Example ", "a.example"),
        ("[::1]:8000", "::1"),
        ("::1", ":"),  # no Host header looks like this
        ("", ""),
        ("a:b", "a:b"),
        ("[broken", "broken"),
    ],
)
def test_the_name_in_a_host_header(host: str, name: str) -> None:
    assert host_name(host) == name


def test_the_token_is_in_no_representation() -> None:
    assert TOKEN not in repr(Security(token=TOKEN))


def test_the_page_may_load_nothing_from_elsewhere_and_run_nothing_inline() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
