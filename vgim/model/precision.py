"""Where half precision ends: losses and distributions are computed in fp32 or finer."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_fp32(x: Tensor) -> Tensor:
    """bf16 and fp16 as fp32; everything else unchanged."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
