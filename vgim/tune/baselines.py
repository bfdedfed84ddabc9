"""Quick probes of baselines, beside which the trials of a sweep stand: an untrained encoder of each kind, and MFCCs.

They are fitted and scored on the utterances of the trials' own quick probes, so that their accuracies compare.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Literal

from pydantic import BaseModel, ConfigDict

from vgim.config.keys import dump
from vgim.errors import VgimError
from vgim.jsonl import append_record, read_records
from vgim.progress import Progress, track
from vgim.runs.checkpoint import find_checkpoint
from vgim.runs.folder import RunFolder
from vgim.storage import Location
from vgim.tune.config import MetricConfig
from vgim.tune.metric_levels import MetricLevel
from vgim.tune.trials import Trial

FILE = "baselines.jsonl"
NAMES: dict[str, tuple[str, str]] = {
    "random": ("untrained", "best untrained"),
    "mfcc": ("MFCC", "best MFCC"),
}
"""Names of a baseline's level: where all trials share it, and where the best of several is shown."""
Kind = Literal["random", "mfcc"]
KINDS: tuple[Kind, ...] = ("random", "mfcc")


class Baseline(BaseModel):
    """A line of the sweep's `baselines.jsonl`."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    encoder: Kind
    identity: str
    """Hash of what the baseline depends on."""
    accuracy: float
    """Share of examples of the validation split that are classified correctly."""


def probe_baselines(
    folder: Location, trials: Sequence[Trial], metric: MetricConfig, progress: Progress
) -> None:
    """Probe the baselines of all trials that have finished, each once; nothing for a metric that is no probe.

    Each result is stored as soon as it exists. A baseline that cannot be probed is a message, and ends no sweep.

    Args:
        folder: The sweep's folder.
        trials: The sweep's trials.
        metric: What trials are compared by.
        progress: Where to report.
    """
    if metric.kind != "probe":
        return
    known = {(baseline.encoder, baseline.identity) for baseline in _stored(folder)}
    missing: dict[tuple[Kind, str], Trial] = {}
    for trial in trials:
        record = RunFolder(trial.run).readable_record()
        for kind in KINDS:
            key = (kind, _identity(kind, trial, metric))
            if record is not None and record.state == "finished" and key not in known:
                missing.setdefault(key, trial)
    if not missing:
        return
    from vgim.tune.quick_probe import probe_checkpoint  # imports torch

    for (kind, identity), trial in track(progress, list(missing.items()), "probing baselines", "baseline"):
        try:
            found = probe_checkpoint(find_checkpoint(trial.run.uri), metric, kind)
        except VgimError as error:
            progress.message(f"the baseline {kind} of {trial.id} is not shown: {error}")
            continue
        append_record(folder.child(FILE), Baseline(encoder=kind, identity=identity, accuracy=found.accuracy))


def baseline_levels(folder: Location, trials: Sequence[Trial], metric: MetricConfig) -> Iterator[MetricLevel]:
    """The accuracy of each kind of baseline that was probed; of several untrained encoders, the best one's."""
    if metric.kind != "probe":
        return
    stored = list(_stored(folder))
    for kind in KINDS:
        wanted = {_identity(kind, trial, metric) for trial in trials}
        found = {b.identity: b.accuracy for b in stored if b.encoder == kind and b.identity in wanted}
        if found:
            name = NAMES[kind][len(found) > 1]
            yield MetricLevel(name=name, value=max(found.values()))


def _stored(folder: Location) -> list[Baseline]:
    """The baselines in the sweep's folder; none where the file does not read, since they can be probed again."""
    with suppress(VgimError):
        return list(read_records(folder.child(FILE), Baseline))
    return []


def _identity(kind: Kind, trial: Trial, metric: MetricConfig) -> str:
    """Hash of what a baseline depends on: the probe, the clips, and an untrained encoder's architecture and seed."""
    config = dump(trial.config)
    parts = {"probe": [metric.task, metric.max_utterances], "data": config["data"]}
    if kind == "random":
        module = metric.module % trial.config.model.num_modules
        parts |= {"model": config["model"], "seed": trial.config.train.seed, "module": module}
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
