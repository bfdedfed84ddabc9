"""One DistributedDataParallel per greedy module, whose gradient all-reduce outlives its backward.

Plain DDP waits for its all-reduce at the end of a backward. Modules share no gradient, so the wait can be put off
until just before the optimizer step: the all-reduce of module m then runs beside the forward and the backward of
modules m+1, m+2, ...
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vgim.model.module import GreedyModule
from vgim.model.rank_group import RankGroup, Work
from vgim.training.share import Share


class HasModules(Protocol):
    """A network whose modules have numbers, such as an encoder."""

    def module(self, index: int) -> nn.Module:
        """Module `index`."""


class PendingAllReduces:
    """All-reduces of one rank that were started and may still run."""

    def __init__(self, group: RankGroup) -> None:
        self._group = group
        self._pending: list[Work] = []

    def start_mean(self, tensor: torch.Tensor) -> None:
        """Start to replace `tensor` by its mean over the ranks; it holds the mean after `wait`."""
        self._pending.append(self._group.start_all_reduce_mean(tensor))

    def wait(self) -> None:
        """Wait until all started all-reduces are done."""
        for work in self._pending:
            work.wait()
        self._pending.clear()


class DataParallelModules:
    """A network's modules as this rank calls them: wrapped in DDP if several ranks train them.

    Args:
        network: on its device.
        modules: indices of the modules that are trained, ascending.
        group: the ranks that train them together.
        compile_modules: torch.compile each module's forward.
    """

    def __init__(
        self, network: HasModules, modules: Sequence[int], group: RankGroup, *, compile_modules: bool = False
    ) -> None:
        self.compiled = compile_modules
        self._all_reduces = PendingAllReduces(group)
        self.modules: dict[int, Any] = {}
        """Callables by module index."""
        for m in modules:
            module = network.module(m)
            if compile_modules and isinstance(module, GreedyModule):
                module.keep_gru_uncompiled()
            wrapped: Any = torch.compile(module) if compile_modules else module
            if group.size > 1:
                wrapped = _data_parallel(wrapped, next(module.parameters()).device, group)
                # DDP compares a hook's annotations with its own types, and ours are strings: a lambda has none.
                wrapped.register_comm_hook(
                    self._all_reduces, lambda state, bucket: _start_all_reduce(state, bucket)
                )
            self.modules[m] = wrapped

    def gradient_context(self, module: int, *, last: bool) -> Any:
        """Context for the forward and backward of one micro-batch.

        Args:
            last: whether this is the step's last micro-batch. Earlier ones only add to this rank's gradient.
        """
        wrapped = self.modules[module]
        keep = not last and isinstance(wrapped, DistributedDataParallel)
        return wrapped.no_sync() if keep else nullcontext()

    def wait_for_gradients(self) -> None:
        """Wait until all gradients are the mean over the ranks."""
        self._all_reduces.wait()
        for wrapped in self.modules.values():
            if isinstance(wrapped, DistributedDataParallel):
                # After the first step the ranks agree on buckets in the order of the gradients. DDP would do so in the
                # next forward, which is another module's turn on a rank with more micro-batches than this one.
                wrapped.reducer._rebuild_buckets()


def _data_parallel(module: Any, device: torch.device, group: RankGroup) -> DistributedDataParallel:
    with warnings.catch_warnings():
        # Its successor, forward_sync_buffers, would overwrite the statistics that each rank continues with.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(
            module,
            process_group=group.process_group,
            device_ids=[device.index] if device.type == "cuda" else None,
            broadcast_buffers=False,  # `average_buffers` averages them before they are read
            gradient_as_bucket_view=True,  # so that the all-reduce writes into the gradients themselves
        )


def _start_all_reduce(all_reduces: PendingAllReduces, bucket: Any) -> torch.futures.Future[torch.Tensor]:
    """DDP communication hook: start the all-reduce and report it done; `wait_for_gradients` makes that true."""
    buffer = bucket.buffer()
    all_reduces.start_mean(buffer)
    done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    done.set_result(buffer)
    return done


@contextmanager
def averaged_buffers(
    network: nn.Module, share: Share, owns: Callable[[str], bool] = lambda name: True
) -> Iterator[dict[str, torch.Tensor]]:
    """Within the context BatchNorm's running statistics are their mean over the virtual ranks.

    Afterwards each rank has its own again, so that a checkpoint changes nothing in the training.

    Args:
        owns: whether the ranks of the share train what a name belongs to.

    Yields:
        The ranks' own statistics by the buffer's name, [ranks, ...], for a checkpoint; empty for one rank.
    """
    named = {
        name: buffer for name, buffer in network.named_buffers() if buffer.is_floating_point() and owns(name)
    }
    if share.group.size == 1 or not named:
        yield {}
        return
    own = {name: buffer.clone() for name, buffer in named.items()}
    rows = share.group.all_gather(torch.cat([buffer.reshape(-1) for buffer in named.values()]))
    parts = torch.split(torch.stack(rows), [buffer.numel() for buffer in named.values()], dim=1)
    average_buffers(network, share)
    try:
        yield {
            name: part.reshape(len(rows), *buffer.shape)
            for (name, buffer), part in zip(named.items(), parts, strict=True)
        }
    finally:
        with torch.no_grad():
            for name, buffer in named.items():
                buffer.copy_(own[name])


@torch.no_grad()
def average_buffers(network: nn.Module, share: Share) -> None:
    """Replace BatchNorm's running statistics by their mean over the virtual ranks, before they are used or saved.

    Frozen modules, in evaluation mode, have the same on all ranks, of which a mean would be rounded.
    """
    if share.group.size == 1:
        return
    trained = (module for module in network.modules() if module.training)
    buffers = [b for module in trained for b in module.buffers(recurse=False) if b.is_floating_point()]
    if not buffers:
        return
    flat = torch.cat([b.reshape(-1) for b in buffers])
    flat *= share.weight
    share.group.all_reduce_mean(flat)
    for buffer, mean in zip(buffers, torch.split(flat, [b.numel() for b in buffers]), strict=True):
        buffer.copy_(mean.view_as(buffer))
