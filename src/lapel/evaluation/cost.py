"""What a model costs: parameters, floating-point operations, images per second.

Two kinds of figures. Parameters and GFLOP are properties of the model and the size of its input, the same on every
machine. Images per second belong to the machine, its load and its threads, which are noted beside them: compare such
figures only when they were measured in one session, and look at their spread.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lapel.errors import LapelError

FLOP_DEFINITION = (
    "GFLOP = 1e9 floating-point operations of embedding one image (under all attributes, where the model embeds under "
    "attributes), a multiply-add counted as 2; "
    "convolutions and matrix products, attention's included; not norms, activations, pooling and other work per element"
)
SPEED_DEFINITION = (
    "images per second = images of a batch / wall-clock seconds of it, the median over repeats after a warm-up, with "
    "the slowest and the fastest repeat; pixels are ready in memory: neither decoding nor the disk is in it"
)


@dataclass(frozen=True)
class Parameters:
    """Numbers of scalars; a tensor that serves twice counts once.

    Attributes:
        total: all parameters.
        trainable: those that require a gradient.
        embedding: those that embedding under all attributes depends on. The rest serves the training alone, as
            AG-MAN's last block and classifier do, and may be left out of a deployed model.
    """

    total: int
    trainable: int
    embedding: int


@dataclass(frozen=True)
class Speed:
    """Images per second; see ``SPEED_DEFINITION``.

    Attributes:
        median, slowest, fastest: over the repeats.
        repeats: how many were timed, after ``warm_up`` that were not.
        batch: images of one repeat.
        device: kind and name.
        threads: torch's, for work within an operation; it means little on a GPU.
    """

    median: float
    slowest: float
    fastest: float
    repeats: int
    warm_up: int
    batch: int
    device: str
    threads: int


@dataclass(frozen=True)
class Cost:
    """What embedding (and training) costs at one size of the input.

    Attributes:
        height, width: of the input in pixels.
        attributes: how many an image is embedded under; 0 for an instance model, which embeds its item alone.
        gflop: see ``FLOP_DEFINITION``.
        embedding: speed of embedding under all attributes.
        training: speed of a training step, or None where none was given.
    """

    height: int
    width: int
    attributes: int
    parameters: Parameters
    gflop: float
    embedding: Speed
    training: Speed | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON, with the definitions."""
        found = asdict(self)
        found["gflop"] = round(self.gflop, 6)
        for name in ("embedding", "training"):
            for key in ("median", "slowest", "fastest") if found[name] else ():
                found[name][key] = round(found[name][key], 3)
        return found | {"definitions": {"gflop": FLOP_DEFINITION, "speed": SPEED_DEFINITION}}


def measure(
    model: nn.Module,
    height: int,
    width: int,
    batch: int = 16,
    repeats: int = 7,
    warm_up: int = 2,
    step: Callable[[], object] | None = None,
    step_images: int = 0,
) -> Cost:
    """Measure a model on its own device.

    Args:
        model: an attribute model or an instance model.
        height: of the input in pixels.
        width: of the input in pixels.
        batch: images embedded at a time.
        repeats: timed ones.
        warm_up: repeats before them.
        step: one whole training step: forward, backward and the optimiser's step.
        step_images: images it takes (three per triplet).

    Raises:
        LapelError: a number below 1.
    """
    count = _attributes(model)
    speed = embedding_speed(model, height, width, batch, repeats, warm_up)
    trained = None if step is None else step_speed(step, step_images, _device(model), repeats, warm_up)
    return Cost(height, width, count, parameters(model, height, width), gflop(model, height, width), speed, trained)


def parameters(model: nn.Module, height: int = 224, width: int = 224) -> Parameters:
    """Count a model's parameters; for those of embedding it follows the graph of one embedding back to its leaves.

    The model is left as it was.
    """
    every = list(model.parameters())
    asked = [parameter.requires_grad for parameter in every]
    try:
        for parameter in every:
            parameter.requires_grad_(True)
        with _still(model), torch.enable_grad():
            used = _leaves(_embed(model, _images(model, 1, height, width)))
    finally:
        for parameter, wanted in zip(every, asked, strict=True):
            parameter.requires_grad_(wanted)
    return Parameters(
        sum(parameter.numel() for parameter in every),
        sum(parameter.numel() for parameter, wanted in zip(every, asked, strict=True) if wanted),
        sum(parameter.numel() for parameter in every if id(parameter) in used),
    )


