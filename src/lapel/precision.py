"""Half precision: where training computes in it, and where it is not good enough."""

from __future__ import annotations

import torch
from torch import Tensor


def single(tensor: Tensor) -> Tensor:
    """Half precision as float32; anything finer as it is."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def use_bf16(precision: str) -> bool:
    """Whether to compute in bfloat16: as told, or where the processor does it in hardware."""
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
