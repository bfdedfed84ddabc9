"""One DistributedDataParallel per greedy module, whose gradient all-reduce outlives its backward.

Plain DDP waits for its all-reduce at the end of a backward. Modules here have no gradient in common, so the wait
can be put off until just before the optimizer step: module m's all-reduce then runs beside the forward and the
backward of modules m+1, m+2, ...
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vgim.model.rank_group import RankGroup, Work


class Modular(Protocol):
    """An encoder, or whatever else has modules by number."""

    def module(self, index: int) -> nn.Module:
        """Module `index`."""


class Reductions:
    """All-reduces under way, which make tensors the mean over the ranks."""

    def __init__(self, group: RankGroup) -> None:
        self._group = group
        self._pending: list[Work] = []

    def start(self, tensor: torch.Tensor) -> None:
        """Begin to average `tensor`, in place."""
        self._pending.append(self._group.start_all_reduce_mean(tensor))

    def wait(self) -> None:
        """Wait until all that were started are done."""
        for work in self._pending:
            work.wait()
        self._pending.clear()


class Replicas:
    """Modules of an encoder as this rank calls them: wrapped in DDP where there are other ranks.

    Args:
        encoder: on its device.
        modules: those that are trained, in order.
        group: the ranks that train them together.
        compile_modules: torch.compile each module's forward.
    """

    def __init__(
        self, encoder: Modular, modules: Sequence[int], group: RankGroup, *, compile_modules: bool = False
    ) -> None:
        self.compiled = compile_modules
        self._reductions = Reductions(group)
        self.modules: dict[int, Any] = {}
        for m in modules:
            module = encoder.module(m)
            called: Any = torch.compile(module) if compile_modules else module
            if group.size > 1:
                device = next(module.parameters()).device
                called = DistributedDataParallel(
                    called,
                    process_group=group.process_group,
                    device_ids=[device.index] if device.type == "cuda" else None,
                    broadcast_buffers=False,  # `average_buffers` does it when they are read
                    gradient_as_bucket_view=True,  # so that the all-reduce lands in the gradients themselves
                )
                # DDP compares a hook's annotations with its own types, and ours are strings: a lambda has none.
                called.register_comm_hook(
                    self._reductions, lambda state, bucket: _reduce_later(state, bucket)
                )
            self.modules[m] = called

    def accumulating(self, module: int, more: bool) -> Any:
        """Context of a forward and backward whose gradients are kept here because `more` of the step follow."""
        wrapped = self.modules[module]
        return wrapped.no_sync() if more and isinstance(wrapped, DistributedDataParallel) else nullcontext()

    def wait(self) -> None:
        """Wait until all gradients are the mean over the ranks."""
        self._reductions.wait()


def _reduce_later(reductions: Reductions, bucket: Any) -> torch.futures.Future[torch.Tensor]:
    """DDP communication hook: start the all-reduce and say at once that it is done; `wait` makes it true."""
    buffer = bucket.buffer()
    reductions.start(buffer)
    done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    done.set_result(buffer)
    return done


@torch.no_grad()
def average_buffers(network: nn.Module, group: RankGroup) -> None:
    """Give all ranks the mean of BatchNorm's running statistics, before they are used or saved."""
    if group.size == 1:
        return
    buffers = [b for b in network.buffers() if b.is_floating_point()]
    if not buffers:
        return
    flat = torch.cat([b.reshape(-1) for b in buffers])
    group.all_reduce_mean(flat)
    for buffer, mean in zip(buffers, torch.split(flat, [b.numel() for b in buffers]), strict=True):
        buffer.copy_(mean.view_as(buffer))
