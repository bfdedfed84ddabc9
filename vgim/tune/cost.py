"""What a sweep will take, from step rates that earlier runs of the same shape wrote down; without any, nothing."""

from __future__ import annotations

import statistics
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field

from vgim.config import RunConfig
from vgim.config.keys import dump
from vgim.data.shards.manifest import is_complete, read_manifest
from vgim.data.stream.readers import read_in_process
from vgim.data.stream.stream import CropStream, RankSlice
from vgim.errors import ConfigError, VgimError
from vgim.runs.folder import RunFolder
from vgim.runs.metrics import read_metrics
from vgim.storage import Location
from vgim.train.console import clock
from vgim.train.schedule import phases
from vgim.tune.load import TRIALS
from vgim.tune.plan import Chain
from vgim.tune.resources import TrialResources
from vgim.tune.trial import has_ended

CPU = "cpu"


@dataclass
class _Rates:
    """What steps took in earlier runs, on CPUs or on GPUs."""

    found: dict[tuple[str, tuple[int, ...]], list[float]] = field(default_factory=dict)
    """(shape, modules that are trained) → steps a second."""
    devices: set[str] = field(default_factory=set)
    """Names of those that they were measured on."""


def estimate(
    chains: Sequence[Chain],
    shares: TrialResources,
    places: Sequence[Location],
    *,
    price_per_gpu_hour: float | None = None,
    stops_early: bool = False,
) -> str:
    """Lines: steps; time and GPU-hours, where they can be known; money, where there is a price; what is assumed.

    Args:
        places: folders of runs and sweeps in which to look for measured rates.
        stops_early: a scheduler will end some trials before their end.

    Raises:
        ConfigError: there is a price of GPUs, and the trials use none.
    """
    if price_per_gpu_hour is not None and not shares.gpus:
        raise ConfigError(
            f"--price-per-gpu-hour {price_per_gpu_hour:g} has no effect: the trials train on CPUs; leave it out, or "
            "set cluster.device=cuda"
        )
    phases_ahead = [phase for chain in chains for phase in _phases(chain)]
    if not phases_ahead:
        return "cost: nothing is left to train"
    shards = Location(phases_ahead[0][0].data.shards)
    if not is_complete(shards):
        return f"cost: cannot be known before there are shards in {shards.uri}"
    rates = _rates(places, {_shape(config) for config, _, _ in phases_ahead}, on_gpu=shares.gpus > 0)
    steps = [_steps(config, epochs) for config, _, epochs in phases_ahead]
    total = f"{sum(steps):,} steps in all"
    measured = [rates.found.get((_shape(config), modules)) for config, modules, _ in phases_ahead]
    if any(rate is None for rate in measured):
        return (
            f"cost: {total}; the time cannot be known, since no earlier run of this shape was measured on a "
            f"{'GPU' if shares.gpus else 'CPU'}; one under the same storage.root will do, of train.max_steps=200"
        )
    seconds = sum(s / statistics.median(rate) for s, rate in zip(steps, measured, strict=True) if rate)
    at_once = min(shares.trials_at_once, len(chains))
    lines = [
        f"cost: {total}, {clock(seconds)} of training at step rates measured on {', '.join(sorted(rates.devices))}; "
        f"about {clock(seconds / at_once)} with {at_once} at once"
    ]
    if shares.gpus:
        lines.append(gpu_bill(seconds, shares.gpus, price_per_gpu_hour))
    assumed = [
        "every trial is trained to its end, though the scheduler will stop some" if stops_early else "",
        "trials at once do not slow each other down" if at_once > 1 else "",
        "starts, validation and probes come on top",
        "so do idle GPUs, the head and storage" if shares.gpus else "",
    ]
    return "\n".join([*lines, f"assumed: {'; '.join(filter(None, assumed))}"])


def gpu_bill(seconds: float, gpus: float, price_per_gpu_hour: float | None) -> str:
    """A line with GPU-hours, and what they cost in the currency of the price.

    Args:
        seconds: of training, summed over trials.
        gpus: of each trial.
    """
    hours = seconds * gpus / 3600
    line = f"GPUs: {clock(seconds)} of training x {gpus:g} of a trial = {hours:,.2f} GPU-hours"
    if price_per_gpu_hour is None:
        return f"{line}; --price-per-gpu-hour makes money of them"
    return f"{line} x {price_per_gpu_hour:g} an hour = {hours * price_per_gpu_hour:,.2f}"


def _phases(chain: Chain) -> Iterator[tuple[RunConfig, tuple[int, ...], int]]:
    """What a chain trains: config, modules, epochs; a deeper trial only what the one before it has not."""
    done = 0
    for trial in chain.trials:
        own = phases(trial.config)
        for phase in own[done:] if not has_ended(trial) else ():
            yield trial.config, phase.modules, phase.epochs
        done = len(own) if len(chain.trials) > 1 else 0


def _steps(config: RunConfig, epochs: int) -> int:
    """Optimizer steps of a phase; an estimate where `tile` crops make epochs unequal."""
    train = config.train
    shards = Location(config.data.shards)
    share = RankSlice(
        0, max(1, config.cluster.workers), train.batch_size, train.accumulate, train.limit_train_batches
    )
    stream = CropStream(
        shards,
        read_manifest(shards),
        config.data,
        split="train",
        rank_slice=share,
        seed=train.seed,
        reader=read_in_process,
    )
    steps = stream.num_steps(0) * epochs
    return min(steps, train.max_steps) if train.max_steps else steps


def _shape(config: RunConfig) -> str:
    """All that a step's cost depends on, but the modules that are trained and the device."""
    tree = dump(config)
    tree["model"].pop("depth")
    data, train, objective = (tree[name] for name in ("data", "train", "objective"))
    return repr(
        (
            tree["model"],
            data["crop_samples"],
            [train[key] for key in ("batch_size", "accumulate", "precision", "compile", "cuda_graphs")],
            [
                objective[key]
                for key in ("loss", "prediction_steps", "num_negatives", "negatives", "window_frames")
            ],
            tree["cluster"]["workers"],
        )
    )


def _rates(places: Sequence[Location], shapes: Container[str], *, on_gpu: bool) -> _Rates:
    rates = _Rates()
    for run in _runs_in(places):
        try:
            config = RunFolder(run).config()
            shape = _shape(config) if config is not None else ""
            records = list(read_metrics(run)) if shape in shapes else []
        except VgimError:
            continue  # no run, or one that cannot be read
        for record in records:
            device = record.get("device")
            if record["kind"] == "train" and device is not None and (device != CPU) == on_gpu:
                modules = tuple(module["module"] for module in record["modules"])
                rates.found.setdefault((shape, modules), []).append(record["steps_per_s"])
                rates.devices.add(device)
    return rates


def _runs_in(places: Sequence[Location]) -> Iterator[Location]:
    """Folders that may be runs: those in the places, and the trials of the sweeps that are there."""
    for path in places:
        for name in path.list():
            yield path.child(name)
            trials = path.child(name, TRIALS)
            for trial in trials.list():
                yield trials.child(trial)
