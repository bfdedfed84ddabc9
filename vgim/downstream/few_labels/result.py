"""Options and result of a study of few labels, and the result as CSV and as a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from vgim.config import RunConfig
from vgim.downstream.options import EncoderKind, ProbeOptions, ResultModel, unusual_options
from vgim.downstream.probes.registry import AnyTask, ExampleUnit
from vgim.downstream.result import Interval
from vgim.downstream.result_table import in_percent
from vgim.errors import ConfigError
from vgim.runs.provenance import Provenance
from vgim.text import align_columns, shorten, whole_number

LABELS = (1, 2, 5, 10, 20, 50, 100, None)
SEEDS = 10


def parse_labels(text: str) -> tuple[int | None, ...]:
    """Read `1,10,all` as ascending numbers, None for all.

    Raises:
        ConfigError: The text is no such list.
    """
    words = [word.strip() for word in text.split(",")]
    numbers = [whole_number(word) for word in words if word != "all"]
    if not all(numbers):
        raise ConfigError(
            f"--labels-per-class {shorten(text)} is no list of numbers; give such as 1,10,100 or 1,10,all"
        )
    return (*sorted({number for number in numbers if number}), *([None] if "all" in words else []))


class FewLabelsOptions(ProbeOptions):
    """Options of a probe and of its subsets; `solver`, `patience` and `sampled` must have their defaults."""

    seeds: int = Field(SEEDS, ge=1)
    """Number of random subsets for each number of labels."""
    labels_per_class: tuple[int | None, ...] = LABELS
    """Labels per class, ascending; None for all labels."""
    draws: int = Field(16, ge=1)
    """Most samples of each labeled example's posterior."""
    logit_std: float = Field(4.0, gt=0, allow_inf_nan=False)
    """Standard deviation of a logit, in nats, under the prior that the penalty stands for."""


class FewLabelsPoint(ResultModel):
    """One kind of features at one number of labels."""

    encoder: EncoderKind
    features: Literal["mean", "sample"]
    """mean: trained on μ, or on features without a posterior; sample: trained on samples z. Both are tested on μ."""
    labels_per_class: int | None
    """Labeled examples of each class; None for all labels."""
    num_labels: int
    """Labeled examples of all classes together."""
    num_short_classes: int
    """Classes with fewer than `labels_per_class` examples, which are all used."""
    draws: int
    """Samples of each labeled example; 1 for μ."""
    accuracies: tuple[float, ...]
    """Test accuracy of each seed; a single one for all labels, where seeds change nothing."""
    accuracy: float
    """Mean of `accuracies`."""
    interval: Interval | None
    """Interval of the mean over seeds; None for one seed."""
    gain: float | None = None
    """Accuracy minus that of the trained encoder's μ with the same labels, mean over seeds; None for μ itself."""
    gain_interval: Interval | None = None
    """Interval of `gain` over seeds, paired."""


class FewLabelsResult(Provenance):
    """One module and task; docs/probes.md explains the fields."""

    schema_version: Literal[1] = 1
    task: AnyTask
    points: tuple[FewLabelsPoint, ...]
    """All points of one kind of features after another, each in ascending order of labels."""
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
    options: FewLabelsOptions
    run_config: RunConfig


def is_study(content: bytes) -> bool:
    """Whether a `result.json` is of a study of few labels and not of one probe: it has points."""
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(parsed, dict) and "points" in parsed


def study_folder_name(result: FewLabelsResult) -> str:
    """Name of the study's folder under RUN/probes."""
    options = result.options
    parts: list[str] = [result.task, "labels"]
    parts += [] if result.module is None else [f"module{result.module}"]
    if options.checkpoint != "last":
        parts.append(f"step{result.step}" if options.checkpoint == "named" else options.checkpoint)
    return "-".join([*parts, *unusual_options(options, result.data_fingerprint, result.labels)])


def curves(result: FewLabelsResult) -> dict[str, list[FewLabelsPoint]]:
    """The points of each kind of features, by its name in tables and pictures."""
    by_name: dict[str, list[FewLabelsPoint]] = {}
    for point in result.points:
        symbol = {"mean": " μ", "sample": " z"}[point.features] if point.encoder == "trained" else ""
        by_name.setdefault(f"{point.encoder}{symbol}", []).append(point)
    return by_name


def points_csv(result: FewLabelsResult) -> str:
    """Format every accuracy as CSV: a row for each kind of features, number of labels and seed."""
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


def format_study(result: FewLabelsResult) -> str:
    """Format a table for a terminal: accuracies in percent with their 95 % intervals over seeds."""
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


def notes_on_points(points: Sequence[FewLabelsPoint], num_classes: int, draws: int) -> list[str]:
    """Notes on classes with too few examples and on numbers of labels with fewer draws."""
    notes = []
    if short := {
        p.labels_per_class: p.num_short_classes for p in points if p.labels_per_class and p.num_short_classes
    }:
        counts = ", ".join(f"{num} at {per_class}" for per_class, num in short.items())
        notes.append(
            f"classes (of {num_classes}) with fewer examples than asked for, which give all: {counts}"
        )
    if fewer := {p.labels_per_class: p.draws for p in points if p.features == "sample" and p.draws < draws}:
        counts = ", ".join(f"{num} at {per_class or 'all'}" for per_class, num in fewer.items())
        notes.append(f"fewer draws where there are many labels: {counts}")
    return notes
