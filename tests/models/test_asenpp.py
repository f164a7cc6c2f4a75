"""ASEN++ against a slow writing of its description, one image and one attribute at a time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lapel.errors import RecipeError
from lapel.models import Triplets, branches, build
from lapel.models.asenpp import ASENPP, GuidedHead
from lapel.models.branches import Renormalise
from lapel.models.regions import attended_boxes
from lapel.models.trunks import Trunk, parameter_count

from .contract import ATTRIBUTES, AttributeModelContract
from .test_regions import slow_box, slow_crop

TRUNK = "test_resnet"
EVERY = torch.arange(ATTRIBUTES)
TINY: dict[str, Any] = {
    "width": 24,
    "attribute_width": 16,
    "local_width": 12,
    "local_trunk": TRUNK,
    "local_size": 32,
}


def tiny(**options: Any) -> ASENPP:
    model = build("asenpp", ATTRIBUTES, TRUNK, **{**TINY, **options})
    assert isinstance(model, ASENPP)
    return model


class TestBothBranches(AttributeModelContract):
    own_loss = True

    def build(self) -> ASENPP:
        return tiny(threshold=0.9)

    def test_each_image_under_its_own_attribute(self, model: Any) -> None:
        """In training the local branch's batch statistics are those of the crops it is given."""
        super().test_each_image_under_its_own_attribute(model, False)

    def test_bfloat16_autocast_still_gives_float32_unit_vectors(self, model: Any) -> None:
        """A box on noise may follow the rounding to another cell; here it is the whole frame."""
        model.threshold = 0.0
        super().test_bfloat16_autocast_still_gives_float32_unit_vectors(model)


class TestFirstStage(AttributeModelContract):
    def build(self) -> ASENPP:
        return tiny(local=False)


def slow_attention(head: GuidedHead, maps: Tensor, attribute: Tensor) -> Tensor:
    """V2's spatial attention without BN: (C, h, w) and (e,) -> (h, w)."""
    query = torch.tanh(head.where.weight @ attribute + head.where.bias)
    height, width = maps.shape[1:]
    score = torch.zeros(height, width, dtype=maps.dtype)
    for y in range(height):
        for x in range(width):
            key = torch.tanh(head.image.weight[:, :, 0, 0] @ maps[:, y, x] + head.image.bias)
            score[y, x] = sum(float(k) * float(q) for k, q in zip(key, query, strict=True)) / math.sqrt(len(query))
    return torch.exp(score) / torch.exp(score).sum()


def slow_vector(head: GuidedHead, maps: Tensor, attention: Tensor, attribute: Tensor) -> Tensor:
    """Weighted sum, channel attention, FC, L2: -> (width,)."""
    vector = torch.zeros(len(maps), dtype=maps.dtype)
    for y in range(maps.shape[1]):
        for x in range(maps.shape[2]):
            vector += attention[y, x] * maps[:, y, x]
    asked = torch.relu(head.which.weight @ attribute + head.which.bias)
    reduce, expand = head.channel.reduce, head.channel.expand
    hidden = torch.relu(reduce.weight @ torch.cat([vector, asked]) + reduce.bias)
    vector = vector * torch.sigmoid(expand.weight @ hidden + expand.bias)
    vector = head.out.weight @ vector + head.out.bias
    return vector / vector.norm()


