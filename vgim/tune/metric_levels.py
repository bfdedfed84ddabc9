"""Chance, and the accuracy of the most frequent class: what a trial's metric is worth that has learned nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict

from vgim.errors import VgimError
from vgim.model.losses import chance_of
from vgim.tune.config import MetricConfig
from vgim.tune.quick_probe import read_quick_probes
from vgim.tune.trials import Trial


class MetricLevel(BaseModel):
    """A value of the metric that needs no training."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: str
    value: float


def metric_levels(trials: Sequence[Trial], metric: MetricConfig) -> tuple[MetricLevel, ...]:
    """Chance and, for a probe, the most frequent class; only what is the same for all trials."""
    found: dict[str, set[float]] = {}
    for trial in trials:
        for level in _probe_levels(trial, metric) if metric.kind == "probe" else _loss_levels(trial):
            found.setdefault(level.name, set()).add(level.value)
    return tuple(
        MetricLevel(name=name, value=min(values)) for name, values in found.items() if len(values) == 1
    )


def _loss_levels(trial: Trial) -> Iterator[MetricLevel]:
    chance = chance_of(trial.config.objective)
    yield MetricLevel(name="chance", value=chance.loss)


def _probe_levels(trial: Trial, metric: MetricConfig) -> Iterator[MetricLevel]:
    try:
        probes = list(read_quick_probes(trial.run, metric))
    except VgimError:
        return  # the trial's own row says so
    if probes:
        yield MetricLevel(name="chance", value=probes[-1].chance)
        if probes[-1].majority is not None:
            yield MetricLevel(name="most frequent class", value=probes[-1].majority)
