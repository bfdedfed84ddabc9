"""Estimates the memory of one rank: tensors that stay, and the most that a module's pass holds at once.

Weights, gradients and Adam's moments are counted. What a pass holds is measured: a few crops of noise go through each
module and back on the CPU, while every tensor that is made and freed is counted. Memory grows linearly with the crops.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vgim.config import RunConfig
from vgim.model.module import GreedyModule
from vgim.model.precision import autocast_to
from vgim.model.randomness import DrawKey
from vgim.model.stack import Encoder
from vgim.text import numbered

FEW, MORE = 2, 4
"""Crops of the measured passes, of which more crops are extrapolated."""
MIB = 2**20


@dataclass(frozen=True)
class RankMemory:
    """Bytes of one rank."""

    weights: int
    """Parameters and BatchNorm's statistics of all modules."""
    gradients: int
    """Gradients of the modules that are trained at the same time."""
    moments: int
    """Adam's two moments of each parameter that the rank trains."""
    passes: int
    """The most that passes hold at once: activations, scores, and gradients of both."""
    modules: tuple[int, ...]
    """The modules of these passes."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.moments + self.passes

    def describe(self) -> str:
        """`90 MiB: 10 of weights, 10 of gradients, 20 of Adam's moments, 50 in the pass of module 0, the largest`."""
        first, *others = self.modules
        where = f"the pass of module {first}, the largest"
        if others:
            where = f"the passes of {numbered('module', self.modules)}, side by side"
        return (
            f"{in_mib(self.total)} MiB: {in_mib(self.weights)} of weights, {in_mib(self.gradients)} of gradients, "
            f"{in_mib(self.moments)} of Adam's moments, {in_mib(self.passes)} in {where}"
        )


def memory_of_rank(
    encoder: Encoder,
    passes: Sequence[int],
    trained: Sequence[int],
    at_once: Iterable[Sequence[int]],
    *,
    beside: bool = False,
) -> RankMemory:
    """The memory of a rank.

    Args:
        encoder: the run's encoder.
        passes: bytes of each module's pass, of `pass_bytes`.
        trained: modules that the rank trains.
        at_once: modules of `trained` that it trains at the same time, phase by phase.
        beside: whether passes of these run side by side, as in a CUDA graph; else one behind the other.
    """
    sizes = [bytes_of(encoder.module(m).parameters()) for m in range(len(encoder))]
    phases = [tuple(modules) for modules in at_once]
    together = phases if beside else [(m,) for modules in phases for m in modules]
    modules = max(together, key=lambda modules: sum(passes[m] for m in modules))
    return RankMemory(
        weights=bytes_of([*encoder.parameters(), *encoder.buffers()]),
        gradients=max(sum(sizes[m] for m in modules) for modules in phases),
        moments=2 * sum(sizes[m] for m in trained),
        passes=sum(passes[m] for m in modules),
        modules=modules,
    )


def pass_bytes(encoder: Encoder, config: RunConfig, autocast: torch.dtype | None) -> list[int]:
    """Bytes that the pass of each module holds at once on a micro-batch, beside its weights and its input.

    Args:
        encoder: on the CPU. Its weights are not changed.
        autocast: dtype of the forward passes; None for fp32.
    """
    size = config.train.batch_size
    if size <= MORE:
        return _measured(encoder, config, autocast, size)
    few, more = (_measured(encoder, config, autocast, num) for num in (FEW, MORE))
    return [b + max(b - a, 0) * (size - MORE) // (MORE - FEW) for a, b in zip(few, more, strict=True)]


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors that share no memory."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _measured(encoder: Encoder, config: RunConfig, autocast: torch.dtype | None, num_crops: int) -> list[int]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num_crops, config.data.crop_samples, generator=generator)
    found = []
    for m in range(len(encoder)):
        module = encoder.module(m)
        peak, x = _peak_of(module, x, config.objective.kld_weight, autocast)
        found.append(peak)
    return found


def _peak_of(
    module: GreedyModule, x: Tensor, kld_weight: float, autocast: torch.dtype | None
) -> tuple[int, Tensor]:
    """The most bytes that a module's pass held at once, and its latents."""
    draws = module.draw(x, DrawKey(seed=0, step=0, rank=0))
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    held = [x, *module.parameters(), *module.buffers()]
    with _LiveBytes(held) as live:
        with autocast_to(autocast, x.device):
            out = module(x, draws, kld_weight, False)
        out.loss.backward()
    for parameter in module.parameters():
        parameter.grad = None
    for buffer, before in buffers:
        buffer.copy_(before)
    given = bytes_of(part for part in draws if isinstance(part, Tensor))
    return live.peak + given, out.latents


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors while it is active: those alive, and the most that were.

    Args:
        held: tensors that were there before and do not count.
    """

    def __init__(self, held: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._live = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in held}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self._live += size
        self.peak = max(self.peak, self._live)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._live -= size


def in_mib(num_bytes: int) -> str:
    """Bytes as a number of MiB."""
    return f"{num_bytes / MIB:,.0f}" if num_bytes >= 10 * MIB else f"{num_bytes / MIB:.2g}"
