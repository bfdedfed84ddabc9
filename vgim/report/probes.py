"""Probe results of a run, from RUN/probes: tables, charts and pictures by task and setting, with baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vgim.downstream.result import PICTURE, ProbeResult
from vgim.downstream.result_table import in_percent
from vgim.downstream.stored import variant
from vgim.pages.chart import Chart
from vgim.report.commands import baselines_command, probe_command
from vgim.report.embed import EmbeddedPicture, Embedder
from vgim.report.few_labels import StudySection, is_study, read_studies
from vgim.report.notes import Notes, list_folder, read_json
from vgim.report.probe_chart import encoder_name, probe_chart
from vgim.report.tables import Table
from vgim.runs.layout import PROBES, RESULT
from vgim.storage import Location
from vgim.text import join_words, plural

BASELINES = ("random", "mfcc")
ORDER = ("trained", "supervised", "greedy-supervised", "random", "mfcc")
"""Order of encoders in a table and a chart."""


class ProbeFolder(NamedTuple):
    """A probe's folder and its result."""

    path: Location
    result: ProbeResult


@dataclass(frozen=True)
class ProbeSection:
    """Results of one task in one setting, which can be compared."""

    task: str
    heading: str
    setting: str
    table: Table
    chart: Chart | None
    confusions: tuple[EmbeddedPicture, ...]
    curve: EmbeddedPicture | None
    """Accuracy over training, if several checkpoints were probed."""
    notes: tuple[str, ...]
    missing: tuple[str, ...]
    """Baselines without a result."""
    add_baselines: str
    """The command that adds the missing baselines; empty if none is missing."""


@dataclass(frozen=True)
class ProbeSections:
    """All probes and few-label studies of a run, and the commands that ran the probes."""

    studies: tuple[StudySection, ...]
    tables: tuple[ProbeSection, ...]
    commands: tuple[str, ...]


def read_probes(run: Location, embedder: Embedder, notes: Notes) -> ProbeSections:
    """Read every probe and few-label study of a run."""
    folders = _read_results(run, notes)
    groups: dict[tuple[object, ...], list[ProbeFolder]] = {}
    for folder in folders:
        groups.setdefault(_setting(folder.result), []).append(folder)
    tables = [
        _table(run, number, sorted(group, key=_order), embedder, notes)
        for number, group in enumerate(groups[key] for key in sorted(groups, key=str))
    ]
    return ProbeSections(
        read_studies(run.child(PROBES), embedder, notes),
        tuple(tables),
        tuple(probe_command(run.uri, [folder.result for folder in folders])),
    )


def _read_results(run: Location, notes: Notes) -> list[ProbeFolder]:
    """Every probe result of a run, by folder; a damaged result is left out and noted."""
    folders = []
    for name in list_folder(run.child(PROBES), notes):
        path = run.child(PROBES, name)
        if is_study(path):
            continue
        result = read_json(path.child(RESULT), ProbeResult, notes)
        if result is not None:
            folders.append(ProbeFolder(path, result))
    return folders


def _setting(result: ProbeResult) -> tuple[object, ...]:
    """The values that must be equal for two accuracies to compare."""
    o = result.options
    return (
        result.task,
        result.data_fingerprint,
        o.max_utterances,
        o.whole_utterances,
        o.bias,
        o.solver,
        o.protocol,
        result.deviations,
    )


def _few(max_utterances: int) -> str:
    """Tells a probe that was fitted on few utterances from the probe that was fitted on all."""
    return f", fitted on at most {plural(max_utterances, 'utterance')}" if max_utterances else ""


def _heading(result: ProbeResult) -> str:
    if not result.is_fitted:
        return f"ABX, {_abx_speakers(result)}"
    return result.task.capitalize() + _few(result.options.max_utterances)


def _abx_title(result: ProbeResult) -> str:
    return f"Accuracy of ABX decisions on the test split, {_abx_speakers(result)}"


def _abx_speakers(result: ProbeResult) -> str:
    """Words for the task of an ABX result: all tokens of one speaker, or X of another."""
    return "within speakers" if result.task == "abx-within" else "across speakers"


