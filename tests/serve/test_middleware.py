"""What stands around every request: its id, its log line, its figures, and errors that nobody foresaw."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from lapel.serve import middleware
from lapel.serve.metrics import Metrics
from lapel.serve.middleware import UNKNOWN, Middleware
from lapel.serve.security import HEADERS, Security

from .asgi import run, scope
from .bare import JSON, Bare, lines

# ---------------------------------------------------------------- ids, headers, log, figures


def test_every_answer_has_an_id_and_the_security_headers() -> None:
    server = Bare()
    for path in ("/hello/a", "/nowhere", "/wrong", "/fail", "/json", "/busy"):
        answer = run(server(path=path, headers={"x-request-id": "job-7"}))
        assert answer.headers["x-request-id"] == "job-7"
        for name, value in HEADERS.items():
            assert answer.headers[name.lower()] == value
        assert answer.headers["cache-control"] == "no-store"
        if answer.status >= 400:
            assert answer.json()["error"]["request_id"] == "job-7"
    assert run(server(path="/hello/a", headers={"x-request-id": "job-7"})).json()["id"] == "job-7"


def test_whoever_asks_for_the_head_alone_gets_it(caplog: pytest.LogCaptureFixture) -> None:
    server = Bare()
    caplog.set_level(logging.INFO, "lapel.serve")
    asked, whole = (run(server(method, "/hello/a")) for method in ("HEAD", "GET"))
    assert (asked.status, asked.headers["content-length"]) == (200, whole.headers["content-length"])
    assert run(server("HEAD", "/json")).status == 405
    assert [(line["method"], line["status"]) for line in lines(caplog)] == [("HEAD", 200), ("GET", 200), ("HEAD", 405)]


@pytest.mark.parametrize("sent", ["", "a b", "x" * 65, 'a"b', "<script>", "a\tb", "é"])
def test_an_odd_id_is_replaced(sent: str) -> None:
    found = run(Bare()(path="/hello/a", headers={"x-request-id": sent})).headers["x-request-id"]
    assert found != sent
    assert len(found) == 16


def test_one_line_for_each_request_without_what_was_asked(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    (tmp_path / "app.js").write_text("1")
    server = Bare(tmp_path)
    caplog.set_level(logging.INFO, "lapel.serve")

    async def work() -> None:
        await server(path="/hello/secret?token=secret")
        await server(path="/secret/nowhere")
        await server("PUT", "/json", JSON)
        await server("POST", "/json", JSON, [b'{"k": 1}'])
        await server(path="/page/app.js")
        await server(path="/page/secret.js")

    run(work())
    found = [(line["method"], line["route"], line["status"], line["received"]) for line in lines(caplog)]
    assert found == [
        ("GET", "/hello/{name}", 200, 0),
        ("GET", UNKNOWN, 404, 0),
        ("PUT", "/json", 405, 0),
        ("POST", "/json", 200, 8),
        ("GET", "/page/*", 200, 0),
        ("GET", "/page/*", 404, 0),
    ]
    assert "secret" not in caplog.text
    assert all(line["ms"] >= 0 for line in lines(caplog))
    assert lines(caplog)[3]["sent"] == 1
    assert server.count("GET", "/hello/{name}", 200) == 1
    assert server.count("GET", "/page/*", 404) == 1
    assert server.metrics.registry.get_sample_value("lapel_http_in_flight") == 0
    assert server.metrics.registry.get_sample_value("lapel_http_received_bytes_total") == 8


def test_clients_cannot_make_labels() -> None:
    server = Bare()

    async def work() -> None:
        for n in range(50):
            await server(f"METHOD{n}", f"/some/path/{n}")
            await server("GET", f"/hello/{n}")

    run(work())
    text = server.metrics.text().decode()
    assert server.count("other", UNKNOWN, 404) == 50
    assert server.count("GET", "/hello/{name}", 200) == 50
    assert sum(line.startswith("lapel_http_requests_total") for line in text.splitlines()) == 2


# ---------------------------------------------------------------- errors


def test_an_unforeseen_exception_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    server = Bare()
    answer = run(server(path="/fail", headers={"x-request-id": "job-8"}))
    assert answer.status == 500
    assert answer.json()["error"]["code"] == "internal"
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    assert "ZeroDivisionError: secret" in caplog.text
    assert server.count("GET", "/fail", 500) == 1


def test_half_an_answer_is_no_whole_one() -> None:
    server = Bare()
    with pytest.raises(ZeroDivisionError):  # the server above closes the connection
        run(server(path="/half"))
    assert server.metrics.registry.get_sample_value("lapel_http_in_flight") == 0


def test_no_path_is_told() -> None:
    assert run(Bare()(path="/wrong")).json()["error"]["message"] == "index (a path) and data/shop are wrong"


def test_strangers_are_refused_before_anything_else() -> None:
    server = Bare(host="0.0.0.0", token="correct-horse-battery")
    answer = run(server("POST", "/size", chunks=[b"x"]))
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["error"]["code"] == "unauthorised"
    assert run(server(path="/hello/a", headers={"authorization": "Bearer correct-horse-battery"})).status == 200
    assert run(Bare()(path="/hello/a", headers={"host": "evil.example"})).status == 421


def test_other_protocols_pass() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(scope["type"])

    async def work() -> list[str]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await Middleware(app, Security(), Metrics())({"type": "lifespan"}, None, send)  # type: ignore[arg-type]
        return sent

    assert run(work()) == ["lifespan"]


# ---------------------------------------------------------------- clients that go, servers that go


def test_a_client_that_does_not_read_is_given_up(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "lapel.serve")
    monkeypatch.setattr(middleware, "SEND_S", 0.01)
    server = Bare()

    async def work() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()

        await server.app(scope("GET", "/hello/a"), receive, send)

    run(work())
    assert lines(caplog)[0]["error"] == "the client does not read the answer"
    assert server.metrics.registry.get_sample_value("lapel_http_in_flight") == 0


def test_a_request_cut_off_by_the_server_counts_as_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lapel.serve")
    server = Bare()

    async def work() -> None:
        task = asyncio.create_task(server("POST", "/hold", JSON, [b"x"]))
        while not server.bodies.held:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(work())
    assert server.bodies.held == 0
    assert lines(caplog)[0]["error"] == "cancelled"
    assert server.metrics.registry.get_sample_value("lapel_http_in_flight") == 0
