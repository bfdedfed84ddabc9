"""Time and money of steps ahead, from step rates that earlier runs of the same shape recorded."""

from __future__ import annotations

import statistics
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from vgim.config import RunConfig
from vgim.config.keys import dump
from vgim.data.shards.manifest import read_manifest
from vgim.data.stream.readers import read_in_process
from vgim.data.stream.stream import CropStream, RankSlice
from vgim.errors import ConfigError, VgimError
from vgim.runs.folder import RunFolder
from vgim.runs.layout import TRIALS
from vgim.runs.metrics import read_metrics
from vgim.schedules.registry import SCHEDULES
from vgim.storage import Location
from vgim.text import format_clock

CPU = "cpu"


class StepsAhead(NamedTuple):
    """Steps of a phase that are still to be trained."""

    config: RunConfig
    modules: tuple[int, ...]
    """Modules that the phase trains."""
    steps: int


@dataclass(frozen=True)
class TrainingTime:
    """How long steps take at measured rates."""

    seconds: float
    devices: tuple[str, ...]
    """Names of the devices that the rates were measured on."""


@dataclass
class _MeasuredRates:
    """Step rates of earlier runs, either on CPUs or on GPUs."""

    steps_per_s: dict[tuple[str, tuple[int, ...]], list[float]] = field(default_factory=dict)
    """(shape of the run, modules that are trained) → measured rates."""
    devices: set[str] = field(default_factory=set)


def training_time(
    ahead: Sequence[StepsAhead], folders: Sequence[Location], *, on_gpu: bool
) -> TrainingTime | None:
    """How long steps take, one after the other; None if no run of the same shape was measured.

    Args:
        folders: folders of runs and sweeps to search for measured rates.
        on_gpu: whether the steps are taken on GPUs.
    """
    shapes = [_shape(phase.config) for phase in ahead]
    rates = _measured_rates(folders, set(shapes), on_gpu=on_gpu)
    seconds = 0.0
    for phase, shape in zip(ahead, shapes, strict=True):
        measured = rates.steps_per_s.get((shape, phase.modules))
        if measured is None:
            return None
        seconds += phase.steps / statistics.median(measured)
    return TrainingTime(seconds, tuple(sorted(rates.devices)))


def not_measured(on_gpu: bool) -> str:
    """Why the time of a run is unknown, and how to measure it."""
    return (
        f"the time cannot be known, because no earlier run of this shape was measured on a "
        f"{'GPU' if on_gpu else 'CPU'}; train one under the same storage.root with train.max_steps=200"
    )


def refuse_price_of_cpus(price_per_gpu_hour: float | None, gpus: float, who: str) -> None:
    """Refuse a price of GPUs for a training that uses none.

    Args:
        who: what trains, in the plural.

    Raises:
        ConfigError: there is a price, and there are no GPUs.
    """
    if price_per_gpu_hour is not None and not gpus:
        raise ConfigError(
            f"--price-per-gpu-hour {price_per_gpu_hour:g} has no effect: the {who} train on CPUs; leave it out, or "
            "set cluster.device=cuda"
        )


def gpu_bill(seconds: float, gpus: float, price_per_gpu_hour: float | None, of_what: str = "a trial") -> str:
    """A line with the GPU-hours, and their cost in the currency of the price.

    Args:
        seconds: training time, summed over trials.
        gpus: GPUs of each trial.
        of_what: what has so many GPUs.
    """
    hours = seconds * gpus / 3600
    line = f"GPUs: {format_clock(seconds)} of training x {gpus:g} of {of_what} = {hours:,.2f} GPU-hours"
    if price_per_gpu_hour is None:
        return f"{line}; --price-per-gpu-hour makes money of them"
    return f"{line} x {price_per_gpu_hour:g} an hour = {hours * price_per_gpu_hour:,.2f}"


def steps_of_epoch(config: RunConfig) -> int:
    """Optimizer steps of the first epoch; other epochs have as many, but for `tile` crops.

    Raises:
        VgimError: the shards cannot be read, or have too few crops for a step.
    """
    return planned_stream(config).num_steps(0)


def planned_stream(config: RunConfig) -> CropStream:
    """The stream of the first virtual rank, to be planned with.

    Raises:
        VgimError: the shards cannot be read.
    """
    train = config.train
    shards = Location(config.data.shards)
    rank_slice = RankSlice(
        0, config.num_virtual_ranks, train.batch_size, train.accumulate, train.limit_train_batches
    )
    return CropStream(
        shards,
        read_manifest(shards),
        config.data,
        split="train",
        rank_slice=rank_slice,
        seed=train.seed,
        reader=read_in_process,
    )


def steps_of_phase(config: RunConfig, epochs: int, steps_in_epoch: int) -> int:
    """Optimizer steps of a phase of so many epochs."""
    steps, most = steps_in_epoch * epochs, config.train.max_steps
    return min(steps, most) if most else steps


def _shape(config: RunConfig) -> str:
    """Everything that the time of a step depends on, except the trained modules and the device."""
    tree = dump(config)
    tree["model"].pop("depth")
    data, train, objective = (tree[name] for name in ("data", "train", "objective"))
    return repr(
        (
            tree["model"],
            data["crop_samples"],
            [
                train[key]
                for key in (
                    "batch_size",
                    "accumulate",
                    "precision",
                    "compile",
                    "cuda_graphs",
                    "virtual_ranks",
                )
            ],
            [train[key] for key in ("schedule", "placement", "replicas", "transfer_dtype")]
            if SCHEDULES[config.train.schedule].has_stages
            else [],
            [objective[key] for key in ("loss", "num_negatives", "negatives", "window_frames")],
            config.objective.plain_steps,
            tree["cluster"]["workers"],
        )
    )


def _measured_rates(folders: Sequence[Location], shapes: Container[str], *, on_gpu: bool) -> _MeasuredRates:
    rates = _MeasuredRates()
    for run in _possible_runs(folders):
        try:
            config = RunFolder(run).config()
            shape = _shape(config) if config is not None else ""
            records = list(read_metrics(run)) if shape in shapes else []
        except VgimError:
            continue  # no run, or a damaged one
        for record in records:
            device, rate = record.get("device"), record.get("steps_per_s") or 0.0
            is_measured = record["kind"] == "train" and rate > 0
            if is_measured and isinstance(device, str) and (device != CPU) == on_gpu:
                modules = tuple(module.get("module") for module in record["modules"])
                rates.steps_per_s.setdefault((shape, modules), []).append(rate)
                rates.devices.add(device)
    return rates


def _possible_runs(folders: Sequence[Location]) -> Iterator[Location]:
    """Every folder inside the given folders, and inside the trials of their sweeps."""
    for folder in folders:
        for name in folder.list():
            yield folder.child(name)
            trials = folder.child(name, TRIALS)
            for trial in trials.list():
                yield trials.child(trial)
