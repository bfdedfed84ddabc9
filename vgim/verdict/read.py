"""Read a run's folder into the figures that a verdict is made from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from vgim.config import RunConfig, blocking_difference, load_config
from vgim.config.schema import ObjectiveConfig
from vgim.data.shards.manifest import Manifest, read_manifest
from vgim.downstream.result import ProbeResult
from vgim.downstream.stored import newest_results, read_results
from vgim.errors import ConfigError, VgimError
from vgim.model.specs import frames_of_modules, module_specs
from vgim.runs.checkpoint import Checkpoint, complete_checkpoints
from vgim.runs.folder import RunFolder, RunRecord
from vgim.runs.layout import DECODERS, LATENTS
from vgim.runs.listing import current_state
from vgim.runs.metrics import MetricsRecord, read_metrics_file
from vgim.storage import Location
from vgim.verdict.commands import training_words
from vgim.verdict.figures import Measurement, ModuleFigures, RunFigures
from vgim.verdict.latents import read_latents

MOST_CROPS = 2.0**63
"""More crops than any training reads; a damaged record may give more."""
LAST_SHARE = 0.1
"""Share of a module's steps, at its end, over which InfoNCE on training batches is averaged."""


def read_figures(
    run: Location, config: RunConfig | None = None, checkpoints: Sequence[Checkpoint] | None = None
) -> RunFigures | None:
    """Read the figures of an encoder's run; None where there is no run.

    What is missing beside the config counts as not done yet. Probe results that cannot be read are left out.

    Args:
        run: The run's folder.
        config: The run's config; None to read it.
        checkpoints: The run's complete checkpoints, oldest first; None to look for them.

    Raises:
        VgimError: The config or the metrics cannot be read.
    """
    folder = RunFolder(run)
    config = config or folder.config()
    if config is None:
        return None
    results = newest_results(read_results(run, run.name, []))
    record, metrics = folder.readable_record(), read_metrics_file(run).records
    return gather_figures(run, config, record, metrics, results, checkpoints)


def gather_figures(
    run: Location,
    config: RunConfig,
    record: RunRecord | None,
    records: Sequence[MetricsRecord],
    results: Sequence[ProbeResult],
    checkpoints: Sequence[Checkpoint] | None = None,
) -> RunFigures:
    """The figures of a run whose main files have been read.

    Args:
        run: The run's folder; latents and decoders are looked up there.
        config: The run's config.
        record: Its `run.json`; None if it cannot be read.
        records: Its `metrics.jsonl`.
        results: Its newest probe results.
        checkpoints: Its complete checkpoints, oldest first; None to look for them.
    """
    checkpoints = complete_checkpoints(run) if checkpoints is None else checkpoints
    last_time = (records[-1].get("time") or 0.0) if records else 0.0
    steps = [r["step"] for r in records] + [checkpoint.state.step for checkpoint in checkpoints[-1:]]
    epochs = [r["epoch"] for r in records if r.get("epoch") is not None]
    manifest = _manifest(config.data.shards)
    return RunFigures(
        uri=run.uri,
        config=config,
        state=current_state(run, record, last_time) if record is not None else "finished",
        message=record.message if record is not None else "",
        error=record.error if record is not None else "",
        command=_lasting_command(record.command, config) if record is not None else (),
        step=max(steps, default=0),
        epoch=max(epochs, default=0.0),
        modules=module_figures(config, records),
        hours=None if manifest is None else manifest.split("train").hours,
        task=_task(manifest),
        probes=results,
        latents=read_latents(run),
        has_latents=bool(run.child(LATENTS).list()),
        has_decoder=bool(run.child(DECODERS).list()),
    )


def _lasting_command(command: Sequence[str], config: RunConfig) -> Sequence[str]:
    """The command that began a run; empty if its preset has changed since, so that it would be refused."""
    began = training_words(command)
    if began is None:
        return command
    words, preset = began
    overrides = [word for word in words if re.match(r"[a-z_.]+=", word)]  # no option's value, such as a path
    try:
        today = load_config(preset, overrides).config.model_copy(update={"attach": config.attach})
    except ConfigError:
        return ()
    return () if blocking_difference(config, today) else command


