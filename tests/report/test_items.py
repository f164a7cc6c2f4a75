"""``lapel report`` on item runs: every section there is something for, and none there is nothing for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from lapel import cli
from lapel.catalogue import Catalogue
from lapel.evaluate import evaluate
from lapel.evaluation.prediction import landmark_error
from lapel.report.build import report
from lapel.report.items import mean_errors, pick_guesses
from lapel.retrieval.embedder import load

from ..evaluation.test_page import Reader
from ..item_run import draw_run

EVERY = {"metrics", "curves", "found", "branches", "landmarks", "tags", "failures"}


def sections(page: Path) -> set[str]:
    return {section["id"] or "" for section in Reader(page.read_text(encoding="utf-8")).all("section")}


def with_images(catalogue: Catalogue, name: str, column: pa.Array) -> Catalogue:
    place = catalogue.images.column_names.index(name)
    return replace(catalogue, images=catalogue.images.set_column(place, name, column))


@pytest.fixture(scope="module")
def run(garments: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An item run of ``garments``."""
    return draw_run(tmp_path_factory.mktemp("items") / "run", garments)


@pytest.fixture(scope="module")
def every(garments: Catalogue) -> Catalogue:
    """The garments, each asked for the other view of itself among all: enough of them to fail."""
    sides = {"splits": [], "domain": None}
    return replace(garments, record={"protocol": {"task": "items", "query": sides, "gallery": sides}})


@pytest.fixture(scope="module")
def reported(run: Path, every: Catalogue) -> Path:
    """The folder of its report beside another run."""
    other = draw_run(run.parent / "other", every, seed=1)
    return report(run, every, run.parent / "to", [other], quiet=True).parent


def test_it_is_written_from_the_shell(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(run), "--to", str(tmp_path / "to"), "--quiet"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "to" / "report.html")
    assert sections(tmp_path / "to" / "report.html") == EVERY


def test_its_page_holds_every_section_and_needs_nothing_else(reported: Path) -> None:
    text = (reported / "report.html").read_text(encoding="utf-8")
    read = Reader(text)
    assert "http" not in text
    assert "<script" not in text
    assert sections(reported / "report.html") == EVERY | {"same"}
    assert all((image["src"] or "").startswith("data:image/jpeg;base64,") for image in read.all("img"))
    for said in ("Acc@1", "95 % interval", "Euclidean distance", "8 landmarks", "its distance to the query", "off by"):
        assert said in read.text


def test_its_figures_are_pictures(reported: Path) -> None:
    folder = reported / "figures"
    names = {path.stem for path in folder.iterdir()}
    assert names == {"accuracy", "landmark-errors", *EVERY - {"metrics"}, "same"}
    for path in folder.iterdir():
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert 200 < picture.width < 3000
            assert 200 < picture.height < 6000


def test_its_figures_are_those_of_evaluate(reported: Path, run: Path, every: Catalogue) -> None:
    written = json.loads((reported / "result.json").read_text())
    assert written["result"] == evaluate(run, every, quiet=True).to_dict()
    assert written["result"]["landmarks"]["overall"]["count"] > 0
    text = Reader((reported / "report.html").read_text(encoding="utf-8")).text
    assert f"{written['result']['tags']['overall']['map']:.1f} %" in text
    assert f"{100 * written['result']['landmarks']['overall']['error']:.2f}" in text


