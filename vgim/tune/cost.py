"""Estimates a sweep's time and cost from step rates that earlier runs of the same shape recorded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from vgim.config import RunConfig
from vgim.data.shards.manifest import is_complete
from vgim.storage import Location
from vgim.text import format_clock
from vgim.training.plan.rates import (
    StepsAhead,
    gpu_bill,
    not_measured,
    refuse_price_of_cpus,
    steps_of_epoch,
    steps_of_phase,
    training_time,
)
from vgim.training.progress import phases
from vgim.tune.resources import TrialResources
from vgim.tune.trial_driver import has_ended
from vgim.tune.trials import TrialChain


def estimate_cost(
    chains: Sequence[TrialChain],
    resources: TrialResources,
    folders: Sequence[Location],
    *,
    price_per_gpu_hour: float | None = None,
    stops_early: bool = False,
) -> str:
    """Lines with the steps, the time and GPU-hours if rates are known, the money if there is a price, the assumptions.

    Args:
        folders: folders of runs and sweeps to search for measured rates.
        stops_early: whether a scheduler will stop some trials early.

    Raises:
        ConfigError: there is a price of GPUs, but the trials use none.
    """
    refuse_price_of_cpus(price_per_gpu_hour, resources.gpus, "trials")
    phases_ahead = [phase for chain in chains for phase in _phases(chain)]
    if not phases_ahead:
        return "cost: nothing is left to train"
    shards = Location(phases_ahead[0][0].data.shards)
    if not is_complete(shards):
        return f"cost: unknown until there are shards in {shards.uri}"
    ahead = [
        StepsAhead(config, modules, steps_of_phase(config, epochs, steps_of_epoch(config)))
        for config, modules, epochs in phases_ahead
    ]
    total = f"{sum(phase.steps for phase in ahead):,} steps in all"
    time = training_time(ahead, folders, on_gpu=resources.gpus > 0)
    if time is None:
        return f"cost: {total}; {not_measured(resources.gpus > 0)}"
    at_once = min(resources.trials_at_once, len(chains))
    lines = [
        f"cost: {total}, {format_clock(time.seconds)} of training at step rates measured on "
        f"{', '.join(time.devices)}; about {format_clock(time.seconds / at_once)} with {at_once} at once"
    ]
    if resources.gpus:
        lines.append(gpu_bill(time.seconds, resources.gpus, price_per_gpu_hour))
    assumed = [
        "every trial is trained to its end, though the scheduler will stop some" if stops_early else "",
        "trials at once do not slow each other down" if at_once > 1 else "",
        "the time to start, validate and probe is not included",
        "nor are idle GPUs, the head node and storage" if resources.gpus else "",
    ]
    return "\n".join([*lines, f"assumed: {'; '.join(filter(None, assumed))}"])


def epochs_to_end(config: RunConfig) -> int:
    """Epochs over all phases of a run, as far as `train.max_steps` lets it come; all of them until there are shards.

    Raises:
        VgimError: the shards cannot be read, or have too few crops for a step.
    """
    whole = sum(phase.epochs for phase in phases(config))
    if not config.train.max_steps or not is_complete(Location(config.data.shards)):
        return whole
    most = math.ceil(config.train.max_steps / steps_of_epoch(config))
    return sum(min(phase.epochs, most) for phase in phases(config))


def _phases(chain: TrialChain) -> Iterator[tuple[RunConfig, tuple[int, ...], int]]:
    """Config, modules and epochs of each phase that a chain trains; a deeper trial adds only its further phases."""
    done = 0
    for trial in chain.trials:
        own = phases(trial.config)
        for phase in own[done:] if not has_ended(trial) else ():
            yield trial.config, phase.modules, phase.epochs
        done = len(own) if len(chain.trials) > 1 else 0
