"""The schema of a sweep file: a base preset, a search space of config keys, a metric, and how trials run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vgim.config.schema import MAX_COUNT, MAX_LAYERS, MAX_SEED, MAY_CHANGE, Section
from vgim.downstream.probes.registry import FittedTask
from vgim.tune.pbt_mutation import check_mutable
from vgim.tune.space import SpaceAxis, num_grid_points, parse_space

MAX_TRIALS = 10_000
"""Largest number of trials of a sweep: each has a folder, a row and a line of the page."""


class MetricConfig(Section):
    """The metric by which trials are compared, during training and at the end."""

    kind: Literal["nce", "probe"] = "nce"
    """nce: a module's validation InfoNCE, lower is better; probe: validation accuracy of a small linear probe on
    its features, higher is better. Neither contains the KL term, so that trials of different kld_weight compare."""
    module: int = Field(-1, ge=-MAX_LAYERS, le=MAX_LAYERS)
    """Index of the module that is measured, from 0; -1 is the last module of each trial."""
    task: FittedTask = "phone"
    """probe: the label that the probe predicts."""
    max_utterances: int = Field(200, ge=1, le=MAX_COUNT)
    """probe: most utterances of the train split, and of the validation split."""
    every_epochs: int = Field(1, ge=1, le=MAX_COUNT)
    """probe: epochs between two probes; the last checkpoint is always probed."""

    @property
    def mode(self) -> Literal["min", "max"]:
        """Whether a lower or a higher metric is better."""
        return "min" if self.kind == "nce" else "max"


class SchedulerConfig(Section):
    """The scheduler, which decides which trials continue."""

    kind: Literal["none", "asha", "pbt"] = "none"
    """none: every trial trains to its end; asha: worse trials are stopped, by asynchronous successive halving; pbt:
    worse trials continue from better ones' weights with perturbed values, by population based training."""
    grace_epochs: int = Field(1, ge=1, le=MAX_COUNT)
    """asha: epochs that every trial trains."""
    reduction_factor: int = Field(3, ge=2, le=1000)
    """asha: one of this many trials continues, each time that the epochs have grown by this factor."""
    interval_epochs: int = Field(1, ge=1, le=MAX_COUNT)
    """pbt: epochs between two comparisons."""
    quantile: float = Field(0.25, gt=0, le=0.5)
    """pbt: share of the trials that exploit others, and of the trials that are exploited."""
    resample_probability: float = Field(0.25, ge=0, le=1)
    """pbt: probability that a value is drawn anew from the space. Otherwise it is multiplied by 0.8 or 1.2, or moves to
    a neighbor in its list."""


class SweepConfig(Section):
    """A sweep: trials of one base config at the points of a search space."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$|^$")] = Field(
        "",
        json_schema_extra={
            "in_words": "text of letters, digits, dots, underscores and hyphens that starts with a letter or digit"
        },
    )
    """Name of the sweep's folder under the base's storage.root; empty uses the file's name."""
    base: str = Field(..., min_length=1)
    """Preset that every trial starts from, by name or by a path relative to this file."""
    overrides: tuple[str, ...] = Field((), json_schema_extra={"in_words": "a list of key=value"})
    """Changes of the base for all trials, written as on the command line."""
    space: dict[str, Any] = Field(
        ..., min_length=1, json_schema_extra={"in_words": "config keys, each with a list or a range"}
    )
    """Config key → a list of values, or a range: `log 1e-4..1e-1`, `uniform 0..1`, `int 2..8`."""
    search: Literal["grid", "random", "optuna"] = "grid"
    """grid: all combinations; random: independent draws; optuna: proposals that learn from earlier trials."""
    samples: int = Field(0, ge=0, le=MAX_TRIALS)
    """random, optuna: number of trials; grid: points on each range."""
    seed: int = Field(0, ge=0, le=MAX_SEED)
    """Seed of the draws. The seed of training is train.seed."""
    metric: MetricConfig = Field(default_factory=MetricConfig)
    scheduler: SchedulerConfig = Field(default_factory=SchedulerConfig)
    trials_at_once: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | Literal["auto"] = Field(
        "auto", json_schema_extra=MAY_CHANGE
    )
    """Trials that run at the same time; auto: as many as leave each worker a CPU (or GPU) of its own."""
    share_depth: bool = True
    """Whether trials that differ in model.depth alone train their common modules once, under schedule sequential."""

    @property
    def axes(self) -> tuple[SpaceAxis, ...]:
        """The space, parsed."""
        return parse_space(self.space)

    @model_validator(mode="after")
    def _parts_agree(self) -> SweepConfig:
        axes = self.axes
        ranges = [axis.key for axis in axes if axis.range is not None]
        if self.search == "grid" and ranges and self.samples < 2:
            raise ValueError(
                f"samples={self.samples} points on {ranges[0]} make no grid; set samples to at least 2, or list values"
            )
        if self.search == "grid" and (num_trials := num_grid_points(axes, self.samples)) > MAX_TRIALS:
            raise ValueError(
                f"the grid has {num_trials:,} trials and a sweep at most {MAX_TRIALS:,}; lower samples, shorten the "
                "lists, or use search=random"
            )
        if self.search == "grid" and not ranges and self.samples:
            raise ValueError(
                f"samples={self.samples} has no effect: search=grid with lists alone runs every combination; "
                "leave samples out, or use search=random"
            )
        if self.search != "grid" and self.samples < 1:
            raise ValueError(
                f"samples={self.samples}, but search={self.search} needs their number; set samples to 1 or more"
            )
        if self.search == "optuna" and not any(axis.is_real for axis in axes):
            raise ValueError(
                "search=optuna would propose the same trial twice: no key of the space has a log or uniform range; "
                "use search=grid, or give a key a range"
            )
        if self.scheduler.kind == "pbt":
            if self.search == "optuna":
                raise ValueError(
                    "search=optuna and scheduler.kind=pbt both choose the values of trials; use search=random with pbt"
                )
            check_mutable(axes)
        return self
