"""What a nat a frame of KL costs in the loss, which compares over widths, depths, crops and units of the KL weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vgim.config import RunConfig
from vgim.model.kl_unit import in_unit
from vgim.model.specs import frames_of_modules, module_specs
from vgim.text import join_words, numbered

PUBLISHED_WEIGHT = 0.01
"""Highest published KL weight (the reference's `config_code/sim_setup.py`), in the unit `time_sum`."""
PUBLISHED_CHANNELS = 512
TOLERANCE = 1.01
"""Ratio of two costs up to which they count as equal, since messages round weights to three digits."""


def nat_costs(config: RunConfig, weight: float | None = None) -> dict[int, float]:
    """What one nat a frame adds to the loss of each module that has a posterior.

    Args:
        weight: KL weight; None for the config's.
    """
    if weight is None:
        weight = config.objective.kld_weight
    channels, reduction = config.model.channels, config.objective.kl_reduction
    return {
        m: weight * in_unit(1 / channels, num_frames, channels, reduction)
        for m, num_frames in _posterior_frames(config).items()
    }


def times_published(config: RunConfig) -> float:
    """Times that a nat a frame costs more than the published set-up made it cost, in the module where it costs most.

    The published cost in a module of T frames is 0.01 · T / 512: the published weight and width, at the config's crop.
    Without a posterior the ratio is 0.
    """
    published = _published_costs(config)
    return max((cost / published[m] for m, cost in nat_costs(config).items()), default=0.0)


def dearer_than_published(config: RunConfig) -> str | None:
    """A warning if a nat a frame costs more than published in some module; else None.

    Weights that follow a target rate are lowered where they are too dear.
    """
    ratio = times_published(config)
    if ratio <= TOLERANCE or config.target_rate:
        return None
    costs, published = nat_costs(config), _published_costs(config)
    objective = config.objective
    fix = f"objective.kld_weight={objective.kld_weight / ratio:.3g}"
    if objective.kl_reduction != "frame":
        cheapest = min(published.values())
        fix += f", or objective.kl_reduction=frame objective.kld_weight={cheapest:.3g}"
    return (
        f"objective.kld_weight={objective.kld_weight:g} makes a nat a frame up to {ratio:.3g} times as dear as "
        f"published, so that posteriors may collapse; set {fix} (cost of a nat in {numbered('module', list(costs))} at "
        f"{config.model.channels} channels: {_shown(costs)}; published: {_shown(published)})"
    )


def differing_units(configs: Mapping[str, RunConfig], modules: Sequence[int] | None = None) -> str | None:
    """A note if equal KL weights of several runs mean different costs of a nat; None if they mean the same.

    Weights that follow a target rate are noted too.

    Args:
        configs: Configs by the names of their runs. Runs without a KL term are left out.
        modules: Module that counts in each run, in the order of `configs`; None for the first.
    """
    follow = [name for name, config in configs.items() if config.objective.target_rate]
    if follow and len(configs) > 1:
        where = "" if len(follow) == len(configs) else f"in {join_words(follow)} "
        return (
            f"kld_weight does not compare: {where}it is where the weights start that hold the KL at "
            "objective.target_rate"
        )
    of_module = dict(zip(configs, modules or [0] * len(configs), strict=True))
    costs = {
        name: nat_costs(config, 1.0)[of_module[name]]
        for name, config in configs.items()
        if config.model.family == "sim" and config.objective.kld_weight > 0
    }
    if not costs or max(costs.values()) <= TOLERANCE * min(costs.values()):
        return None
    cheap, dear = min(costs, key=costs.__getitem__), max(costs, key=costs.__getitem__)
    return (
        f"kld_weight does not compare: at equal weights a nat a frame costs {costs[dear] / costs[cheap]:.3g} times as "
        f"much in module {of_module[dear]} of {dear} as in module {of_module[cheap]} of {cheap}; "
        "objective.kl_reduction=frame has one unit"
    )


def _posterior_frames(config: RunConfig) -> dict[int, int]:
    """Frames of each module that has a posterior, for the config's crop."""
    specs = module_specs(config.model)
    return {m: num_frames for m, num_frames in enumerate(frames_of_modules(config)) if specs[m].posterior}


def _published_costs(config: RunConfig) -> dict[int, float]:
    return {
        m: PUBLISHED_WEIGHT * num_frames / PUBLISHED_CHANNELS
        for m, num_frames in _posterior_frames(config).items()
    }


def _shown(costs: Mapping[int, float]) -> str:
    return ", ".join(f"{cost:.3g}" for cost in costs.values())
