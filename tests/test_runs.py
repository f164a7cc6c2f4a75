"""The run folder: round trips, damage and tampering noticed, the same fingerprint everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lapel.config import Recipe
from lapel.errors import LapelError, RunError
from lapel.retrieval.embedder import load
from lapel.runs import (
    CONFIG,
    FORMAT,
    WEIGHTS,
    RunConfig,
    fingerprint,
    load_weights,
    note,
    read_config,
    save_weights,
    stored_fingerprint,
)


def config(**changes: Any) -> RunConfig:
    parts: dict[str, Any] = {
        "model": {"name": "agman", "trunk": "test_resnet", "dim": 8, "trunk_options": {}, "options": {"width": 8}},
        "attributes": {"neckline": ("Round", "V"), "größe": ("s",)},
        "preprocessing": {"height": 64, "width": 48, "mean": [0.5, 0.5, 0.5]},
        "recipe": Recipe(),
        "protocol": {"catalogue": "shop", "train": 3},
    }
    return RunConfig(**{**parts, **changes})


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 5, 5, generator=generator).contiguous(memory_format=torch.channels_last)
    return {"conv": images, "bias": torch.arange(3.0), "count": torch.tensor(7), "none": torch.zeros(0, 3)}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    config().write(folder)
    save_weights(folder, tensors(), config(), {"step": 3, "map": 12.5})
    return folder


def test_round_trip(run: Path) -> None:
    found = read_config(run)
    assert found == config()
    loaded, print_ = load_weights(run, found)
    assert set(loaded) == set(tensors())
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors().items())
    assert print_ == stored_fingerprint(run) == fingerprint(tensors(), config().settings())
    assert note(run) == {"step": 3, "map": 12.5}
    assert sorted(path.name for path in run.iterdir()) == [CONFIG, WEIGHTS], "nothing temporary is left"
    assert json.loads((run / CONFIG).read_text())["format"] == FORMAT


def test_the_fingerprint_depends_on_what_decides_an_embedding_only() -> None:
    base = fingerprint(tensors(), config().settings())
    assert base == fingerprint(dict(reversed(tensors().items())), config().settings()), "not on the order of names"
    shuffled = {"options": {"width": 8}, "trunk_options": {}, "dim": 8, "trunk": "test_resnet", "name": "agman"}
    same = [
        config(model=shuffled),
        config(attributes={"neckline": (), "größe": ()}),
        config(protocol={}),
        config(preprocessing={"width": 48, "height": 64, "mean": (0.5, 0.5, 0.5)}),
    ]
    assert {fingerprint(tensors(), other.settings()) for other in same} == {base}
    others = [
        config(model={**config().model, "options": {"width": 8, "sa": False}}),
        config(attributes={"größe": ("s",), "neckline": ("Round", "V")}),
        config(preprocessing={"height": 64, "width": 64, "mean": [0.5, 0.5, 0.5]}),
    ]
    prints = [fingerprint(tensors(), other.settings()) for other in others]
    for name, tensor in tensors().items():
        prints.append(fingerprint(tensors() | {name: tensor.double()}, config().settings()))
        prints.append(fingerprint(tensors() | {name: tensor.reshape(1, *tensor.shape)}, config().settings()))
        if tensor.numel():
            prints.append(fingerprint(tensors() | {name: tensor + 1}, config().settings()))
    assert base not in prints
    assert len(set(prints)) == len(prints)


def test_the_fingerprint_is_the_same_in_another_process(run: Path) -> None:
    program = (
        "import sys; from lapel.runs import *; run = Path(sys.argv[1]); "
        "first = stored_fingerprint(run); assert 'torch' not in sys.modules, 'reading it needs no torch'; "
        "print(first, load_weights(run, read_config(run))[1])"
    )
    done = subprocess.run([sys.executable, "-c", program, str(run)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [stored_fingerprint(run)] * 2


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def edit(run: Path, change: Callable[[Any], Any]) -> None:
    data = json.loads((run / CONFIG).read_text())
    change(data)
    (run / CONFIG).write_text(json.dumps(data))


DAMAGE: list[tuple[str, Callable[[Path], Any], str]] = [
    ("a weight altered", lambda run: flip(run / WEIGHTS, -1), "were altered after training: fingerprint"),
    ("preprocessing altered", lambda run: edit(run, lambda d: d["preprocessing"].update(height=65)), "were altered"),
    ("attributes swapped", lambda run: edit(run, lambda d: d["attributes"].reverse()), "were altered after training"),
    ("option altered", lambda run: edit(run, lambda d: d["model"]["options"].update(sa=False)), "were altered"),
    ("weights missing", lambda run: (run / WEIGHTS).unlink(), "has not reached its first validation yet"),
    ("weights cut", lambda run: (run / WEIGHTS).write_bytes((run / WEIGHTS).read_bytes()[:-8]), "is damaged"),
    ("weights empty", lambda run: (run / WEIGHTS).write_bytes(b""), "is not a safetensors file"),
    ("weights text", lambda run: (run / WEIGHTS).write_text("<html>"), "is not a safetensors file"),
    ("weights a list", lambda run: (run / WEIGHTS).write_bytes(b"\2" + bytes(7) + b"[]"), "is not a safetensors file"),
    ("foreign", lambda run: save_file({"a": torch.ones(1)}, run / WEIGHTS), "was not written by Lapel"),
    (
        "foreign metadata",
        lambda run: save_file({"a": torch.ones(1)}, run / WEIGHTS, {"format": "pt"}),
        "no fingerprint",
    ),
    ("config missing", lambda run: (run / CONFIG).unlink(), "is not a run folder: expected config.json and"),
    ("config text", lambda run: (run / CONFIG).write_text("{"), "is damaged (JSONDecodeError"),
    ("config list", lambda run: (run / CONFIG).write_text("[]"), "is damaged (TypeError"),
    ("config key missing", lambda run: edit(run, lambda d: d.pop("preprocessing")), "is damaged (KeyError"),
    ("other format", lambda run: edit(run, lambda d: d.update(format="lapel run 9")), "has format 'lapel run 9'"),
]


@pytest.mark.parametrize(("damage", "message"), [row[1:] for row in DAMAGE], ids=[row[0] for row in DAMAGE])
def test_damage_is_noticed_and_named(damage: Callable[[Path], Any], message: str, run: Path) -> None:
    damage(run)
    with pytest.raises(RunError) as error:
        load(run)
    assert message in str(error.value)
    assert str(run) in str(error.value)


def test_no_folder_and_another_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run folder at .*nowhere: expected the folder that 'lapel train' wrote"):
        load(tmp_path / "nowhere")
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(RunError, match=r"is not a run folder: expected .* found photo.jpg"):
        load(tmp_path)


def test_weights_of_another_model_are_refused(run: Path) -> None:
    with pytest.raises(RunError, match=r"the weights of .* do not fit its agman model"):
        load(run)


def test_a_full_disk_leaves_the_old_weights(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As safetensors reports it: its own error, with the system's number in the text."""
    import safetensors.torch

    def full(*_: Any) -> None:
        raise safetensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    before = stored_fingerprint(run)
    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(LapelError, match=r"disk full while writing .*model\.safetensors"):
        save_weights(run, {"conv": torch.zeros(1)}, config(), {})
    assert stored_fingerprint(run) == before
    assert sorted(path.name for path in run.iterdir()) == [CONFIG, WEIGHTS]
