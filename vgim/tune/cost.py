"""What a sweep will take, from step rates that earlier runs of the same shape wrote down; without any, nothing."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from vgim.config import RunConfig
from vgim.config.keys import dump
from vgim.data.manifest import is_complete, read_manifest
from vgim.data.stream import CropStream, Share, read_here
from vgim.errors import VgimError
from vgim.storage import Location
from vgim.train.console import clock
from vgim.train.folder import RunFolder
from vgim.train.metrics import read_metrics
from vgim.train.schedule import phases
from vgim.tune.plan import Chain
from vgim.tune.resources import Shares
from vgim.tune.trial import has_ended

Rates = dict[tuple[str, tuple[int, ...]], list[float]]
"""(shape, modules that are trained) → steps a second."""


def estimate(chains: Sequence[Chain], shares: Shares, places: Sequence[Location]) -> str:
    """A sentence: steps, and time where it can be known.

    Args:
        places: folders of runs in which to look for measured rates.
    """
    phases_ahead = [phase for chain in chains for phase in _phases(chain)]
    if not phases_ahead:
        return "cost: nothing is left to train"
    shards = Location(phases_ahead[0][0].data.shards)
    if not is_complete(shards):
        return f"cost: cannot be known before there are shards in {shards.uri}"
    rates = _rates(places)
    steps = [_steps(config, epochs) for config, _, epochs in phases_ahead]
    total = f"{sum(steps):,} steps in all"
    measured = [rates.get((_shape(config), modules)) for config, modules, _ in phases_ahead]
    if any(rate is None for rate in measured):
        return f"cost: {total}; the time cannot be known, since no earlier run of this shape was measured"
    seconds = sum(s / statistics.median(rate) for s, rate in zip(steps, measured, strict=True) if rate)
    at_once = min(shares.trials_at_once, len(chains))
    return (
        f"cost: {total}, {clock(seconds)} of training at measured step rates, about {clock(seconds / at_once)} with "
        f"{at_once} at once if they do not slow each other down; starts, validation and probes come on top"
    )


def _phases(chain: Chain) -> Iterator[tuple[RunConfig, tuple[int, ...], int]]:
    """What a chain trains: config, modules, epochs; a deeper trial only what the one before it has not."""
    done = 0
    for trial in chain.trials:
        own = phases(trial.config)
        for phase in own[done:] if not has_ended(trial) else ():
            yield trial.config, phase.modules, phase.epochs
        done = len(own) if len(chain.trials) > 1 else 0


def _steps(config: RunConfig, epochs: int) -> int:
    """Optimiser steps of a phase; an estimate where `tile` crops make epochs unequal."""
    train = config.train
    shards = Location(config.data.shards)
    share = Share(
        0, max(1, config.cluster.workers), train.batch_size, train.accumulate, train.limit_train_batches
    )
    stream = CropStream(
        shards,
        read_manifest(shards),
        config.data,
        split="train",
        share=share,
        seed=train.seed,
        reader=read_here,
    )
    steps = stream.steps_in(0) * epochs
    return min(steps, train.max_steps) if train.max_steps else steps


def _shape(config: RunConfig) -> str:
    """All that a step's cost depends on, but the modules that are trained."""
    tree = dump(config)
    tree["model"].pop("depth")
    data, train, objective = (tree[name] for name in ("data", "train", "objective"))
    return repr(
        (
            tree["model"],
            data["crop_samples"],
            [train[key] for key in ("batch_size", "accumulate", "precision", "compile")],
            [objective[key] for key in ("prediction_steps", "num_negatives", "negatives", "window_frames")],
            [tree["cluster"][key] for key in ("workers", "device")],
        )
    )


def _rates(places: Sequence[Location]) -> Rates:
    found: Rates = {}
    for place in places:
        for name in place.list():
            try:
                config = RunFolder(place.child(name)).config()
                records = list(read_metrics(place.child(name))) if config is not None else []
            except VgimError:
                continue  # no run, or one that cannot be read
            for record in records:
                if config is not None and record["kind"] == "train":
                    modules = tuple(module["module"] for module in record["modules"])
                    found.setdefault((_shape(config), modules), []).append(record["steps_per_s"])
    return found
