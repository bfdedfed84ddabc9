"""What the stages of a pipeline send to rank 0, which writes the run: records, histograms, their part of a checkpoint.

Rank 0 belongs to the last stage. When it is at a step, the other stages have done that step and sent their reports, so
that nobody waits for them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from vgim.model.rank_group import Work
from vgim.runs.tensor_buffer import TensorBuffer
from vgim.training.stages.mesh import StageMesh


class StageReports:
    """Reports from the first rank of each stage to rank 0. Each call of a sender belongs to one of rank 0."""

    def __init__(self, mesh: StageMesh) -> None:
        self._mesh = mesh
        self._sends = mesh.leads and mesh.world.rank != 0
        self._under_way: list[tuple[Work, Tensor]] = []
        self._parts: dict[str, TensorBuffer] = {}
        self._parts_under_way: list[tuple[Work, Tensor]] = []

    def exchange(self, report: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Send a report of JSON values; rank 0 gets those of the stages before its own, from the first one on."""
        if self._sends:
            self._under_way = [entry for entry in self._under_way if not entry[0].is_completed()]
            self._under_way += self._start(_as_bytes(json.dumps(report).encode()))
        if self._mesh.world.rank != 0:
            return []
        return [json.loads(bytes(self._receive(rank).tolist())) for rank in self._mesh.other_leaders]

    def gather_tensors(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """Send tensors by the file that holds them; rank 0 gets all stages' tensors, its own included.

        They are copied, so that training goes on while they are sent.
        """
        if self._sends:
            for work, _ in self._parts_under_way:
                work.wait()  # their memory is used again
            self._parts_under_way.clear()
            for name, of_file in tensors.items():
                buffer = self._parts.setdefault(name, TensorBuffer())
                buffer.fill(of_file)
                if torch.cuda.is_available():
                    torch.cuda.synchronize()  # the copies from a GPU
                self._parts_under_way += self._start(torch.frombuffer(buffer.content, dtype=torch.uint8))
        gathered = {name: dict(of_file) for name, of_file in tensors.items()}
        if self._mesh.world.rank == 0:
            for rank in self._mesh.other_leaders:
                for of_file in gathered.values():
                    of_file.update(safetensors.torch.load(self._receive(rank).numpy().tobytes()))
        return gathered

    def finish(self) -> None:
        """Wait until all that was sent has arrived."""
        for work, _ in [*self._under_way, *self._parts_under_way]:
            work.wait()
        self._under_way.clear()
        self._parts_under_way.clear()

    def _start(self, content: Tensor) -> list[tuple[Work, Tensor]]:
        size = torch.tensor([content.numel()], dtype=torch.int64)
        return [(self._mesh.reports.start_send(tensor, 0), tensor) for tensor in (size, content)]

    def _receive(self, rank: int) -> Tensor:
        size = torch.zeros(1, dtype=torch.int64)
        self._mesh.reports.start_receive(size, rank).wait()
        content = torch.empty(int(size), dtype=torch.uint8)
        self._mesh.reports.start_receive(content, rank).wait()
        return content


def _as_bytes(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)
