"""From a run and images to embeddings: the same preprocessing as in training, the trunk once per image.

A run of an item model is read like one of an attribute model with the one attribute ``item``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt

from lapel.errors import RunError, unknown
from lapel.retrieval.layout import ITEM
from lapel.runs import RunConfig, load_weights, read_config

if TYPE_CHECKING:
    import torch

    from lapel.image_source import Failure, ImageSource
    from lapel.images import Box, ImageLike
    from lapel.models.base import AttributeNetwork, ItemNetwork

Vectors = npt.NDArray[np.float32]


class Embedder:
    """Embeds images under attributes, or as their items.

    Attributes:
        run: folder it was loaded from.
        config: the run's configuration.
        items: whether it is an item run: each image has one embedding, that of its item.
        attributes: attribute names in the order of axis A; of an item run ``("item",)``.
        gazes: what the maps of ``attention`` show: the attributes, or the branches of an item run's model.
        tags: (attribute, value) of each tag that an item run predicts, in the order of the logits.
        dim: embedding size D.
        distance: how the model's paper compares raw vectors: ``cosine`` or ``euclidean``.
        fingerprint: SHA-256 over weights and settings; the same fingerprint, the same embeddings.
        preprocessing: how images are prepared.
        failures: images that ``embed_paths`` could not read, with reasons.
    """

    def __init__(
        self,
        model: AttributeNetwork | ItemNetwork,
        config: RunConfig,
        run: Path,
        fingerprint: str,
        device: str | None = None,
    ) -> None:
        import torch

        from lapel.images import Preprocessing

        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        # Which of the two contracts it obeys is the run's to say: ``items``.
        self.model: Any = model.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.config = config
        self.run = run
        self.fingerprint = fingerprint
        self.items = is_item_run(config)
        self.attributes: tuple[str, ...] = (ITEM,) if self.items else tuple(config.attributes)
        self.gazes: tuple[str, ...] = tuple(self.model.gazes) if self.items else self.attributes
        self.tags: tuple[tuple[str, str], ...] = tuple((name, value) for name, value in config.model.get("tags", ()))
        self.dim = int(model.dim)
        self.distance: Literal["cosine", "euclidean"] = model.distance
        self.preprocessing = Preprocessing.from_dict(config.preprocessing)
        self.failures: list[Failure] = []

    def embed(self, images: Sequence[ImageLike], attributes: Sequence[str] | None = None, batch: int = 64) -> Vectors:
        """Embed images: (N, A, D) float32, every vector of length one.

        Args:
            images: paths, bytes, PIL images or uint8 arrays (H, W, 3).
            attributes: axis A, by default all of ``self.attributes``.
            batch: images per forward pass; bounds memory.

        Raises:
            ImageError: an image cannot be read, or it is one image and no list.
            RunError: unknown attribute.
        """
        numbers, images = self._numbers(attributes), _listed(images)
        chunks = [
            self._embed(self._prepare(images[start : start + batch]), numbers) for start in range(0, len(images), batch)
        ]
        return np.concatenate(chunks) if chunks else np.zeros((0, len(numbers), self.dim), np.float32)

    def attention(self, images: Sequence[ImageLike], attributes: Sequence[str] | None = None) -> Vectors:
        """Where each attribute looks: (N, A, H, W) float32 over the prepared image, each map summing to 1.

        Of an item run: where each of its branches looks, axis A being ``gazes``.

        Args:
            images: paths, bytes, PIL images or uint8 arrays (H, W, 3).
            attributes: axis A, by default all of ``self.attributes``; not for item runs.

        Raises:
            ImageError: an image cannot be read, or it is one image and no list.
            RunError: unknown attribute; attributes asked of an item run.
        """
        numbers, images = self._gaze_numbers(attributes), _listed(images)
        maps = [self._attention(self._prepare([image]), numbers) for image in images]
        return np.concatenate(maps) if maps else np.zeros((0, len(numbers), 0, 0), np.float32)

    def heatmaps(self, images: Sequence[ImageLike]) -> Vectors | None:
        """Where an item run takes each landmark to be: (N, P, h, w) float32 over the prepared image, of the last stack.

        None where its model predicts none.

        Raises:
            ImageError: an image cannot be read, or it is one image and no list.
        """
        import torch

        found = []
        with torch.inference_mode():
            for image in _listed(images):
                maps = self.model.heatmaps(self.model.features(self._normalised(self._prepare([image]))))
                if maps is None:
                    return None
                found.append(_numpy(maps[:, -1]))
        return np.concatenate(found) if found else None

    def embed_paths(
        self,
        paths: Sequence[Path],
        boxes: Sequence[Box | None] | None = None,
        batch_size: int = 64,
        max_failed: float = 0.05,
        raw: bool = False,
    ) -> Iterator[tuple[npt.NDArray[np.int64], Vectors]]:
        """Embed many files, decoding ahead: yields (row numbers that could be read, (n, A, D) float32).

        Unreadable files are left out and listed in ``failures``. With ``raw`` the vectors are those that ``distance``
        is taken of, which need not have length one.

        Raises:
            ImageError: more than ``max_failed`` of the files cannot be read.
        """
        from lapel.image_source import ImageSource

        source = ImageSource(paths, self.preprocessing, boxes, cache_bytes=0, max_failed=max_failed)
        chunks = (np.arange(at, min(at + batch_size, len(paths))) for at in range(0, len(paths), batch_size))
        self.failures = []
        yield from self.embed_source(source, chunks, raw)
        self.failures = source.failures

    def embed_source(
        self, source: ImageSource, chunks: Iterable[npt.NDArray[np.int64]], raw: bool = False
    ) -> Iterator[tuple[npt.NDArray[np.int64], Vectors]]:
        """The same from an ``ImageSource``, whose ``failures`` tells what was left out."""
        numbers = self._numbers(None)
        for rows, images in source.batches(chunks):
            self.failures = source.failures
            if len(rows):
                yield rows, self._embed(images, numbers, raw)

    def attention_paths(
        self,
        paths: Sequence[Path],
        boxes: Sequence[Box | None] | None = None,
        batch_size: int = 64,
        max_failed: float = 0.05,
        attributes: Sequence[str] | None = None,
    ) -> Iterator[tuple[npt.NDArray[np.int64], Vectors]]:
        """Where many files are looked at: yields (row numbers that could be read, (n, A, H, W) float32).

        ``attention`` for files, decoded ahead and batched like ``embed_paths``, whose rules for unreadable files hold.

        Raises:
            ImageError: more than ``max_failed`` of the files cannot be read.
            RunError: unknown attribute; attributes asked of an item run.
        """
        from lapel.image_source import ImageSource

        numbers = self._gaze_numbers(attributes)
        source = ImageSource(paths, self.preprocessing, boxes, cache_bytes=0, max_failed=max_failed)
        self.failures = []
        for rows, images in source.batches(
            np.arange(at, min(at + batch_size, len(paths))) for at in range(0, len(paths), batch_size)
        ):
            if len(rows):
                yield rows, self._attention(images, numbers)
        self.failures = source.failures

    def export(self, path: Path | str) -> None:
        """Write the run as one ONNX file; see ``lapel.export.export_onnx``."""
        from lapel.export import export_onnx

        export_onnx(self, path)

    def _numbers(self, attributes: Sequence[str] | None) -> torch.Tensor:
        import torch

        for name in attributes or ():
            if name not in self.attributes:
                raise RunError(f"run {self.run.name}: {unknown('attribute', name, self.attributes)}")
        chosen = self.attributes if attributes is None else attributes
        return torch.tensor([self.attributes.index(name) for name in chosen], dtype=torch.int64, device=self.device)

    def _gaze_numbers(self, attributes: Sequence[str] | None) -> torch.Tensor:
        import torch

        if not self.items:
            return self._numbers(attributes)
        if attributes is not None:
            raise RunError(
                f"run {self.run.name} embeds items and looks with its branches ({', '.join(self.gazes)}), not by "
                "attribute: ask for attention without attributes"
            )
        return torch.arange(len(self.gazes), device=self.device)

    def _prepare(self, images: Sequence[ImageLike]) -> torch.Tensor:
        import torch

        from lapel.images import decode, prepare

        return torch.stack([prepare(decode(image), self.preprocessing) for image in images])

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        import torch

        from lapel.images import normalise

        return normalise(images.to(self.device, non_blocking=True), self.preprocessing, torch.channels_last)

    def _embed(self, images: torch.Tensor, numbers: torch.Tensor, raw: bool = False) -> Vectors:
        import torch
        from torch.nn import functional

        with torch.inference_mode():
            features = self.model.features(self._normalised(images))
            if self.items:
                vectors = self.model.embed(features).float()[:, None][:, numbers]
                vectors = vectors if raw else functional.normalize(vectors, dim=2)
            else:
                vectors = (self.model.raw if raw else self.model.embed)(features, numbers)
        return _numpy(vectors)

    def _attention(self, images: torch.Tensor, numbers: torch.Tensor) -> Vectors:
        import torch

        with torch.inference_mode():
            features = self.model.features(self._normalised(images))
            return _numpy(self.model.saliency(features) if self.items else self.model.attention(features, numbers))


def is_item_run(config: RunConfig) -> bool:
    """Whether a run's model embeds items, rather than attributes."""
    return config.task == "items"


