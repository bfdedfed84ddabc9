"""The metric of a run that trains: its folder is read again and again, and its checkpoints are probed and measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from vgim.config import RunConfig
from vgim.downstream.result import Interval
from vgim.errors import CheckpointError, StorageError
from vgim.runs.checkpoint import Checkpoint, complete_checkpoints
from vgim.runs.metrics import read_metrics
from vgim.storage import Location
from vgim.training.progress import phases
from vgim.tune.config import MetricConfig
from vgim.tune.latent_normality import add_normality, measure_normality, posterior_module, read_normality
from vgim.tune.quick_probe import add_quick_probe, probe_checkpoint, read_quick_probes


@dataclass(frozen=True)
class MetricReport:
    """The sweep's metric at one step of a run."""

    step: int
    epoch: int
    value: float
    interval: Interval | None = None
    """95 % interval of an accuracy; None for InfoNCE."""


def read_reports(run: Location, config: RunConfig, metric: MetricConfig) -> list[MetricReport]:
    """Every value of the metric that a run's folder holds, oldest first."""
    module = metric.module % config.model.num_modules
    if metric.kind == "probe":
        return [
            MetricReport(probe.step, probe.epoch, probe.accuracy, probe.interval)
            for probe in read_quick_probes(run, metric)
            if probe.module == module
        ]
    return [
        MetricReport(record["step"], int(record["epoch"]), metrics["nce"])
        for record in read_metrics(run)
        if record["kind"] == "validation"
        for index, metrics in enumerate(record["modules"])
        if metrics.get("module", index) == module and metrics.get("nce") is not None
    ]


@dataclass
class TrialMonitor:
    """Finds new reports of a run, and probes and measures the checkpoints that need it."""

    run: Location
    config: RunConfig
    metric: MetricConfig
    _reported_steps: set[int] = field(default_factory=set)

    def new_reports(self, *, ended: bool) -> Iterator[MetricReport]:
        """The reports since the last call.

        Args:
            ended: whether the run has ended, so that its last checkpoint is measured, too.
        """
        if ended or self.metric.kind == "probe":
            self._measure_checkpoints(ended=ended)
        for report in read_reports(self.run, self.config, self.metric):
            if report.step not in self._reported_steps:
                self._reported_steps.add(report.step)
                yield report

    def put_back(self, report: MetricReport) -> None:
        """Return a report again from the next call of `new_reports`."""
        self._reported_steps.discard(report.step)

    def _measure_checkpoints(self, *, ended: bool) -> None:
        """Measure every checkpoint that the metric wants probed, and the last one of a run that has ended."""
        probing, module = self.metric.kind == "probe", posterior_module(self.config, self.metric)
        probed = {probe.step for probe in read_quick_probes(self.run, self.metric)}
        measured = {normality.step for normality in read_normality(self.run, self.config, self.metric)}
        checkpoints = complete_checkpoints(self.run)
        for checkpoint in checkpoints:
            step, is_last = checkpoint.state.step, ended and checkpoint is checkpoints[-1]
            if not (is_last or (probing and self._is_due(checkpoint))):
                continue
            try:
                # Normality first: a later launch skips a checkpoint that has been probed.
                if module is not None and step not in measured:
                    add_normality(self.run, measure_normality(checkpoint, module))
                if probing and step not in probed:
                    add_quick_probe(self.run, probe_checkpoint(checkpoint, self.metric))
            except (CheckpointError, StorageError):
                if is_last:
                    raise
                # Training went on and pruned the checkpoint while it was read; there will be another.

    def _is_due(self, checkpoint: Checkpoint) -> bool:
        state, module = checkpoint.state, self.metric.module % self.config.model.num_modules
        last_trained = max(phases(self.config)[state.phase].modules)
        at_probed_epoch = state.step_in_epoch == 0 and state.epoch % self.metric.every_epochs == 0
        return at_probed_epoch and last_trained >= module