def test_no_image_is_embedded_twice(
    run: Path, garments: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lapel.models import AHBN

    seen: list[int] = []
    real = AHBN.embed

    def counted(self: AHBN, features: object) -> object:
        found = real(self, features)  # type: ignore[arg-type]
        seen.append(len(found))
        return found

    monkeypatch.setattr(AHBN, "embed", counted)
    page = report(run, garments, tmp_path / "to", quiet=True)
    assert sum(seen) == json.loads((page.parent / "result.json").read_text())["protocol"]["images"]


def test_the_same_seed_shows_the_same(run: Path, every: Catalogue, reported: Path, tmp_path: Path) -> None:
    page = report(run, every, tmp_path / "to", quiet=True)
    for name in ("found", "branches", "landmarks", "tags", "failures"):
        again, first = (folder / "figures" / f"{name}.png" for folder in (page.parent, reported))
        assert again.read_bytes() == first.read_bytes()


def test_without_truth_landmarks_are_shown_and_not_measured(run: Path, garments: Catalogue, tmp_path: Path) -> None:
    plain = with_images(garments, "landmarks", pa.nulls(len(garments), pa.list_(pa.float64())))
    page = report(run, plain, tmp_path / "to", quiet=True)
    read = Reader(page.read_text(encoding="utf-8"))
    assert sections(page) == EVERY
    assert "knows no landmarks" in read.text
    assert "off by" not in read.text
    assert not (page.parent / "figures" / "landmark-errors.png").exists()
    assert (page.parent / "figures" / "landmarks.png").exists()


def test_a_run_of_one_branch_has_no_sections_of_the_other(garments: Catalogue, tmp_path: Path) -> None:
    run = draw_run(tmp_path / "run", garments, tags=False, branches="appearance")
    stale = tmp_path / "to" / "figures" / "landmarks.png"
    stale.parent.mkdir(parents=True)
    stale.touch()
    page = report(run, garments, tmp_path / "to", quiet=True)
    assert sections(page) == EVERY - {"landmarks", "tags"}
    assert not stale.exists(), "a figure of an earlier report"


@pytest.mark.parametrize("name", ["fashionnet", "grnet_style", "pooled"])
def test_every_item_model_has_a_report(name: str, garments: Catalogue, tmp_path: Path) -> None:
    run = draw_run(tmp_path / "run", garments, name=name)
    page = report(run, garments, tmp_path / "to", quiet=True)
    assert sections(page) >= {"metrics", "found", "branches", "failures"}


def test_heatmaps_are_those_of_the_last_stack(run: Path, garments: Catalogue, tmp_path: Path) -> None:
    embedder = load(run)
    paths = garments.paths()[:2]
    found = embedder.heatmaps(paths)
    assert found is not None
    assert found.shape[:2] == (2, 8)
    assert np.isfinite(found).all()
    assert load(draw_run(tmp_path / "run", garments, branches="appearance")).heatmaps(paths) is None


def test_attribute_runs_and_item_runs_rank_the_same_ten(
    run: Path, trained: Path, garments: Catalogue, tmp_path: Path
) -> None:
    page = report(run, garments, tmp_path / "to", [trained], quiet=True)
    assert "same" in sections(page)
    assert trained.name in Reader(page.read_text(encoding="utf-8")).text
    sides = {"splits": ["test"], "domain": None}
    record = {"protocol": {"task": "items", "query": sides, "gallery": sides, "ks": [1, 3]}}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images").symlink_to(garments.root / "images")
    bare = replace(garments, root=tmp_path / "data", labels=garments.labels.slice(0, 0), attributes=())
    unlabelled = replace(bare, record=record)
    page = report(trained, unlabelled, tmp_path / "back", [run], quiet=True)
    assert "figure6" in sections(page)


def test_pictures_that_cannot_be_read_are_left_out(run: Path, garments: Catalogue, tmp_path: Path) -> None:
    split = garments.images["split"].to_pylist()
    names = garments.images["image"].to_pylist()
    names[split.index("test")] = "nowhere.jpg"
    broken = with_images(garments, "image", pa.array(names, pa.string()))
    page = report(run, broken, tmp_path / "to", quiet=True)
    assert "1 images could not be read and are left out" in Reader(page.read_text(encoding="utf-8")).text


def test_errors_of_each_image_are_means_over_its_visible_landmarks() -> None:
    truth = np.zeros((4, 8, 3))
    truth[1, 2:, 2] = 2
    truth[2, :, 2] = 1  # none is visible
    truth[3] = np.nan
    points = np.zeros((4, 8, 3))
    points[0, :, 0] = 10
    points[1, 0] = (30, 40, 1)
    sizes = np.array([[100, 50], [100, 100], [100, 100], [100, 100]])
    found = mean_errors(points, truth, sizes)
    assert found[:2].tolist() == pytest.approx([0.1, 0.25])
    assert np.isnan(found[2:]).all()
    # What evaluate prints: the same errors, of all landmarks alike.
    whole = landmark_error(points[:3], truth[:3], sizes[:3])
    assert whole.error == pytest.approx((8 * found[0] + 2 * found[1]) / 10)


@pytest.mark.parametrize("seed", range(4))
def test_landmarks_are_shown_of_the_best_the_middling_and_the_worst(seed: int) -> None:
    errors = np.random.default_rng(seed).permutation(100) / 100
    items = [f"item {row // 3}" for row in range(100)]
    found = pick_guesses(errors, np.arange(100), items, seed)
    assert [name for name, _ in found] == ["among the best"] * 2 + ["middling"] * 2 + ["among the worst"] * 2
    shown = [errors[row] for _, row in found]
    assert max(shown[:2]) < 0.1
    assert all(0.4 <= error < 0.6 for error in shown[2:4])
    assert min(shown[4:]) >= 0.9
    assert len({items[row] for _, row in found}) == 6
    assert found == pick_guesses(errors, np.arange(100), items, seed)


def test_where_no_error_is_known_any_photograph_is_shown() -> None:
    found = pick_guesses(np.full(9, np.nan), np.array([2, 4, 6]), [f"{row}" for row in range(9)], 0)
    assert sorted(row for _, row in found) == [2, 4, 6]
    assert {name for name, _ in found} == {""}
    assert pick_guesses(np.zeros(0), np.zeros(0, np.int64), [], 0) == []
