"""A GRU with its backward by hand, for CPUs.

Autograd would add up the gradient of the recurrent weight frame by frame: in T thin products, each of which reads and
writes a matrix as large as the weight. Here the gradients of all gates are kept, and one product makes of them what it
makes in T. A direction runs to its end before the other, so that its weights stay in the cache.

Shapes: B crops, T frames, C channels, H units, X = 3·H gates r, z, n (reset, update, new; Cho et al. 2014, in the form
of torch's nn.GRU).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

aten = torch.ops.aten


def applies(gru: nn.GRU, x_BTC: Tensor) -> bool:
    """Whether `run` computes what `gru` computes of `x_BTC`, and a backward pass may follow."""
    weights = gru.all_weights
    return (
        x_BTC.device.type == "cpu"
        and x_BTC.dtype == weights[0][0].dtype
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and (gru.num_layers, gru.batch_first, gru.bias, gru.proj_size) == (1, True, True, 0)
    )


def run(gru: nn.GRU, x_BTC: Tensor) -> Tensor:
    """The output [B, T, H] of a GRU from state 0, or [B, T, 2·H] of both directions side by side."""
    weights = [weight for direction in gru.all_weights for weight in direction]
    out_TBU: Tensor = _Gru.apply(x_BTC.transpose(0, 1).contiguous(), *weights)
    return out_TBU.transpose(0, 1)


class _Scanned(NamedTuple):
    """What a direction's forward pass leaves for its backward pass."""

    states_TBH: Tensor
    """[T + 1, B, H]: the states, with the first one, 0, before or behind them."""
    gates_TBY: Tensor
    """[T, B, 4·H]: r, z, n, and the recurrent part of n before r scales it."""


