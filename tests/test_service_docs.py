"""What docs/service.md shows works: its curl lines and Python run against a server, its tables name what there is."""

from __future__ import annotations

import json
import logging
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from lapel.catalogue import Catalogue
from lapel.serve import logs
from lapel.serve.errors import CODES
from lapel.serve.explaining import Explainer
from lapel.serve.settings import ServeSettings

from .serve.shop import TOKEN, Shop, running
from .test_client import Gazer
from .test_readme import BLOCKS, PAGES, Block, at

PAGE = "docs/service.md"
SHOWN = "http://127.0.0.1:8000"
HERE = [block for block in BLOCKS if block.page == PAGE and block.why and "test_service_docs" in block.why]
CURL = [block for block in HERE if block.language == "bash"]
PYTHON = [block for block in HERE if block.language == "python"]
STATUS = re.compile(r"\s#\s(?P<status>\d{3})\b.*$")


@dataclass(frozen=True)
class Line:
    """A command of a block, and the status that its comment tells, of curl."""

    text: str
    status: int | None

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)


def lines(block: Block) -> list[Line]:
    """Commands, with continued lines joined."""
    found = []
    for text in block.text.replace("\\\n", " ").splitlines():
        told = STATUS.search(text)
        found.append(Line(STATUS.sub("", text), told and int(told["status"])))
    return [line for line in found if line.text.strip()]


LINES = [line for block in CURL for line in lines(block)]


