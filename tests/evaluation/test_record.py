"""The protocol record, result files that survive and refuse, and the printed tables."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest
from rich.console import Console

from lapel.errors import LapelError
from lapel.evaluation.protocols import AttributeResult, RetrievalResult
from lapel.evaluation.record import (
    print_systems,
    print_table,
    protocol_record,
    read_result,
    versions,
    write_result,
)


def row(attribute: str, value: float, queries: int = 40, hopeless: int = 0, missing: int = 0) -> AttributeResult:
    aps, rows = np.full(queries, value), np.arange(queries)
    ends = (value, value - 0.05, value + 0.05)
    return AttributeResult(attribute, *ends, 0.25, queries, 160, hopeless, missing, aps, rows)


def result(value: float = 0.628788) -> RetrievalResult:
    rows = (row("neckline", value, hopeless=2), row("sleeve_length", value / 2, queries=10, missing=3))
    reasons = {"collar": "0 labelled images, needs at least 2"}
    return RetrievalResult(rows, value * 0.9, value * 0.8, value, 0.2, "drawn: share 0.2", reasons)


def record(**change):
    fine = {"split": "test", "preprocessing": {"height": 224, "resize": "crop"}, "query_source": "drawn"}
    return protocol_record(**(fine | {"weights": "ab12", "seed": 3, "catalogue": "shop"} | change))


def printed(draw, *arguments, **options) -> list[str]:
    stream = io.StringIO()
    draw(*arguments, console=Console(file=stream, width=140), **options)
    return stream.getvalue().splitlines()


def test_record_holds_everything_that_moves_a_figure():
    found = record(command=["lapel", "evaluate", "my run"], minutes=30)
    assert found["preprocessing"] == {"height": 224, "resize": "crop"}
    assert (found["split"], found["fingerprint"], found["seed"]) == ("test", "ab12", 3)
    assert "query-weighted" in found["metric"]
    assert "no relevant" in found["metric"] or "without a relevant candidate scores 0" in found["metric"]
    assert "catalogue" in found["tie_rule"]
    assert found["queries"] == "drawn"
    assert found["minutes"] == 30
    assert found["command"] == "lapel evaluate 'my run'"
    assert found["date"].endswith("+00:00")
    assert found["versions"]["numpy"] == np.__version__
    json.dumps(found, allow_nan=False)


def test_record_takes_this_command_line_by_default(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/lapel", "evaluate", "runs/a"])
    assert record(preprocessing=None)["command"] == "lapel evaluate runs/a"


def test_versions_come_without_imports():
    code = (
        "import sys; from lapel.evaluation import record; found = record.versions();"
        "print(found['torch'], 'torch' in sys.modules, 'timm' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [metadata.version("torch"), "False", "False"]


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("lapel.evaluation.record.PACKAGES", ("numpy", "no-such-package-here"))
    assert versions()["no-such-package-here"] is None


def test_result_file_round_trip(tmp_path):
    path = tmp_path / "deep" / "result.json"
    write_result(path, result().to_dict(aps=True), record())
    found, protocol = read_result(path)
    assert found == result().to_dict(aps=True)
    assert found["attributes"]["neckline"]["map"] == 62.8788
    assert protocol["seed"] == 3
    assert [entry.name for entry in path.parent.iterdir()] == ["result.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_is_no_figure_is_not_written(tmp_path, value):
    path = tmp_path / "result.json"
    write_result(path, {"map": 1.0}, record())
    with pytest.raises(LapelError, match="results hold numbers, texts, lists and tables only"):
        write_result(path, {"map": value}, record())
    assert read_result(path)[0] == {"map": 1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read result file .*No such file"),
        ("MAP 62", "no result file: not JSON"),
        ("[1, 2]", "expected format 'lapel result 1', found 'list'"),
        ('{"map": 1}', "found None"),
        ('{"format": "lapel result 9"}', "found 'lapel result 9'"),
    ],
)
def test_files_that_are_no_result(tmp_path, text, message):
    path = tmp_path / "result.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(LapelError, match=message):
        read_result(path)


def test_table_of_one_system():
    lines = printed(print_table, result(), title="On [test]")
    text = "\n".join(lines)
    assert [word in text for word in ("Attribute", "MAP", "95 %", "chance", "queries", "candidates")] == [True] * 6
    cells = {line.split("│")[1].strip(): line.split("│")[2:-1] for line in lines if line.count("│") > 5}
    assert [cell.strip() for cell in cells["neckline"]] == ["62.88", "57.9 - 67.9", "25.00", "40", "160"]
    assert [cell.strip() for cell in cells["overall"]] == ["56.59", "50.3 - 62.9", "20.00", "50", ""]
    assert list(cells)[-1] == "overall"
    assert "collar not evaluated: 0 labelled images, needs at least 2" in lines
    assert "neckline: 2 queries have no relevant candidate and count as 0" in lines
    assert "sleeve_length: 3 images without an embedding were left out" in lines


def test_table_of_several_systems():
    fewer = result(0.5)
    fewer = RetrievalResult(fewer.attributes[:1], 0.5, 0.4, 0.6, 0.25, "drawn")
    lines = printed(print_systems, {"frozen trunk": fewer, "ours": result()})
    cells = {line.split("│")[1].strip(): line.split("│")[2:-1] for line in lines if line.count("│") > 3}
    assert [cell.strip() for cell in cells["neckline"]] == [
        "40",
        "25.00",
        "50.00 (45.0 - 55.0)",
        "62.88 (57.9 - 67.9)",
    ]
    assert [cell.strip() for cell in cells["sleeve_length"]][2:] == ["-", "31.44 (26.4 - 36.4)"]
    assert list(cells)[-1] == "overall"
    with pytest.raises(ValueError, match="no system"):
        print_systems({})
