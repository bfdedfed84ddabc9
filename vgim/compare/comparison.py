"""The comparison of runs as typed data: what each run is, what it cost and learned, and what its probes found."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vgim.downstream.options import ResultModel
from vgim.downstream.output import Output
from vgim.downstream.result import Interval
from vgim.verdict.verdict import NextCommand, Verdict

BASELINES = ("mfcc", "random")
"""Baselines that every probed task should have."""
WeightScale = Literal["standardized", "published"]


class ModuleMetrics(ResultModel):
    """The latest validation of a module; None for an unknown value."""

    module: int
    nce: float | None
    """InfoNCE in nats, without the KL term, so that runs with different KL weights compare."""
    accuracy: float | None
    """Share of predictions whose positive scores highest."""
    kl: float | None
    """KL in nats, summed over time as in the publication; None for a module without a posterior."""
    kl_per_element: float | None
    """KL in nats, mean over time and dimensions."""
    kl_per_frame: float | None = None
    """KL in nats, mean over time, summed over dimensions."""
    active_units: float | None
    collapsed: bool | None
    """Whether the posterior has collapsed, by the rule of `vgim.verdict.learning`; None where that is unknown."""


class Cost(ResultModel):
    """Time and data that training took."""

    step_s: float
    """Seconds in optimizer steps."""
    train_s: float
    """Seconds in optimizer steps and between them, without validation and checkpoints."""
    utterances: int
    """Crops seen by all ranks."""


class ComparedProbe(ResultModel):
    """The result of one probe."""

    task: str
    variant: str
    """Options other than the defaults, such as `whole, adam`; only results of equal variants compare."""
    encoder: str
    module: int | None
    layer: int | None
    concat: tuple[int, ...] = ()
    """Modules whose outputs were concatenated."""
    step: int | None
    accuracy: float
    interval_over_utterances: Interval
    interval_over_seeds: Interval | None
    majority: float
    num_test: int
    data_fingerprint: str

    @property
    def output(self) -> Output:
        """What the features were read from."""
        return Output(self.module, self.layer, self.concat)


class ComparedRun(ResultModel):
    """One run; None for a value that its folder does not hold."""

    name: str
    uri: str
    state: str | None
    family: str
    head: str | None = None
    """`model.head` of a gim or cpc; None for a sim, which has a posterior."""
    kld_weight: float
    target_rate: float = 0.0
    """`objective.target_rate` in nats a frame; 0 for a weight that stays."""
    settings: dict[str, str] = Field(default_factory=dict)
    """Values of the config keys that a table has a row for where they differ, as text."""
    num_modules: int
    channels: int
    step: int | None
    epoch: float | None
    encoder_parameters: int
    predictor_parameters: int
    """Parameters of InfoNCE's linear maps, which are of no use after training."""
    workers: int | str | None
    device: str | None
    """Device that the latest steps were taken on, `cpu` or the GPU's name; of older runs `cluster.device`."""
    cost: Cost | None
    data_fingerprint: str | None
    chance_nce: float
    """InfoNCE of a module that knows nothing: ln(1 + number of negatives), in nats."""
    modules: tuple[ModuleMetrics, ...]
    probes: tuple[ComparedProbe, ...]
    verdict: Verdict | None = None
    """What the run's figures say; None in records that older versions wrote."""


class ComparedWeights(ResultModel):
    """How evenly the weights of one probe spread, on standardized features."""

    task: str
    variant: str
    module: int
    layer: int | None
    run: str
    """The run's name."""
    gini: float
    """Gini coefficient of Σ |weight| over features: 0 if all have the same."""
    top_tenth_share: float
    """Share of Σ |weight| in the heaviest tenth of the features."""
    excess_kurtosis: float
    """Excess kurtosis of the weights; 0 for Gaussian ones."""


class ComparisonVerdict(ResultModel):
    """Which run is better by more than the interval of the difference."""

    sentences: tuple[str, ...]
    next: NextCommand | None


class Comparison(ResultModel):
    """Runs in the order in which they were named, with notes for the reader."""

    runs: tuple[ComparedRun, ...]
    notes: tuple[str, ...]
    weights: tuple[ComparedWeights, ...] = ()
    """Empty unless they were asked for."""
    verdict: ComparisonVerdict | None = None
    """What the runs' figures mean; missing where one run stands alone."""

    def tasks(self) -> list[tuple[str, str]]:
        """Each task and variant that any run was probed on."""
        return list(dict.fromkeys((p.task, p.variant) for run in self.runs for p in run.probes))