def module_figures(config: RunConfig, records: Sequence[MetricsRecord]) -> tuple[ModuleFigures, ...]:
    """What the records of a run say about each of its modules."""
    events = [r["message"] for r in records if r["kind"] == "event"]
    measured = [r for r in records if r["kind"] in ("train", "validation")]
    frames = frames_of_modules(config)
    figures = []
    for m, spec in enumerate(module_specs(config.model)):
        own = [(record, metrics) for record in measured if (metrics := _of_module(record, m))]
        found = _module(config.objective, m, frames[m], own, measured, events)
        figures.append(replace(found, has_posterior=spec.posterior))
    return tuple(figures)


Own = Mapping[str, float | None]
"""A module's metrics in a record."""


def _module(
    objective: ObjectiveConfig,
    module: int,
    num_frames: int,
    own: Sequence[tuple[MetricsRecord, Own]],
    measured: Sequence[MetricsRecord],
    events: Sequence[str],
) -> ModuleFigures:
    window = min(num_frames, objective.window_frames or num_frames)
    train = [(r, metrics) for r, metrics in own if r["kind"] == "train"]
    validations = [(r, metrics) for r, metrics in own if r["kind"] == "validation"]
    start = 0
    if train:  # under some schedules, other modules are trained before
        start = max((r["step"] for r in measured if r["step"] < train[0][0]["step"]), default=0)
    about = [text for text in events if text.startswith(f"module {module} has ")]
    active = [metrics.get("active_units") for _, metrics in (validations or train)]
    return ModuleFigures(
        module=module,
        num_spans=max(1, window // objective.steps_of_module(module)),
        validation=Measurement(validations[-1][1].get("nce"), _count(validations[-1][0].get("crops")))
        if validations
        else None,
        training=_training(train, start),
        curve=_curve(train),
        validations=_curve(validations),
        steps=max(0, train[-1][0]["step"] - start) if train else 0,
        kld_weight=train[-1][1].get("kld_weight", train[-1][0].get("kld_weight", objective.kld_weight))
        if train
        else None,
        rate=train[-1][1].get("kl_per_frame") if train else None,
        active_units=active[-1] if active else None,
        has_collapse_event=bool(about) and " has collapsed" in about[-1],
    )


def _of_module(record: MetricsRecord, module: int) -> Own | None:
    for number, metrics in enumerate(record["modules"]):
        if metrics.get("module", number) == module:
            found: Own = metrics
            return found
    return None


def _training(train: Sequence[tuple[MetricsRecord, Own]], start: int) -> Measurement | None:
    """Mean over the last records, each weighted by its steps; None without any record."""
    if not train:
        return None
    end = train[-1][0]["step"]
    first = end - LAST_SHARE * (end - start)
    total = crops = 0.0
    num_steps = 0
    for i in reversed(range(len(train))):
        record, metrics = train[i]
        before = train[i - 1][0]["step"] if i else start
        nce, steps = metrics.get("nce"), record["step"] - before
        if nce is None:
            return Measurement(None, None)
        total, num_steps = total + steps * nce, num_steps + steps
        rate = record.get("steps_per_s")
        crops += steps * (record.get("crops_per_s") or 0.0) / rate if rate else 0.0
        if before <= first:
            break
    return Measurement(total / num_steps, _count(crops)) if num_steps > 0 else None


def _curve(own: Sequence[tuple[MetricsRecord, Own]]) -> tuple[tuple[int, float], ...]:
    return tuple((r["step"], nce) for r, metrics in own if (nce := metrics.get("nce")) is not None)


def _count(number: float | None) -> int | None:
    """A number of crops; None for a missing one, or one that cannot be."""
    return round(number) if number is not None and 1 <= number < MOST_CROPS else None


def task_of(shards: str) -> str:
    """The probe that shards have labels for; speakers, if they cannot be read."""
    return _task(_manifest(shards))


def _manifest(shards: str) -> Manifest | None:
    """The manifest; None for shards that are gone, or lie where this machine cannot read."""
    with suppress(VgimError):
        return read_manifest(shards)
    return None


def _task(manifest: Manifest | None) -> str:
    """The probe that the shards have labels for; speakers, if that is not known."""
    if manifest is None:
        return "speaker"
    if manifest.phone_inventory:
        return "phone"
    return "syllable" if manifest.traits.syllables else "speaker"