class _Gru(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TBC: Tensor, *weights: Tensor) -> Tensor:
        scans = [_scan(x_TBC, *weights[at : at + 4], from_end=at > 0) for at in range(0, len(weights), 4)]
        ctx.save_for_backward(x_TBC, *weights, *(tensor for scan in scans for tensor in scan))
        return torch.cat([_own(scan.states_TBH, from_end=d > 0) for d, scan in enumerate(scans)], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_TBC, *saved = ctx.saved_tensors
        num_directions = len(saved) // 6
        weights, scans = saved[: 4 * num_directions], saved[4 * num_directions :]
        grad_x, of_weights = x_TBC.new_zeros(()), list[Tensor]()
        for d, grad_TBH in enumerate(grads[0].chunk(num_directions, -1)):
            w_ih, w_hh = weights[4 * d : 4 * d + 2]
            grads_TBY = _scan_back(grad_TBH, w_hh, _Scanned(*scans[2 * d : 2 * d + 2]), from_end=d > 0)
            of_weights += _weight_grads(grads_TBY, x_TBC, _previous(scans[2 * d], from_end=d > 0))
            if ctx.needs_input_grad[0]:  # not behind a gradient-isolated module
                grad_x = grad_x + grads_TBY[..., : w_ih.shape[0]] @ w_ih.roll(w_hh.shape[1], 0)
        return grad_x if ctx.needs_input_grad[0] else None, *of_weights


def _own(states_TBH: Tensor, *, from_end: bool) -> Tensor:
    """The state of each frame."""
    return states_TBH[:-1] if from_end else states_TBH[1:]


def _previous(states_TBH: Tensor, *, from_end: bool) -> Tensor:
    """The state before each frame, in a direction's order."""
    return states_TBH[1:] if from_end else states_TBH[:-1]


def _frames(T: int, *, from_end: bool) -> Iterable[int]:
    return range(T - 1, -1, -1) if from_end else range(T)


def _scan(
    x_TBC: Tensor, w_ih_XC: Tensor, w_hh_XH: Tensor, b_ih_X: Tensor, b_hh_X: Tensor, *, from_end: bool
) -> _Scanned:
    """r, z = sigmoid(W_i x + b_i + W_h h + b_h), n = tanh(W_i x + b_i + r (W_h h + b_h)), h' = n + z (h - n)."""
    (T, B, _), H = x_TBC.shape, w_hh_XH.shape[1]
    from_x_TBX = torch.addmm(b_ih_X, x_TBC.flatten(0, 1), w_ih_XC.t()).view(T, B, 3 * H)
    states_TBH, gates_TBY = x_TBC.new_empty(T + 1, B, H), x_TBC.new_empty(T, B, 4 * H)
    states_TBH[T if from_end else 0] = 0
    before, after = (part(states_TBH, from_end=from_end).unbind() for part in (_previous, _own))
    x_rz, x_n = (part.unbind() for part in torch.split(from_x_TBX, [2 * H, H], -1))
    rz, r, n, h_n = (
        gates_TBY[..., start * H : end * H].unbind() for start, end in ((0, 2), (0, 1), (2, 3), (3, 4))
    )
    z = gates_TBY[..., H : 2 * H].unbind()
    from_h = x_TBC.new_empty(B, 3 * H)
    h_rz, h_n_now = torch.split(from_h, [2 * H, H], -1)
    w_hh_HX = w_hh_XH.t()
    for t in _frames(T, from_end=from_end):
        torch.addmm(b_hh_X, before[t], w_hh_HX, out=from_h)
        torch.add(x_rz[t], h_rz, out=rz[t]).sigmoid_()
        h_n[t].copy_(h_n_now)
        torch.addcmul(x_n[t], r[t], h_n_now, out=n[t]).tanh_()
        torch.lerp(n[t], before[t], z[t], out=after[t])
    return _Scanned(states_TBH, gates_TBY)


def _scan_back(grad_TBH: Tensor, w_hh_XH: Tensor, scanned: _Scanned, *, from_end: bool) -> Tensor:
    """Gradients [T, B, 4·H] of the sums in n, r and z, and of the recurrent part of n."""
    T, B, H = grad_TBH.shape
    r, z, n, h_n = (gate.unbind() for gate in scanned.gates_TBY.chunk(4, -1))
    before = _previous(scanned.states_TBH, from_end=from_end).unbind()
    grads_TBY = torch.empty_like(scanned.gates_TBY)
    grad_n, grad_r, grad_z, grad_h_n = (grad.unbind() for grad in grads_TBY.chunk(4, -1))
    of_recurrent = grads_TBY[..., H:].unbind()
    w_hh_XH = w_hh_XH.t().contiguous().t()  # thin products are faster with the weight in this order
    grad_h = grad_TBH.new_zeros(B, H)
    for t in _frames(T, from_end=not from_end):
        grad_h = grad_h + grad_TBH[t]
        grad = torch.addcmul(grad_h, grad_h, z[t], value=-1)
        aten.tanh_backward.grad_input(grad, n[t], grad_input=grad_n[t])
        aten.sigmoid_backward.grad_input(grad_n[t] * h_n[t], r[t], grad_input=grad_r[t])
        aten.sigmoid_backward.grad_input((before[t] - n[t]).mul_(grad_h), z[t], grad_input=grad_z[t])
        torch.mul(grad_n[t], r[t], out=grad_h_n[t])
        grad_h = torch.addmm(grad_h.mul_(z[t]), of_recurrent[t], w_hh_XH)
    return grads_TBY


def _weight_grads(
    grads_TBY: Tensor, x_TBC: Tensor, before_TBH: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of a direction's W_i, W_h, b_i and b_h, from those of its gates."""
    H = before_TBH.shape[-1]
    grads_RY = grads_TBY.flatten(0, 1)
    of_input_RX, of_recurrent_RX = grads_RY[:, : 3 * H], grads_RY[:, H:]  # n, r, z; and r, z, n
    of_w_ih = (of_input_RX.t() @ x_TBC.flatten(0, 1)).roll(-H, 0)
    of_w_hh = of_recurrent_RX.t() @ before_TBH.flatten(0, 1)
    sums_Y = grads_RY.sum(0)
    return of_w_ih, of_w_hh, sums_Y[: 3 * H].roll(-H), sums_Y[H:]
