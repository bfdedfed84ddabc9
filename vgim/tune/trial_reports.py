"""A run seen from outside while it trains: its folder read again and again, and the sweep's metric taken from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from vgim.config import RunConfig
from vgim.errors import CheckpointError, StorageError
from vgim.runs.checkpoint import Checkpoint, complete_checkpoints
from vgim.runs.metrics import read_metrics
from vgim.storage import Location
from vgim.train.schedule import phases
from vgim.tune.config import MetricConfig
from vgim.tune.normality import add_normality, measure, posterior_module, read_normality
from vgim.tune.quick_probe import add_probe, probe_checkpoint, read_probes


@dataclass(frozen=True)
class Report:
    """The metric at a moment of a run."""

    step: int
    epoch: int
    value: float


def reports(run: Location, config: RunConfig, metric: MetricConfig) -> list[Report]:
    """All that a run's folder tells of the metric, oldest first."""
    module = metric.module % config.model.num_modules
    if metric.kind == "probe":
        return [
            Report(probe.step, probe.epoch, probe.accuracy)
            for probe in read_probes(run, metric)
            if probe.module == module
        ]
    return [
        Report(record["step"], int(record["epoch"]), figures["nce"])
        for record in read_metrics(run)
        if record["kind"] == "validation"
        for figures in record["modules"]
        if figures["module"] == module and figures["nce"] is not None
    ]


@dataclass
class Follower:
    """Finds what is new of a run's metric; probes its checkpoints where the metric asks for that, and measures how
    normal their latents are."""

    run: Location
    config: RunConfig
    metric: MetricConfig
    _told: set[int] = field(default_factory=set)
    """Steps whose reports were given."""

    def new_reports(self, *, ended: bool) -> Iterator[Report]:
        """What has come since the last look; `ended` says that the run will give no more."""
        if ended or self.metric.kind == "probe":
            self._look(ended=ended)
        for report in reports(self.run, self.config, self.metric):
            if report.step not in self._told:
                self._told.add(report.step)
                yield report

    def take_back(self, report: Report) -> None:
        """Let a report come again at the next look."""
        self._told.discard(report.step)

    def _look(self, *, ended: bool) -> None:
        """Look at the last checkpoint of a run that has ended, and before that at each that is to be probed."""
        probing, module = self.metric.kind == "probe", posterior_module(self.config, self.metric)
        probed = {probe.step for probe in read_probes(self.run, self.metric)}
        measured = {found.step for found in read_normality(self.run, self.config, self.metric)}
        checkpoints = complete_checkpoints(self.run)
        for checkpoint in checkpoints:
            step, last = checkpoint.state.step, ended and checkpoint is checkpoints[-1]
            if not (last or (probing and self._is_due(checkpoint))):
                continue
            try:
                # Normality first: what has been probed is not looked at again by a later launch.
                if module is not None and step not in measured:
                    add_normality(self.run, measure(checkpoint, module))
                if probing and step not in probed:
                    add_probe(self.run, probe_checkpoint(checkpoint, self.metric))
            except (CheckpointError, StorageError):
                if last:
                    raise
                # It was pruned while it was read: training went on, and there will be another.

    def _is_due(self, checkpoint: Checkpoint) -> bool:
        state, module = checkpoint.state, self.metric.module % self.config.model.num_modules
        trained = max(phases(self.config)[state.phase].modules)
        return state.step_in_epoch == 0 and state.epoch % self.metric.every_epochs == 0 and trained >= module
