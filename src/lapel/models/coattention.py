"""Channel-wise co-attention of AHBN: each branch says which channels of the other, and of itself, matter (eqs 3-8)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

AttentionKind = Literal["co", "co-softmax", "separate", "none"]
ATTENTIONS: tuple[AttentionKind, ...] = ("co", "co-softmax", "separate", "none")


class CoAttention(nn.Module):
    """Weights of the channels of two maps, from the averages of both maps over positions.

    Both averages joined -> two separate networks of two layers, ReLU between them -> sigmoid. The paper's formulas omit
    biases; here are some. Its hidden sizes are not known.

    Args:
        first: channels C1.
        second: channels C2.
        hidden: between the two layers of both networks; 0, ours: a sixteenth of what comes in, at least 8, as
            squeeze-and-excitation has it.
        kind: ``co``: the paper's. ``co-softmax``: the ablation with softmax over channels in place of sigmoid, times
            the number of channels; that factor is ours, is cancelled by the L2 norm that follows, and keeps the
            numbers in range. ``separate``: each branch sees its own average only, as squeeze-and-excitation (Table I,
            row 12).
    """

    def __init__(self, first: int, second: int, hidden: int = 0, kind: AttentionKind = "co") -> None:
        super().__init__()
        self.kind = kind
        inputs = (first, second) if kind == "separate" else (first + second, first + second)
        self.first = _two_layers(inputs[0], hidden, first)
        self.second = _two_layers(inputs[1], hidden, second)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Averages (B, C1) and (B, C2) -> weights (B, C1) and (B, C2), non-negative."""
        if self.kind != "separate":
            first = second = torch.cat([first, second], 1)
        return self._squash(self.first(first)), self._squash(self.second(second))

    def _squash(self, scores: Tensor) -> Tensor:
        if self.kind == "co-softmax":
            return torch.softmax(scores, 1) * scores.shape[1]
        return torch.sigmoid(scores)


def _two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    hidden = hidden or max(8, inputs // 16)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
