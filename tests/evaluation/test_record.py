"""The protocol record, and result files that survive and refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest

from lapel.errors import LapelError
from lapel.evaluation.record import DEFINITIONS, protocol_record, read_result, versions, write_result


def record(**change):
    fine = {"split": "test", "preprocessing": {"height": 224, "resize": "crop"}, "query_source": "drawn"}
    return protocol_record(**(fine | {"weights": "ab12", "seed": 3, "catalogue": "shop"} | change))


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


@pytest.mark.parametrize(
    ("task", "metric", "tie_rule"),
    [
        ("attributes", "relevant = shares a value of the attribute", "order of the candidates in the catalogue"),
        ("listed images", "relevant = shares a value of the attribute", "order in which the candidates are listed"),
        ("listed values", "relevant = same listed value", "order in which the candidates are listed"),
        ("triplets", "cos(anchor, positive) > cos(anchor, negative)", "equal similarities are wrong"),
        ("items", "Acc@K = share of queries with a relevant image among the first K", "order of the gallery"),
    ],
)
def test_each_task_has_its_own_words(task, metric, tie_rule):
    found = record(task=task, split=None)
    assert metric in found["metric"]
    assert tie_rule in found["tie_rule"]
    assert found["score"].startswith("cosine")
    assert found["split"] is None
    assert len(set(DEFINITIONS.values())) == len(DEFINITIONS) == 7


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
    write_result(path, {"map": 62.8788, "aps": [1.0, 0.25], "of": {"Kragen": "ü"}}, record())
    found, protocol = read_result(path)
    assert found == {"map": 62.8788, "aps": [1.0, 0.25], "of": {"Kragen": "ü"}}
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
