"""Trunks: any timm network with maps at strides 8, 16 and 32, in two callable parts.

AG-MAN sends a *fused* stride-16 map through the trunk's last block (official code, ``resnet.py``), so a trunk is split
there: ``forward`` runs to stride 16, ``tail`` is the last block, callable on any map of that shape.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lapel.errors import RecipeError, nearest, unknown

STRIDES = (8, 16, 32)
# Lapel sets these itself; some would read a pickle.
OWN_OPTIONS = {
    "pretrained",
    "features_only",
    "checkpoint_path",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "cache_dir",
}
# timm's feature networks that run their children one after the other; others join or skip maps between them.
SEQUENTIAL = ("FeatureListNet", "EfficientNetFeatures", "MobileNetV3Features")


class Trunk(nn.Module):
    """A timm network that gives its maps at strides 8 and 16, and its last block as a function.

    Args:
        name: a timm model name, for example ``resnet50`` or ``mobilenetv2_100``.
        pretrained: True takes the weights from the hub (or its local cache), a path takes a local ``.safetensors``
            file in timm's naming (a classifier head in it is ignored), False leaves them random.
        options: further arguments of ``timm.create_model``, for example ``{"pad_type": "same"}``.

    Attributes:
        channels: channels of the maps at strides 8, 16 and 32.
        mean, std: the input normalisation that the weights were trained with.

    Raises:
        RecipeError: unknown trunk, no maps at strides 8, 16 and 32, weights missing or of another network.
    """

    def __init__(
        self, name: str, pretrained: bool | Path | str = False, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.name = name
        net = _create(name, pretrained is True, dict(options or {}))
        if not isinstance(pretrained, bool) and not Path(pretrained).is_file():
            raise RecipeError(f"no weights file at {pretrained} for trunk {name!r}: expected a local .safetensors file")
        strides = list(net.feature_info.reduction())
        if not set(STRIDES) <= set(strides):
            raise RecipeError(
                f"trunk {name!r} has maps at strides {strides}; expected 8, 16 and 32 among them: "
                "choose a convolutional or pyramidal network such as resnet50, convnext_tiny or mobilenetv2_100"
            )
        taps = [max(i for i, stride in enumerate(strides) if stride == wanted) for wanted in STRIDES]
        self.channels = tuple(net.feature_info.channels()[tap] for tap in taps)
        config: Any = timm.get_pretrained_cfg(name)
        self.mean = tuple(float(v) for v in config.mean)
        self.std = tuple(float(v) for v in config.std)
        # Swin-like networks keep channels last between their blocks.
        self._channels_last = str(getattr(net, "output_fmt", "NCHW")).endswith("NHWC")
        self.stages = nn.ModuleList(_stages(net, [net.feature_info.module_name()[tap] for tap in taps], name))
        if not isinstance(pretrained, bool):
            load_local(net, Path(pretrained), name)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) -> maps at stride 8 (B, C8, H/8, W/8) and 16 (B, C16, H/16, W/16)."""
        stride8 = self.stages[0](images)
        stride16 = self.stages[1](stride8)
        return self._first(stride8), self._first(stride16)

    def tail(self, stride16: Tensor) -> Tensor:
        """Last block: a stride-16 map (B, C16, h, w) -> a stride-32 map (B, C32, h/2, w/2)."""
        native = stride16.permute(0, 2, 3, 1) if self._channels_last else stride16
        return self._first(self.stages[2](native))

    def drop_tail(self) -> None:
        """Remove the last block, for models that do not use it."""
        self.stages = self.stages[:2]

    def _first(self, features: Tensor) -> Tensor:
        return features.permute(0, 3, 1, 2) if self._channels_last else features


def whole(name: str, pretrained: bool | Path | str = False, options: Mapping[str, Any] | None = None) -> nn.Module:
    """Return the whole network but for its classifier: images (B, 3, H, W) -> its pooled vectors (B, D).

    Args and errors as of ``Trunk``, but any timm network will do.
    """
    net: nn.Module = _create(name, pretrained is True, dict(options or {}), num_classes=0)
    if not isinstance(pretrained, bool):
        load_local(net, Path(pretrained), name)
    return net


