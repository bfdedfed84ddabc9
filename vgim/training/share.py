"""What of a step's work one rank does, in a run whose number of ranks may change.

A run has a fixed number of virtual ranks. Crops, random draws and the weights of the mean belong to virtual ranks, so
that a step is the same whichever ranks compute it. Where ranks are fewer, some do the work of several virtual ranks,
one after the other, as further micro-batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from vgim.config import AnyConfig
from vgim.model.rank_group import RankGroup

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """The virtual ranks whose work one rank does: a contiguous part of them, whose sizes differ by at most one."""

    group: RankGroup
    """The ranks among which the virtual ranks are divided."""
    num_virtual: int
    """Virtual ranks of the group, at least as many as its ranks."""

    @classmethod
    def of_each(cls, group: RankGroup) -> Share:
        """The share of a rank in a group without virtual ranks: itself."""
        return cls(group, group.size)

    @property
    def virtual_ranks(self) -> range:
        """The virtual ranks of this rank, ascending."""
        rank, size = self.group.rank, self.group.size
        return range(rank * self.num_virtual // size, (rank + 1) * self.num_virtual // size)

    @property
    def weight(self) -> float:
        """Weight of this rank's means in a mean over the ranks, such that every virtual rank counts alike."""
        return len(self.virtual_ranks) * self.group.size / self.num_virtual

    def loss_scale(self, num_micro_batches: int) -> float:
        """Factor on a micro-batch's loss; the mean of the ranks' gradients is then the mean over all micro-batches.

        Args:
            num_micro_batches: micro-batches of this rank in a step.
        """
        accumulate = num_micro_batches // len(self.virtual_ranks)
        return self.group.size / (self.num_virtual * accumulate)

    def split(self, items: Sequence[T]) -> list[tuple[int, Sequence[T]]]:
        """Each virtual rank of this rank with its items.

        Args:
            items: equally many for each virtual rank, in the order of the virtual ranks.
        """
        each = len(items) // len(self.virtual_ranks)
        return [
            (virtual_rank, items[number * each : (number + 1) * each])
            for number, virtual_rank in enumerate(self.virtual_ranks)
        ]


def share_of_world(config: AnyConfig, world: RankGroup) -> Share:
    """The share of a rank of a run's world, under a schedule in which all ranks train the same modules."""
    cluster = config.cluster
    return Share(
        world, config.train.virtual_ranks or (cluster.max_workers if cluster.is_elastic else world.size)
    )


class SharedStatistics:
    """BatchNorm's running statistics of a rank that does the work of several virtual ranks in a step.

    Each virtual rank continues the statistics that the step started with. After the step they are the mean of what the
    virtual ranks made of them. Running statistics are linear in the statistics of batches, so that their mean over the
    ranks is the mean over a process for each virtual rank.

    Args:
        modules: the modules that are trained.
    """

    def __init__(self, modules: Iterable[nn.Module], share: Share) -> None:
        self._share = share
        several = len(share.virtual_ranks) > 1
        self._buffers = [buffer for module in modules for buffer in module.buffers()] if several else []

    def each_virtual_rank(self, items: Sequence[T]) -> Iterator[tuple[int, Sequence[T]]]:
        """`Share.split`; the caller does a virtual rank's forward passes before it asks for the next one."""
        start = [buffer.clone() for buffer in self._buffers]
        sums = [torch.zeros_like(buffer) for buffer in self._buffers]
        for virtual_rank, own in self._share.split(items):
            for buffer, before in zip(self._buffers, start, strict=True):
                buffer.copy_(before)
            yield virtual_rank, own
            for buffer, total in zip(self._buffers, sums, strict=True):
                total.add_(buffer)
        for buffer, total in zip(self._buffers, sums, strict=True):
            if buffer.is_floating_point():  # the others count batches, equally many for each virtual rank
                buffer.copy_(total.div_(len(self._share.virtual_ranks)))
