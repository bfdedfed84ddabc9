"""The mesh of a run whose stages have ranks of their own: the stages, this rank's place, who holds a virtual rank."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vgim.config.train_sections import TrainConfig
from vgim.errors import ConfigError
from vgim.model.rank_group import RankGroup
from vgim.schedules.stages import Stage, balanced, make_stages
from vgim.text import numbered, plural
from vgim.training.share import Share


class StageMesh:
    """A rank's view of the mesh. All ranks must build it alike, since that makes process groups.

    Args:
        stages: from the stage that reads audio on; the last one has rank 0.
        world: all ranks of the run.
        num_virtual: virtual ranks of the run, which each stage divides among its ranks.
    """

    def __init__(self, stages: tuple[Stage, ...], world: RankGroup, num_virtual: int) -> None:
        self.stages, self.world, self.num_virtual = stages, world, num_virtual
        (self.number,) = (n for n, stage in enumerate(stages) if world.rank in stage.ranks)
        self.share = Share(world.split([stage.ranks for stage in stages]), num_virtual)
        """This rank's share of its stage's work."""
        self.latents = world if world.sends_from_device else world.on_cpu()
        """All ranks, for the latents that stages send each other."""
        self.reports = world.on_cpu()
        """All ranks, for what stages send to rank 0."""

    @property
    def stage(self) -> Stage:
        """This rank's stage."""
        return self.stages[self.number]

    @property
    def reads_audio(self) -> bool:
        """Whether this rank's stage reads audio, and no latents."""
        return self.number == 0

    @property
    def is_last(self) -> bool:
        """Whether no stage follows this rank's."""
        return self.number == len(self.stages) - 1

    @property
    def leads(self) -> bool:
        """Whether this rank speaks for its stage."""
        return self.share.group.rank == 0

    @property
    def other_leaders(self) -> list[int]:
        """The ranks that speak for the stages before the last one, from the first stage on."""
        return [stage.ranks[0] for stage in self.stages[:-1]]

    def holder(self, stage: int, virtual_rank: int) -> int:
        """The rank of the world that does a virtual rank's work in a stage."""
        ranks = self.stages[stage].ranks
        # Virtual rank v belongs to the rank r of R with r * V // R <= v < (r + 1) * V // R, as `Share` divides them.
        return ranks[((virtual_rank + 1) * len(ranks) - 1) // self.num_virtual]

    def sources(self, stage: int, rank: int) -> list[int]:
        """The ranks of the stage before from which a rank of a stage gets the work of its virtual ranks, in order."""
        virtual_ranks = (v for v in range(self.num_virtual) if self.holder(stage, v) == rank)
        return [self.holder(stage - 1, v) for v in virtual_ranks]

    def describe(self) -> str:
        """A sentence for the run's log; see `describe_stages`."""
        return describe_stages(self.stages)


def describe_stages(stages: Sequence[Stage]) -> str:
    """`2 stages: module 0 on ranks 1 and 2; modules 1 to 3 on rank 0`."""
    parts = (f"{numbered('module', stage.modules)} on {numbered('rank', stage.ranks)}" for stage in stages)
    return f"{plural(len(stages), 'stage')}: {'; '.join(parts)}"


def plan_stages(
    train: TrainConfig,
    costs: Sequence[float],
    num_ranks: int,
    num_virtual: int,
    *,
    exchanging: bool = False,
) -> tuple[Stage, ...]:
    """The stages that a config asks for, or those that the costs of the modules balance.

    Args:
        costs: seconds of each module on one micro-batch; all equal where the config leaves no choice.
        exchanging: whether virtual ranks exchange tensors within a micro-batch, so that each needs a rank of its own.

    Raises:
        ConfigError: the ranks make no such stages.
    """
    placement = None if train.placement == "auto" else train.placement
    replicas = train.replicas
    if exchanging and not replicas:
        replicas = (num_virtual,) * (num_ranks // num_virtual)
    try:
        return make_stages(*balanced(costs, num_ranks, num_virtual, placement=placement, replicas=replicas))
    except ValueError as error:
        raise ConfigError(
            f"{plural(num_ranks, 'rank')} make no stages of {plural(len(costs), 'module')} with "
            f"{plural(num_virtual, 'virtual rank')} ({error}); set cluster.workers to the sum of train.replicas, or "
            "raise train.virtual_ranks"
        ) from error


def leaves_a_choice(train: TrainConfig, num_ranks: int) -> bool:
    """Whether costs decide about the stages."""
    return train.placement == "auto" or (not train.replicas and len(train.placement) != num_ranks)


def agreed_costs(costs: Sequence[float], world: RankGroup, device: torch.device) -> list[float]:
    """Rank 0's costs, on every rank."""
    mine = torch.tensor(costs, dtype=torch.float64, device=device) * (world.rank == 0)
    world.all_reduce_sum(mine)
    agreed: list[float] = mine.tolist()
    return agreed
