"""Where a run looks: mapped to the photograph, asked once, refused where the run is gone; the box it suggests."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lapel.config import from_dict
from lapel.errors import ImageError
from lapel.frame import Preprocessing, prepare_array
from lapel.retrieval.layout import Source
from lapel.runs import RunConfig
from lapel.serve import explaining
from lapel.serve.errors import ApiError, BadRequest, Busy
from lapel.serve.explaining import CELLS, SIDE, Explainer, around

from .shop import Seer

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "fill": 0}
GRID = 12


@dataclass
class Gazer:
    """Looks at what is red under its first attribute, at what is blue under its second, nowhere under its third."""

    preprocessing: Preprocessing
    gazes: tuple[str, ...] = ("red", "blue", "nothing")
    calls: int = 0
    gate: threading.Event | None = None
    thread: str = ""

    def attention(self, images: Any) -> np.ndarray:
        self.calls += 1
        self.thread = threading.current_thread().name
        if self.gate is not None:
            self.gate.wait(10)
        (image,) = images
        red, green, blue = prepare_array(image, self.preprocessing)
        maps = [np.clip(red - blue - green, 0, 1), np.clip(blue - red - green, 0, 1), np.ones_like(red)]
        small = [np.asarray(Image.fromarray(each).resize((GRID, GRID), Image.Resampling.BOX)) for each in maps]
        return np.stack([each / max(each.sum(), 1e-9) for each in small])[None].astype(np.float32)


@dataclass
class Room:
    """An explainer over one fake run."""

    gazer: Gazer
    explainer: Explainer
    sources: tuple[Source, ...]
    loaded: list[Path] = field(default_factory=list)

    def look(self, attribute: str, image: np.ndarray, key: str = "a", box: Any = None) -> explaining.Looked:
        return asyncio.run(self.explainer.look(self.sources, attribute, lambda: image, key, box))


def room(tmp_path: Path, attributes: tuple[str, ...] = ("red", "blue", "nothing"), **frame: Any) -> Room:
    seer = Seer(tmp_path / "run", attributes)
    seer.write()
    gazer = Gazer(Preprocessing(48, 48, **{"resize": "letterbox", **PLAIN, **frame}))
    made = Room(gazer, Explainer(), (Source(str(seer.run), seer.fingerprint, attributes, 4),))
    made.explainer = Explainer(load=lambda run: made.loaded.append(run) or gazer)  # type: ignore[func-returns-value]
    return made


def photograph(width: int = 300, height: int = 200) -> np.ndarray:
    """Black, with a red patch at the upper left and a blue one at the lower right."""
    image = np.zeros((height, width, 3), np.uint8)
    image[20:60, 30:80, 0] = 255
    image[140:180, 220:270, 2] = 255
    return image


def peak(looked: explaining.Looked, name: str) -> tuple[float, float]:
    """Where a map has its maximum, in pixels of the photograph."""
    rows, flat = looked.spread(looked.map(name))
    assert not flat
    found = np.array([[np.nan if cell is None else cell for cell in row] for row in rows])
    assert np.nanmin(found) == 0
    assert np.nanmax(found) == 1
    y, x = np.unravel_index(np.nanargmax(found), found.shape)
    return (x + 0.5) * looked.size[0] / found.shape[1], (y + 0.5) * looked.size[1] / found.shape[0]


@pytest.mark.parametrize(
    ("frame", "box"),
    [
        ({}, None),
        ({"height": 60, "width": 40}, None),
        ({}, (10, 5, 290, 195)),
        ({}, (200, 100, 300, 200)),
        ({"resize": "crop"}, (190, 90, 290, 190)),
    ],
)
def test_the_map_lies_where_the_run_looks(tmp_path: Path, frame: dict[str, Any], box: Any) -> None:
    sizes = {"height": frame.pop("height", 48), "width": frame.pop("width", 48)}
    made = room(tmp_path, **frame)
    made.gazer.preprocessing = Preprocessing(**{"resize": "letterbox", **PLAIN, **frame, **sizes})
    looked = made.look("blue", photograph(), box=box)
    assert looked.size == (300, 200)
    x, y = peak(looked, "blue")
    assert 210 <= x <= 280
    assert 130 <= y <= 190
    if box is None:
        x, y = peak(looked, "red")
        assert 20 <= x <= 90
        assert 10 <= y <= 70


def test_what_the_run_did_not_see_is_null(tmp_path: Path) -> None:
    looked = room(tmp_path).look("blue", photograph(), box=(150, 100, 300, 200))
    rows, _ = looked.spread(looked.map("blue"))
    assert (len(rows), len(rows[0])) == (64, CELLS)
    assert [cell is None for cell in rows[0]] == [True] * CELLS
    assert [cell is None for cell in rows[-1]] == [True] * 48 + [False] * 48


def test_a_run_that_looks_everywhere_alike_says_so(tmp_path: Path) -> None:
    looked = room(tmp_path).look("nothing", photograph())
    rows, flat = looked.spread(looked.map("nothing"))
    assert flat
    assert {cell for row in rows for cell in row} <= {0.0, None}


def test_of_an_item_each_branch_or_the_mean(tmp_path: Path) -> None:
    looked = room(tmp_path, ("item",)).look("item", photograph())
    np.testing.assert_allclose(looked.map(None), np.mean([*looked.maps.values()], axis=0))
    assert np.array_equal(looked.map("red"), looked.maps["red"])
    with pytest.raises(BadRequest, match="unknown branch 'rad'; did you mean 'red'"):
        looked.map("rad")


def test_the_picture_has_the_map_on_top(tmp_path: Path) -> None:
    image = photograph(1500, 1000)
    looked = room(tmp_path).look("red", image)
    found = Image.open(io.BytesIO(looked.picture(image, looked.map("red"))))
    assert found.format == "PNG"
    assert found.size == (SIDE, 427)


def test_asked_once_for_all_attributes(tmp_path: Path) -> None:
    made, image = room(tmp_path), photograph()
    first = made.look("red", image)
    assert made.look("blue", image) is first
    made.look("red", image, "b")
    made.look("red", image, "a", (0, 0, 100, 100))
    assert made.gazer.calls == 3
    assert made.gazer.thread.startswith("lapel-explain")
    assert len(made.loaded) == 1


def test_kept_maps_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "KEPT", 2)
    made, image = room(tmp_path), photograph()
    for key in ("a", "b", "c", "c", "a"):
        made.look("red", image, key)
    assert made.gazer.calls == 4


def test_one_at_a_time_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "WAITING", 1)
    made = room(tmp_path)
    made.gazer.gate = threading.Event()

    async def scenario() -> None:
        def ask(key: str) -> Any:
            return made.explainer.look(made.sources, "red", photograph, key, None)

        first, second = (asyncio.create_task(ask(key)) for key in "ab")
        await asyncio.sleep(0.01)
        with pytest.raises(Busy):
            await ask("c")
        assert made.gazer.gate is not None
        made.gazer.gate.set()
        await asyncio.gather(first, second)

    asyncio.run(scenario())


def forget(made: Room) -> None:
    (Path(made.sources[0].run) / "model.safetensors").unlink()


def retrain(made: Room) -> None:
    Seer(Path(made.sources[0].run), fingerprint="c" * 64).write()


@pytest.mark.parametrize("change", [forget, retrain])
def test_a_run_that_is_gone_or_another(tmp_path: Path, change: Callable[[Room], None]) -> None:
    made = room(tmp_path)
    assert made.explainer.whereabouts(made.sources[0]) == tmp_path / "run"
    change(made)
    assert made.explainer.whereabouts(made.sources[0]) is None
    with pytest.raises(ApiError, match="run 'run', which made this index, is not there") as caught:
        made.look("red", photograph())
    assert (caught.value.status, caught.value.code) == (409, "no_run")


def test_a_run_that_moved(tmp_path: Path) -> None:
    made = room(tmp_path)
    (tmp_path / "run").rename(tmp_path / "moved")
    explainer = Explainer([tmp_path / "other", tmp_path / "moved"], load=lambda _: made.gazer)  # type: ignore[arg-type]
    assert explainer.whereabouts(made.sources[0]) == tmp_path / "moved"


def test_mistakes(tmp_path: Path) -> None:
    made = room(tmp_path)
    with pytest.raises(BadRequest, match="unknown attribute 'rad'; did you mean 'red'"):
        made.look("rad", photograph())
    with pytest.raises(ImageError, match="is empty"):
        made.look("red", photograph(), box=(5, 5, 5, 9))


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([(40, 20), (60, 20), (50, 180)], [37, 0, 63, 200]),
        ([(0, 0), (100, 0), (100, 200), (0, 200)], [0, 0, 100, 200]),
        ([(40, 20), (60, 180)], None),
        ([(40, 20), (41, 21), (42, 22)], None),
        ([], None),
    ],
)
def test_a_box_about_landmarks(places: list[tuple[float, float]], expected: list[int] | None) -> None:
    assert around(np.array(places, float).reshape(-1, 2), 100, 200) == expected


def test_the_box_is_suggested_where_the_landmarks_are(tmp_path: Path) -> None:
    """Five sure landmarks and three that are not there, in a frame that letterboxes the photograph."""
    import torch

    from lapel.heatmaps import draw_heatmaps

    pre = Preprocessing(64, 48, "letterbox")
    rows, columns, top, left = pre.placed(200, 300)
    places = np.array([(60.0, 40), (240, 40), (60, 100), (240, 100), (150, 160)])
    framed = places * (columns / 300, rows / 200) + (left, top)
    points = torch.tensor(np.concatenate([framed, np.full((3, 2), np.nan)])[None], dtype=torch.float32)
    maps = draw_heatmaps(points, 64, 48, 64, 48).numpy()
    made = room(tmp_path, ("item",))

    def suggest(heatmaps: Any) -> Any:
        fake = SimpleNamespace(heatmaps=lambda _: heatmaps, preprocessing=pre)
        explainer = Explainer(load=lambda _: fake)  # type: ignore[arg-type,return-value]
        return asyncio.run(explainer.suggest(made.sources[0], photograph()))

    np.testing.assert_allclose(suggest(maps), [60 - 21.6, 40 - 14.4, 240 + 21.6, 160 + 14.4], atol=6)
    assert suggest(maps * 0.2) is None  # sure of none
    assert suggest(None) is None  # no landmark branch
    assert suggest(maps[:, :4]) is None  # other landmarks than ours


def test_runs_are_loaded_ahead_in_pieces(tmp_path: Path) -> None:
    made = room(tmp_path, ("item",))
    gone = replace(made.sources[0], run=str(tmp_path / "gone"))
    loaded: list[Path] = []
    explainer = Explainer(load=lambda run: loaded.append(run))  # type: ignore[arg-type,func-returns-value]
    assert list(explainer.steps([gone])) == []  # nor is torch imported for nothing
    (step,) = explainer.steps([gone, *made.sources])
    assert loaded == []
    step()
    step()
    assert loaded == [tmp_path / "run"]
    assert len(list(Explainer().steps(made.sources))) == 4  # torch, torchvision, timm, the run


@pytest.mark.parametrize(("losses", "found"), [({"id": 1.0, "landmarks": 1.0}, True), ({"id": 1.0}, False)])
def test_the_run_that_knows_landmarks(tmp_path: Path, losses: dict[str, float], found: bool) -> None:
    made = room(tmp_path, ("item",))
    assert made.explainer.locates(made.sources) is None  # no configuration
    recipe = from_dict({"data": {"catalogue": "x"}, "training": {"batching": "images", "losses": losses}})
    model = {"name": "ahbn", "trunk": "resnet50", "trunk_options": {}, "options": {}, "task": "items", "tags": []}
    RunConfig(model, {}, made.gazer.preprocessing.to_dict(), recipe, {}).write(tmp_path / "run")
    gone = replace(made.sources[0], run=str(tmp_path / "gone"))
    assert made.explainer.locates([gone, *made.sources]) is (made.sources[0] if found else None)
    assert made.explainer.locates([replace(made.sources[0], attributes=("neckline",))]) is None
