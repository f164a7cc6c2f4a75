"""The contract of instance models, as tests that every model's own tests inherit."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from lapel.models import ItemNetwork

TRUNK = "test_resnet"
TAGS = 5


def alive(model: Any, size: tuple[int, int] = (96, 96)) -> Any:
    """A fresh model in which mistakes show, in evaluation mode: no part is zero, norms have a batch's statistics."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
        for norm in norms:
            norm.momentum = None  # the mean of all batches: of this one
        features = model.train().features(torch.randn(8, 3, *size))
        model.embed(features)
        model.tag_logits(features)
        model.heatmaps(features)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()


def outputs(model: ItemNetwork, images: Tensor) -> dict[str, Tensor]:
    """Everything a model says of some images, by name; what it does not have is left out."""
    features = model.features(images)
    found = {
        "embed": model.embed(features),
        "tag_logits": model.tag_logits(features),
        "heatmaps": model.heatmaps(features),
        "saliency": model.saliency(features),
    }
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def agree(found: dict[str, Tensor], expected: dict[str, Tensor], rows: Iterable[int] | None = None) -> None:
    """Require the same outputs, those of ``rows`` of what is expected, but for rounding."""
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        wanted = expected[name] if rows is None else expected[name][list(rows)]
        worst, size = (tensor - wanted).abs().max(), wanted.abs().max()
        assert worst <= 1e-4 * size, f"{name}: off by {worst:.2g} where the largest is {size:.2g}"


class EmbedPath(nn.Module):
    """Images to embeddings: what an index or another program needs of an instance model."""

    def __init__(self, model: ItemNetwork) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.embed(self.model.features(images))


