"""AHBN's table at the size of a toy: two stages, measured by Acc@K, beside print that is not known."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lapel import cli
from lapel.catalogue import Catalogue
from lapel.errors import RecipeError
from lapel.evaluation.published import AGMAN, find_table
from lapel.evaluation.published_items import AHBN
from lapel.evaluation.record import read_result
from lapel.evaluation.table_view import TableView
from lapel.reproduction.reproduce import reproduce
from lapel.reproduction.table_rows import check_models, plan
from lapel.verbs.reproduce import Reproduce

TINY = (
    *("model.trunk=test_resnet", "model.weights=none", "image.height=64", "image.width=64", "training.precision=fp32"),
    *("model.options.dim=16", "model.options.stacks=1", "model.options.width=16", "model.options.landmark_size=64"),
    *("training.batch=8", "data.tags=6"),
)
ROWS = ("Single-Branch", "ahbn-single-landmarks")


def run(garments: Catalogue, to: Path, **options: Any) -> TableView:
    settings = {"rows": ROWS, "settings": (*TINY, "training.steps=2"), "seeds": 1}
    quiet: dict[str, Any] = {"quiet": True, "console": Console(quiet=True)}
    return reproduce("ahbn", garments.root, to, **(settings | quiet | options))


@pytest.fixture(scope="module")
def done(garments: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TableView]:
    to = tmp_path_factory.mktemp("table") / "ahbn"
    return to, run(garments, to)


def test_rows_are_measured_by_items(done: tuple[Path, TableView]) -> None:
    to, view = done
    assert [(row.name, row.recipe) for row in view.rows] == [
        ("Single-Branch", "ahbn-single"),
        ("Single-Branch + LM", "ahbn-single-landmarks"),
    ]
    assert (view.measure, view.headline, view.unit) == ("Acc@20", "Acc@20", "queries")
    assert [*view.headings] == ["Acc@1", "Acc@10", "Acc@20", "Acc@30", "Acc@40", "Acc@50"]
    assert len(set(view.queries.values())) == 1
    assert view.asked == view.queries["Acc@20"]
    for row in view.rows:
        found = read_result(to / row.recipe / "seed0" / "result.json")[0]["overall"]
        for k in (1, 10, 20, 30, 40, 50):
            expected = found["accuracy_at"][str(k)]
            assert row.attributes[f"Acc@{k}"].mean == pytest.approx(expected["accuracy"], abs=1e-3)
            assert view.chances[f"Acc@{k}"] == pytest.approx(expected["chance"], abs=1e-3)
        assert row.figure == row.attributes["Acc@20"]
        assert row.runs == (row.figure.mean,)
        assert view.asked == found["queries"]
    assert view.chance == view.chances["Acc@20"]


def test_branches_are_measured_after_each_stage(done: tuple[Path, TableView]) -> None:
    to, view = done
    single, landmarks = view.rows
    assert single.branches == {}, "a branch that no loss trains has no figure"
    assert [*landmarks.branches] == ["landmark error", "landmark error, stage 1"]
    told = read_result(to / "ahbn-single-landmarks" / "seed0" / "result.json")[0]["landmarks"]["overall"]["error"]
    assert landmarks.branches["landmark error"] == pytest.approx(100 * told, abs=1e-3)
    assert all(np.isfinite(value) and value > 0 for value in landmarks.branches.values())


def test_print_is_not_known_and_says_so(done: tuple[Path, TableView]) -> None:
    to, view = done
    data = json.loads((to / "ahbn.json").read_text())
    assert data == json.loads(json.dumps(view.to_dict()))
    assert (data["paper"], data["published_known"], data["headline"]) == ("AHBN", False, "Acc@20")
    assert {row["published"] for row in data["rows"].values()} == {"not known"}
    assert data["record"]["protocol"]["task"] == "items"
    assert data["rows"]["Single-Branch"]["cost"]["training"]["steps"] == 2
    assert data["rows"]["Single-Branch + LM"]["cost"]["training"]["steps"] == 4, "both stages"
    page = (to / "ahbn.html").read_text()
    assert page.count("not known") >= 2
    assert "What the paper prints is not known" in page
    assert "AHBN&#x27;s table I" in page


def test_run_again_does_nothing(
    done: tuple[Path, TableView], garments: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, view = done

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("was done before")

    for name in (
        "lapel.reproduction.row_runs.train",
        "lapel.reproduction.row_runs.evaluate",
        "lapel.reproduction.row_costs.measure",
    ):
        monkeypatch.setattr(name, refuse)
    again = run(garments, to)
    assert [(row.figure, row.branches) for row in again.rows] == [(row.figure, row.branches) for row in view.rows]


def test_stages_have_fixed_steps_of_their_own_pace(
    garments: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = iter([10.0, 5.0])
    monkeypatch.setattr("lapel.reproduction.pace._steps_per_second", lambda *_: next(rates))
    (row,) = plan(AHBN, ("Single-Branch + LM",), settings=(f"data.catalogue={garments.root}", *TINY))
    paced = row.in_time(1.0, tmp_path)
    assert [stage.training.steps for stage in paced.recipe.resolved()] == [240, 180], "24 s at 10, 36 s at 5"
    assert [stage.training.minutes for stage in paced.recipe.resolved()] == [0.0, 0.0]
    stored = json.loads((tmp_path / "paces.json").read_text())["ahbn-single-landmarks"]
    assert [stage["minutes"] for stage in stored["stages"]] == [0.4, 0.6]
    assert row.in_time(1.0, tmp_path) == paced, "kept"


@pytest.mark.parametrize("name", ["ahbn", "AHBN", "ahbn1", "ahbn-1", "AHBN table I", "ahbn table 1"])
def test_names_of_the_table(name: str) -> None:
    assert find_table(name) is AHBN


def test_the_verb_takes_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made: list[Any] = []

    def hand_on(*arguments: Any, **_: Any) -> Any:
        made.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("lapel.reproduction.reproduce.reproduce", hand_on)
    line = "reproduce ahbn --catalogue c --to d --rows AHBN"
    assert cli.main(shlex.split(line)) == 130
    assert made == [("ahbn", Path("c"), Path("d"))]
    again = cli.parse(shlex.split(capsys.readouterr().err.split("go on with: lapel ")[1].strip()))
    assert isinstance(again, Reproduce)
    assert again.table == "ahbn"


def test_a_table_of_attributes_takes_no_row_of_items() -> None:
    with pytest.raises(RecipeError, match=r"row 'items' embeds items, and Table 5 is measured by attributes"):
        plan(AGMAN[5], also=("items",))
    assert plan(AHBN, ("frozen",), ("frozen",))[0].name == "frozen", "but items can be found by all attributes together"


def test_a_wrong_option_shows_before_anything_is_trained() -> None:
    rows = plan(
        AHBN, ("Single-Branch",), settings=("model.trunk=test_resnet", "model.weights=none", "model.options.stak=1")
    )
    with pytest.raises(RecipeError, match=r"row 'Single-Branch', recipe ahbn-single: .*unknown option 'stak'"):
        check_models(rows)
