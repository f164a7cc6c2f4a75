"""Costs of rows: kept while nothing changes, measured together when something does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lapel.reproduction import row_costs
from lapel.reproduction.row_costs import NAME, embedding_costs, row_cost


def test_kept_until_a_row_is_new_or_the_machine_is(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    plain = row_costs.measure

    def counted(*given: Any) -> Any:
        asked.append(1)
        return plain(*given)

    monkeypatch.setattr(row_costs, "measure", counted)
    first = embedding_costs({"a": trained}, tmp_path)
    assert first["a"]["parameters"]["total"] >= first["a"]["parameters"]["embedding"] > 0
    assert embedding_costs({"a": trained}, tmp_path) == first
    assert len(asked) == 1
    both = embedding_costs({"a": trained, "b": trained}, tmp_path)
    assert len(asked) == 3, "the speeds of two sessions do not compare"
    assert embedding_costs({"b": trained}, tmp_path) == {"b": both["b"]}
    assert len(asked) == 3
    stored = json.loads((tmp_path / NAME).read_text())
    stored["machine"]["device"] = "cpu: another"
    (tmp_path / NAME).write_text(json.dumps(stored))
    embedding_costs({"a": trained}, tmp_path)
    assert len(asked) == 4
    (tmp_path / NAME).write_text("{")
    embedding_costs({"a": trained}, tmp_path)
    assert len(asked) == 5


def test_what_the_training_took_is_a_mean_over_runs() -> None:
    speed = {"median": 30.0, "slowest": 20.0, "fastest": 40.0}
    embedding = {"parameters": {"total": 9, "embedding": 7}, "gflop": 0.5, "embedding": speed}
    took = [{"steps": 10, "images": 480, "seconds": 60.0}, {"steps": 20, "images": 960, "seconds": 120.0}]
    found = row_cost(embedding, took)
    assert found["training"] == {"steps": 15, "images": 720, "minutes": 1.5}
    assert (found["parameters"], found["parameters_to_embed"], found["embedding"]) == (9, 7, 30.0)
    for nothing in ([], [{}], [{"steps": 0, "images": 0, "seconds": 1.0}]):
        assert "training" not in row_cost(embedding, nothing)
