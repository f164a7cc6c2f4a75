"""Hostile images and hostile requests, through the whole application: refused without a 5xx, a leak or much memory."""

from __future__ import annotations

import json
import resource
import tempfile
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from .asgi import BOUNDARY, MULTIPART, multipart, part
from .hostile import BAD, GOOD, JPEG, encoded, picture
from .shop import TOKEN, Shop, ready

pytestmark = pytest.mark.filterwarnings("ignore:Image size", "ignore:Corrupt EXIF")

LEAKS = ("Traceback", "site-packages", 'File "', ".py", "/tmp/", "/usr/", "/root/", "/home/", "PIL", "lance", TOKEN)
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client(shop: Shop) -> Iterator[TestClient]:
    """A client of the application that shows no token."""
    app = shop.app(max_upload_mb=8)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=True) as opened:
        yield ready(opened)


def refused(response: httpx.Response, shop: Shop) -> dict[str, str]:
    """Check that an answer is an error of the client's, in the one form, and tells nothing of the inside."""
    assert 400 <= response.status_code < 500, (response.status_code, response.text[:500])
    for leak in (*LEAKS, str(shop.root)):
        assert leak not in response.text, response.text[:500]
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-content-type-options"] == "nosniff"
    error: dict[str, str] = response.json()["error"]
    assert error["request_id"] == response.headers["x-request-id"]
    assert error["message"]
    assert len(error["message"]) <= 1000
    return error


def harmless(response: httpx.Response, shop: Shop) -> None:
    """Check that it is a refusal as above, or an answer that leaks nothing."""
    if response.status_code >= 400:
        refused(response, shop)
    else:
        assert str(shop.root) not in response.text


# ---------------------------------------------------------------- images


@pytest.mark.parametrize("name", GOOD)
def test_a_good_photograph_can_be_searched_with(name: str, client: TestClient, shop: Shop) -> None:
    sent = client.post("/v1/queries", files={"image": (name, GOOD[name], "image/x-odd")})
    assert sent.status_code == 201, sent.text
    query = sent.json()
    assert (query["width"], query["height"]) in ((96, 64), (9, 9))
    found = client.post("/v1/search", json={"parts": [{"query": query["query"]}], "k": 3})
    assert found.status_code == 200, found.text
    assert len(found.json()["hits"]) == 3
    shown = client.get(f"/v1/queries/{query['query']}/image?side=160")
    assert shown.headers["content-type"] == "image/jpeg"
    assert shown.content.startswith(b"\xff\xd8")
    # Made anew: nothing that was hidden in the file comes along.
    assert b"alert(1)" not in shown.content
    assert b"junk" not in shown.content


@pytest.mark.parametrize("name", BAD)
def test_a_bad_one_is_refused_everywhere(name: str, client: TestClient, shop: Shop) -> None:
    data, status, message = BAD[name]
    for path in ("/v1/queries", "/v1/search/image"):
        response = client.post(path, files={"image": ("a.jpg", data, "image/jpeg")})
        error = refused(response, shop)
        assert response.status_code == status, error
        assert message in error["message"]
        assert error["code"] == {413: "too_large", 415: "not_an_image"}[status]