def gflop(model: nn.Module, height: int, width: int, attributes: Sequence[int] | None = None) -> float:
    """Return the GFLOP of embedding one image, by default under all attributes; see ``FLOP_DEFINITION``.

    Args:
        model: an attribute model or an instance model.
        height: of the input in pixels.
        width: of the input in pixels.
        attributes: numbers of the attributes.

    Raises:
        LapelError: a height or width below 1.
    """
    images = _images(model, 1, height, width)
    # Attention by plain products: fused kernels differ between devices, and not all of them are counted.
    with _still(model), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        _embed(model, images, attributes)
    return float(counter.get_total_flops()) / 1e9


def embedding_speed(
    model: nn.Module, height: int, width: int, batch: int = 16, repeats: int = 7, warm_up: int = 2
) -> Speed:
    """Time the embedding of a batch under all attributes, as the index does it: no gradients, channels last.

    Raises:
        LapelError: a number below 1 (``warm_up``: below 0).
    """
    images = _images(model, batch, height, width)
    with _still(model), torch.inference_mode():
        return step_speed(lambda: _embed(model, images), batch, images.device, repeats, warm_up)


def step_speed(
    step: Callable[[], object],
    images: int,
    device: torch.device | str = "cpu",
    repeats: int = 7,
    warm_up: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Time anything that takes ``images`` images.

    Args:
        step: what is timed.
        images: how many images one call takes.
        device: where it works; a CUDA device is waited for before the clock is read.
        repeats: timed calls.
        warm_up: calls before them: caches fill, kernels are chosen.
        clock: seconds.

    Raises:
        LapelError: a number below 1 (``warm_up``: below 0).
    """
    for name, value, least in (("images", images, 1), ("repeats", repeats, 1), ("warm_up", warm_up, 0)):
        if value < least:
            raise LapelError(f"{name} is {value}: expected at least {least}")
    device = torch.device(device)
    for _ in range(warm_up):
        step()
    speeds = []
    for _ in range(repeats):
        _wait(device)
        start = clock()
        step()
        _wait(device)
        speeds.append(images / max(clock() - start, 1e-9))
    ends = min(speeds), max(speeds)
    threads = torch.get_num_threads()
    return Speed(float(np.median(speeds)), *ends, repeats, warm_up, images, device_name(device), threads)


def device_name(device: torch.device | str) -> str:
    """Return what a figure was measured on: the GPU's name, or the processor's and how many cores may be used."""
    device = torch.device(device)
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    if device.type != "cpu":
        return device.type
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"cpu: {_processor()}, {cores} cores"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _device(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _attributes(model: nn.Module) -> int:
    return int(getattr(cast(Any, model), "attributes", 0))


def _images(model: nn.Module, batch: int, height: int, width: int) -> Tensor:
    """Return noise (batch, 3, height, width): what a network does costs the same whatever it sees."""
    for name, value in (("batch", batch), ("height", height), ("width", width)):
        if value < 1:
            raise LapelError(f"{name} is {value}: expected at least 1")
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((batch, 3, height, width), generator=generator)
    return images.to(_device(model), memory_format=torch.channels_last)


def _embed(model: Any, images: Tensor, attributes: Sequence[int] | None = None) -> Tensor:
    if not _attributes(model):  # it embeds the item, under no attribute
        item: Tensor = model.embed(model.features(images))
        return item
    numbers = range(_attributes(model)) if attributes is None else attributes
    vectors: Tensor = model.embed(model.features(images), torch.tensor(list(numbers), device=images.device))
    return vectors


@contextlib.contextmanager
def _still(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode for a while; parts that were in it before stay so."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _leaves(result: Tensor) -> set[int]:
    """Return the identities of the leaf tensors that a result depends on."""
    found: set[int] = set()
    seen, waiting = set(), [result.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        waiting += [parent for parent, _ in node.next_functions]
    return found
