"""What the study of few labels is asked (`LimitedOptions`) and what it leaves (a `LimitedResult`, also as CSV)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from vgim.config import RunConfig
from vgim.downstream.probes.probe import ExampleUnit
from vgim.downstream.probes.registry import Task
from vgim.downstream.result import (
    EncoderKind,
    Interval,
    ProbeOptions,
    ResultModel,
    in_percent,
    unusual_options,
)
from vgim.errors import ConfigError
from vgim.runs.provenance import Provenance
from vgim.text import align_columns

LABELS = (1, 2, 5, 10, 20, 50, 100, None)
SEEDS = 10


def parse_labels(text: str) -> tuple[int | None, ...]:
    """`1,10,all` as ascending numbers, None for all; ConfigError for anything else."""
    words = [word.strip() for word in text.split(",")]
    numbers = sorted({int(word) for word in words if word.isascii() and word.isdigit() and int(word)})
    if any(word != "all" and not (word.isascii() and word.isdigit() and int(word)) for word in words):
        raise ConfigError(
            f"--labels-per-class {text} is no list of numbers; give such as 1,10,100 or 1,10,all"
        )
    return (*numbers, *([None] if "all" in words else []))


class LimitedOptions(ProbeOptions):
    """Those of a probe, and which subsets; `solver`, `patience` and `sampled` keep their defaults."""

    seeds: int = Field(SEEDS, ge=1)
    """Random subsets."""
    labels_per_class: tuple[int | None, ...] = LABELS
    """Ascending; None for all that there are."""
    draws: int = Field(16, ge=1)
    """Samples of the posterior of each labeled example."""
    logit_std: float = Field(4.0, gt=0, allow_inf_nan=False)
    """Deviation in nats of a logit under the prior that the penalty stands for."""


class LimitedPoint(ResultModel):
    """One kind of features at one number of labels."""

    encoder: EncoderKind
    features: Literal["mean", "sample"]
    """What the classifier was trained on: μ (or features without a posterior), or samples z. It is tested on μ."""
    labels_per_class: int | None
    """None for all."""
    num_labels: int
    """Labeled examples of all classes together."""
    num_short_classes: int
    """Classes with fewer than `labels_per_class` examples, of which all are taken."""
    draws: int
    """Samples of each labeled example; 1 for μ."""
    accuracies: tuple[float, ...]
    """On the test split, of each seed; a single one for all labels, where seeds change nothing."""
    accuracy: float
    """Mean over seeds."""
    interval: Interval | None
    """Of the mean over seeds; None for one seed."""
    gain: float | None = None
    """Mean over seeds of the accuracy minus the trained encoder's with μ, on the same labels; None for itself."""
    gain_interval: Interval | None = None
    """Of `gain` over seeds, paired."""


class LimitedResult(Provenance):
    """See docs/probes.md."""

    schema_version: Literal[1] = 1
    task: Task
    points: tuple[LimitedPoint, ...]
    """By features, each in ascending order of labels."""
    majority: float
    chance: float
    unit: ExampleUnit
    num_train: int
    num_test: int
    num_train_utterances: int
    num_test_utterances: int
    test_utterances_seen: int | None
    batch_norm_clips: int
    notes: tuple[str, ...]
    options: LimitedOptions
    run_config: RunConfig


def is_study(content: bytes) -> bool:
    """Whether a `result.json` is of a study of few labels and not of one probe: it has points."""
    try:
        parsed = json.loads(content)
    except ValueError:
        return False
    return isinstance(parsed, dict) and "points" in parsed


def limited_folder_name(result: LimitedResult) -> str:
    """Name of the result's folder under RUN/probes."""
    options = result.options
    parts: list[str] = [result.task, "labels"]
    parts += [] if result.module is None else [f"module{result.module}"]
    if options.checkpoint != "last":
        parts.append(f"step{result.step}" if options.checkpoint == "named" else options.checkpoint)
    return "-".join([*parts, *unusual_options(options, result.data_fingerprint)])


def curves(result: LimitedResult) -> dict[str, list[LimitedPoint]]:
    """The points of each kind of features, by the name it has in tables and pictures."""
    found: dict[str, list[LimitedPoint]] = {}
    for point in result.points:
        symbol = {"mean": " μ", "sample": " z"}[point.features] if point.encoder == "trained" else ""
        found.setdefault(f"{point.encoder}{symbol}", []).append(point)
    return found


def points_csv(result: LimitedResult) -> str:
    """Every accuracy: a row for each features, number of labels and seed."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(
        [
            "task",
            "module",
            "encoder",
            "features",
            "labels_per_class",
            "num_labels",
            "draws",
            "seed",
            "accuracy",
        ]
    )
    for point in result.points:
        per_class = "all" if point.labels_per_class is None else point.labels_per_class
        module = result.module if point.encoder != "mfcc" else ""
        features = [result.task, module, point.encoder, point.features]
        for seed, accuracy in enumerate(point.accuracies):
            table.writerow([*features, per_class, point.num_labels, point.draws, seed, f"{accuracy:.6f}"])
    return out.getvalue()


def format_limited(result: LimitedResult) -> str:
    """The result as a table for a terminal: accuracies in percent with their 95 % interval over seeds."""
    by_name = curves(result)
    sampled = by_name.get("trained z")
    rows = [["labels per class", "labels", *by_name, *(["z - μ"] if sampled else [])]]
    for number, first in enumerate(result.points[: len(result.options.labels_per_class)]):
        row = [
            "all" if first.labels_per_class is None else str(first.labels_per_class),
            f"{first.num_labels:,}",
        ]
        for points in by_name.values():
            row.append(_cell(f"{100 * points[number].accuracy:.1f}", points[number].interval))
        if sampled:
            gain = sampled[number].gain
            row.append(_cell(f"{100 * (gain or 0.0):+.1f}", sampled[number].gain_interval))
        rows.append(row)
    module = "" if result.module is None else f", module {result.module}"
    title = f"{result.task}{module}: accuracy in % (95 % over {result.options.seeds} subsets)"
    return f"{title}\n{align_columns(rows, num_left=0)}"


def _cell(value: str, interval: Interval | None) -> str:
    return value if interval is None else f"{value} ({in_percent(interval)})"


def some_notes(points: Sequence[LimitedPoint], num_classes: int, draws: int) -> list[str]:
    """What a reader has to know of these points."""
    notes = []
    if short := {
        p.labels_per_class: p.num_short_classes for p in points if p.labels_per_class and p.num_short_classes
    }:
        told = ", ".join(f"{num} at {per_class}" for per_class, num in short.items())
        notes.append(f"classes (of {num_classes}) with fewer examples than asked for, which give all: {told}")
    if fewer := {p.labels_per_class: p.draws for p in points if p.features == "sample" and p.draws < draws}:
        told = ", ".join(f"{num} at {per_class or 'all'}" for per_class, num in fewer.items())
        notes.append(f"fewer draws where there are many labels: {told}")
    return notes
