"""The contract of attribute models, as tests that every model's own tests inherit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lapel.models import AttributeNetwork, Triplets

ATTRIBUTES = 3


def alive(model: Any) -> Any:
    """A fresh model in which mistakes show, in evaluation mode.

    A residual branch that starts at zero hides what is inside it, and stored statistics of 0 and 1 a missing norm. They
    become those of a batch, because the maps of deep random networks with others are the same for any image.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
        for norm in norms:
            norm.momentum = None  # the mean of all batches: of this one
        model.train().embed(model.features(torch.randn(8, 3, 96, 96)), torch.arange(model.attributes))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()


class AttributeModelContract:
    """Inherit it in a class whose name begins with ``Test`` and give ``build``; the trunk should be a tiny one.

    Attributes:
        invariant: parameters that may have a gradient of zero, because the embedding does not depend on them.
        conditioned: whether the embedding depends on the attribute.
        located: whether the attention depends on position and attribute; otherwise it must be 1/HW everywhere.
        stride: of the attention maps.
        own_loss: whether the model has a triplet objective of its own.
        trained: whether any of its parameters is trained.
    """

    invariant: tuple[str, ...] = ()
    conditioned = True
    located = True
    stride = 16
    own_loss = False
    trained = True

    def build(self) -> Any:
        """A fresh model of ``ATTRIBUTES`` attributes; the same weights for the same state of torch's generator."""
        raise NotImplementedError

    @pytest.fixture
    def model(self) -> Any:
        torch.manual_seed(0)
        model = self.build()
        return alive(model)

    @torch.no_grad()
    def ask(self, model: AttributeNetwork, images: Tensor, attributes: list[int]) -> tuple[Tensor, Tensor]:
        """Embeddings and attention under some attributes."""
        features = model.features(images)
        numbers = torch.tensor(attributes)
        return model.embed(features, numbers), model.attention(features, numbers)

    def test_all_attributes_in_one_pass_equal_one_at_a_time(self, model: Any) -> None:
        images = torch.randn(4, 3, 96, 96)
        vectors, maps = self.ask(model, images, list(range(ATTRIBUTES)))
        for number in range(ATTRIBUTES):
            alone, looked = self.ask(model, images, [number])
            torch.testing.assert_close(alone[:, 0], vectors[:, number], atol=1e-5, rtol=0)
            torch.testing.assert_close(looked[:, 0], maps[:, number], atol=1e-5, rtol=0)
        if self.conditioned:
            assert (vectors[:, 0] - vectors[:, 1]).abs().max() > 1e-3, "attributes have embeddings of their own"
        else:
            assert torch.equal(vectors, vectors[:, :1].expand_as(vectors)), "one embedding for all attributes"

    def test_attention_looks_somewhere_or_everywhere_alike(self, model: Any) -> None:
        _, maps = self.ask(model, torch.randn(2, 3, 96, 80), [0, 1, 2])
        even = torch.full_like(maps, 1 / maps[0, 0].numel())
        if self.located:
            assert (maps / even - 1).abs().max() > 1e-3, "places differ"
            assert (maps[:, 0] / maps[:, 1] - 1).abs().max() > 1e-3, "attributes look elsewhere"
        else:
            assert torch.equal(maps, even)

    @pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
    def test_each_image_under_its_own_attribute(self, model: Any, training: bool) -> None:
        images, numbers = torch.randn(5, 3, 96, 96), torch.tensor([2, 0, 1, 1, 2])
        with torch.no_grad():
            features = model.train(training).features(images)
            torch.manual_seed(3)
            found = model.embed_each(features, numbers)
            torch.manual_seed(3)
            every = model.embed(features, torch.arange(ATTRIBUTES))
        assert found.shape == (5, model.dim)
        torch.testing.assert_close(found, every[torch.arange(5), numbers], atol=1e-5, rtol=0)

    def test_its_own_loss_falls_as_the_positive_comes_nearer(self, model: Any) -> None:
        """From the negative's image to the anchor's own."""
        generator = torch.Generator().manual_seed(5)
        anchor, other = torch.randn(2, 6, 3, 96, 96, generator=generator)
        targets = Triplets(torch.tensor([0, 1, 2, 2, 1, 0]), torch.tensor([[0, 0, 1]]).repeat(6, 1))

        def loss(positive: Tensor) -> Tensor | None:
            roles = [model.features(images) for images in (anchor, positive, other)]
            found: Tensor | None = model.triplet_objective(roles, targets, 0.2)
            return found

        far = loss(other)
        if not self.own_loss:
            assert far is None
            return
        near = loss(anchor)
        assert far is not None
        assert near is not None
        assert far.shape == near.shape == ()
        assert torch.isfinite(far)
        assert near < far
        far.backward()
        grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        assert grads
        assert all(torch.isfinite(grad).all() for grad in grads)

    def test_images_have_embeddings_of_their_own(self, model: Any) -> None:
        vectors, _ = self.ask(model, torch.randn(2, 3, 96, 96), [0, 1, 2])
        assert (vectors[0] - vectors[1]).abs().amax(-1).min() > 1e-3

    def test_the_trunk_runs_once_whatever_is_asked(self, model: Any) -> None:
        runs: list[int] = []
        model.trunk.register_forward_hook(lambda *_: runs.append(1))
        with torch.no_grad():
            features = model.features(torch.randn(2, 3, 96, 96))
            for numbers in ([0], [2, 1], [0, 1, 2]):
                model.embed(features, torch.tensor(numbers))
                model.attention(features, torch.tensor(numbers))
        assert len(runs) == 1

    @pytest.mark.parametrize("size", [(96, 96), (97, 131), (64, 160), (33, 47)], ids=str)
    @pytest.mark.parametrize("batch", [1, 3])
    def test_shapes_lengths_and_sums(self, model: Any, size: tuple[int, int], batch: int) -> None:
        images = torch.randn(batch, 3, *size)
        vectors, maps = self.ask(model, images, [0, 1, 2])
        assert vectors.shape == (batch, 3, model.dim)
        assert vectors.dtype == torch.float32
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(batch, 3))
        height, width = -(-size[0] // self.stride), -(-size[1] // self.stride)
        assert maps.shape == (batch, 3, height, width), "at its stride, whatever the input's shape"
        assert maps.min() >= 0
        torch.testing.assert_close(maps.sum((-2, -1)), torch.ones(batch, 3))

    def test_an_image_does_not_depend_on_its_batch(self, model: Any) -> None:
        images = torch.randn(3, 3, 96, 96)
        together, _ = self.ask(model, images, [0, 1, 2])
        for number in range(3):
            alone, _ = self.ask(model, images[number : number + 1], [0, 1, 2])
            torch.testing.assert_close(alone[0], together[number], atol=1e-5, rtol=0)

    def test_channels_last_images_give_the_same(self, model: Any) -> None:
        images = torch.randn(2, 3, 96, 96)
        expected, _ = self.ask(model, images, [0, 1, 2])
        found, _ = self.ask(model, images.contiguous(memory_format=torch.channels_last), [0, 1, 2])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("asked", [[2, 0, 1], [1, 0], [2, 2, 0, 2], [1]], ids=str)
    def test_attributes_come_in_the_order_asked_for(self, model: Any, asked: list[int]) -> None:
        images = torch.randn(2, 3, 96, 96)
        vectors, maps = self.ask(model, images, [0, 1, 2])
        found, looked = self.ask(model, images, asked)
        torch.testing.assert_close(found, vectors[:, asked], atol=1e-5, rtol=0)
        torch.testing.assert_close(looked, maps[:, asked], atol=1e-5, rtol=0)

    def test_eval_is_deterministic_and_changes_no_buffer(self, model: Any) -> None:
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        images = torch.randn(2, 3, 96, 96)
        first, second = self.ask(model, images, [0, 1, 2])[0], self.ask(model, images, [0, 1, 2])[0]
        assert torch.equal(first, second)
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, before[name]), name

    def test_a_state_dict_round_trip_gives_the_same_embeddings(self, model: Any) -> None:
        torch.manual_seed(1)
        other = self.build().eval()
        other.load_state_dict(model.state_dict())
        images = torch.randn(2, 3, 96, 96)
        assert torch.equal(self.ask(model, images, [0, 1, 2])[0], self.ask(other, images, [0, 1, 2])[0])

    def test_the_same_seed_builds_the_same_model(self) -> None:
        models = []
        for _ in range(2):
            torch.manual_seed(7)
            models.append(self.build().state_dict())
        assert all(torch.equal(tensor, models[1][name]) for name, tensor in models[0].items())

    def test_gradients_reach_every_trainable_parameter(self, model: Any) -> None:
        model.train()
        features = model.features(torch.randn(4, 3, 96, 96))
        vectors = model.embed(features, torch.arange(ATTRIBUTES))
        assert vectors.requires_grad == self.trained
        if not self.trained:
            return
        loss = (vectors * torch.randn_like(vectors)).sum()
        logits = getattr(features, "logits", None)
        if logits is not None:
            loss = loss + (logits * torch.randn_like(logits)).sum()
        loss.backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, name
                assert torch.isfinite(parameter.grad).all(), name
                assert parameter.grad.abs().max() > 0 or name in self.invariant, name

    def test_bfloat16_autocast_still_gives_float32_unit_vectors(self, model: Any) -> None:
        images = torch.randn(2, 3, 96, 96)
        expected, _ = self.ask(model, images, [0, 1, 2])
        with torch.autocast("cpu", torch.bfloat16):
            vectors, maps = self.ask(model, images, [0, 1, 2])
        assert vectors.dtype == torch.float32
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2, 3))
        torch.testing.assert_close(maps.float().sum((-2, -1)), torch.ones(2, 3), atol=1e-4, rtol=0)
        assert (vectors * expected).sum(-1).min() > 0.98, "rounding only"

    def test_a_batch_of_one_trains(self, model: Any) -> None:
        model.train()
        vectors = model.embed(model.features(torch.randn(1, 3, 96, 96)), torch.arange(ATTRIBUTES))
        if self.trained:
            vectors.sum().backward()
        assert torch.isfinite(vectors).all()