def _create(name: str, pretrained: bool, options: dict[str, Any], **kind: Any) -> Any:
    kind = kind or {"features_only": True}
    base = name.split(".")[0]
    if not timm.is_model(base):
        guess = nearest(name, timm.list_models())
        raise RecipeError(
            f"unknown trunk {name!r}{f'; did you mean {guess!r}?' if guess else ''}: expected a timm model name"
        )
    for key in OWN_OPTIONS & options.keys():
        raise RecipeError(
            f"trunk option {key!r} is not for recipes: weights are named by model.weights, as safetensors"
        )
    try:
        config: Any = timm.get_pretrained_cfg(name)
    except RuntimeError:
        raise RecipeError(unknown("trunk", name, timm.list_pretrained(f"{base}.*"))) from None
    try:
        with _hub() if pretrained else contextlib.nullcontext():
            return timm.create_model(name, pretrained=pretrained, **kind, **options)
    except Exception as error:
        if not pretrained:
            raise RecipeError(f"cannot build trunk {name!r} with options {options}: {error}") from error
        _create(name, False, options, **kind)  # says so where the network itself is at fault, not its weights
        if not (config.hf_hub_id or config.url):
            what = f"nobody has published pretrained weights of {name!r}. Name a local file"
        else:
            what = (
                f"cannot get the pretrained weights of {name!r} from the hub ({type(error).__name__}). Without a "
                f"network, put the file model.safetensors of the hub repository {config.hf_hub_id or f'timm/{name}'!r} "
                "on this machine and name it"
            )
        raise RecipeError(
            f"{what}: --set model.weights=PATH/model.safetensors (or --set model.weights=none to start from random)"
        ) from error


@contextlib.contextmanager
def _hub() -> Iterator[None]:
    """Where the hub cannot be reached, look in its local cache only: it would try again for a minute."""
    from huggingface_hub import constants

    log, offline = logging.getLogger("huggingface_hub"), constants.HF_HUB_OFFLINE
    level = log.level
    try:
        if not any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
            socket.getaddrinfo(urllib.parse.urlparse(constants.ENDPOINT).hostname, 443)
    except OSError:
        constants.HF_HUB_OFFLINE = True
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        log.setLevel(level)


def _stages(net: Any, taps: list[str], name: str) -> list[nn.Sequential]:
    """Cut a sequential timm feature network after its stride 8, 16 and 32 taps."""
    steps: list[tuple[str, nn.Module]] = []
    for key, child in net.named_children():
        if key == "blocks" and isinstance(child, nn.Sequential):
            steps += [(f"blocks.{number}", block) for number, block in child.named_children()]
        else:
            steps.append((key, child))
    names = [key.replace(".", "_") for key, _ in steps]
    try:
        if type(net).__name__ not in SEQUENTIAL:
            raise ValueError
        ends = [names.index(tap.replace(".", "_")) + 1 for tap in taps]
    except ValueError:
        raise RecipeError(
            f"trunk {name!r} cannot be cut at its stride-16 map: choose a network built of successive blocks, "
            "such as resnet50, convnext_tiny, efficientnet_b0, regnety_016 or swin_tiny_patch4_window7_224"
        ) from None
    starts = [0, *ends[:2]]
    return [nn.Sequential(*(step for _, step in steps[a:b])) for a, b in zip(starts, ends, strict=True)]


def load_local(net: nn.Module, path: Path, name: str) -> None:
    """Fill ``net`` from a local safetensors file in timm's naming; tensors it has no place for (the head) are ignored.

    Raises:
        RecipeError: no such file, not safetensors, or it lacks tensors of this network.
    """
    if not path.is_file():
        raise RecipeError(f"no weights file at {path} for trunk {name!r}: expected a local .safetensors file")
    try:
        stored = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise RecipeError(f"{path} is not a safetensors file ({error}): pickled .pth files are not loaded") from error
    wanted = net.state_dict()
    # features_only flattens 'stages.0.x' to 'stages_0.x'.
    matched = {key: found for key in wanted if (found := _stored_name(key, stored)) is not None}
    missing = [key for key in wanted if key not in matched and not key.endswith("num_batches_tracked")]
    wrong = [key for key, source in matched.items() if stored[source].shape != wanted[key].shape]
    if missing or wrong:
        key = (missing or wrong)[0]
        what = (
            "lacks" if missing else f"has {tuple(stored[matched[key]].shape)} instead of {tuple(wanted[key].shape)} for"
        )
        raise RecipeError(
            f"{path} is not a weights file of trunk {name!r}: it {what} {key!r} "
            f"({len(missing)} of {len(wanted)} tensors missing, {len(wrong)} of another shape)"
        )
    net.load_state_dict({key: stored[source] for key, source in matched.items()}, strict=False)


def _stored_name(key: str, stored: Mapping[str, Tensor]) -> str | None:
    for candidate in (key, re.sub(r"^(\w+?)_(\d+)\.", r"\1.\2.", key), re.sub(r"^(\w+?)_(\w+?)\.", r"\1.\2.", key)):
        if candidate in stored:
            return candidate
    return None


def parameter_count(module: nn.Module) -> int:
    """Number of trainable scalars."""
    return sum(int(parameter.numel()) for parameter in module.parameters() if parameter.requires_grad)


def pooled(features: Tensor) -> Tensor:
    """Global average pooling: (B, C, h, w) -> (B, C), whatever the input size."""
    return torch.flatten(nn.functional.adaptive_avg_pool2d(features, 1), 1)