def exported_embeddings(model: ItemNetwork, traced: Tensor, images: Tensor, path: Path) -> Any:
    """Embeddings by ONNX Runtime of a model exported for any batch size."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.inference_mode():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            EmbedPath(model).eval(),
            (traced,),
            input_names=["images"],
            dynamo=True,
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=64)}},
            verbose=False,
        )
    assert program is not None
    onnx.save(program.model_proto, str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images.numpy()})[0]


class ItemModelContract:
    """Inherit it in a class whose name begins with ``Test`` and give ``build``; the trunk should be a tiny one.

    Attributes:
        tags: number of tags K that the model predicts.
        points: number of landmarks P that the model predicts.
        stacks: supervised stacks S of heat-maps.
        invariant: parameters that may have a gradient of zero, because nothing of the outputs depends on them.
        unit: whether embeddings have unit length.
        gazes: what its saliency maps show.
        least: agreement, as a cosine, of embeddings computed in bfloat16 with those in float32.
    """

    tags = TAGS
    points = 0
    stacks = 0
    invariant: tuple[str, ...] = ()
    unit = False
    gazes: tuple[str, ...] = ("appearance",)
    least = 0.98

    def build(self) -> Any:
        """A fresh model of ``TAGS`` tags; the same weights for the same state of torch's generator."""
        raise NotImplementedError

    @pytest.fixture
    def model(self) -> Any:
        torch.manual_seed(0)
        return alive(self.build())

    @torch.no_grad()
    def ask(self, model: ItemNetwork, images: Tensor) -> dict[str, Tensor]:
        return outputs(model, images)

    def test_it_says_what_it_has(self, model: Any) -> None:
        assert isinstance(model, ItemNetwork)
        assert (model.tags, model.points, model.gazes) == (self.tags, self.points, self.gazes)
        assert model.distance in ("cosine", "euclidean")
        assert len(model.trunk.mean) == len(model.trunk.std) == 3

    @pytest.mark.parametrize("size", [(96, 96), (97, 131), (64, 160)], ids=str)
    @pytest.mark.parametrize("batch", [1, 3])
    def test_shapes_and_sums(self, model: Any, size: tuple[int, int], batch: int) -> None:
        found = self.ask(model, torch.randn(batch, 3, *size))
        assert found["embed"].shape == (batch, model.dim)
        assert found["embed"].dtype == torch.float32
        if self.unit:
            torch.testing.assert_close(found["embed"].norm(dim=-1), torch.ones(batch))
        assert ("tag_logits" in found) == (self.tags > 0)
        if self.tags:
            assert found["tag_logits"].shape == (batch, self.tags)
        assert ("heatmaps" in found) == (self.points > 0 and self.stacks > 0)
        if "heatmaps" in found:
            assert found["heatmaps"].shape[:3] == (batch, self.stacks, self.points)
            assert found["heatmaps"].ndim == 5
        maps = found["saliency"]
        assert maps.shape[:2] == (batch, len(self.gazes))
        assert maps.ndim == 4
        assert maps.min() >= 0
        torch.testing.assert_close(maps.float().sum((-2, -1)), torch.ones(batch, len(self.gazes)))

    def test_images_differ_in_everything(self, model: Any) -> None:
        for name, tensor in self.ask(model, torch.randn(2, 3, 96, 96)).items():
            assert (tensor[0] - tensor[1]).abs().max() > 1e-5, name

    def test_it_looks_somewhere(self, model: Any) -> None:
        maps = self.ask(model, torch.randn(2, 3, 96, 80))["saliency"].flatten(2)
        assert ((maps * maps.shape[-1] - 1).abs().amax(-1) > 1e-3).all(), "places differ"

    def test_an_image_does_not_depend_on_its_batch(self, model: Any) -> None:
        images = torch.randn(3, 3, 96, 96)
        together = self.ask(model, images)
        for number in range(3):
            agree(self.ask(model, images[number : number + 1]), together, [number])

    def test_channels_last_images_give_the_same(self, model: Any) -> None:
        images = torch.randn(2, 3, 96, 96)
        agree(self.ask(model, images.contiguous(memory_format=torch.channels_last)), self.ask(model, images))

    def test_the_trunk_runs_once(self, model: Any) -> None:
        runs: list[int] = []
        model.trunk.register_forward_hook(lambda *_: runs.append(1))
        self.ask(model, torch.randn(2, 3, 96, 96))
        assert len(runs) == any(True for _ in model.trunk.parameters())

    def test_eval_is_deterministic_and_changes_no_buffer(self, model: Any) -> None:
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        images = torch.randn(2, 3, 96, 96)
        first, second = self.ask(model, images), self.ask(model, images)
        assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, before[name]), name

    def test_a_state_dict_round_trip_gives_the_same(self, model: Any) -> None:
        torch.manual_seed(1)
        other = self.build().eval()
        other.load_state_dict(model.state_dict())
        images = torch.randn(2, 3, 96, 96)
        found, expected = self.ask(other, images), self.ask(model, images)
        assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())

    def test_the_same_seed_builds_the_same_model(self) -> None:
        models = []
        for _ in range(2):
            torch.manual_seed(7)
            models.append(self.build().state_dict())
        assert all(torch.equal(tensor, models[1][name]) for name, tensor in models[0].items())

    def test_gradients_reach_every_trainable_parameter(self, model: Any) -> None:
        """From all that is trained together: saliency is only looked at."""
        found = outputs(model.train(), torch.randn(4, 3, 96, 96))
        del found["saliency"]
        torch.stack([(tensor * torch.randn_like(tensor)).sum() for tensor in found.values()]).sum().backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, name
                assert torch.isfinite(parameter.grad).all(), name
                assert parameter.grad.abs().max() > 0 or name in self.invariant, name

    def test_bfloat16_autocast_rounds_and_no_more(self, model: Any) -> None:
        images = torch.randn(2, 3, 96, 96)
        expected = self.ask(model, images)
        with torch.autocast("cpu", torch.bfloat16):
            found = self.ask(model, images)
        assert found["embed"].dtype == torch.float32
        assert torch.cosine_similarity(found["embed"], expected["embed"]).min() > self.least
        torch.testing.assert_close(
            found["saliency"].float().sum((-2, -1)), torch.ones(2, len(self.gazes)), atol=1e-4, rtol=0
        )

    def test_a_training_step_in_bfloat16_has_finite_gradients(self, model: Any) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            found = outputs(model.train(), torch.randn(4, 3, 96, 96))
        del found["saliency"]
        torch.stack([tensor.float().square().mean() for tensor in found.values()]).sum().backward()
        grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        assert grads
        assert all(torch.isfinite(grad).all() for grad in grads)

    def test_a_blank_image_has_finite_gradients(self, model: Any) -> None:
        found = outputs(model, torch.zeros(2, 3, 96, 96))
        assert all(torch.isfinite(tensor).all() for tensor in found.values())
        found["embed"].square().sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)

    def test_its_embed_path_exports_to_onnx(self, model: Any, tmp_path: Path) -> None:
        """For another batch size than it was traced with."""
        images = torch.randn(5, 3, 96, 64)
        found = exported_embeddings(model, images[:2], images, tmp_path / "model.onnx")
        np.testing.assert_allclose(found, self.ask(model, images)["embed"].numpy(), atol=1e-4)
