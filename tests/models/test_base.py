"""What all attribute models are: built by name, of one base, loaded and exported whichever they are."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import lapel
from lapel.config import Recipe
from lapel.errors import RecipeError
from lapel.images import Preprocessing
from lapel.models import MODELS, AttributeNetwork, Triplets, build
from lapel.models.base import check_option
from lapel.models.trunks import Trunk
from lapel.runs import RunConfig, save_weights

from .contract import alive

TRUNK = "test_resnet"
SINGLE_BRANCH = {
    "agman": {"width": 16},
    "asenet": {"width": 16, "dim": 24},
    "asenet_v2": {"width": 16},
    "attnfashion_style": {"width": 16, "dim": 24},
    "csn": {"width": 16},
    "csn_original": {"width": 16},
    "triplet": {"width": 16},
}


class TwoNumbers(AttributeNetwork):
    """The smallest model: an image is one number, an attribute another."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes, self.dim = 4, 1

    def embed(self, features: Tensor, attributes: Tensor) -> Tensor:
        return (features.unsqueeze(1) * 10 + attributes).unsqueeze(-1)


def test_each_image_is_embedded_under_its_own_attribute() -> None:
    found = TwoNumbers().embed_each(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([3, 0, 3]))
    assert found.tolist() == [[13.0], [20.0], [33.0]]


def test_what_a_model_lacks_is_none() -> None:
    model = TwoNumbers()
    targets = Triplets(torch.tensor([0]), torch.tensor([[0, 0, 1]]))
    assert model.triplet_objective([torch.zeros(1)] * 3, targets, 0.2) is None
    assert model.classifier is None
    assert model.pyramid is False
    assert model.distance == "cosine"
    vectors, numbers = torch.tensor([1.0, 2.0]), torch.tensor([3, 1])
    assert torch.equal(model.raw(vectors, numbers), model.embed(vectors, numbers))
    assert list(model.state_dict()) == []


def test_a_classifier_is_found_where_there_is_one() -> None:
    """A default of the class would hide the module."""
    with_branch, without = (build("agman", 3, TRUNK, width=16, classification=on) for on in (True, False))
    assert isinstance(with_branch.classifier, nn.Linear)
    assert "classifier.weight" in with_branch.state_dict()
    assert without.classifier is None
    assert build("agman", 3, TRUNK, width=16, pyramid=True).pyramid is True


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_made_alike(name: str) -> None:
    parameters = list(inspect.signature(MODELS[name]).parameters.values())
    assert [one.name for one in parameters[:4]] == ["attributes", "trunk", "pretrained", "trunk_options"]
    for option in parameters[4:]:
        assert option.kind is inspect.Parameter.KEYWORD_ONLY
        typed = isinstance(option.default, bool | int | float | str) or option.name.endswith("_options")
        assert typed, f"{option.name} has no default to take its type from"
    for method in ("features", "embed", "attention"):
        assert getattr(MODELS[name], method) is not getattr(AttributeNetwork, method)


@pytest.mark.parametrize("name", SINGLE_BRANCH)
def test_a_name_gives_a_model(name: str) -> None:
    model = build(name, ["neckline", "colour"], TRUNK, **SINGLE_BRANCH[name])
    assert isinstance(model, AttributeNetwork)
    assert isinstance(model.trunk, Trunk)
    assert model.attributes == 2
    assert model.trunk.name == TRUNK


@pytest.mark.parametrize("name", sorted(set(SINGLE_BRANCH) - {"agman"}))
def test_the_last_block_is_not_carried_along(name: str) -> None:
    assert len(build(name, 2, TRUNK, **SINGLE_BRANCH[name]).trunk.stages) == 2


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation gives."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor):
            self.size = max(self.size, found.numel())
        return found


@pytest.mark.parametrize("name", SINGLE_BRANCH)
def test_no_tensor_has_every_attribute_channel_and_position(name: str) -> None:
    """Attributes share the maps: no (B, A, c, H, W) product is formed."""
    model = build(name, 60, TRUNK, **SINGLE_BRANCH[name] | ({"width": 60} if name == "csn_original" else {})).eval()
    with torch.no_grad():
        features = model.features(torch.randn(1, 3, 192, 192))
        with Largest() as largest:
            model.embed(features, torch.arange(60))
    assert 0 < largest.size < 60 * 16 * 12 * 12


@pytest.mark.parametrize("name", ["asenet", "csn_original", "triplet"])
def test_a_run_of_it_loads_embeds_and_exports(name: str, tmp_path: Path) -> None:
    """The ONNX file gives the embeddings of the run, for another batch size than it was traced with."""
    torch.manual_seed(0)
    options = SINGLE_BRANCH[name]
    model = alive(build(name, 3, TRUNK, **options))
    config = RunConfig(
        {"name": name, "trunk": TRUNK, "dim": model.dim, "trunk_options": {}, "options": options},
        dict.fromkeys(("neckline", "colour", "pattern"), ("a", "b")),
        Preprocessing(64, 48, "letterbox", (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)).to_dict(),
        Recipe(),
        {},
    )
    config.write(tmp_path)
    save_weights(tmp_path, model.state_dict(), config, {})
    embedder = lapel.load(tmp_path, device="cpu")
    photo = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    assert embedder.embed([photo], ["pattern", "colour"]).shape == (1, 2, model.dim)
    assert embedder.attention([photo]).shape == (1, 3, 4, 3)

    embedder.export(tmp_path / "model.onnx")
    images = torch.randn(5, 3, 64, 48)
    with torch.no_grad():
        expected = model.embed(model.features(images), torch.arange(3)).numpy()
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"images": images.numpy()})[0], expected, atol=1e-4)


def test_a_wrong_option_is_named_with_what_was_expected() -> None:
    check_option("agman", "width", True, "at least 1", 3)
    with pytest.raises(RecipeError, match="model 'agman': expected option width to be at least 1, found 0"):
        check_option("agman", "width", False, "at least 1", 0)
