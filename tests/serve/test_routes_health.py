"""Health, readiness and figures."""

from __future__ import annotations

from pathlib import Path

from fastapi.testclient import TestClient

from lapel import __version__

from .shop import Shop, ready


def test_health(client: TestClient) -> None:
    assert client.get("/v1/health").json() == {"status": "ok", "version": __version__}


def test_ready(client: TestClient) -> None:
    answer = client.get("/v1/ready")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "indexes": {"shop": "ready"}})


def test_not_ready_says_why_without_a_path(shop: Shop, tmp_path: Path) -> None:
    app = shop.app(indexes=(("shop", shop.folder), ("next", tmp_path / "secret")))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        while client.get("/v1/ready").json()["indexes"] == {"shop": "opening", "next": "opening"}:
            pass
        while client.get("/v1/ready").json()["indexes"]["next"] == "opening":
            pass
        answer = client.get("/v1/ready")
        assert answer.status_code == 503
        assert answer.json()["indexes"]["shop"] == "ready"
        assert "next is not an index: there is no such folder" in answer.json()["indexes"]["next"]
        assert str(tmp_path) not in answer.text
        assert client.get("/v1/health").status_code == 200
        assert client.get("/v1/facets?index=shop").status_code == 200
        refused = client.get("/v1/facets?index=next")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
        assert refused.headers["retry-after"]
        shop.reindex(to=tmp_path / "secret")  # as soon as it is there it is served
        ready(client)
        assert client.get("/v1/facets?index=next").json()["index"]["name"] == "next"


def test_a_stopping_server_is_not_ready(shop: Shop) -> None:
    app = shop.app()
    with TestClient(app, base_url="http://127.0.0.1") as client:
        ready(client)
        app.state.lapel.stop()
        assert client.get("/v1/ready").json() == {"ready": False, "indexes": {"shop": "ready"}}


def test_figures(client: TestClient, shop: Shop) -> None:
    sent = client.post("/v1/queries", files={"image": shop.photo().read_bytes()}).json()
    client.post("/v1/search", json={"parts": [{"query": sent["query"]}]})
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    assert float(lines['lapel_index_images{index="shop"}']) == 48
    assert float(lines['lapel_http_requests_total{method="POST",route="/v1/search",status="200"}']) >= 1
    assert float(lines['lapel_encode_batch_images_count{index="shop"}']) >= 1
    assert float(lines["lapel_queries_kept"]) >= 1
    assert float(lines["lapel_queries_bytes"]) > 1000
    assert lines["lapel_encode_waiting"] == "0.0"
    assert lines["lapel_writes_waiting"] == "0.0"
    assert any(line.startswith("lapel_index_info{") and 'runs="aaaaaaaaaaaa,bbbbbbbbbbbb"' in line for line in lines)