def test_all_of_it_takes_little_memory_and_no_disk(
    client: TestClient, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a temporary file was opened")

    for name in ("SpooledTemporaryFile", "NamedTemporaryFile", "TemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for data, _, _ in BAD.values():
        assert client.post("/v1/queries", files={"image": data}).status_code in (413, 415)
    large = encoded("PNG", picture(2000, 2000))
    for n in range(5):  # as large as may be, and each another one
        body = large + bytes([n]) * (8_000_000 - len(large))
        assert client.post("/v1/queries", files={"image": body}).status_code == 201
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 400, f"{grown:.0f} MB"
    figures = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"}).text
    assert "lapel_http_in_flight 1.0" in figures  # this one


# ---------------------------------------------------------------- multipart bodies

PHOTO = part("image", JPEG, "a.jpg")
BODIES: dict[str, tuple[bytes, dict[str, str], int]] = {
    "empty": (b"", MULTIPART, 422),
    "no parts": (multipart(), MULTIPART, 422),
    "cut short": (multipart(PHOTO)[:-6], MULTIPART, 422),
    "text": (b"x" * 1000, MULTIPART, 422),
    "returns alone": (b"\r" * 100_000, MULTIPART, 422),
    "nearly boundaries": (f"--{BOUNDARY}\r".encode() * 5000, MULTIPART, 422),
    "a thousand parts": (multipart(*[part(f"f{n}", b"") for n in range(1000)]), MULTIPART, 422),
    "twice": (multipart(PHOTO, PHOTO), MULTIPART, 422),
    "a field that is not known": (multipart(PHOTO, part("path", b"/etc/passwd")), MULTIPART, 422),
    "a url in place of a file": (multipart(part("url", b"http://169.254.169.254/")), MULTIPART, 422),
    "an endless header": (f"--{BOUNDARY}\r\nX: ".encode() + b"y" * 100_000, MULTIPART, 422),
    "an endless field": (multipart(part("request", b"x" * 2_000_000), PHOTO), MULTIPART, 413),
    "an endless body": (multipart(part("image", bytes(10_000_000), "a")), MULTIPART, 413),
    "no boundary": (multipart(PHOTO), {"content-type": "multipart/form-data"}, 422),
    "another content type": (JPEG, {"content-type": "image/jpeg"}, 422),
    "no content type": (JPEG, {}, 422),
    "JSON": (b"{}", JSON, 422),
    "unpacks to much": (multipart(PHOTO), MULTIPART | {"content-encoding": "gzip"}, 0),
    "a length that is a lie": (multipart(PHOTO), MULTIPART | {"content-length": "3"}, 0),
    "request is no JSON": (multipart(PHOTO, part("request", b"{")), MULTIPART, 422),
    "request is a list": (multipart(PHOTO, part("request", b"[]")), MULTIPART, 422),
    "request is deep": (multipart(PHOTO, part("request", b"[" * 100_000)), MULTIPART, 422),
    "request is no UTF-8": (multipart(PHOTO, part("request", b'{"where": "\xff"}')), MULTIPART, 422),
    "request with half a pair": (multipart(PHOTO, part("request", b'{"index": "\\ud800"}')), MULTIPART, 0),
    "file name of a path": (multipart(part("image", JPEG, "../../../etc/passwd")), MULTIPART, 0),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body_is_refused(name: str, client: TestClient, shop: Shop) -> None:
    body, headers, status = BODIES[name]
    response = client.post("/v1/search/image", content=body, headers=headers)
    harmless(response, shop)
    if status:
        assert response.status_code == status, response.text


# ---------------------------------------------------------------- ids, filters, JSON

IDS = [
    "../../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "....//....//etc/passwd",
    "/etc/passwd",
    "//etc/passwd",
    "file:///etc/passwd",
    "http://127.0.0.1:1/",
    "C:\\Windows\\win.ini",
    "\\\\host\\share\\a.jpg",
    "a\0b",
    "a\nb",
    " ",
    ".",
    "..",
    "~",
    "#0,0,1,1",
    "images/000000-0.jpg#0,0,9,9",
    "images/000000-0.jpg\0.png",
    "' OR '1'='1",
    "'; DROP TABLE images; --",
    "{{7*7}}${7*7}",
    "<script>alert(1)</script>",
    "x" * 4000,
    "é" * 1500,
    "\U0001f600",
    "\u202e\u2028",
    "-1",
    "null",
]


@pytest.mark.parametrize("image_id", IDS)
def test_an_odd_id_finds_nothing(image_id: str, client: TestClient, shop: Shop) -> None:
    raw = "".join(f"%{byte:02x}" for byte in image_id.encode())
    for path in (f"/v1/entries/{raw}", f"/v1/images/{raw}", f"/v1/images/{raw}?side=160&index={raw}"):
        assert client.get(path).status_code in (307, 404, 422)
        harmless(client.get(path), shop)
    refused(client.get(f"/v1/queries/{raw}/image"), shop)
    for request in (
        {"parts": [{"id": image_id}]},
        {"parts": [{"query": image_id}]},
        {"parts": [{"id": shop.images[0]}], "more": [image_id]},
        {"parts": [{"id": shop.images[0]}], "less": [image_id]},
        {"parts": [{"id": shop.images[0]}], "index": image_id},
        {"parts": [{"id": shop.images[0], "of": image_id}]},
        {"parts": [{"id": shop.images[0], "weights": {image_id: 1}}]},
    ):
        refused(client.post("/v1/search", json=request), shop)
    refused(client.post("/v1/explain", json={"part": {"id": image_id}, "attribute": "neckline"}), shop)
    refused(client.post("/v1/explain", json={"part": {"id": shop.images[0]}, "attribute": image_id}), shop)
    assert "alert(1)" not in client.get(f"/{raw}").text


@pytest.mark.parametrize(
    "raw",
    ["%00", "%ff%fe", "%c0%ae%c0%ae/", "..%2f..%2f", "%2e%2e%2f%2e%2e%2fetc/passwd", "..%5c..%5c", "%252e%252e%252f"],
)
@pytest.mark.parametrize("base", ["/page/", "/v1/images/", "/v1/entries/", "/"])
def test_no_path_leads_to_the_disk(base: str, raw: str, client: TestClient, shop: Shop) -> None:
    response = client.get(f"{base}{raw}")
    assert "root:" not in response.text
    refused(response, shop)


FILTERS = [
    "'",
    '"',
    "price <",
    "price < 'a'",
    "price < 1e999",
    f"price < {'9' * 400}",
    "price = nan",
    "nothing = 1",
    "price < 50; DROP TABLE images",
    "price < 50 -- comment",
    "price < 50 /* comment */",
    "1 = 1",
    "true",
    "(SELECT 1) = 1",
    "price < 50 UNION SELECT * FROM images",
    "read_file('/etc/passwd') = 1",
    "price in ()",
    "price in (" + ",".join(["1"] * 3000) + ")",
    "(" * 3000 + "price < 1" + ")" * 3000,
    "not " * 2000 + "price < 1",
    " or ".join(["price < 1"] * 800),
    "brand like '" + "%_" * 2000 + "'",
    "brand like '" + "(a+)+" * 500 + "'",
    "brand = '\0'",
    "brand = '\\'",
    "brand = ''''",
    "brand = '</script><script>alert(1)</script>'",
    "\u0000",
    "\ud800",
    "ｐrice < 50",
    "x" * 9999,
    "_rowid = 1",
    "vector is not null",
    "image = '/etc/passwd'",
]


@pytest.mark.parametrize("where", FILTERS, ids=range(len(FILTERS)))
def test_an_odd_filter_is_refused_or_finds_something_less(where: str, client: TestClient, shop: Shop) -> None:
    body = json.dumps({"parts": [{"id": shop.images[0]}], "where": where})
    harmless(client.post("/v1/search", content=body, headers=JSON), shop)
    if "\ud800" not in where:
        harmless(client.get("/v1/facets", params={"where": where}), shop)


PLAIN: dict[str, Any] = {"parts": [{"id": "IMAGE"}]}
REQUESTS: list[Any] = [
    None,
    [],
    "text",
    7,
    {},
    {"parts": None},
    {"parts": []},
    {"parts": [{}] * 3},
    {"parts": [PLAIN["parts"][0]] * 9},
    {"parts": {"id": "IMAGE"}},
    {"parts": [["IMAGE"]]},
    {"parts": [{"id": ["IMAGE"]}]},
    {"parts": [{"id": "IMAGE", "query": "a" * 32}]},
    {"parts": [{"id": "IMAGE", "weights": {"neckline": 1e308}}]},
    {"parts": [{"id": "IMAGE", "weights": {"neckline": 11}}]},
    {"parts": [{"id": "IMAGE", "weights": {"neckline": 0}}]},
    {"parts": [{"id": "IMAGE", "weights": {}}]},
    {"parts": [{"id": "IMAGE", "weights": {"neckline": None}}]},
    {"parts": [{"id": "IMAGE", "weights": {f"a{n}": 1 for n in range(1001)}}]},
    {"parts": [{"id": "IMAGE", "box": [0, 0, 0, 0]}]},
    {"parts": [{"id": "IMAGE", "box": [5, 5, 1, 1]}]},
    {"parts": [{"id": "IMAGE", "box": [-1e6, -1e6, -9e5, -9e5]}]},
    {"parts": [{"id": "IMAGE", "box": [0, 0, 1e300, 1e300]}]},
    {"parts": [{"id": "IMAGE", "box": [0, 0, 1]}]},
    {"parts": [{"id": "IMAGE", "box": "0,0,1,1"}]},
    {**PLAIN, "k": 0},
    {**PLAIN, "k": 10**30},
    {**PLAIN, "k": -1},
    {**PLAIN, "k": 1.5},
    {**PLAIN, "offset": 10_001},
    {**PLAIN, "threshold": 2},
    {**PLAIN, "group": "maybe"},
    {**PLAIN, "more": ["x"] * 101},
    {**PLAIN, "surprise": 1},
    {**PLAIN, "__proto__": {"k": 1}},
]
RAW = [
    b"",
    b"{",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b"[" * 200_000,
    b'{"parts": ' * 5000,
    b'{"k": NaN, "parts": [{"id": "x"}]}',
    b'{"k": Infinity, "parts": [{"id": "x"}]}',
    b'{"threshold": -Infinity, "parts": [{"id": "x"}]}',
    b'{"k": ' + b"9" * 5000 + b', "parts": [{"id": "x"}]}',
    b'{"parts": [{"id": "\\ud800"}]}',
    b'{"parts": [{"id": "\\u0000"}]}',
    b'{"parts": [{"id": "x", "weights": {"\\ud800": 1}}]}',
    b"parts=1",
    b"x" * 1_100_000,
    b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
]


@pytest.mark.parametrize("number", range(len(REQUESTS)))
def test_an_odd_request_is_refused(number: int, client: TestClient, shop: Shop) -> None:
    body = json.dumps(REQUESTS[number]).replace("IMAGE", shop.images[0])
    refused(client.post("/v1/search", content=body, headers=JSON), shop)
    photo = ("a.jpg", JPEG, "image/jpeg")
    harmless(client.post("/v1/search/image", files={"image": photo}, data={"request": body}), shop)


@pytest.mark.parametrize("number", range(len(RAW)))
@pytest.mark.parametrize("kind", ["application/json", "text/plain", ""])
def test_what_is_no_json_is_refused(number: int, kind: str, client: TestClient, shop: Shop) -> None:
    headers = {"content-type": kind} if kind else {}
    for path in ("/v1/search", "/v1/explain"):
        refused(client.post(path, content=RAW[number], headers=headers), shop)


def test_every_method_on_every_path(client: TestClient, shop: Shop) -> None:
    paths = [
        path.replace("{id}", "x").replace("{query}", "a" * 32) for path in client.get("/openapi.json").json()["paths"]
    ]
    for path in [*paths, "/", "/page/", "/nowhere", "/v1", "//", "/openapi.json"]:
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"):
            response = client.request(method, path, follow_redirects=False)
            assert response.status_code < 500, (method, path, response.text[:300])
            if response.status_code >= 400 and method != "HEAD":
                refused(response, shop)
            if response.status_code == 405:
                assert response.headers["allow"]


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": ""},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"authorization": "Bearer " + "x" * 5000},
        {"x-request-id": "<script>"},
        {"x-forwarded-host": "evil.example", "x-forwarded-proto": "https"},
        {"range": "bytes=0-99999999999"},
        {"if-none-match": '"' + "x" * 5000 + '"'},
        {"accept-encoding": "gzip;q=nan"},
        {"accept": "text/html"},
        {"content-type": "application/json; charset=utf-7"},
        {"transfer-encoding": "gzip, chunked"},
        {"cookie": "a=" + "b" * 4000},
    ],
)
def test_odd_headers_harm_nothing(headers: dict[str, str], client: TestClient, shop: Shop) -> None:
    image = f"/v1/images/{shop.images[0]}"
    for method, path in (("GET", "/"), ("GET", image), ("GET", "/v1/indexes"), ("POST", "/v1/search")):
        content = b'{"parts": [{"id": "%s"}]}' % shop.images[0].encode() if method == "POST" else None
        response = client.request(method, path, headers=headers, content=content)
        assert response.status_code < 500
        assert "evil.example" not in response.text
        assert "<script>" not in response.headers["x-request-id"]


def test_hostile_writes_change_nothing_and_lead_nowhere(own_shop: Shop) -> None:
    """With the token, even: what is refused leaves no row, and no id leads out of the index's folder."""
    token = {"authorization": f"Bearer {TOKEN}"}
    with TestClient(own_shop.app(), base_url="http://127.0.0.1", headers=token) as client:
        ready(client)
        for data, status, _ in BAD.values():
            sent = {"image": ("a.jpg", data, "image/jpeg")}
            response = client.post("/v1/items", files=sent, data={"entry": '{"id": "new/a.jpg"}'})
            assert response.status_code == status, response.text
            refused(response, own_shop)
        assert client.get("/v1/entries/new/a.jpg").status_code == 404
        photo = {"image": ("../../b.jpg", JPEG, "image/jpeg")}
        for entry in ("", "{", "[]", "{}", '{"id": ""}', '{"id": 7}', '{"id": "x", "path": "/a"}', "[" * 50_000):
            refused(client.post("/v1/items", files=photo, data={"entry": entry}), own_shop)
        outside = set(own_shop.root.parent.rglob("*")) - set(own_shop.folder.rglob("*"))
        for image_id in IDS:
            response = client.post("/v1/items", files=photo, data={"entry": json.dumps({"id": image_id})})
            harmless(response, own_shop)
            if response.status_code == 200 and "%" not in image_id:  # this client undoes the escapes twice
                raw = "".join(f"%{byte:02x}" for byte in image_id.encode())
                assert client.get(f"/v1/images/{raw}").headers["content-type"] == "image/jpeg"
            deleted = client.post("/v1/items/delete", json={"ids": [image_id]})
            assert deleted.json().get("deleted", 0) == (response.status_code == 200)
        assert set(own_shop.root.parent.rglob("*")) - set(own_shop.folder.rglob("*")) == outside
        assert client.get("/v1/indexes").json()["indexes"][0]["images"] == len(own_shop.images)


def test_strangers_may_neither_write_nor_read_elsewhere(client: TestClient, shop: Shop) -> None:
    for path in ("/v1/items", "/v1/items/delete"):
        response = client.post(path, json={"ids": [shop.images[0]]})
        assert response.status_code == 401
        refused(response, shop)
    assert client.get("/v1/indexes").json()["indexes"][0]["images"] == len(shop.images)
