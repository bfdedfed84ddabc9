"""exp(x) - 1 and log sigmoid(x) for CPUs, made of functions that torch computes faster: tanh, sigmoid and log."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def expm1(x: Tensor) -> Tensor:
    """exp(x) - 1, to a few roundings of it however near 0 it is."""
    return _Expm1.apply(x) if _applies(x) else torch.expm1(x)


def log_sigmoid(x: Tensor) -> Tensor:
    """log sigmoid(x), to a rounding of 1 where it is near 0, and no less than the log of the smallest normal number."""
    return _LogSigmoid.apply(x) if _applies(x) else F.logsigmoid(x)


def _applies(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


class _Expm1(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        # tanh(x/2) = (exp(x) - 1) / (exp(x) + 1), and sigmoid(-x) = 1 / (exp(x) + 1).
        y = (0.5 * x).tanh_().div_(torch.sigmoid(-x))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.addcmul(grads[0], grads[0], y)


class _LogSigmoid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.sigmoid(x)
        ctx.save_for_backward(y)
        return y.clamp(min=torch.finfo(x.dtype).tiny).log_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.addcmul(grads[0], grads[0], y, value=-1)
