"""Probe results of a run: a table and a chart for every task and setting, baselines beside, and the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vgim.downstream.result import ProbeResult, in_percent
from vgim.downstream.writing import PICTURE
from vgim.pages.chart import Chart, LegendEntry
from vgim.report.commands import baselines_command, probe_command
from vgim.report.embed import EmbeddedPicture, Embedder
from vgim.report.few_labels import Study, is_study, studies
from vgim.report.line_chart import Level, Series, line_chart
from vgim.report.notes import Notes, children, listed, read_json
from vgim.report.tables import Table
from vgim.runs.layout import PROBES, RESULT
from vgim.storage import Location

BASELINES = ("random", "mfcc")
ORDER = ("trained", "supervised", "greedy-supervised", "random", "mfcc")
"""Of encoders in a table and of their colors."""
MFCC = "MFCC"
ASIDE = 0.08
"""Between two encoders at the same module, so that both intervals are seen."""


class Found(NamedTuple):
    """A result and the folder it lies in."""

    path: Location
    result: ProbeResult


@dataclass(frozen=True)
class ProbeTable:
    """Results that can be compared: one task, one setting."""

    task: str
    heading: str
    setting: str
    table: Table
    chart: Chart | None
    legend: tuple[LegendEntry, ...]
    """Encoders of the chart and their colors."""
    confusions: tuple[EmbeddedPicture, ...]
    curve: EmbeddedPicture | None
    """Accuracy over training, where several checkpoints were probed."""
    notes: tuple[str, ...]
    missing: tuple[str, ...]
    add_baselines: str
    """The command that adds the missing ones."""


@dataclass(frozen=True)
class Probes:
    studies: tuple[Study, ...]
    tables: tuple[ProbeTable, ...]
    commands: tuple[str, ...]


def probes(run: Location, embedder: Embedder, notes: Notes) -> Probes:
    """All that lies below RUN/probes."""
    found = _read_results(run, notes)
    groups: dict[tuple[object, ...], list[Found]] = {}
    for one in found:
        groups.setdefault(_setting(one.result), []).append(one)
    tables = [
        _table(run, number, sorted(group, key=_place), embedder, notes)
        for number, group in enumerate(groups[key] for key in sorted(groups, key=str))
    ]
    return Probes(
        studies(run.child(PROBES), embedder, notes),
        tuple(tables),
        tuple(probe_command(run.uri, [one.result for one in found])),
    )


def _read_results(run: Location, notes: Notes) -> list[Found]:
    """Every probe result of a run, by folder; those that do not read are noted."""
    found = []
    for name in children(run.child(PROBES), notes):
        path = run.child(PROBES, name)
        if is_study(path):
            continue
        result = read_json(path.child(RESULT), ProbeResult, notes)
        if result is not None:
            found.append(Found(path, result))
    return found


def _setting(result: ProbeResult) -> tuple[object, ...]:
    """What must agree for two accuracies to compare."""
    o = result.options
    return (
        result.task,
        result.data_fingerprint,
        o.max_utterances,
        o.whole_utterances,
        o.bias,
        o.solver,
    )


def _place(found: Found) -> tuple[object, ...]:
    result = found.result
    rank = ORDER.index(result.encoder) if result.encoder in ORDER else len(ORDER)
    module = result.module if result.module is not None else 10**6
    layer = 10**6 if result.layer is None else result.layer
    return (module, layer, rank, result.options.sampled, result.step or 0)


def _table(
    run: Location, number: int, found: Sequence[Found], embedder: Embedder, notes: Notes
) -> ProbeTable:
    results = [one.result for one in found]
    first = results[0]
    encoders = {result.encoder for result in results}
    missing = tuple(encoder for encoder in BASELINES if encoder not in encoders)
    if missing:
        notes.warn(f"the {first.task} probe has no {listed(missing)} baseline beside it")
    title = f"Accuracy of a linear {first.task} probe on the test split"
    return ProbeTable(
        task=first.task,
        heading=first.task.capitalize(),
        setting=_in_words(first),
        table=Table(title, _columns(results), tuple(_row(result, results) for result in results)),
        chart=_chart(f"probe-{number}", title, results),
        legend=tuple(
            LegendEntry(name, color)
            for color, name in enumerate(dict.fromkeys(map(_encoder_name, results)))
            if name != MFCC
        ),
        confusions=_confusions(found, embedder),
        curve=_curve(run, results, embedder),
        notes=tuple(dict.fromkeys(note for result in results for note in result.notes)),
        missing=missing,
        add_baselines=baselines_command(run.uri, first, missing) if missing else "",
    )


def _columns(results: Sequence[ProbeResult]) -> tuple[str, ...]:
    columns = ["module", "encoder", "accuracy", "95 % over utterances"]
    columns += ["95 % over seeds"] * any(result.interval_over_seeds for result in results)
    return (*columns, "step", "features", "test examples")


def _row(result: ProbeResult, results: Sequence[ProbeResult]) -> tuple[str, ...]:
    seeds = result.interval_over_seeds
    row = [
        _place_in(result),
        _encoder_name(result),
        f"{result.accuracy:.1%}",
        in_percent(result.interval_over_utterances),
    ]
    if any(one.interval_over_seeds for one in results):
        row.append(in_percent(seeds) if seeds else "–")
    step = "–" if result.step is None else f"{result.step:,}"
    return (*row, step, str(result.num_features), f"{result.num_test:,}")


def _place_in(result: ProbeResult) -> str:
    """`1`, or `1 layer 0`: which module, and which of its convolutions where it is not its output."""
    if result.module is None:
        return "–"
    return str(result.module) if result.layer is None else f"{result.module} layer {result.layer}"


def _encoder_name(result: ProbeResult) -> str:
    """`trained, sampled`."""
    more = ", sampled" * result.options.sampled + ", best checkpoint" * (result.options.checkpoint == "best")
    return MFCC if result.encoder == "mfcc" else result.encoder + more


def _in_words(result: ProbeResult) -> str:
    o = result.options
    unit = "one example per 10 ms frame" if result.unit == "frame" else "one example per utterance"
    solver = {"lbfgs": "logistic regression at its optimum", "adam": "linear layer trained with Adam"}[
        o.solver
    ]
    parts = [
        f"{len(result.per_class)} classes, {unit}; {solver}, chosen on validation",
        f"trained on {result.num_train:,} examples of {result.num_train_utterances:,} utterances, "
        f"tested on {result.num_test:,} of {result.num_test_utterances:,}",
        f"always naming the most frequent class gives {result.majority:.1%}, chance is {result.chance:.1%}",
    ]
    parts += ["whole utterances"] * o.whole_utterances + ["no bias"] * (not o.bias)
    parts += [f"shards {result.data}"] * (o.shards is not None)
    if result.test_utterances_seen:
        parts.append(f"the encoder was trained on {result.test_utterances_seen:,} of the test utterances")
    return "; ".join(parts) + "."


def _chart(name: str, title: str, results: Sequence[ProbeResult]) -> Chart | None:
    """Accuracy against depth with intervals; encoders without modules are levels."""
    placed: dict[str, list[ProbeResult]] = {}
    latest: dict[tuple[str, int | None], ProbeResult] = {}
    for result in results:  # of several checkpoints, the last; inner convolutions stand in the table alone
        if result.layer is not None:
            continue
        latest[_encoder_name(result), result.module] = result
    for (label, _), result in latest.items():
        placed.setdefault(label, []).append(result)
    levels = [Level(results[0].majority, f"majority {results[0].majority:.1%}")]
    series = []
    for number, (label, own) in enumerate(placed.items()):
        if own[0].module is None:
            levels.append(Level(own[0].accuracy, f"{label} {own[0].accuracy:.1%}", number))
            continue
        shift = ASIDE * (number - (len(placed) - 1) / 2)
        series.append(
            Series(
                "",
                number,
                label,
                tuple(((result.module or 0) + shift, result.accuracy) for result in own),
                "dots",
                tuple((r.interval_over_utterances.low, r.interval_over_utterances.high) for r in own),
            )
        )
    if not series:
        return None
    modules = sorted({result.module for result in results if result.module is not None})
    told = "; ".join(
        label
        + (f" at module {result.module} " if result.module is not None else " ")
        + f"{result.accuracy:.1%}"
        for (label, _), result in latest.items()
    )
    return line_chart(
        name,
        title,
        f"{title}: {told}.",
        "module",
        series,
        levels,
        y_range=(0, min(1.0, 1.1 * max(r.interval_over_utterances.high for r in results))),
        room=1.0,
        x_ticks=modules,
        percent=True,
    )


def _confusions(found: Sequence[Found], embedder: Embedder) -> tuple[EmbeddedPicture, ...]:
    pictures = []
    for path, result in found:
        file = path.child(PICTURE)
        if not file.exists():
            continue
        of = _encoder_name(result) + (f" module {result.module}" if result.module is not None else "")
        step = f" at step {result.step:,}" if result.step else ""
        picture = embedder.picture(
            file,
            f"Confusion matrix of the {result.task} probe, {of}{step}: rows are true classes, columns predicted",
        )
        if picture is not None:
            pictures.append(picture)
    return tuple(pictures)


def _curve(run: Location, results: Sequence[ProbeResult], embedder: Embedder) -> EmbeddedPicture | None:
    file = run.child(PROBES, f"{results[0].task}-epochs.png")
    if len({result.step for result in results if result.step}) < 2 or not file.exists():
        return None
    return embedder.picture(
        file, f"Accuracy of the {results[0].task} probe over training, at every checkpoint that was kept"
    )
