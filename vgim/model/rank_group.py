"""The ranks that train together: their number, this process's rank, and the collectives between them.

Whoever needs a collective is given the group. Nothing asks torch.distributed for its default group, so that a run
may use some of the processes of a larger world.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch import distributed as dist


class Work(Protocol):
    """A collective or a transfer that was started and may still run."""

    def wait(self) -> Any:
        """Wait until it is done."""

    def is_completed(self) -> bool:
        """Whether it is done."""


@dataclass(frozen=True)
class RankGroup:
    """A group of ranks as one of its processes sees it; by default this process alone.

    All ranks of the group must call the same collectives in the same order. In a group of one rank a collective
    leaves its tensor as it is.
    """

    rank: int = 0
    """This process's rank within the group, from 0."""
    size: int = 1
    """Ranks of the group: its world size."""
    process_group: dist.ProcessGroup | None = None
    """torch's handle of the group. None is torch's default group where `size` is above 1."""

    @classmethod
    def of_world(cls) -> RankGroup:
        """All ranks of torch's default process group, or this process alone where there is none."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def saves(self) -> bool:
        """Whether this rank writes the group's checkpoints and metrics."""
        return self.rank == 0

    def split(self, groups: Sequence[Sequence[int]]) -> RankGroup:
        """The part of this group that this process belongs to.

        All ranks of this group must call it alike.

        Args:
            groups: the ranks of each part, ascending; each rank of this group is in one part.
        """
        if len(groups) == 1:
            return self
        (mine,) = (ranks for ranks in groups if self.rank in ranks)
        world_ranks = dist.get_process_group_ranks(self.process_group or dist.group.WORLD)
        for ranks in groups:  # torch wants every process to take part in making every group
            made = dist.new_group([world_ranks[rank] for rank in ranks])
            if isinstance(made, dist.ProcessGroup):  # torch gives a number to processes outside of the group
                process_group = made
        return RankGroup(mine.index(self.rank), len(mine), process_group)

    def on_cpu(self) -> RankGroup:
        """The same ranks in a gloo group of their own, whose collectives keep clear of this group's.

        All ranks of this group must call it alike.
        """
        if self.size == 1:
            return self
        ranks = dist.get_process_group_ranks(self.process_group or dist.group.WORLD)
        made = dist.new_group(ranks, backend="gloo", use_local_synchronization=True)
        assert isinstance(made, dist.ProcessGroup)  # torch gives a number to processes outside of the group
        return RankGroup(self.rank, self.size, made)

    def all_reduce_sum(self, tensor: Tensor) -> None:
        """Replace `tensor` by its sum over the ranks."""
        if self.size > 1:
            dist.all_reduce(tensor, group=self.process_group)

    def all_reduce_mean(self, tensor: Tensor) -> None:
        """Replace `tensor` by its mean over the ranks."""
        if self.size > 1:
            dist.all_reduce(tensor, group=self.process_group)
            tensor /= self.size

    def broadcast(self, tensor: Tensor) -> None:
        """Replace `tensor` by that of the rank that saves."""
        if self.size > 1:
            ranks = dist.get_process_group_ranks(self.process_group or dist.group.WORLD)
            dist.broadcast(tensor, ranks[0], group=self.process_group)

    def start_all_reduce_mean(self, tensor: Tensor) -> Work:
        """Start to replace `tensor` by its mean over the ranks; wait for what is returned before reading it."""
        tensor.div_(self.size)
        work: Work = dist.all_reduce(tensor, group=self.process_group, async_op=True)
        return work

    def start_all_reduce_max(self, tensor: Tensor) -> Work:
        """Start to replace `tensor` by its maximum over the ranks; wait for what is returned before reading it."""
        work: Work = dist.all_reduce(tensor, dist.ReduceOp.MAX, group=self.process_group, async_op=True)
        return work

    @property
    def sends_from_device(self) -> bool:
        """Whether tensors of a GPU are sent as they are; gloo sends the CPU's."""
        return self.size > 1 and dist.get_backend(self.process_group) == "nccl"

    def start_send(self, tensor: Tensor, rank: int) -> Work:
        """Start to send a contiguous tensor to a rank of the group; it must not change before the work is done.

        Tensors from one rank to another arrive in the order in which they are sent.
        """
        work = dist.isend(tensor, group=self.process_group, group_dst=rank)
        assert work is not None  # torch gives none to processes outside of the group
        return work

    def start_receive(self, tensor: Tensor, rank: int) -> Work:
        """Start to receive a tensor of the same shape and dtype from a rank of the group."""
        work = dist.irecv(tensor, group=self.process_group, group_src=rank)
        assert work is not None
        return work

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """The ranks' tensors in the order of the ranks; all have one shape."""
        if self.size == 1:
            return [tensor]
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(parts, tensor.contiguous(), group=self.process_group)
        return parts


ALONE = RankGroup()
"""This process alone."""
