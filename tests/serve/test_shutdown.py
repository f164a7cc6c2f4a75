"""A server that finishes what it took, ends at once when asked twice, and closes connections that say nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lapel.serve import shutdown
from lapel.serve.shutdown import CONNECTIONS, Server, configuration, serve

from .bare import Bare

PROGRAM = """
import asyncio, os, socket, sys
from lapel.serve.shutdown import Server, configuration, serve

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("closed", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    print("taken", flush=True)
    while not os.path.exists(sys.argv[1]):
        await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"done"})

listening = socket.create_server(("127.0.0.1", 0))
server = Server(configuration(app, "127.0.0.1", 0, float(sys.argv[2])), lambda: print("stopping", flush=True))
print(listening.getsockname()[1], flush=True)
status = serve(server, [listening])
print("over", flush=True)
sys.exit(status)
"""


def received(connection: socket.socket, until: bytes | None = None) -> bytes:
    """What comes on a connection until its end, or until what is waited for."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while until is None or not found.endswith(until):
            piece = connection.recv(1000)
            if not piece:
                break
            found += piece
    return found


class Running:
    """The program above, and one connection to it on which a request is under way."""

    def __init__(self, finish: Any, deadline: float) -> None:
        command = [sys.executable, "-c", PROGRAM, str(finish), str(deadline)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.told = self.process.stdout
        self.port = int(self.told.readline())
        self.connection = self.ask()
        assert self.told.readline() == "taken\n"

    def ask(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), 20)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return connection

    def signal(self, number: int) -> None:
        self.process.send_signal(number)
        assert self.told.readline() == "stopping\n"

    def wait_until_refused(self) -> None:
        with contextlib.suppress(ConnectionRefusedError):
            for _ in range(1000):
                self.ask().close()
                time.sleep(0.02)
            raise AssertionError("connections are still accepted")

    def everything(self) -> bytes:
        """What comes on the connection until its end."""
        return received(self.connection)

    def end(self) -> tuple[int, str]:
        out, _ = self.process.communicate(timeout=20)
        return self.process.returncode, out


@contextlib.contextmanager
def running(finish: Any, deadline: float = 30) -> Iterator[Running]:
    found = Running(finish, deadline)
    try:
        yield found
    finally:
        found.connection.close()
        found.process.kill()
        found.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_what_was_taken_and_takes_no_more(number: int, tmp_path: Any) -> None:
    with running(tmp_path / "finish") as server:
        server.signal(number)
        server.wait_until_refused()
        (tmp_path / "finish").touch()
        answer = server.everything()
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"done")
        status, out = server.end()
        assert status == 0
        assert out.endswith("closed\nover\n")


def test_a_second_signal_ends_at_once(tmp_path: Any) -> None:
    with running(tmp_path / "never") as server:
        server.signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == (-signal.SIGTERM, "")
        assert server.everything() == b""


def test_what_does_not_finish_is_given_up(tmp_path: Any) -> None:
    with running(tmp_path / "never", 1) as server:
        server.signal(signal.SIGTERM)
        assert server.end() == (0, "closed\nover\n")
        assert b"done" not in server.everything()


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@contextlib.contextmanager
def in_thread(server: Server) -> Iterator[int]:
    """Run a server in a thread; yields its port."""
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, args=(server, [listening]), daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()


def test_connections_that_never_ask_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdown, "SILENT_S", 0.5)  # at the second look
    with in_thread(Server(configuration(hello, "127.0.0.1", 0))) as port:
        silent, half, later = (socket.create_connection(("127.0.0.1", port), 20) for _ in range(3))
        half.sendall(b"GET / HTTP/1.1\r\nHost: local")
        later.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert received(later, b"hello").startswith(b"HTTP/1.1 200")
        with contextlib.suppress(ConnectionError):  # it may be over already
            later.sendall(b"GET / HT")
        for connection in (silent, half, later):
            assert received(connection) == b""
            connection.close()


def test_busy_connections_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(configuration(hello, "127.0.0.1", 0))

    class Connection:
        def __init__(self, cycle: Any) -> None:
            self.cycle, self.transport, self.closed, self.closing = cycle, self, False, False

        def abort(self) -> None:
            self.closed = True

        def is_closing(self) -> bool:
            return self.closing

    class Cycle:
        def __init__(self, complete: bool) -> None:
            self.response_complete = complete

    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    working, asking, silent, ending = (Connection(cycle) for cycle in (Cycle(False), Cycle(True), None, Cycle(False)))
    ending.closing = True
    server.server_state.connections = {working, asking, silent, ending}  # type: ignore[arg-type]
    for _ in range(12):
        server._close_silent()
        asking.cycle = Cycle(True)  # the next request, already answered
    assert (working.closed, asking.closed, silent.closed, ending.closed) == (False, False, True, True)
    server.server_state.connections = set()
    server._close_silent()
    assert server._silent == {}  # nothing is kept of those that are gone


def test_how_many_connections_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    for soft, most in ((resource.RLIM_INFINITY, CONNECTIONS), (100_000, CONNECTIONS), (1024, 824), (64, 16)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert Server(configuration(hello, "127.0.0.1", 0)).limit == most


def test_one_connection_too_many_gets_an_error_like_any_other() -> None:
    server = Server(configuration(Bare().app, "127.0.0.1", 0), connections=1)
    asked = b"GET /hello/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with in_thread(server) as port, socket.create_connection(("127.0.0.1", port), 20) as first:
        first.sendall(asked)
        assert received(first, b"}").startswith(b"HTTP/1.1 200")
        with socket.create_connection(("127.0.0.1", port), 20) as second:
            second.sendall(asked)
            head, _, body = received(second).partition(b"\r\n\r\n")  # which is closed then
        assert head.startswith(b"HTTP/1.1 503")
        assert b"x-content-type-options" in head
        assert json.loads(body)["error"]["code"] == "not_ready"
        first.sendall(asked)
        assert received(first, b"}").startswith(b"HTTP/1.1 200")


def test_a_taken_port_is_an_exit_status_and_not_a_crash() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert serve(Server(configuration(hello, "127.0.0.1", taken.getsockname()[1]))) != 0


def test_stopping_is_told_once() -> None:
    told: list[int] = []
    server = Server(configuration(hello, "127.0.0.1", 0), lambda: told.append(os.getpid()))
    server.stop()
    server.stop()
    assert len(told) == 1
