"""A table reproduced at the size of a toy: trained, stopped, gone on with, shown; nothing is done twice."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lapel import cli
from lapel.config import load_recipe
from lapel.errors import LapelError, RecipeError, RunError
from lapel.evaluation.published import AGMAN, find_table
from lapel.evaluation.record import read_result
from lapel.evaluation.table_view import TableView
from lapel.reproduction.reproduce import reproduce
from lapel.reproduction.table_rows import plan
from lapel.runs import note, stored_fingerprint
from lapel.verbs.reproduce import Reproduce

from ..training_world import draw

TINY = (
    *("model.trunk=test_resnet", "model.weights=none", "image.height=32", "image.width=32", "training.precision=fp32"),
    *("training.triplets=24", "training.batch=8", "training.epochs=2", "data.attributes=colour,shape"),
)
ROWS = ("H only", "agman")


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs and bars in three colours, split into train, val and test."""
    path = draw(tmp_path_factory.mktemp("discs"), 60)
    rows = list(csv.DictReader(path.open(newline="")))
    for number, row in enumerate(rows):
        row["split"] = ("train", "train", "val", "test", "test")[number // 3 % 5]
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def run(catalogue: Path, to: Path, **options: Any) -> TableView:
    settings = {"rows": ROWS, "seeds": 2, "settings": TINY, "quiet": True, "console": Console(quiet=True)}
    return reproduce(5, catalogue, to, **(settings | options))


def traces(to: Path) -> dict[str, int]:
    """When each file of the runs was last written."""
    return {str(p.relative_to(to)): p.stat().st_mtime_ns for p in to.glob("*/seed*/**/*") if p.is_file()}


@pytest.fixture(scope="module")
def done(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TableView]:
    to = tmp_path_factory.mktemp("table") / "five"
    return to, run(catalogue, to, also=("frozen",))


def test_rows_seeds_and_figures(done: tuple[Path, TableView]) -> None:
    to, view = done
    assert [(row.name, row.recipe, row.seeds) for row in view.rows] == [
        ("H only", "agman-hierarchical-only", (0, 1)),
        ("AG-MAN", "agman", (0, 1)),
        ("frozen", "frozen", ()),
    ]
    for row in view.rows:
        runs = [to / row.recipe / f"seed{seed}" for seed in row.seeds or (0,)]
        found = [read_result(one / "result.json")[0]["overall"]["map"] for one in runs]
        assert row.runs == pytest.approx(found, abs=1e-3)
        assert row.figure.mean == pytest.approx(np.mean(found), abs=1e-3)
        assert row.cost["parameters"] > 0
    trained = view.rows[0].cost["training"]
    assert (trained["steps"], trained["images"]) == (6, 6 * 24), "two epochs of three steps of eight triplets"
    assert "training" not in view.rows[2].cost
    assert view.main == "AG-MAN"
    assert not view.own
    first, main, floor = view.rows
    assert main.difference is None
    assert first.difference is not None
    assert first.difference.mean == pytest.approx(first.figure.mean - main.figure.mean)
    assert floor.published is None
    assert [(one.better, one.worse) for one in view.claims] == [("AG-MAN", "H only")]


def test_files_that_are_left(done: tuple[Path, TableView]) -> None:
    to, view = done
    data = json.loads((to / "table5.json").read_text())
    assert data == json.loads(json.dumps(view.to_dict()))
    assert data["record"]["protocol"]["task"] == "attributes"
    assert data["record"]["versions"]["torch"]
    assert data["rows"]["AG-MAN"]["published"]["MAP"] == 62.8788
    assert "measured_minus_published" not in data["rows"]["AG-MAN"], "other data do not compare"
    assert set(data["record"]["recipes"]) == {"H only", "AG-MAN", "frozen"}
    text = (to / "table5.json").read_text()
    assert str(to) not in text
    page = (to / "table5.html").read_text()
    assert "published, on FashionAI" in page
    assert "does not compare" not in page
    assert not re.search(r"(src|href)=\"http", page)
    assert page.count('<svg class="plot') >= 4


def test_run_again_trains_and_embeds_nothing(
    done: tuple[Path, TableView], catalogue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, view = done
    before = traces(to)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("was done before")

    for name in ("train", "evaluate", "localise"):
        monkeypatch.setattr(f"lapel.reproduction.row_runs.{name}", refuse)
    monkeypatch.setattr("lapel.reproduction.row_costs.measure", refuse)
    again = run(catalogue, to, also=("frozen",))
    assert traces(to) == before
    assert [row.figure for row in again.rows] == [row.figure for row in view.rows]
    fewer = run(catalogue, to, rows=("AG-MAN",), seeds=1)
    assert fewer.rows[0].runs == view.rows[1].runs[:1]
    assert any("one seed only: AG-MAN" in note for note in fewer.notes)
    assert not fewer.claims


def test_stopped_it_goes_on_to_the_same_end(
    done: tuple[Path, TableView], catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lapel.training.journal import Journal

    steps, plain = [0], Journal.step

    def stop(self: Journal, *rest: Any) -> None:
        plain(self, *rest)
        steps[0] += 1
        if steps[0] in (4, 9):  # in the first run, then in the second
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "step", stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(catalogue, tmp_path / "five")
    view = run(catalogue, tmp_path / "five")
    assert steps[0] == 4 * 6, "no step twice"
    to, whole = done
    assert [row.runs for row in view.rows] == [row.runs for row in whole.rows[:2]]
    for name in ("agman", "agman-hierarchical-only"):
        for seed in ("seed0", "seed1"):
            assert stored_fingerprint(tmp_path / "five" / name / seed) == stored_fingerprint(to / name / seed)


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lapel.reproduction.reproduce.reproduce", stop)
    line = "reproduce table5 --catalogue 'my photos' --to runs/five --seeds 2 --rows 'H only' --rows agman --minutes 10"
    line += " --set model.weights=none --also frozen"
    assert cli.main(shlex.split(line)) == 130
    said = capsys.readouterr().err
    command = said.split("go on with: lapel ")[1].strip()
    assert cli.parse(shlex.split(command)) == cli.parse(shlex.split(line))


def test_another_weights_file_is_measured_again(done: tuple[Path, TableView], catalogue: Path, tmp_path: Path) -> None:
    import shutil

    to = tmp_path / "five"
    shutil.copytree(done[0], to)
    first, second = to / "agman" / "seed0", to / "agman" / "seed1"
    answers = (first / "answers.npz").read_bytes()
    shutil.copy(second / "model.safetensors", first / "model.safetensors")
    # Its training is asked whether it is done (it is), and the new weights are measured.
    before = (first / "metrics.jsonl").read_text()
    view = run(catalogue, to)
    assert (first / "metrics.jsonl").read_text() == before
    assert (first / "answers.npz").read_bytes() != answers
    assert view.rows[1].runs[0] == view.rows[1].runs[1]
    assert read_result(first / "result.json")[1]["fingerprint"] == stored_fingerprint(second)


def test_a_folder_of_other_settings_says_which(done: tuple[Path, TableView], catalogue: Path) -> None:
    before = traces(done[0])
    with pytest.raises(RecipeError, match=r"trained with training\.lr = 0\.0001, asked to resume with 0\.01"):
        run(catalogue, done[0], settings=(*TINY, "training.lr=0.01"))
    assert traces(done[0]) == before


def test_a_changed_catalogue_is_noticed(done: tuple[Path, TableView], catalogue: Path, tmp_path: Path) -> None:
    other = draw(tmp_path / "other", 60)
    with pytest.raises(RunError, match="are no longer what they were"):
        run(other, done[0])


def test_a_folder_that_is_no_run(catalogue: Path, tmp_path: Path) -> None:
    mine = tmp_path / "agman" / "seed0"
    mine.mkdir(parents=True)
    (mine / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty and is no run folder"):
        run(catalogue, tmp_path, rows=("agman",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": ("AGMAN",)}, r"table 5: unknown row 'AGMAN'; did you mean '(AG-MAN|agman)'"),
        ({"rows": ("CSN",)}, "unknown row 'CSN'"),
        ({"also": ("tripplet",)}, "did you mean 'triplet'"),
        ({"also": ("nothing.yaml",)}, "unknown recipe"),
        ({"settings": ("model.trnk=x",)}, r"did you mean 'model\.trunk'"),
        ({"settings": (*TINY, "model.options.with=9")}, r"row 'H only', recipe .*unknown option 'with'"),
        ({"settings": (*TINY, "model.weights=gone.safetensors")}, "row 'H only': no weights file at gone.safetensors"),
        ({"settings": (*TINY, "training.seed=3")}, "leave it out, and say how many seeds"),
        ({"seeds": 0}, "seeds is 0"),
        ({"minutes": -1.0}, "minutes -1"),
        ({"minutes": 1.0}, r"minutes and training\.epochs or training\.steps both say how long"),
    ],
)
def test_mistakes_show_before_anything_is_trained(
    catalogue: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(LapelError, match=message):
        run(catalogue, tmp_path / "five", **options)
    assert not (tmp_path / "five").exists()


@pytest.mark.parametrize("name", ["1", "11", "table", "5a", "", "five"])
def test_an_unknown_table(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", name, "--catalogue", "x", "--to", "y"]) == 2
    said = capsys.readouterr().err
    assert "2: attribute-specific retrieval, FashionAI" in said
    assert "10: attention modules alone, DeepFashion" in said


@pytest.mark.parametrize("name", ["5", "table5", "Table 5", " tab. 5 ", 5])
def test_names_of_a_table(name: str | int) -> None:
    assert find_table(name) is AGMAN[5]


def test_rows_come_in_the_paper_s_order_whatever_is_asked(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("model: {name: agman}\n")
    rows = plan(AGMAN[7], ("agman", "without SA"), ("frozen", str(mine), "agman"), ("training.batch=9",))
    assert [row.name for row in rows] == ["without SA", "AG-MAN", "frozen", "mine"]
    assert [row.folder for row in rows] == ["agman-without-sa", "agman", "frozen", "mine"]
    assert {row.recipe.training.batch for row in rows} == {9}
    for asked in ((str(mine),), ("mine",), ("mine", "mine")):
        assert [row.name for row in plan(AGMAN[7], asked, (str(mine),))] == ["mine"], "a row that --also brings"
    assert [row.name for row in plan(AGMAN[7], ("agman",), ("frozen",))] == ["AG-MAN", "frozen"]
    clash = tmp_path / "agman.yaml"
    clash.write_text("model: {name: agman}\n")
    with pytest.raises(RecipeError, match="rename"):
        plan(AGMAN[7], also=(str(clash),))


def test_minutes_become_the_same_number_of_steps_for_every_seed(catalogue: Path, tmp_path: Path) -> None:
    settings = tuple(setting for setting in TINY if "epochs" not in setting)
    options: dict[str, Any] = {"rows": ("agman",), "settings": settings, "minutes": 0.002}
    view = run(catalogue, tmp_path / "five", also=("frozen",), **options)
    pace = json.loads((tmp_path / "five" / "paces.json").read_text())
    assert pace.keys() == {"agman"}, "nothing of the frozen trunk is trained"
    steps = pace["agman"]["steps"]
    assert steps == max(1, round(0.12 * pace["agman"]["steps_per_second"]))
    for seed in (0, 1):
        config = json.loads((tmp_path / "five" / "agman" / f"seed{seed}" / "config.json").read_text())
        assert config["recipe"]["training"]["steps"] == steps
        assert config["recipe"]["training"]["minutes"] == 0
    assert view.rows[0].cost["training"]["steps"] == steps
    before = traces(tmp_path / "five")
    run(catalogue, tmp_path / "five", also=("frozen",), **options)
    assert traces(tmp_path / "five") == before, "the pace is not measured again"
    assert [path for path in (tmp_path / "five").iterdir() if path.name.startswith(".pace")] == []


def test_stages_share_the_minutes_by_their_epochs(
    catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "staged.yaml"
    stages = [{"training.epochs": 1000}, {"training.epochs": 3000, "training.minutes": 7.0}]
    mine.write_text(json.dumps(load_recipe("agman", TINY).to_dict() | {"stages": stages}))
    settings = tuple(setting for setting in TINY if "epochs" not in setting)
    options: dict[str, Any] = {"rows": ("staged",), "also": (str(mine),), "seeds": 1, "settings": settings}
    rates = iter([5.0, 2.0])
    monkeypatch.setattr("lapel.reproduction.pace._steps_per_second", lambda *_: next(rates))
    view = run(catalogue, tmp_path / "five", minutes=0.04, **options)
    assert [row.name for row in view.rows] == ["staged"]
    for folder, steps in (("staged/seed0/stage1", 3), ("staged/seed0", 4)):  # 0.6 s at 5, 1.8 s at 2 steps a second
        training = json.loads((tmp_path / "five" / folder / "config.json").read_text())["recipe"]["training"]
        assert (training["steps"], training["minutes"]) == (steps, 0)
    assert view.rows[0].cost["training"]["steps"] == 7
    before = traces(tmp_path / "five")
    run(catalogue, tmp_path / "five", minutes=0.04, **options)
    assert traces(tmp_path / "five") == before, "the paces are not measured again"


def test_stages_are_trained_and_counted(catalogue: Path, tmp_path: Path) -> None:
    mine = tmp_path / "staged.yaml"
    stages = [{"training.epochs": 1}, {"training.epochs": 2, "training.lr": 0.001}]
    mine.write_text(json.dumps(load_recipe("agman", TINY).to_dict() | {"stages": stages}))
    view = run(catalogue, tmp_path / "five", rows=("agman",), also=(str(mine),), seeds=1)
    assert view.rows[1].cost["training"]["steps"] == 9
    before = traces(tmp_path / "five")
    run(catalogue, tmp_path / "five", rows=("agman",), also=(str(mine),), seeds=1)
    assert traces(tmp_path / "five") == before
    assert note(tmp_path / "five" / "staged" / "seed0" / "stage1")


def test_one_process_only(monkeypatch: pytest.MonkeyPatch, catalogue: Path, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RunError, match="without torchrun"):
        run(catalogue, tmp_path)


def test_the_verb_hands_on_what_it_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made: list[Any] = []
    rows = [SimpleNamespace(name="CSN", recipe="csn"), SimpleNamespace(name="AG-MAN", recipe="agman")]

    def hand_on(*arguments: Any, **options: Any) -> SimpleNamespace:
        made.append((arguments, options))
        return SimpleNamespace(main="AG-MAN", rows=rows)

    monkeypatch.setattr("lapel.reproduction.reproduce.reproduce", hand_on)
    assert cli.main(shlex.split("reproduce Table-2 --catalogue c --to d --set a.b=1 --set c.d=2 --quiet")) == 0
    (arguments, options) = made[0]
    assert arguments == ("2", Path("c"), Path("d"))
    assert options["settings"] == ("a.b=1", "c.d=2")
    assert (options["seeds"], options["rows"], options["minutes"]) == (3, (), 0.0)
    said = capsys.readouterr().err
    assert "d/table2.html" in said
    assert "next, with pictures: lapel report d/agman/seed0\n" in said
    assert isinstance(cli.parse(["reproduce", "2", "--catalogue", "c", "--to", "d"]), Reproduce)


def test_triplets_of_zappos(tmp_path: Path) -> None:
    """Table 4 on a stand-in: accuracy and loss, per-triplet pairs, and no comparison with print."""
    from lapel.datasets.importing import import_dataset
    from lapel.standins import draw_standin

    draw_standin("zappos50k", tmp_path / "shoes", 40, 0, 64, True)
    import_dataset("zappos50k", tmp_path / "shoes", tmp_path / "catalogue", quiet=True)
    settings = [each for each in TINY if not each.startswith("data.attributes")]
    view = reproduce(
        "4", tmp_path / "catalogue", tmp_path / "four", rows=("csn-zappos", "AG-MAN"), seeds=1, settings=settings,
        quiet=True, console=Console(quiet=True),
    )  # fmt: skip
    assert view.measure == "accuracy"
    assert not view.own
    assert any("the catalogue says it is Zappos50k, but it asks" in note for note in view.notes)
    for row in view.rows:
        result = read_result(tmp_path / "four" / row.recipe / "seed0" / "result.json")[0]["overall"]
        assert row.runs[0] == pytest.approx(result["accuracy"], abs=1e-3)
        assert row.loss == pytest.approx(result["average_loss"], abs=1e-5)
    assert sum(view.queries.values()) == result["triplets"]
