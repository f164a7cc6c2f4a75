"""In the style of GRNet (Kuang et al., ICCV 2019): pairs scored by a graph over similarities of their regions.

GRNet's layer sizes are unpublished and there is no code of it; papers describe the steps. So this is built from the
steps, with sizes of ours, and says nothing about GRNet's own figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lapel.models.base import check_option
from lapel.models.pooled import PooledItem, PooledMap
from lapel.precision import single


class GRNetStyle(PooledItem):
    """An embedding for the first ranking, and a score of pairs to put its first candidates in order.

    The embedding is that of ``PooledItem``. For pairs, the trunk's last map is pooled in windows of several scales:
    n x n windows that overlap by half. A window of the query and one of the candidate, of the same scale, are a node:
    a linear map of the element-wise squared difference of the two, brought to unit length. Edges are softmaxed inner
    products of two linear projections of the nodes; one graph convolution with ReLU; a linear layer over all nodes
    gives the logit of "the same item".

    All sizes are ours, and so are: the windows' channels (a linear map of the trunk's, brought to a root mean square of
    1), that only windows of one scale are compared, and the bias in the map of the difference, without which the
    direction of a difference of nothing would be undefined.

    Args:
        tags: number K of tags to predict from the pooled map; 0 leaves that layer out.
        trunk: timm name of the trunk.
        pretrained: see ``Trunk``.
        trunk_options: further arguments of ``timm.create_model``.
        dim: size of the embedding.
        scales: number of scales: windows of 1 x 1, 2 x 2, ... scales x scales.
        region_dim: channels c of a window.
        node_dim: size of a node.
        pairs_at_once: pairs that are scored together. A pair takes about 400 KB with the default sizes; while
            training, what a block needs for its gradients is computed again rather than kept.

    Attributes:
        region_count: R, windows of an image: 14 for three scales.
        region_dim: c.

    Raises:
        RecipeError: an option below 1.
    """

    def __init__(
        self,
        tags: int,
        trunk: str = "resnet50",
        pretrained: bool | Path | str = False,
        trunk_options: Mapping[str, Any] | None = None,
        *,
        dim: int = 512,
        scales: int = 3,
        region_dim: int = 256,
        node_dim: int = 64,
        pairs_at_once: int = 128,
    ) -> None:
        sizes = {
            "dim": dim,
            "scales": scales,
            "region_dim": region_dim,
            "node_dim": node_dim,
            "pairs_at_once": pairs_at_once,
        }
        for key, value in sizes.items():
            check_option("grnet_style", key, value >= 1, "at least 1", value)
        super().__init__(tags, trunk, pretrained, trunk_options, dim=dim)
        self.scales = scales
        self.pairs_at_once = pairs_at_once
        self.region_dim = region_dim
        self.region_count = sum(n**2 for n in range(1, scales + 1))
        self.region = nn.Linear(self.trunk.channels[2], region_dim, bias=False)
        self.difference = nn.Linear(region_dim, node_dim)
        self.asking = nn.Linear(node_dim, node_dim, bias=False)
        self.answering = nn.Linear(node_dim, node_dim, bias=False)
        self.convolve = nn.Linear(node_dim, node_dim)
        self.match = nn.Linear(node_dim * sum(n**4 for n in range(1, scales + 1)), 1)

    def regions(self, features: PooledMap) -> Tensor:
        """Vectors of the windows (B, R, c), float32: all of the first scale, of the second, ..., row by row."""
        pooled = [windows(features.map, count) for count in range(1, self.scales + 1)]
        vectors = single(self.region(torch.cat(pooled, 1)))
        return (vectors * vectors.square().mean(-1, keepdim=True).clamp(min=1e-12).rsqrt()).float()

    def pair_scores(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """Logits of "these show the same item" (Q, K), float32, of queries (Q, R, c) with candidates (Q, K, R, c).

        Candidates that are the same for every query may be an expanded view: pairs are taken block by block, so nothing
        is copied beyond a block.
        """
        count, each = candidates.shape[:2]
        rows = torch.arange(count, device=queries.device).repeat_interleave(each)
        columns = torch.arange(each, device=queries.device).repeat(count)
        blocks = []
        for some in zip(rows.split(self.pairs_at_once), columns.split(self.pairs_at_once), strict=True):
            left, right = queries[some[0]], candidates[some[0], some[1]]
            if torch.is_grad_enabled():
                blocks.append(checkpoint(self._block, left, right, use_reentrant=False, preserve_rng_state=False))
            else:
                blocks.append(self._block(left, right))
        return torch.cat(blocks).view(count, each) if blocks else queries.new_zeros(count, each)

    def _block(self, left: Tensor, right: Tensor) -> Tensor:
        """Logits (n,) of pairs of regions (n, R, c)."""
        sizes = [n**2 for n in range(1, self.scales + 1)]
        apart = [
            (a.unsqueeze(2) - b.unsqueeze(1)).square().flatten(1, 2)
            for a, b in zip(left.split(sizes, 1), right.split(sizes, 1), strict=True)
        ]
        nodes = F.normalize(single(self.difference(torch.cat(apart, 1))), dim=-1, eps=1e-6)
        edges = torch.softmax(single(self.asking(nodes) @ self.answering(nodes).transpose(1, 2)), -1)
        seen = F.relu(self.convolve(edges.to(nodes.dtype) @ nodes))
        logits: Tensor = self.match(seen.flatten(1)).squeeze(1).float()
        return logits


def windows(features: Tensor, count: int) -> Tensor:
    """Average a map (B, C, h, w) in count x count windows -> (B, count^2, C), row by row.

    A window is 2 / (count + 1) of a side long, so that it shares half of itself with each neighbour, and together they
    fill the map; cells at its ends count by the part of them that lies inside.
    """
    down, across = (_spans(size, count).to(features) for size in features.shape[-2:])
    return torch.einsum("ih,bchw,jw->bijc", down, features, across).flatten(1, 2)


def _spans(size: int, count: int) -> Tensor:
    """Shares (count, size) of the cells in each of the windows along one side; a row sums to 1."""
    length = 2 * size / (count + 1)
    start = torch.arange(count, dtype=torch.float64).unsqueeze(1) * (length / 2)
    cell = torch.arange(size, dtype=torch.float64)
    inside = torch.minimum(start + length, cell + 1) - torch.maximum(start, cell)
    return inside.clamp(min=0) / length