def _order(folder: ProbeFolder) -> tuple[object, ...]:
    result = folder.result
    rank = ORDER.index(result.encoder) if result.encoder in ORDER else len(ORDER)
    is_of_none = result.output.name == ""
    return (is_of_none, result.output.depth, rank, result.options.sampled, result.step or 0)


def _table(
    run: Location, number: int, folders: Sequence[ProbeFolder], embedder: Embedder, notes: Notes
) -> ProbeSection:
    results = [folder.result for folder in folders]
    first = results[0]
    encoders = {result.encoder for result in results}
    missing = tuple(encoder for encoder in BASELINES if encoder not in encoders)
    if missing:
        setting = f" ({variant(first)})" if variant(first) else ""
        notes.warn(f"the {first.task} probe{setting} has no {join_words(missing)} baseline beside it")
    title = (
        f"Accuracy of a linear {first.task} probe on the test split" if first.is_fitted else _abx_title(first)
    )
    return ProbeSection(
        task=first.task,
        heading=_heading(first),
        setting=_describe_setting(first),
        table=Table(title, _columns(results), tuple(_row(result, results) for result in results)),
        chart=probe_chart(f"probe-{number}", title, results),
        confusions=_confusions(folders, embedder),
        curve=_curve(run, results, embedder),
        notes=tuple(dict.fromkeys(note for result in results for note in result.notes)),
        missing=missing,
        add_baselines=baselines_command(run.uri, first, missing) if missing else "",
    )


def _columns(results: Sequence[ProbeResult]) -> tuple[str, ...]:
    columns = ["module", "encoder", "accuracy", "95 % over utterances"]
    columns += ["95 % over seeds"] * any(result.interval_over_seeds for result in results)
    return (*columns, "step", "features", "test examples" if results[0].is_fitted else "triples")


def _row(result: ProbeResult, results: Sequence[ProbeResult]) -> tuple[str, ...]:
    seeds = result.interval_over_seeds
    row = [
        result.output.numbers or "–",
        encoder_name(result),
        f"{result.accuracy:.1%}",
        in_percent(result.interval_over_utterances),
    ]
    if any(other.interval_over_seeds for other in results):
        row.append(in_percent(seeds) if seeds else "–")
    step = "–" if result.step is None else f"{result.step:,}"
    return (*row, step, str(result.num_features), f"{result.num_test:,}")


def _describe_setting(result: ProbeResult) -> str:
    if not result.is_fitted:
        return (
            "ABX: how often a token of a phone is nearer to another token of it than to one of another phone, by the "
            f"angle between frames along their best alignment; {_abx_speakers(result)}; mean over pairs of phones, "
            f"tested on {result.num_test:,} triples of {result.num_test_utterances:,} utterances; the interval is over "
            "speakers; deciding at random gives 50.0%. The ABX error is 100% minus the accuracy."
        )
    o = result.options
    unit = "one example per 10 ms frame" if result.unit == "frame" else "one example per utterance"
    solver = {
        "lbfgs": "logistic regression, fitted until it converges",
        "adam": "linear layer, trained with Adam",
    }[o.solver]
    solver += " as published" * (o.protocol == "published")
    selection = ", the last weights" if o.solver == "adam" and not o.patience else ", selected on validation"
    parts = [
        f"{len(result.per_class)} classes, {unit}; {solver}{selection}",
        f"trained on {result.num_train:,} examples of {result.num_train_utterances:,} utterances, "
        f"tested on {result.num_test:,} of {result.num_test_utterances:,}",
        f"always predicting the most frequent class gives {result.majority:.1%}, chance is {result.chance:.1%}",
    ]
    parts += ["whole utterances"] * o.whole_utterances + ["no bias"] * (not o.bias)
    parts += [f"shards {result.data}"] * (o.shards is not None)
    if result.test_utterances_seen:
        parts.append(f"the encoder was trained on {result.test_utterances_seen:,} of the test utterances")
    return "; ".join(parts) + "."


def _confusions(folders: Sequence[ProbeFolder], embedder: Embedder) -> tuple[EmbeddedPicture, ...]:
    pictures = []
    for path, result in folders:
        file = path.child(PICTURE)
        if not file.exists():
            continue
        of = f"{encoder_name(result)} {result.output.name}".rstrip()
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