def _numpy(tensor: torch.Tensor) -> Vectors:
    return cast(Vectors, tensor.float().cpu().numpy())


def _listed(images: Sequence[ImageLike]) -> Sequence[ImageLike]:
    """Refuse one image: a path has characters and an array has rows, each of which would be taken for an image."""
    if isinstance(images, str | bytes | Path) or getattr(images, "ndim", 4) == 3 or not hasattr(images, "__len__"):
        from lapel.errors import ImageError

        raise ImageError(f"expected a list of images, found one {type(images).__name__}: put it in a list")
    return images


def load(run: Path | str, device: str | None = None) -> Embedder:
    """Load a run folder.

    Args:
        run: the folder that training left.
        device: ``cpu``, ``cuda``, ...; by default CUDA where there is one.

    Raises:
        RunError: not a run folder; missing, damaged or altered weights.
    """
    run = Path(run)
    config = read_config(run)
    tensors, found = load_weights(run, config)
    return from_tensors(run, config, tensors, found, device)


def from_tensors(
    run: Path, config: RunConfig, tensors: dict[str, torch.Tensor], fingerprint: str, device: str | None = None
) -> Embedder:
    """Build the embedder of a configuration from weights already read.

    Raises:
        RunError: the tensors are not of this model.
    """
    spec = dict(config.model)
    options = {"trunk_options": spec["trunk_options"], **spec["options"]}
    model: AttributeNetwork | ItemNetwork
    if is_item_run(config):
        from lapel.models import build_item

        model = build_item(spec["name"], len(spec["tags"]), spec["trunk"], False, **options)
    else:
        from lapel.models import build

        model = build(spec["name"], list(config.attributes), spec["trunk"], False, **options)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise RunError(f"the weights of {run} do not fit its {spec['name']} model: {first}") from error
    return Embedder(model, config, run, fingerprint, device)
