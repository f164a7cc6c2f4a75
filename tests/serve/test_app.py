"""The application as a whole: what OpenAPI says of it, what stands around every answer, who is let in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lapel.serve.app import ROUTES, create_app
from lapel.serve.security import SecurityError
from lapel.serve.settings import ServeSettings

from .shop import TOKEN, Shop, ready

OPERATIONS = {
    "copies": "get /v1/copies",
    "copies_csv": "get /v1/copies.csv",
    "delete_items": "post /v1/items/delete",
    "entry": "get /v1/entries/{id}",
    "explain": "post /v1/explain",
    "facets": "get /v1/facets",
    "health": "get /v1/health",
    "image": "get /v1/images/{id}",
    "indexes": "get /v1/indexes",
    "metrics": "get /metrics",
    "query": "get /v1/queries/{query}",
    "query_image": "get /v1/queries/{query}/image",
    "ready": "get /v1/ready",
    "sample": "get /v1/entries",
    "search": "post /v1/search",
    "search_image": "post /v1/search/image",
    "send_query": "post /v1/queries",
    "write_item": "post /v1/items",
}


@pytest.fixture(scope="module")
def described(client: TestClient) -> dict[str, Any]:
    return client.get("/openapi.json").json()


def operations(described: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    return {
        told["operationId"]: (f"{method} {path}", told)
        for path, methods in described["paths"].items()
        for method, told in methods.items()
    }


def test_operation_ids_are_stable(described: dict[str, Any]) -> None:
    assert {name: where for name, (where, _) in operations(described).items()} == OPERATIONS


def test_every_operation_is_described(described: dict[str, Any]) -> None:
    for name, (where, told) in operations(described).items():
        assert told["summary"], where
        assert told["description"], where
        if name in ("health", "ready"):
            continue
        assert "401" in told["responses"], where
        for status, response in told["responses"].items():
            assert response["description"]
            if int(status) >= 400:
                shown = response["content"]["application/json"]["schema"]["$ref"]
                assert shown.endswith("/ErrorBody"), (where, status)


def test_every_field_that_is_sent_has_a_description_or_an_example(described: dict[str, Any]) -> None:
    for name in ("SearchRequest", "Part", "Source", "ExplainRequest", "Query", "Hit", "SearchResponse"):
        for field, told in described["components"]["schemas"][name]["properties"].items():
            explained = {"description", "examples", "$ref", "items", "enum"} & told.keys()
            assert explained or any("$ref" in one or "examples" in one for one in told.get("anyOf", [])), (name, field)
    assert described["components"]["schemas"]["SearchRequest"]["examples"]
    assert "HTTPValidationError" not in str(described)


def test_examples_of_requests_are_valid(described: dict[str, Any]) -> None:
    from lapel.serve import schema

    for example in described["components"]["schemas"]["SearchRequest"]["examples"]:
        schema.SearchRequest.model_validate(example)


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/oauth2-redirect"])
def test_no_page_that_loads_scripts_of_others(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/v1/health", "/v1/indexes", "/v1/images/none.jpg", "/none", "/", "/page/none.js"])
def test_around_every_answer(client: TestClient, path: str) -> None:
    answer = client.get(path, headers={"X-Request-ID": "job-7"})
    assert answer.headers["x-request-id"] == "job-7"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"]
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert error["request_id"] == "job-7"
        assert error["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v2/search", 404),
        ("GET", "/v1/search", 405),
        ("HEAD", "/v1/search", 405),
        ("HEAD", "/v1/health", 200),
        ("DELETE", "/v1/indexes", 405),
        ("GET", "/page/../app.py", 404),
        ("GET", "/page/%2e%2e/app.py", 404),
        ("GET", "/page/..%2fapp.py", 404),
    ],
)
def test_what_is_not_there(client: TestClient, method: str, path: str, code: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == code
    assert "import" not in answer.text


@pytest.mark.parametrize("path", ["/v1/facets", "/v1/indexes", "/v1/images/none.jpg"])
def test_a_body_that_nobody_asked_for_is_refused_and_no_crash(client: TestClient, path: str) -> None:
    answer = client.request("GET", path, content=b"x" * (1 << 21))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_other_machines_show_the_token(shop: Shop) -> None:
    app = shop.app(host="0.0.0.0")
    with TestClient(app, base_url="http://shop.example") as stranger:
        ready(stranger)
        assert stranger.get("/v1/health").status_code == 200
        assert stranger.get("/").status_code == 200
        assert stranger.get("/page/index.html").status_code == 200
        closed = [where.split() for where in OPERATIONS.values() if not where.endswith(("/health", "/ready"))]
        for method, path in [*closed, ("get", "/openapi.json")]:
            answer = stranger.request(method, path.replace("{", "").replace("}", ""))
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorised"), path
        known = {"Authorization": f"Bearer {TOKEN}"}
        assert stranger.get("/v1/indexes", headers=known).status_code == 200
        assert (
            stranger.get("/v1/indexes", headers={"Authorization": "Bearer another-token-altogether"}).status_code == 401
        )


def test_everyone_shows_the_token_where_a_proxy_lets_strangers_in(shop: Shop) -> None:
    app = shop.app(token_for_all=True, hosts=("shop.example",))
    with TestClient(app, base_url="http://shop.example") as stranger:
        ready(stranger)
        assert stranger.get("/").status_code == 200
        assert stranger.get("/v1/indexes").status_code == 401
        assert stranger.get("/v1/indexes", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_no_other_machine_without_a_token(shop: Shop) -> None:
    with pytest.raises(SecurityError, match=r"other machines can reach 0\.0\.0\.0"):
        create_app(shop.settings(host="0.0.0.0", token=None))


def test_a_page_of_another_host_reaches_nothing(client: TestClient) -> None:
    """DNS rebinding: a foreign name that resolves to this machine."""
    assert client.get("/v1/indexes", headers={"Host": "evil.example"}).json()["error"]["code"] == "wrong_host"
    sent = client.post("/v1/search", json={}, headers={"Origin": "http://evil.example"})
    assert sent.status_code == 403


def test_nothing_heavy_is_loaded() -> None:
    """Neither torch nor the engine: the server is up in a second, and explains load torch when they are asked."""
    code = (
        "import sys; import lapel.serve.app, lapel.verbs.serve; "
        "print([name for name in ('torch', 'torchvision', 'timm', 'lancedb', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_module_of_routes_is_in_the_application() -> None:
    import lapel.serve

    files = {path.stem for path in Path(lapel.serve.__file__).parent.glob("routes_*.py")}
    assert {module.__name__.rpartition(".")[2] for module in ROUTES} == files


def test_a_real_index_from_upload_to_explanation(garments: Any, indexed: Path, trained: Path) -> None:
    """With the encoder that is stored with an index, and the run that made it."""
    from lapel import Index

    index, photo = Index.open(indexed), garments.paths()[3]
    settings = ServeSettings((("drawn", indexed),), threads=2)
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        ready(client)
        query = client.post("/v1/queries", files={"image": photo.read_bytes()}).json()["query"]
        part = {"query": query, "box": list(garments.boxes()[3]), "weights": {"neckline": 1, "colour": 1}}
        told = client.post("/v1/search", json={"parts": [part], "k": 4, "likely": True}).json()
        expected = index.search(photo, part["weights"], 4, box=part["box"])
        assert [hit["id"] for hit in told["hits"]] == [hit.id for hit in expected]
        assert told["hits"][0]["id"] == garments.images["image"][3].as_py()
        assert told["index"]["runs"][0]["name"] == trained.name
        for source in ({"query": query}, {"id": told["hits"][1]["id"]}):
            seen = client.post("/v1/explain", json={"part": source, "attribute": "neckline"}).json()
            assert (seen["width"], seen["height"]) == (96, 96)
            assert max(cell for row in seen["map"] for cell in row if cell is not None) == 1
        assert client.get("/v1/indexes").json()["indexes"][0]["explains"]
