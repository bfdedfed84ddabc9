"""Where the time of the steps goes, and their figures averaged between two records, over all ranks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from vgim.model.rank_group import RankGroup
from vgim.runs.metrics import MetricsRecord, finite_or_none

Figures = Sequence[Mapping[str, Tensor]]


class Meter:
    """Collects steps since the last record.

    Args:
        modules: indices of the modules whose figures come.
        group: the ranks over which a record holds means.
        crops_per_step: of all ranks.
        averaged: names of the figures that a record holds as means over its steps.
        latest: names of those that it holds as they were at the last step.
    """

    def __init__(
        self,
        modules: Sequence[int],
        group: RankGroup,
        crops_per_step: int,
        averaged: Sequence[str],
        latest: Sequence[str],
    ) -> None:
        self._modules, self._group = modules, group
        self._crops_per_step = crops_per_step
        self._averaged, self._latest = averaged, latest
        self._reset()

    def _reset(self) -> None:
        self._steps: list[Tensor] = []
        self._waited = self._computed = self._paused = 0.0
        self._since = time.perf_counter()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time in here is waiting for data."""
        begin = time.perf_counter()
        yield
        self._waited += time.perf_counter() - begin

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Time in here is the step; it ends in a synchronization, so that this holds on a GPU as well."""
        begin = time.perf_counter()
        yield
        self._computed += time.perf_counter() - begin

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Time in here (validation, checkpoints) belongs to no step."""
        begin = time.perf_counter()
        yield
        self._paused += time.perf_counter() - begin

    def add(self, figures: Figures) -> None:
        """One step's figures, a mapping per module."""
        self._steps.append(torch.stack([torch.stack([f[n] for n in self._averaged]) for f in figures]))

    def record(self, figures: Figures, **more: Any) -> MetricsRecord:
        """What a `train` record says: means over the steps since the last one and over the ranks.

        Seconds are per step: `data_wait_s` waiting for a batch, `compute_s` in the step, `overhead_s` neither.
        """
        num_steps = len(self._steps)
        elapsed = time.perf_counter() - self._since - self._paused
        means = torch.stack(self._steps).mean(0)
        last = [f[name].to(means.dtype) for f in figures for name in self._latest]
        seconds = means.new_tensor([elapsed, self._waited, self._computed]) / num_steps
        flat = torch.cat([means.reshape(-1), *(value.reshape(1) for value in last), seconds])
        self._group.all_reduce_mean(flat)
        values = flat.tolist()
        averaged, latest = iter(values), iter(values[means.numel() :])
        modules = [
            {
                "module": m,
                **{name: finite_or_none(next(averaged)) for name in self._averaged},
                **{name: finite_or_none(next(latest)) for name in self._latest},
            }
            for m in self._modules
        ]
        per_step, waited, computed = values[-3:]
        self._reset()
        return {
            **more,
            "steps_per_s": 1 / per_step,
            "crops_per_s": self._crops_per_step / per_step,
            "data_wait_s": waited,
            "compute_s": computed,
            "overhead_s": max(per_step - waited - computed, 0.0),
            "modules": modules,
        }
