"""Estimates a sweep's time and cost from step rates that earlier runs of the same shape recorded."""

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
from vgim.schedules.registry import SCHEDULES
from vgim.storage import Location
from vgim.text import format_clock
from vgim.training.progress import phases
from vgim.tune.resources import TrialResources
from vgim.tune.sweep_file import TRIALS
from vgim.tune.trial_driver import has_ended
from vgim.tune.trials import TrialChain

CPU = "cpu"


@dataclass
class _MeasuredRates:
    """Step rates of earlier runs, either on CPUs or on GPUs."""

    steps_per_s: dict[tuple[str, tuple[int, ...]], list[float]] = field(default_factory=dict)
    """(shape of the run, modules that are trained) → measured rates."""
    devices: set[str] = field(default_factory=set)
    """Names of the devices that the rates were measured on."""


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
    if price_per_gpu_hour is not None and not resources.gpus:
        raise ConfigError(
            f"--price-per-gpu-hour {price_per_gpu_hour:g} has no effect: the trials train on CPUs; leave it out, or "
            "set cluster.device=cuda"
        )
    phases_ahead = [phase for chain in chains for phase in _phases(chain)]
    if not phases_ahead:
        return "cost: nothing is left to train"
    shards = Location(phases_ahead[0][0].data.shards)
    if not is_complete(shards):
        return f"cost: unknown until there are shards in {shards.uri}"
    rates = _measured_rates(
        folders, {_shape(config) for config, _, _ in phases_ahead}, on_gpu=resources.gpus > 0
    )
    steps = [_steps(config, epochs) for config, _, epochs in phases_ahead]
    total = f"{sum(steps):,} steps in all"
    measured = [rates.steps_per_s.get((_shape(config), modules)) for config, modules, _ in phases_ahead]
    if any(rate is None for rate in measured):
        return (
            f"cost: {total}; the time cannot be known, because no earlier run of this shape was measured on a "
            f"{'GPU' if resources.gpus else 'CPU'}; train one under the same storage.root with train.max_steps=200"
        )
    seconds = sum(s / statistics.median(rate) for s, rate in zip(steps, measured, strict=True) if rate)
    at_once = min(resources.trials_at_once, len(chains))
    lines = [
        f"cost: {total}, {format_clock(seconds)} of training at step rates measured on "
        f"{', '.join(sorted(rates.devices))}; about {format_clock(seconds / at_once)} with {at_once} at once"
    ]
    if resources.gpus:
        lines.append(gpu_bill(seconds, resources.gpus, price_per_gpu_hour))
    assumed = [
        "every trial is trained to its end, though the scheduler will stop some" if stops_early else "",
        "trials at once do not slow each other down" if at_once > 1 else "",
        "the time to start, validate and probe is not included",
        "nor are idle GPUs, the head node and storage" if resources.gpus else "",
    ]
    return "\n".join([*lines, f"assumed: {'; '.join(filter(None, assumed))}"])


def gpu_bill(seconds: float, gpus: float, price_per_gpu_hour: float | None) -> str:
    """A line with the GPU-hours, and their cost in the currency of the price.

    Args:
        seconds: training time, summed over trials.
        gpus: GPUs of each trial.
    """
    hours = seconds * gpus / 3600
    line = f"GPUs: {format_clock(seconds)} of training x {gpus:g} of a trial = {hours:,.2f} GPU-hours"
    if price_per_gpu_hour is None:
        return f"{line}; --price-per-gpu-hour makes money of them"
    return f"{line} x {price_per_gpu_hour:g} an hour = {hours * price_per_gpu_hour:,.2f}"


def _phases(chain: TrialChain) -> Iterator[tuple[RunConfig, tuple[int, ...], int]]:
    """Config, modules and epochs of each phase that a chain trains; a deeper trial adds only its further phases."""
    done = 0
    for trial in chain.trials:
        own = phases(trial.config)
        for phase in own[done:] if not has_ended(trial) else ():
            yield trial.config, phase.modules, phase.epochs
        done = len(own) if len(chain.trials) > 1 else 0


def _steps(config: RunConfig, epochs: int) -> int:
    """Optimizer steps of a phase; an estimate if `tile` crops make epochs unequal."""
    train = config.train
    shards = Location(config.data.shards)
    rank_slice = RankSlice(
        0,
        train.virtual_ranks or max(1, config.cluster.max_workers),
        train.batch_size,
        train.accumulate,
        train.limit_train_batches,
    )
    stream = CropStream(
        shards,
        read_manifest(shards),
        config.data,
        split="train",
        rank_slice=rank_slice,
        seed=train.seed,
        reader=read_in_process,
    )
    steps = stream.num_steps(0) * epochs
    return min(steps, train.max_steps) if train.max_steps else steps


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
            device = record.get("device")
            if record["kind"] == "train" and device is not None and (device != CPU) == on_gpu:
                modules = tuple(module["module"] for module in record["modules"])
                rates.steps_per_s.setdefault((shape, modules), []).append(record["steps_per_s"])
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
