"""The comparison of groups of runs that differ in their seeds alone, as typed data."""

from __future__ import annotations

from pydantic import Field

from vgim.compare.comparison import ComparisonVerdict
from vgim.compare.crossed import Estimate
from vgim.downstream.options import ResultModel


class GroupedModule(ResultModel):
    """A module at the end of training, over the runs of a group; None for an unknown value."""

    module: int
    nce: Estimate | None
    """InfoNCE in nats, without the KL term; the interval is over seeds, by Student's t."""
    train_nce: Estimate | None
    """InfoNCE of the last epoch that trained the module, which runs without a validation split have as well."""
    kl_per_frame: float | None
    """KL in nats a frame, summed over channels, mean over runs; None without a posterior."""
    collapsed: int
    """Number of runs in which the module has collapsed."""


class RunGroup(ResultModel):
    """Runs with one config and different seeds."""

    name: str
    family: str
    channels: int
    kld_weight: float
    target_rate: float = 0.0
    """`objective.target_rate` in nats a frame; 0 for a weight that stays."""
    settings: dict[str, str] = Field(default_factory=dict)
    """Values of the config keys that a table has a row for where they differ, as text."""
    seeds: tuple[int, ...]
    states: dict[str, str]
    """State of each run, by name."""
    steps: tuple[int | None, ...]
    """Optimizer steps of each run."""
    step_s: float | None
    """Seconds in optimizer steps, mean over runs."""
    crops: float | None
    """Crops seen, mean over runs."""
    encoder_parameters: int
    chance_nce: float
    """InfoNCE of a module that knows nothing, in nats."""
    modules: tuple[GroupedModule, ...]
    layers: str
    """Outputs that stand in the rows of modules, for an encoder that is one module; empty for others."""


class GroupedAccuracy(ResultModel):
    """Accuracy of one kind of encoder at one depth, on one task."""

    task: str
    variant: str
    """Options of the probe other than the defaults, such as `adam`."""
    part: str
    """What of a class has to be right, such as `consonant`; empty for all of it."""
    column: str
    """Name of the group; `random sim`, `mfcc` for a baseline."""
    encoder: str
    groups: tuple[str, ...]
    """Groups whose encoder this is, or which share the baseline."""
    depth: int | None
    """Module, or the layer of cpc that corresponds to it; then sets of modules; None for features of no encoder."""
    accuracy: Estimate
    majority: float | None
    """Accuracy of always naming the train split's most frequent class; None for a part of a class."""
    num_test_utterances: int


class GroupedDifference(ResultModel):
    """Accuracy of one column minus another's, paired by seed and test utterance."""

    task: str
    variant: str
    part: str
    column: str
    minus: str
    depth: int | None
    difference: Estimate


class GroupedComparison(ResultModel):
    """Groups in the order in which they were named, with notes for the reader."""

    groups: tuple[RunGroup, ...]
    depth_names: tuple[str, ...]
    """Name of each depth: `module 0`, ..., `module 3 (GRU)`."""
    several_names: tuple[str, ...] = ()
    """Name of each set of modules that was read side by side, such as `modules 0+1+2`; depths behind those above."""
    accuracies: tuple[GroupedAccuracy, ...]
    differences: tuple[GroupedDifference, ...]
    notes: tuple[str, ...]
    verdict: ComparisonVerdict | None = None
    """What the groups' figures mean; None in records that older versions wrote."""

    @property
    def row_names(self) -> tuple[str, ...]:
        """Name of each depth, and behind these of each set of modules."""
        return self.depth_names + self.several_names

    def tasks(self) -> list[tuple[str, str, str]]:
        """Each task, variant and part that any run was probed on."""
        return list(dict.fromkeys((a.task, a.variant, a.part) for a in self.accuracies))

    def columns(self) -> list[str]:
        """Columns of accuracies: the groups, then the baselines."""
        names = [group.name for group in self.groups]
        others = dict.fromkeys(a.column for a in self.accuracies if a.column not in names)
        return [*names, *others]
