"""``lapel serve``: what it is told, what it refuses before it loads anything, and a whole server from the shell."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lapel import cli
from lapel.catalogue import Catalogue
from lapel.errors import LapelError
from lapel.verbs import serve
from lapel.verbs.serve import Serve, listening, named, show, url

from ..serve.shop import Shop


def refused(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(shlex.split(line)) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("serve shop", Serve(("shop",))),
        ("serve shop old=b/shop --port 0 --no-open", Serve(("shop", "old=b/shop"), port=0, no_open=True)),
        (
            "serve shop --host 0.0.0.0 --token-file t --run a --run b --allow-host shop.example --log info",
            Serve(("shop",), "0.0.0.0", 8000, Path("t"), (Path("a"), Path("b")), ("shop.example",), log="info"),
        ),
        (
            "serve shop --queue 8 --batch 4 --max-upload-mb 5 --token-for-all --no-warm",
            Serve(("shop",), queue=8, batch=4, max_upload_mb=5, token_for_all=True, no_warm=True),
        ),
    ],
)
def test_parse(line: str, expected: Serve) -> None:
    assert cli.parse(shlex.split(line)) == expected


@pytest.mark.parametrize(
    ("indexes", "expected"),
    [
        (["a/shop"], {"shop": "a/shop"}),
        (["a/shop", "b/shop", "c/shop"], {"shop": "a/shop", "shop-2": "b/shop", "shop-3": "c/shop"}),
        (["shop=a", "b/shop"], {"shop": "a", "shop-2": "b/shop"}),
        (["b/shop", "shop=a"], {"shop-2": "b/shop", "shop": "a"}),
        (["old=a/b=c", "x y=d"], {"old": "a/b=c", "x y=d": "x y=d"}),
    ],
)
def test_names(indexes: list[str], expected: dict[str, str]) -> None:
    assert named(indexes) == tuple((name, Path(folder)) for name, folder in expected.items())


def test_a_folder_with_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    assert named(["a=b"]) == (("a=b", Path("a=b")),)
    assert named(["."]) == ((tmp_path.name, Path()),)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("serve", "expected INDEX, the index folder to serve"),
        ("serve none", "none is not an index: there is no such folder. Make one with: lapel index"),
        ("serve a=none a=other", "two indexes are named 'a'"),
        ("serve none --token-file none", "--token-file none cannot be read"),
        ("serve none --token-file empty", "--token-file empty is empty"),
        ("serve shop --port 70000", "--port 70000: expected a number from 0 to 65535"),
        ("serve shop --host nowhere.invalid", "--host 'nowhere.invalid' is no address of this machine"),
        ("serve shop --host 192.0.2.7", "cannot listen on port 8000 of 192.0.2.7: that is no address of this machine"),
        ("serve shop --host 0.0.0.0 --port 0", "other machines can reach 0.0.0.0: expected a token"),
        ("serve shop --token-for-all --port 0", "everyone is to show a token (--token-for-all): expected one with"),
        ("serve shop --token-file short --port 0", "expected a token of 16 or more"),
    ],
)
def test_refused(
    line: str, message: str, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAPEL_TOKEN", raising=False)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "short").write_text("secret\n")
    (tmp_path / "shop").symlink_to(shop.folder)
    assert message in refused(line, capsys)


def test_a_port_that_is_taken(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    with listening("127.0.0.1", 0) as (taken,):
        port = taken.getsockname()[1]
        told = refused(f"serve {shop.folder} --port {port}", capsys)
    assert f"cannot listen on port {port} of 127.0.0.1: another server is running there" in told
    with listening("127.0.0.1", port):  # free again at once
        pass


def test_answers_are_sent_at_once() -> None:
    """asyncio turns Nagle's algorithm off where a socket says that it speaks TCP."""
    with listening("127.0.0.1", 0) as (found,):
        assert found.proto == socket.IPPROTO_TCP


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:81/"),
        ("::", "http://127.0.0.1:81/"),
        ("::1", "http://[::1]:81/"),
        ("shop.example", "http://shop.example:81/"),
    ],
)
def test_where_a_browser_finds_it(host: str, expected: str) -> None:
    assert url(host, 81) == expected


def test_the_browser_is_opened_where_there_is_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Now:
        def __init__(self, target: Any, daemon: bool) -> None:
            self.start = target

    def fails(address: str) -> None:
        shown.append(address)
        raise OSError("no browser")

    monkeypatch.setattr(serve.threading, "Thread", Now)
    monkeypatch.setattr(serve.webbrowser, "open", fails)
    monkeypatch.setattr(serve.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    show("http://a/")
    assert shown == []
    monkeypatch.setenv("DISPLAY", ":0")
    show("http://a/")
    assert shown == ["http://a/"]


@pytest.fixture(scope="module")
def shop(garments: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Its run is gone: searches by id need none, and torch need not load to find that out."""
    built = Shop.build(tmp_path_factory.mktemp("shop"), garments, items=False)
    shutil.rmtree(built.seers[0].run)
    return built


@pytest.fixture
def server(shop: Shop, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A server as a shell starts it; its first line is its address."""
    (tmp_path / "token").write_text("the-token-of-a-test\n")
    words = [str(shop.folder), f"again={shop.folder}", "--port", "0", "--token-file", str(tmp_path / "token")]
    command = [sys.executable, "-m", "lapel.cli", "serve", *words, "--no-open"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def ask(address: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def test_from_the_shell(server: subprocess.Popen[str], shop: Shop) -> None:
    assert server.stdout is not None
    address = server.stdout.readline().strip().rstrip("/")
    assert address.startswith("http://127.0.0.1:")
    assert ask(address, "/v1/ready") == {"ready": True, "indexes": {"shop": "ready", "again": "ready"}}
    told = ask(address, "/v1/search", {"parts": [{"id": shop.images[0]}], "k": 3, "index": "again"})
    assert [hit["id"] for hit in told["hits"]] == [
        hit.id for hit in shop.read(shop.folder).search_id(shop.images[0], k=3)
    ]
    assert told["index"]["name"] == "again"
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(address, "/v1/search", {"parts": [{"id": "none"}]})
    assert caught.value.code == 404
    server.send_signal(signal.SIGINT)  # Ctrl-C
    out, err = server.communicate(timeout=60)
    assert server.returncode == 0
    assert out == ""
    assert "serving shop (48 images), again (48 images); Ctrl-C stops" in err
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    requests = [(line["route"], line["status"]) for line in lines if line["message"] == "request"]
    assert requests == [("/v1/ready", 200), ("/v1/search", 200), ("/v1/search", 404)]
    assert "Traceback" not in err
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 1):
        pass


def test_what_cannot_be_opened_is_told_before_it_serves(tmp_path: Path, shop: Shop, capsys: Any) -> None:
    shutil.copytree(shop.folder, tmp_path / "shop")
    shutil.rmtree(tmp_path / "shop/images.lance")
    for path in (tmp_path / "shop").glob("snapshot*"):
        path.unlink()
    assert "has no rows yet" in refused(f"serve {tmp_path / 'shop'} --port 0", capsys)


def test_a_token_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAPEL_TOKEN", "from-the-environment")
    assert Serve(("a",))._token() == "from-the-environment"
    (tmp_path / "t").write_text(" from-a-file \n")
    assert Serve(("a",), token_file=tmp_path / "t")._token() == "from-a-file"
    monkeypatch.setenv("LAPEL_TOKEN", "")
    assert Serve(("a",))._token() is None
    with pytest.raises(LapelError, match="cannot be read"):
        Serve(("a",), token_file=tmp_path)._token()
