"""What numbers are computed in, and where half precision ends: losses and distributions are in fp32 or finer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Precision = Literal["fp32", "tf32", "bf16"]


def set_precision(precision: Precision) -> torch.dtype | None:
    """Set this process's products for training; returns the dtype of autocast, None for none.

    "fp32" means it: left alone, torch gives the convolutions of a GPU ten bits of mantissa (TF32), and its matrix
    products 23. "tf32" gives both ten. So does "bf16", where autocast leaves fp32 products.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "fp32"
    return torch.bfloat16 if precision == "bf16" else None


def autocast_to(
    dtype: torch.dtype | None, device: torch.device, cache_enabled: bool | None = None
) -> torch.autocast:
    """The context in which torch multiplies in `dtype` on `device`; autocast is off inside if `dtype` is None.

    Args:
        dtype: From `set_precision`.
        device: The device of the tensors.
        cache_enabled: Whether a weight is cast once for all of its uses; None leaves it as it is outside.
    """
    return torch.autocast(device.type, dtype, enabled=dtype is not None, cache_enabled=cache_enabled)


def slowed_by(precision: Precision, device: torch.device) -> str | None:
    """Why products of this precision crawl on the device, as a sentence for the log; None where they don't."""
    if precision != "bf16" or device.type != "cpu" or _cpu_multiplies_bf16():
        return None
    return (
        "train.precision=bf16 on a CPU without instructions for it: a step may take tens of times as long as in fp32; "
        "use train.precision=fp32 here"
    )


def _cpu_multiplies_bf16() -> bool:
    has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return has_onednn and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def at_least_fp32(x: Tensor) -> Tensor:
    """bf16 and fp16 as fp32; everything else unchanged."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
