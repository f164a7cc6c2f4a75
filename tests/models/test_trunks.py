"""Trunks: the same maps as timm gives, whole or in parts; weights from files; messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from lapel.errors import RecipeError
from lapel.models.trunks import Trunk, load_local, pooled


def weights_of(name: str, path: Path, **options: Any) -> Path:
    """A classifier's weights as timm publishes them, head included."""
    tensors = timm.create_model(name, **options).state_dict()
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return path


TRUNKS: list[tuple[str, dict[str, Any]]] = [
    ("test_resnet", {}),
    ("mobilenetv2_100", {"pad_type": "same"}),
    ("convnext_atto", {}),
    ("test_efficientnet", {}),
    ("mobilenetv3_small_050", {}),
    (
        "swin_tiny_patch4_window7_224",
        {"img_size": (64, 96), "embed_dim": 24, "num_heads": (1, 2, 4, 8), "window_size": 2},
    ),
]


@pytest.mark.parametrize(("name", "options"), TRUNKS, ids=[name for name, _ in TRUNKS])
def test_its_parts_give_the_maps_of_timm_with_local_weights(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = weights_of(name, tmp_path / "weights.safetensors", **options)
    torch.manual_seed(1)
    trunk = Trunk(name, path, options).eval()
    whole = timm.create_model(name, features_only=True, **options).eval()
    load_local(whole, path, name)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        stride8, stride16 = trunk(images)
        stride32 = trunk.tail(stride16)
        expected = whole(images)[-3:]
    if name.startswith("swin"):
        expected = [found.permute(0, 3, 1, 2) for found in expected]
    for found, wanted, channels, stride in zip(
        (stride8, stride16, stride32), expected, trunk.channels, (8, 16, 32), strict=True
    ):
        assert found.shape == (2, channels, 64 // stride, 96 // stride)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_the_tail_takes_any_map_of_its_shape() -> None:
    trunk = Trunk("test_resnet").eval()
    fused = torch.randn(2, trunk.channels[1], 5, 9)
    assert trunk.tail(fused).shape == (2, trunk.channels[2], 3, 5)
    trunk.drop_tail()
    assert len(trunk.stages) == 2


def test_pad_type_same_keeps_strides_on_odd_sizes() -> None:
    trunk = Trunk("mobilenetv2_100", options={"pad_type": "same"}).eval()
    with torch.no_grad():
        stride8, stride16 = trunk(torch.randn(1, 3, 97, 65))
    assert stride8.shape[-2:] == (13, 9)
    assert stride16.shape[-2:] == (7, 5)


def test_normalisation_is_that_of_the_weights() -> None:
    assert Trunk("test_resnet").mean == timm.get_pretrained_cfg("test_resnet").mean
    assert Trunk("resnet18.tv_in1k").std == (0.229, 0.224, 0.225)


def test_pooled_is_the_mean_of_any_size() -> None:
    features = torch.randn(2, 5, 3, 7)
    torch.testing.assert_close(pooled(features), features.mean((2, 3)))


def damaged(kind: str, path: Path) -> Path:
    file = path / "weights.safetensors"
    if kind == "missing":
        return file
    if kind == "text":
        file.write_bytes(b"<html>not found</html>")
    elif kind == "pickle":
        torch.save(timm.create_model("test_resnet").state_dict(), file)
    elif kind == "other network":
        weights_of("test_efficientnet", file)
    elif kind == "half":
        tensors = timm.create_model("test_resnet").state_dict()
        save_file({key: tensor for key, tensor in tensors.items() if not key.startswith("layer3.")}, file)
    elif kind == "shape":
        tensors = timm.create_model("test_resnet").state_dict()
        save_file(tensors | {"layer2.0.conv1.weight": torch.zeros(2, 2, 1, 1)}, file)
    elif kind == "cut short":
        whole = weights_of("test_resnet", file).read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
    return file


FILES = [
    ("missing", "no weights file at {path} for trunk 'test_resnet': expected a local .safetensors file"),
    ("text", "{path} is not a safetensors file"),
    ("pickle", "pickled .pth files are not loaded"),
    ("other network", "{path} is not a weights file of trunk 'test_resnet': it lacks"),
    ("half", "it lacks 'layer3.0.conv1.weight'"),
    ("shape", "it has (2, 2, 1, 1) instead of (48, 32, 3, 3) for 'layer2.0.conv1.weight'"),
    ("cut short", "{path} is not a safetensors file"),
]


@pytest.mark.parametrize(("kind", "message"), FILES, ids=[kind for kind, _ in FILES])
def test_a_wrong_weights_file_is_refused(kind: str, message: str, tmp_path: Path) -> None:
    path = damaged(kind, tmp_path)
    with pytest.raises(RecipeError) as error:
        Trunk("test_resnet", path)
    assert message.format(path=path) in str(error.value)


NAMES: list[tuple[str, dict[str, Any], str]] = [
    ("resnet5O", {}, "unknown trunk 'resnet5O'; did you mean 'resnet50'?"),
    ("qqqqqqqq", {}, "unknown trunk 'qqqqqqqq': expected a timm model name"),
    ("resnet50.tv_in2k", {}, "did you mean 'resnet50.tv_in1k'?"),
    ("test_vit", {}, "has maps at strides [16, 16, 16]; expected 8, 16 and 32 among them"),
    ("hrnet_w18_small", {}, "cannot be cut at its stride-16 map: choose a network built of successive blocks"),
    ("efficientformer_l1", {}, "cannot be cut at its stride-16 map"),
    ("test_resnet", {"pad_typ": "same"}, "cannot build trunk 'test_resnet' with options {'pad_typ': 'same'}"),
]


@pytest.mark.parametrize(("name", "options", "message"), NAMES, ids=[name for name, _, _ in NAMES])
@pytest.mark.parametrize("pretrained", [False, True])
def test_a_trunk_that_cannot_serve_is_refused(
    name: str, options: dict[str, Any], message: str, pretrained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With weights asked for too: what is at fault is the network, not the hub."""
    build = timm.create_model

    def without_weights(name: str, pretrained: bool = False, **rest: Any) -> Any:
        return build(name, **rest)

    monkeypatch.setattr(timm, "create_model", without_weights)
    with pytest.raises(RecipeError) as error:
        Trunk(name, pretrained, options)
    assert message in str(error.value)


def test_without_the_hub_the_message_names_the_file_to_bring() -> None:
    """The tests run with HF_HUB_OFFLINE=1 and no cache of these weights."""
    with pytest.raises(RecipeError) as error:
        Trunk("resnet50.tv_in1k", pretrained=True)
    for part in ("model.safetensors", "'timm/resnet50.tv_in1k'", "--set model.weights=", "model.weights=none"):
        assert part in str(error.value)


@pytest.mark.parametrize("kind", [ConnectionError, RuntimeError, KeyError])
def test_whatever_the_hub_raises_is_explained(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    build = timm.create_model

    def unreachable(name: str, pretrained: bool = False, **rest: Any) -> Any:
        if pretrained:
            raise kind("no route to host")
        return build(name, **rest)

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(RecipeError, match=rf"from the hub \({kind.__name__}\).*'timm/test_resnet.r160_in1k'"):
        Trunk("test_resnet", pretrained=True)


def test_an_unreachable_hub_is_not_asked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from huggingface_hub import constants

    def no_names(*_: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    def seen(name: str, **_: Any) -> Any:
        offline.append(constants.HF_HUB_OFFLINE)
        raise OSError("not in the cache")

    offline: list[bool] = []
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", no_names)
    monkeypatch.setattr(timm, "create_model", seen)
    with pytest.raises(RecipeError):
        Trunk("test_resnet", pretrained=True)
    assert offline == [True, False]
    assert constants.HF_HUB_OFFLINE is False


def test_weights_that_nobody_published() -> None:
    with pytest.raises(RecipeError, match="nobody has published pretrained weights of 'coatnet_0_224'"):
        Trunk("coatnet_0_224", pretrained=True)
