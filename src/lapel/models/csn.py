"""CSN: conditional similarity networks (Veit, Belongie and Karaletsos, CVPR 2017).

One embedding per image and one mask per attribute over its dimensions. Twice: as the ASEN and AG-MAN papers measure it,
and as its own paper has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lapel.models.attention import MaskChannelAttention
from lapel.models.base import Triplets, check_option
from lapel.models.plain import PooledFeatures, PooledNetwork
from lapel.models.trunks import Trunk
from lapel.precision import single

STARTS: dict[str, Literal["block", "normal", "disjoint"]] = {
    "disjoint": "disjoint",
    "learned": "normal",
    "initialised": "block",
}


class _Masked(PooledNetwork):
    """What both have: the trunk to stride 16, average pooling, a linear layer, a mask per attribute.

    The vector among the features is the unmasked embedding.
    """

    def __init__(
        self, attributes: int, trunk: Trunk, width: int, start: Literal["block", "normal", "disjoint"]
    ) -> None:
        super().__init__(attributes, trunk, width)
        self.mask = MaskChannelAttention(attributes, width, start)

    def raw(self, features: PooledFeatures, attributes: Tensor) -> Tensor:
        """Masked embeddings under attributes (A,) -> (B, A, D), not normalised."""
        vectors = single(features.vector).unsqueeze(1)
        masked: Tensor = vectors * self.mask(vectors, attributes)
        return masked

    def embed(self, features: PooledFeatures, attributes: Tensor) -> Tensor:
        """Embeddings under attributes (A,) -> (B, A, D), float32, L2-normalised."""
        return F.normalize(self.raw(features, attributes).float(), dim=-1, eps=1e-8)


class CSN(_Masked):
    """CSN as in the tables of ASEN and AG-MAN (``Maryeon/asen``, model.py; AG-MAN Tables 2 to 4, row CSN).

    ResNet-50 to its third block, average pooling, a linear layer, the attribute's learned mask after ReLU, L2
    normalisation. It is trained by the cosine triplet loss, without norm penalties.

    Args:
        attributes: number of attributes n.
        trunk: timm name of the trunk.
        pretrained: see ``Trunk``.
        trunk_options: further arguments of ``timm.create_model``.
        width: size of the embedding.

    Raises:
        RecipeError: a width below 1.
    """

    def __init__(
        self,
        attributes: int,
        trunk: str = "resnet50",
        pretrained: bool | Path | str = False,
        trunk_options: Mapping[str, Any] | None = None,
        *,
        width: int = 1024,
    ) -> None:
        check_option("csn", "width", width >= 1, "at least 1", width)
        super().__init__(attributes, Trunk(trunk, pretrained, trunk_options), width, "normal")


class OriginalCSN(_Masked):
    """CSN as in its own paper (``andreasveit/conditional-similarity-networks``).

    ResNet-18 to its third block, average pooling (of 7 x 7 positions: images are 112 x 112), a linear layer to 64, a
    mask per attribute. The paper compares masked embeddings (``raw``) by their Euclidean distance. Triplet prediction,
    the paper's own measure, does the same, in validation and in evaluation. Search and retrieval by attribute, whose
    protocol is ASEN's, take the cosine of ``embed``: the angle of the masked embeddings.

    Args:
        attributes: number of attributes n.
        trunk: timm name of the trunk.
        pretrained: see ``Trunk``.
        trunk_options: further arguments of ``timm.create_model``.
        width: size of the embedding.
        masks: ``disjoint``: fixed, each attribute has a block of its own (the code's default). ``learned``: from
            N(0.9, 0.7). ``initialised``: learned, from 0.1 and 1 in the own block. Learned masks pass through ReLU.
        embedding_penalty: weight of the embeddings' length in the loss.
        mask_penalty: weight of the masks' length in the loss.

    Raises:
        RecipeError: a value that is none of these; disjoint masks of more attributes than dimensions.
    """

    distance = "euclidean"

    def __init__(
        self,
        attributes: int,
        trunk: str = "resnet18",
        pretrained: bool | Path | str = False,
        trunk_options: Mapping[str, Any] | None = None,
        *,
        width: int = 64,
        masks: Literal["disjoint", "learned", "initialised"] = "disjoint",
        embedding_penalty: float = 5e-3,
        mask_penalty: float = 5e-4,
    ) -> None:
        least = attributes if masks == "disjoint" else 1
        check_option("csn_original", "masks", masks in STARTS, "disjoint, learned or initialised", masks)
        check_option("csn_original", "width", width >= least, f"at least {least}", width)
        for key, found in (("embedding_penalty", embedding_penalty), ("mask_penalty", mask_penalty)):
            check_option("csn_original", key, found >= 0, "at least 0", found)
        super().__init__(attributes, Trunk(trunk, pretrained, trunk_options), width, STARTS[masks])
        self.embedding_penalty = embedding_penalty
        self.mask_penalty = mask_penalty

    def triplet_objective(self, roles: Sequence[PooledFeatures], targets: Triplets, margin: float) -> Tensor:
        """The paper's loss: max(0, d_pos - d_neg + margin), averaged over the batch of B triplets, with two penalties.

        Distances are Euclidean, between masked embeddings; as in torch's ``pairwise_distance``, 1e-6 is added to each
        difference, so that equal embeddings have a gradient. The penalties are read from the code thus: 5e-3 times the
        Frobenius norm of the batch's *unmasked* embeddings (B, D) divided by sqrt(B), which is the root mean square of
        their lengths, averaged over anchors, positives and negatives; 5e-4 times the sum of the absolute values of the
        masks used (B, D) divided by B, which is the same for the three. Fixed masks add a constant by it.

        Args:
            roles: features of anchors, positives and negatives.
            targets: the triplets' attributes; their values are not used.
            margin: 0.2 in the paper's code.
        """
        vectors = [single(role.vector) for role in roles]
        masks = self.mask(vectors[0], targets.attributes)
        anchor, positive, negative = (vector * masks for vector in vectors)
        loss = F.relu(F.pairwise_distance(anchor, positive) - F.pairwise_distance(anchor, negative) + margin).mean()
        count = len(masks)
        length = torch.stack([vector.norm() for vector in vectors]).mean() / count**0.5
        penalty: Tensor = self.embedding_penalty * length + self.mask_penalty * masks.abs().sum() / count
        return loss + penalty