@pytest.fixture(scope="module")
def shop(garments: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    built = Shop.build(tmp_path_factory.mktemp("shop"), garments)
    shutil.copytree(built.folder, built.root / "old")
    return built


@pytest.fixture(scope="module")
def server(shop: Shop) -> Iterator[str]:
    """The address of what the page's first lines start."""
    app = shop.app(indexes=(("shop", shop.folder), ("old", shop.root / "old")))
    app.state.lapel.explainer = Explainer(load=lambda run: Gazer())  # type: ignore[arg-type,return-value]
    with running(app) as address:
        yield address


@pytest.fixture
def beside(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with ``shop/`` in it, to work in, and the token in the shell."""
    (tmp_path / "shop").symlink_to(shop.root / "photos", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAPEL_TOKEN", TOKEN)
    return tmp_path


def test_each_curl_line_tells_its_status() -> None:
    assert len(CURL) >= 8
    wrong = [line.text for line in LINES if (line.words[0] == "curl") != (line.status is not None)]
    assert wrong == []
    assert {line.words[0].partition("=")[0] for line in LINES} <= {"curl", "QUERY"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_lines(server: str, beside: Path) -> None:
    """All in one shell, from top to bottom, as somebody would paste them."""
    report = "curl --silent --show-error --noproxy '*' --max-time 60 --write-out '%{stderr}%{http_code}\\n'"
    script = ["set -eu"]
    for line in LINES:
        if line.words[0] == "curl":
            assert SHOWN in line.text
            text = line.text.replace(SHOWN, server).removeprefix("curl")
            script.append(f"{report}{text}" + ("" if "-o" in line.words else " --output last"))
        else:
            script.append(line.text)
    done = subprocess.run(["bash", "-c", "\n".join(script)], capture_output=True, text=True, timeout=100)
    asked = [line for line in LINES if line.status is not None]
    told = done.stderr.split()
    assert told == [str(line.status) for line in asked], (beside / "last").read_text(errors="replace")[:500]
    assert done.returncode == 0
    assert (beside / "found.jpg").read_bytes().startswith(b"\xff\xd8")
    assert (beside / "why.png").read_bytes().startswith(b"\x89PNG")
    assert "similarity" in (beside / "copies.csv").read_text().splitlines()[0]


@pytest.mark.parametrize("block", PYTHON, ids=at)
def test_python_blocks(block: Block, server: str, beside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert SHOWN in block.text
    names: dict[str, Any] = {}
    exec(compile(block.text.replace(SHOWN, server), at(block), "exec"), names)
    printed = capsys.readouterr().out
    if "upsert" in block.text:
        assert printed == "1\n"
    else:
        assert printed.startswith("48 ['neckline', 'pattern', 'colour', 'item']\n6\n")
        assert "404 not_found no image 'none.jpg'" in printed
        assert len(names["everything"]) == 47
        assert (beside / "best.jpg").read_bytes().startswith(b"\xff\xd8")


def test_every_route_has_a_line(shop: Shop) -> None:
    shown = set()
    for line in LINES:
        if line.words[0] == "curl":
            words = line.words
            address = next(word for word in words if word.startswith(SHOWN))
            sends = {"-F", "-d"} & set(words)
            shown.add(("post" if sends else "get", urlsplit(address).path))
    paths = shop.app().openapi()["paths"]
    routes = {
        (method, re.compile(re.escape(path).replace(r"\{id\}", ".+").replace(r"\{query\}", "[^/]+")))
        for path, methods in paths.items()
        for method in methods
    }
    assert len(routes) >= 18
    missing = [
        (method, route.pattern)
        for method, route in routes
        if not any(method == sent and route.fullmatch(path) for sent, path in shown)
    ]
    assert missing == []


def rows(title: str) -> list[list[str]]:
    """The cells of the first table below a title."""
    text = PAGES[PAGE].partition(f"\n{title}\n")[2]
    table = re.search(r"(?:^\|.*\n)+", text, re.M)
    assert table is not None
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table[0].splitlines()[2:]]


def test_the_tables_name_what_there_is(server: str) -> None:
    codes = {int(status): code.strip("`") for status, code, _ in rows("### Errors")}
    assert codes == {status: code for status, code in CODES.items() if status != 431}
    metrics = httpx.get(f"{server}/metrics", trust_env=False).text
    named = {name for row in rows("## Metrics and logs") for name in re.findall(r"`(\w+)`", row[0])}
    told = set(re.findall(r"^# TYPE (lapel_\w+)", metrics, re.M)) - {"lapel_info"}
    told = {name for name in told if not name.endswith("_created")}
    assert named == told
    keys = {key for row in rows("## The page") for key in re.findall(r"`([^`]+)`", row[0])}
    script = Path(logs.__file__).parent / "page/keys.js"
    pairs = re.findall(r'\["([^"]+)", "[^"]+"\]', script.read_text(encoding="utf-8").partition("];")[0])
    assert keys == set(pairs)


def test_the_limits_are_those_of_the_server() -> None:
    plain = ServeSettings(())
    told = {row[0]: row[1] for row in rows("## Limits")}
    assert told["a photograph"] == f"{plain.max_upload_mb} MB (`--max-upload-mb`)"
    assert told["its pixels, as declared"] == f"{plain.max_pixels // 10**6} million"
    assert told["frames of an animation, of which the first is taken"] == f"{plain.max_frames:,}"
    assert told["photographs that wait to be embedded"] == f"{plain.queue} (`--queue`)"
    assert told["photographs in one pass of the model"] == f"{plain.batch} (`--batch`)"
    assert told["other work that waits for a thread"] == str(plain.waiting)
    assert told["photographs kept"].startswith(f"{plain.keep_queries}, {plain.keep_queries_mb} MB")
    assert told["a body's way here"].startswith(f"{plain.timeout_s:.0f} s")


def test_the_line_of_the_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs.requests, "propagate", True)
    monkeypatch.setattr(logging.getLogger("lapel.serve"), "propagate", True)
    shown = re.search(r"^```json\n(\{\"time\".*)\n```", PAGES[PAGE], re.M)
    assert shown is not None
    mark = logs.REQUEST.set("9dd50fadbfb7fc8e")
    with caplog.at_level(logging.INFO, "lapel.serve"):
        logs.answered("POST", "/v1/search", 200, 0.0182, 95, 8311)
    line = json.loads(logs.JsonLines().format(caplog.records[-1]))
    logs.REQUEST.reset(mark)
    assert {**json.loads(shown[1]), "time": ""} == {**line, "time": ""}
