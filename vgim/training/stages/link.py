"""Latents between the stages of a pipeline: received ahead of the step that needs them, sent beside the next one.

A rank sends the latents of each micro-batch to the rank of the next stage that does the same virtual rank's work. At
most `train.transfer_buffers` of them are under way in each direction, so that a stage which is ahead waits, and memory
stays bounded.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor

from vgim.model.rank_group import Work
from vgim.training.stages.mesh import StageMesh


@dataclass
class Traffic:
    """What a rank sent and waited for since the last record."""

    input_wait_s: float = 0.0
    """Seconds in which the rank waited for latents of the stage before."""
    output_wait_s: float = 0.0
    """Seconds in which the rank waited for the stage behind to take latents."""
    bytes_sent: int = 0
    num_steps: float = 0.0
    num_sent: int = 0
    num_received: int = 0
    num_ready: int = 0
    """Micro-batches that were there when a step asked, summed over what was received."""

    @property
    def wait_s(self) -> float:
        """Seconds in which the rank waited for other stages."""
        return self.input_wait_s + self.output_wait_s


class StageLink:
    """This rank's connections to the stages before and behind.

    Args:
        mesh: the mesh, with this rank's place.
        accumulate: micro-batches of each virtual rank in a step.
        shape: frames and channels of the latents that this stage reads; None if it reads audio.
        dtype: type of latents on the wire.
        device: this rank's device.
        num_buffers: most micro-batches under way in each direction.
    """

    def __init__(
        self,
        mesh: StageMesh,
        accumulate: int,
        shape: tuple[int, int] | None,
        *,
        dtype: torch.dtype,
        device: torch.device,
        num_buffers: int,
    ) -> None:
        self._mesh, self._shape, self._dtype, self._device = mesh, shape, dtype, device
        self._num_buffers = num_buffers
        self._wire = device if mesh.latents.sends_from_device else torch.device("cpu")
        self._accumulate = accumulate
        self._plan = [] if mesh.reads_audio else self._sources(mesh.number, mesh.world.rank)
        """Ranks from which a step's micro-batches come, in order."""
        self._plans_behind = (
            {}
            if mesh.is_last
            else {rank: self._sources(mesh.number + 1, rank) for rank in mesh.stages[mesh.number + 1].ranks}
        )
        self._ahead: deque[tuple[Work, Tensor]] = deque()
        self._asked = 0
        """Micro-batches that were asked for since the ranks last had nothing under way."""
        self._buffers: list[Tensor] = []
        self._sent: deque[tuple[Work, Tensor]] = deque()
        self._latest: Tensor | None = None
        """What this rank sent last in training; None while nothing of the training is under way."""
        self.traffic = Traffic()

    @property
    def num_inputs(self) -> int:
        """Micro-batches of this rank in a step."""
        return len(self._mesh.share.virtual_ranks) * self._accumulate

    def inputs(self, batch_size: int) -> Sequence[Tensor]:
        """The latents [B, T, C] of a step's micro-batches. Each is received when it is asked for, in order, and holds
        its values until the next one is asked for."""
        return _Inputs(self, batch_size)

    def next_input(self, batch_size: int) -> Tensor:
        """Latents of the next micro-batch of training."""
        if not self._ahead:
            self._asked = 0
            self._buffers = [self._blank(batch_size) for _ in range(self._num_buffers + 1)]
            for number in range(self._num_buffers):
                self._ask(number)
        work, buffer = self._ahead.popleft()
        self.traffic.num_received += 1
        self.traffic.num_ready += work.is_completed()
        began = time.perf_counter()
        work.wait()
        self.traffic.input_wait_s += time.perf_counter() - began
        # The buffer of the micro-batch before this one is free again.
        self._ask(self._asked)
        return self._arrived(buffer)

    def validation_input(self, virtual_rank: int, batch_size: int) -> Tensor:
        """Latents of the next batch of validation; only while nothing of the training is under way."""
        buffer = self._blank(batch_size)
        source = self._mesh.holder(self._mesh.number - 1, virtual_rank)
        self._mesh.latents.start_receive(buffer, source).wait()
        return self._arrived(buffer)

    def send(self, latents: Tensor, virtual_rank: int, *, validation: bool = False) -> None:
        """Send the latents of a micro-batch to the next stage, if there is one; they may change afterwards."""
        if self._mesh.is_last:
            return
        # A copy: a CUDA graph overwrites its latents, and the wire may want another dtype or the CPU.
        copied = latents.to(self._wire, self._dtype, copy=True).contiguous()
        began = time.perf_counter()
        self._start(copied, self._mesh.holder(self._mesh.number + 1, virtual_rank))
        if not validation:
            self._latest = copied
            self.traffic.num_sent += 1
            self.traffic.bytes_sent += copied.numel() * copied.element_size()
            self.traffic.output_wait_s += time.perf_counter() - began

    def settle(self) -> None:
        """Wait until nothing is under way. All ranks call it at the same step.

        The ranks behind have asked for micro-batches of the next step. They get blanks instead, which they drop.
        """
        if self._latest is not None:
            for rank, plan in self._plans_behind.items():
                for number in range(self._num_buffers):
                    if plan[number % len(plan)] == self._mesh.world.rank:
                        self._start(torch.zeros_like(self._latest), rank)
        for work, _ in [*self._ahead, *self._sent]:
            work.wait()
        self._ahead.clear()
        self._sent.clear()
        self._latest = None

    def take_traffic(self) -> Traffic:
        """What was counted since the last call."""
        taken, self.traffic = self.traffic, Traffic()
        taken.num_steps = max(taken.num_received, taken.num_sent) / self.num_inputs
        return taken

    def _sources(self, stage: int, rank: int) -> list[int]:
        """The ranks from which a rank of a stage gets the micro-batches of a step, in order."""
        return [source for source in self._mesh.sources(stage, rank) for _ in range(self._accumulate)]

    def _ask(self, number: int) -> None:
        buffer = self._buffers[number % len(self._buffers)]
        source = self._plan[number % len(self._plan)]
        self._ahead.append((self._mesh.latents.start_receive(buffer, source), buffer))
        self._asked = number + 1

    def _start(self, tensor: Tensor, rank: int) -> None:
        """Start to send, once there is room among what is under way."""
        while len(self._sent) >= self._num_buffers:
            self._sent.popleft()[0].wait()
        self._sent.append((self._mesh.latents.start_send(tensor, rank), tensor))

    def _blank(self, batch_size: int) -> Tensor:
        assert self._shape is not None
        return torch.empty(batch_size, *self._shape, dtype=self._dtype, device=self._wire)

    def _arrived(self, buffer: Tensor) -> Tensor:
        return buffer.to(self._device, torch.float32)


class _Inputs(Sequence[Tensor]):
    """A step's micro-batches, which are received one after the other."""

    def __init__(self, link: StageLink, batch_size: int) -> None:
        self._link, self._batch_size, self._num_taken = link, batch_size, 0

    def __len__(self) -> int:
        return self._link.num_inputs

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | Sequence[Tensor]:
        if index != self._num_taken:
            raise IndexError(f"micro-batch {index} was asked for where {self._num_taken} comes next")
        self._num_taken += 1
        return self._link.next_input(self._batch_size)