def slow(model: ASENPP, image: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Global and local unit vector of one image (3, H, W) under one attribute."""
    local: Any = model.local
    attribute = model.embedding.weight[number]
    maps = model.trunk(image[None])[1][0]
    attention = slow_attention(model.head, maps, attribute)
    whole = slow_vector(model.head, maps, attention, attribute)
    box, _ = slow_box(attention.detach(), *image.shape[1:], model.threshold)
    crop = torch.from_numpy(slow_crop(image, box, model.local_size))
    near = local.trunk(crop[None])[1][0]
    looked = slow_attention(local.head, near, attribute)
    return whole, slow_vector(local.head, near, looked, attribute)


def awake(model: Any) -> Any:
    """What a fresh network hides: flat attention, residual branches of zero."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
            if name.endswith(("where.weight", "image.weight", "embedding.weight", "key.weight", "query.weight")):
                parameter.mul_(3)
    return model


def assert_boxes_differ(attention: Tensor, size: tuple[int, int], threshold: float) -> None:
    """Noise is attended all over: at a low threshold every box is the whole frame, and a wrong crop would not show."""
    boxes = attended_boxes(attention, size, threshold).flatten(0, 1)
    assert (boxes[:, 2] - boxes[:, 0]).min() < 0.5 * min(size) / size[1]
    assert len(boxes.unique(dim=0)) > len(boxes) // 2


@pytest.mark.parametrize("size", [(64, 64), (48, 80)], ids=str)
@torch.no_grad()
def test_it_equals_its_description_image_by_image(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = awake(tiny(threshold=0.9)).double().eval()
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    features = model.features(images)
    found, looked = model.embed(features, EVERY), model.attention(features, EVERY)
    assert_boxes_differ(looked, size, 0.9)
    each = model.embed_each(features, torch.tensor([2, 0]))
    torch.testing.assert_close(each, torch.stack([found[0, 2], found[1, 0]]), atol=1e-5, rtol=0)
    for image in range(2):
        for number in range(ATTRIBUTES):
            maps = model.trunk(images[image : image + 1])[1][0]
            expected = slow_attention(model.head, maps, model.embedding.weight[number])
            torch.testing.assert_close(looked[image, number], expected, atol=1e-6, rtol=0, check_dtype=False)
            whole, near = slow(model, images[image], number)
            joined = torch.cat([math.sqrt(0.6) * whole, math.sqrt(0.4) * near]).float()
            torch.testing.assert_close(found[image, number], joined, atol=2e-4, rtol=0)


@torch.no_grad()
def test_the_objective_is_its_formula() -> None:
    torch.manual_seed(1)
    model = awake(tiny(global_weight=0.7, local_weight=0.3, align_weight=0.2, threshold=0.9)).double().eval()
    roles = torch.randn(3, 2, 3, 64, 64, dtype=torch.float64)
    attributes = torch.tensor([2, 0])
    targets = Triplets(attributes, torch.tensor([[0, 0, 1], [3, 3, 2]]))
    found = model.triplet_objective([model.features(images) for images in roles], targets, 0.5)
    vectors = [[slow(model, roles[role, row], int(attributes[row])) for row in range(2)] for role in range(3)]
    expected = 0.0
    for branch, weight in ((0, 0.7), (1, 0.3)):
        for row in range(2):
            a, p, n = (vectors[role][row][branch] for role in range(3))
            expected += weight * max(0.0, 0.5 + float(a @ n) - float(a @ p)) / 2
    for role in range(3):
        expected += 0.2 * sum(1 - float(g @ near) for g, near in vectors[role]) / 2
    assert found is not None
    assert float(found) == pytest.approx(expected, abs=1e-4)


def test_the_first_stage_has_the_cosine_triplet_loss() -> None:
    model = tiny(local=False)
    features = model.features(torch.randn(2, 3, 64, 64))
    targets = Triplets(torch.tensor([0, 1]), torch.zeros(2, 3, dtype=torch.int64))
    assert model.triplet_objective([features] * 3, targets, 0.2) is None


def test_the_objective_trains_both_branches() -> None:
    model = awake(tiny()).train()
    targets = Triplets(torch.tensor([0, 1, 2]), torch.tensor([[0, 0, 1]] * 3))
    roles = [model.features(torch.randn(3, 3, 64, 64)) for _ in range(3)]
    loss = model.triplet_objective(roles, targets, 2.0)
    assert loss is not None
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_the_second_stage_starts_from_the_first_by_name() -> None:
    first, second = tiny(local=False), tiny()
    stored = first.state_dict()
    assert set(stored) < set(second.state_dict())
    assert {key.split(".")[0] for key in set(second.state_dict()) - set(stored)} == {"local"}
    missing = second.load_state_dict(stored, strict=False)
    assert not missing.unexpected_keys
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        alone = first.eval().embed(first.features(images), EVERY)
        joined = second.eval().embed(second.features(images), EVERY)
    torch.testing.assert_close(joined[..., : first.dim] / math.sqrt(0.6), alone, atol=1e-5, rtol=0)


def test_the_local_branch_runs_once_per_image_for_its_own_attribute(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = tiny().eval()
    seen: list[int] = []
    model.local.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    features = model.features(torch.randn(4, 3, 64, 64))
    with torch.no_grad():
        model.embed_each(features, torch.tensor([0, 1, 2, 0]))
        assert seen == [4]
        whole = model.embed(features, EVERY)
        assert seen == [4, 12]
        monkeypatch.setattr(branches, "CROPS", 9)
        parts = model.embed(features, EVERY)
        assert seen == [4, 12, 8, 4], "two attributes of four images, then the last"
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)


def test_the_cosine_is_the_weighted_mean_of_the_branches() -> None:
    model: Any = tiny(share=0.25).eval()
    features = model.features(torch.randn(2, 3, 64, 64))
    with torch.no_grad():
        vectors = model.embed(features, EVERY)[:, 0]
        g, near = vectors[:, :24] / math.sqrt(0.75), vectors[:, 24:] / math.sqrt(0.25)
    assert float(vectors[0] @ vectors[1]) == pytest.approx(
        0.75 * float(g[0] @ g[1]) + 0.25 * float(near[0] @ near[1]), abs=1e-5
    )


def test_a_smaller_global_input_leaves_the_crops_sharp() -> None:
    """The global branch sees 64 pixels of 128; crops come from the 128."""
    torch.manual_seed(0)
    model: Any = awake(tiny(global_size=64, threshold=0.9)).eval()
    seen: dict[str, Tensor] = {}
    model.trunk.register_forward_pre_hook(lambda _, inputs: seen.update(whole=inputs[0]))
    model.local.trunk.register_forward_pre_hook(lambda _, inputs: seen.update(crop=inputs[0]))
    images = torch.randn(1, 3, 128, 96)
    with torch.no_grad():
        features = model.features(images)
        model.embed(features, EVERY[:1])
        assert model.attention(features, EVERY).shape == (1, ATTRIBUTES, 4, 3)
    assert seen["whole"].shape == (1, 3, 64, 48)
    attention = model.attention(features, EVERY[:1])[0, 0].detach()
    box, _ = slow_box(attention, 64, 48, 0.9)
    expected = torch.from_numpy(slow_crop(images[0], [2 * edge for edge in box], 32)).float()
    torch.testing.assert_close(seen["crop"][0], expected, atol=1e-3, rtol=0)


def test_crops_are_normalised_for_the_local_trunk() -> None:
    """A trunk trained at mean and deviation 0.5 sees what it was trained with behind one of ImageNet's, and back."""
    small = Trunk("mobilenetv3_small_050")
    pixels = torch.rand(1, 3, 4, 4)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (small.mean, small.std))
    half = (pixels - 0.5) / 0.5
    torch.testing.assert_close(Renormalise(small, "vit_base_patch16_224.augreg_in21k")((pixels - mean) / std), half)
    torch.testing.assert_close(Renormalise(small, "resnet34")((pixels - mean) / std), (pixels - mean) / std)
    model: Any = tiny(local_trunk="mobilenetv3_small_050")
    torch.testing.assert_close(model.local.renormalise(half), (pixels - mean) / std)


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def head(channels: int, common: int, hidden: int) -> int:
    """1x1 convolution, two FC of the attribute, two of the channel attention, the last FC."""
    attention = linear(channels, common) + linear(512, common) + linear(512, 512)
    return attention + linear(channels + 512, hidden) + linear(hidden, channels) + linear(channels, 1024)


# ResNet to layer3 without FC; that of ResNet-50 is in papers.md 1.5, that of ResNet-34 counted below.
RESNET50, RESNET34 = 8_543_296, 8_170_304


@pytest.mark.parametrize(("attributes", "count"), [(8, 20_984_064), (5, 20_982_528), (4, 20_982_016)])
def test_parameter_counts(attributes: int, count: int) -> None:
    """No published count is known; this is the arithmetic of the sizes. ASENet_V2 has 10,910,784 for 8 attributes."""
    whole = RESNET50 + attributes * 512 + head(1024, 512, 512)
    if attributes == 8:
        assert whole == 10_910_784 - 2 * 512 + linear(1024, 1024), "V2 without BatchNorm, with a last layer"
    assert parameter_count(build("asenpp", attributes, local=False)) == whole
    assert parameter_count(build("asenpp", attributes)) == whole + RESNET34 + head(256, 256, 128) == count


def test_resnet34_to_layer3() -> None:
    """3x3 convolutions without bias and their norms; 3, 4 and 6 blocks of two, a 1x1 where the size changes."""

    def conv(inputs: int, outputs: int, kernel: int) -> int:
        return inputs * outputs * kernel**2 + 2 * outputs

    count = conv(3, 64, 7)
    for inputs, outputs, blocks in ((64, 64, 3), (64, 128, 4), (128, 256, 6)):
        count += conv(inputs, outputs, 3) + (2 * blocks - 1) * conv(outputs, outputs, 3)
        count += conv(inputs, outputs, 1) if inputs != outputs else 0
    assert count == RESNET34


MISTAKES = [
    ({"width": 0}, "expected option width to be at least 1, found 0"),
    ({"local_width": 0}, "expected option local_width to be at least 1, found 0"),
    ({"attribute_width": 0}, "expected option attribute_width to be at least 1, found 0"),
    ({"threshold": 1.0}, "expected option threshold to be from 0 to below 1, found 1.0"),
    ({"share": 1.2}, "expected option share to be from 0 to 1, found 1.2"),
    ({"global_size": 20}, "expected option global_size to be 0 or at least 32, found 20"),
    ({"local_size": 16}, "expected option local_size to be at least 32, found 16"),
    ({"align_weight": -1}, "expected option align_weight to be at least 0, found -1"),
    ({"local": 1}, "expected option local to be bool, found 1"),
    ({"local_trunk": "resnet43"}, "unknown trunk 'resnet43'; did you mean 'resnet34'?"),
    ({"locl": True}, "unknown option 'locl'; did you mean 'local'?"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES, ids=[str(change) for change, _ in MISTAKES])
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        tiny(**change)
    assert message in str(error.value)


def test_the_local_weights_are_read_only_where_the_trunks_are(tmp_path: Any) -> None:
    import timm
    from safetensors.torch import save_file

    main, other, absent = (tmp_path / f"{name}.safetensors" for name in ("main", "other", "absent"))
    torch.manual_seed(3)
    nets: list[nn.Module] = [timm.create_model(TRUNK) for _ in range(2)]
    for path, net in zip((main, other), nets, strict=True):
        save_file({key: tensor.clone() for key, tensor in net.state_dict().items()}, path)
    arguments: dict[str, Any] = {**TINY, "local_weights": str(other)}
    model: Any = build("asenpp", 3, TRUNK, str(main), **arguments)
    stem = nets[1].state_dict()["conv1.0.weight"]
    assert torch.equal(model.local.trunk.stages[0][0][0].weight, stem)
    assert torch.equal(model.trunk.stages[0][0][0].weight, nets[0].state_dict()["conv1.0.weight"])
    # A run is loaded, and a training resumed, without weights: the file may be gone by then.
    tiny(local_weights=str(absent))
    build("asenpp", 3, TRUNK, str(main), **{**TINY, "local_weights": "none"})
    build("asenpp", 3, TRUNK, str(main), **{**TINY, "local_weights": str(absent), "local": False})
    with pytest.raises(RecipeError, match=r"no weights file at .*absent\.safetensors"):
        build("asenpp", 3, TRUNK, str(main), **{**TINY, "local_weights": str(absent)})


def test_an_error_about_weights_names_the_option_that_decides_them() -> None:
    with pytest.raises(RecipeError, match=r"--set model\.options\.local_weights=PATH"), branches.named("local_weights"):
        raise RecipeError("name a local file: --set model.weights=PATH")


def test_it_can_be_traced_for_any_number_of_images() -> None:
    """Boxes depend on the images, shapes do not: what an export to ONNX needs."""
    traced_equals(awake(tiny(threshold=0.9)).eval())


def traced_equals(model: Any) -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> Tensor:
            vectors: Tensor = self.model.embed(self.model.features(images), EVERY)
            return vectors

    with torch.no_grad():
        shapes = {"images": {0: torch.export.Dim("batch", min=1, max=4096)}}
        program = torch.export.export(Whole(), (torch.randn(2, 3, 64, 64),), dynamic_shapes=shapes)
        for batch in (1, 3):
            images = torch.randn(batch, 3, 64, 64)
            torch.testing.assert_close(program.module()(images), Whole()(images), atol=1e-5, rtol=0)
