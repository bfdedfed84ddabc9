"""Metrics and times of steps, averaged between two records and over the ranks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from vgim.runs.metrics import MetricsRecord, finite_or_none
from vgim.training.share import Share

StepMetrics = Mapping[str, Tensor]
"""A module's metrics of one step by name, scalars on the device."""


class MetricsAccumulator:
    """Collects the steps since the last record.

    Args:
        modules: indices of the modules that are trained.
        share: this rank's part of the work, among the ranks over which a record holds means.
        crops_per_step: crops of one step, of all ranks together.
        mean_metrics: names of the metrics of which a record holds the mean over its steps.
        latest_metrics: names of the metrics of which a record holds the value at the last step.
    """

    def __init__(
        self,
        modules: Sequence[int],
        share: Share,
        crops_per_step: int,
        mean_metrics: Sequence[str],
        latest_metrics: Sequence[str],
    ) -> None:
        self._modules, self._share = modules, share
        self._crops_per_step = crops_per_step
        self._mean_metrics, self._latest_metrics = mean_metrics, latest_metrics
        self._reset()

    def _reset(self) -> None:
        self._steps: list[Tensor] = []
        self._wait_s = self._compute_s = self._excluded_s = 0.0
        self._started_at = time.perf_counter()

    @contextmanager
    def time_data_wait(self) -> Iterator[None]:
        """Count the time inside as waiting for data."""
        started_at = time.perf_counter()
        yield
        self._wait_s += time.perf_counter() - started_at

    @contextmanager
    def time_compute(self) -> Iterator[None]:
        """Count the time inside as the step. A step ends in a synchronization, so this holds on a GPU as well."""
        started_at = time.perf_counter()
        yield
        self._compute_s += time.perf_counter() - started_at

    @contextmanager
    def exclude_time(self) -> Iterator[None]:
        """Count the time inside, such as a validation or a checkpoint, for no step."""
        started_at = time.perf_counter()
        yield
        self._excluded_s += time.perf_counter() - started_at

    def add(self, metrics: Sequence[StepMetrics]) -> None:
        """Add one step's metrics, a mapping per module."""
        self._steps.append(
            torch.stack([torch.stack([of_module[n] for n in self._mean_metrics]) for of_module in metrics])
        )

    def record(self, metrics: Sequence[StepMetrics], **more: Any) -> MetricsRecord:
        """A `train` record of the steps since the last one, averaged over steps and ranks.

        Seconds are per step: `data_wait_s` waiting for a batch, `compute_s` in the step, `overhead_s` neither.

        Args:
            metrics: the last step's metrics, a mapping per module.
            more: further entries of the record.
        """
        num_steps = len(self._steps)
        elapsed_s = time.perf_counter() - self._started_at - self._excluded_s
        means = torch.stack(self._steps).mean(0)
        latest = [of_module[name].to(means.dtype) for of_module in metrics for name in self._latest_metrics]
        seconds = means.new_tensor([elapsed_s, self._wait_s, self._compute_s]) / num_steps
        own = torch.cat([means.reshape(-1), *(value.reshape(1) for value in latest)])
        flat = torch.cat([own * self._share.weight, seconds])  # one all-reduce for all of it
        self._share.group.all_reduce_mean(flat)
        values = flat.tolist()
        mean_values, latest_values = iter(values), iter(values[means.numel() :])
        modules = [
            {
                "module": m,
                **{name: finite_or_none(next(mean_values)) for name in self._mean_metrics},
                **{name: finite_or_none(next(latest_values)) for name in self._latest_metrics},
            }
            for m in self._modules
        ]
        step_s, wait_s, compute_s = values[-3:]
        self._reset()
        return {
            **more,
            "steps_per_s": 1 / step_s,
            "crops_per_s": self._crops_per_step / step_s,
            "data_wait_s": wait_s,
            "compute_s": compute_s,
            "overhead_s": max(step_s - wait_s - compute_s, 0.0),
            "modules": modules,
        }
