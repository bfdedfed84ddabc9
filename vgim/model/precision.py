"""Precision of matrix products. Losses and distributions are computed in fp32 or finer, whatever the products are."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Precision = Literal["fp32", "tf32", "bf16"]


def set_precision(precision: Precision) -> torch.dtype | None:
    """Set the precision of this process's products, and return the dtype for `autocast_to`; None for fp32 and tf32.

    By default torch lets a GPU round the inputs of fp32 convolutions, but not of fp32 matrix products, to ten bits of
    mantissa (TF32). "fp32" rounds neither; "tf32" rounds both, and so does "bf16" where autocast leaves fp32.
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
    """A sentence for the log if the device computes products of this precision slowly; else None."""
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
    """Convert bf16 and fp16 to fp32; leave other dtypes as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
