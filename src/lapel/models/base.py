"""The contracts of attribute models and of instance models, and what the models of each have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lapel.errors import RecipeError


class Triplets(NamedTuple):
    """What is known of a batch of triplets.

    Attributes:
        attributes: (B,) int64, the attribute of each triplet.
        values: (B, 3) int64, the number of the value that anchor, positive and negative show under it; anchor and
            positive share theirs.
    """

    attributes: Tensor
    values: Tensor


class AttributeNetwork(nn.Module):
    """Base of the models that embed an image under an attribute.

    A subclass has ``attributes``, ``dim`` and ``trunk``, and writes ``features``, ``embed`` and ``attention``. The
    trunk runs once per image, in ``features``, however many attributes are asked for. An ``attributes`` argument is an
    int64 tensor of attribute numbers: (A,), the same for every image, or, in ``embed_each``, (B,), one for each.

    Attributes:
        attributes: number of attributes n.
        dim: size of an embedding.
        trunk: the trunk, whose input normalisation the run takes.
        classifier: the layer that predicts the attribute from the trunk's last block, or None. A model that has one
            gives ``logits`` among its features while training.
        pyramid: whether the trunk's last block serves the embedding too.
        distance: how the model's paper compares what ``raw`` gives. Triplet prediction goes by it; search and retrieval
            by attribute go by the cosine of ``embed``, whatever it is.
    """

    attributes: int
    dim: int
    trunk: Any
    distance: ClassVar[Literal["cosine", "euclidean"]] = "cosine"

    def __init__(self) -> None:
        super().__init__()
        # Of the instance: an attribute of the class would hide a module that a subclass sets under its name.
        self.classifier: nn.Linear | None = None
        self.pyramid = False

    def features(self, images: Tensor) -> Any:
        """Run the trunk once: images (B, 3, H, W) -> what every attribute shares, a NamedTuple."""
        raise NotImplementedError

    def embed(self, features: Any, attributes: Tensor) -> Tensor:
        """Embeddings under attributes (A,) -> (B, A, D), float32, L2-normalised."""
        raise NotImplementedError

    def raw(self, features: Any, attributes: Tensor) -> Tensor:
        """What ``distance`` is taken of, under attributes (A,) -> (B, A, D): here the embeddings themselves."""
        return self.embed(features, attributes)

    def embed_each(self, features: Any, attributes: Tensor) -> Tensor:
        """Embeddings of each image under its own attribute (B,) -> (B, D).

        Here by embedding under all of them, which costs little behind one trunk; a model with a branch per attribute
        does better.
        """
        every = self.embed(features, torch.arange(self.attributes, device=attributes.device))
        return every[torch.arange(len(every), device=every.device), attributes]

    def attention(self, features: Any, attributes: Tensor) -> Tensor:
        """Where the attributes (A,) look -> (B, A, H, W), non-negative, summing to 1 over positions."""
        raise NotImplementedError

    def triplet_objective(
        self,
        roles: Sequence[Any],  # noqa: ARG002
        targets: Triplets,  # noqa: ARG002
        margin: float,  # noqa: ARG002
    ) -> Tensor | None:
        """Loss of a batch of triplets where the model's paper has its own; None: the cosine triplet loss.

        Args:
            roles: features of anchors, positives and negatives.
            targets: their attributes and values.
            margin: of the triplet loss.
        """
        return None


class ItemNetwork(nn.Module):
    """Base of the models that embed an image as its item, to find exactly this one (AHBN and what it compares with).

    A subclass has ``dim`` and ``trunk``, and writes ``features`` and ``embed``. Branches that predict something beside
    the embedding say so by ``tags`` and ``points``. The layer that predicts tags is ``tag_head``: a training that
    starts from a run of other tags takes all but that.

    Attributes:
        dim: size D of an embedding.
        trunk: the trunk, whose input normalisation the run takes.
        tags: number K of attribute values that the attribute branch predicts, 0 without one.
        points: number P of landmarks that the localisation branch predicts, 0 without one.
        gazes: what the M maps of ``saliency`` show, in their order.
        distance: how the model's paper compares what ``embed`` gives. An index compares by cosine whatever it is.
    """

    dim: int
    trunk: Any
    tags: int = 0
    points: int = 0
    gazes: tuple[str, ...] = ()
    distance: ClassVar[Literal["cosine", "euclidean"]] = "euclidean"

    def features(self, images: Tensor) -> Any:
        """Run the branches once: images (B, 3, H, W) -> a NamedTuple."""
        raise NotImplementedError

    def embed(self, features: Any) -> Tensor:
        """Embeddings (B, D), float32: what ``distance`` is taken of, of any length."""
        raise NotImplementedError

    def tag_logits(self, features: Any) -> Tensor | None:  # noqa: ARG002
        """Logits of the attribute branch (B, K); None where the model has none."""
        return None

    def heatmaps(self, features: Any) -> Tensor | None:  # noqa: ARG002
        """Heat-maps of the localisation branch (B, S, P, h, w) of its S supervised stacks, the last the prediction.

        None where the model has none. Position (i, j) is the square of the model's input that it covers.
        """
        return None

    def saliency(self, features: Any) -> Tensor:
        """Where each branch looks -> (B, M, H, W), non-negative, each map summing to 1 over positions."""
        raise NotImplementedError


def check_option(model: str, key: str, right: bool, expected: str, found: object) -> None:
    """Refuse a wrong value of a model's option.

    Raises:
        RecipeError: unless ``right``.
    """
    if not right:
        raise RecipeError(f"model {model!r}: expected option {key} to be {expected}, found {found!r}")
