"""A comparison as one table: a row for each value, a column for each run, as text, Markdown or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from vgim.compare.comparison import (
    BASELINES,
    ComparedProbe,
    ComparedRun,
    ComparedWeights,
    Comparison,
    ModuleMetrics,
)
from vgim.compare.settings import settings_rows
from vgim.downstream.output import Output
from vgim.downstream.result_table import in_percent
from vgim.text import format_clock
from vgim.verdict.console import next_lines
from vgim.verdict.verdict import NextCommand

DASH = "-"


class Section(NamedTuple):
    """Rows that belong together; a row is a label and a cell for each run."""

    title: str
    rows: list[tuple[str, ...]]


class ComparisonTable(NamedTuple):
    """The table's content, which text, Markdown and the report's page show alike."""

    names: tuple[str, ...]
    sections: list[Section]
    notes: tuple[str, ...]
    verdict: tuple[str, ...] = ()
    """A sentence on each run, and on which is better."""
    next: NextCommand | None = None


def comparison_table(comparison: Comparison) -> ComparisonTable:
    """Make the table; a dash stands for an unknown value, and validation that no run has is left out."""
    runs = comparison.runs
    run_rows = _rows(runs, RUN_ROWS) + settings_rows(runs, DASH)
    sections = [Section("run", run_rows), *_module_sections(runs)]
    for task, variant in comparison.tasks():
        title = f"probe: {task}" + (f" ({variant})" if variant else "") + ", % (95 % interval)"
        sections.append(Section(title, _task_rows(runs, task, variant)))
    sections += _weight_sections(comparison)
    verdict = [f"{run.name}: {run.verdict.sentences[0]}" for run in runs if run.verdict is not None]
    following = runs[0].verdict.next if runs and runs[0].verdict is not None else None
    if comparison.verdict is not None:
        verdict += comparison.verdict.sentences
        following = comparison.verdict.next
    names = tuple(run.name for run in runs)
    return ComparisonTable(names, sections, comparison.notes, tuple(verdict), following)


Cell = Callable[[ComparedRun], str | None]


def kl_weight_cell(kld_weight: float, target_rate: float) -> str:
    """The KL weight of a run; for weights that follow a target rate, where they start and the rate in nats a frame."""
    return f"{kld_weight:g}, to {target_rate:g} nats" if target_rate else f"{kld_weight:g}"


RUN_ROWS: list[tuple[str, Cell]] = [
    ("state", lambda run: run.state),
    ("family", lambda run: run.family),
    ("head", lambda run: run.head),
    ("kld_weight", lambda run: kl_weight_cell(run.kld_weight, run.target_rate)),
    ("modules", lambda run: str(run.num_modules)),
    ("channels", lambda run: str(run.channels)),
    ("steps", lambda run: None if run.step is None else f"{run.step:,}"),
    ("epochs", lambda run: None if run.epoch is None else f"{run.epoch:.4g}"),
    ("encoder parameters", lambda run: f"{run.encoder_parameters:,}"),
    ("predictor parameters", lambda run: f"{run.predictor_parameters:,}"),
    ("time in steps", lambda run: None if run.cost is None else format_clock(run.cost.step_s)),
    ("crops seen", lambda run: None if run.cost is None else f"{run.cost.utterances:,}"),
    ("workers", lambda run: None if run.workers is None else str(run.workers)),
    ("device", lambda run: run.device),
    ("data", lambda run: run.data_fingerprint and run.data_fingerprint[:12]),
]

MODULE_ROWS: list[tuple[str, Callable[[ModuleMetrics], str | None]]] = [
    ("InfoNCE, nats", lambda m: None if m.nce is None else f"{m.nce:.3f}"),
    ("accuracy, %", lambda m: None if m.accuracy is None else f"{100 * m.accuracy:.1f}"),
    ("KL per element, nats", lambda m: None if m.kl_per_element is None else f"{m.kl_per_element:.3f}"),
    ("KL per frame, nats", lambda m: None if m.kl_per_frame is None else f"{m.kl_per_frame:.3g}"),
    ("collapsed", lambda m: None if m.collapsed is None else "yes" if m.collapsed else "no"),
]


WEIGHT_ROWS: list[tuple[str, Callable[[ComparedWeights], str]]] = [
    ("Gini over features", lambda w: f"{w.gini:.3f}"),
    ("heaviest tenth, %", lambda w: f"{100 * w.top_tenth_share:.1f}"),
    ("excess kurtosis", lambda w: f"{w.excess_kurtosis:.2f}"),
]


def has_values(rows: Sequence[Sequence[str]]) -> bool:
    """Whether any run has a value in any of the rows, whose first cells are labels."""
    return any(cell != DASH for row in rows for cell in row[1:])


def _rows(runs: Sequence[ComparedRun], rows: Sequence[tuple[str, Cell]]) -> list[tuple[str, ...]]:
    return [(label, *(cell(run) or DASH for run in runs)) for label, cell in rows]


def _module_sections(runs: Sequence[ComparedRun]) -> Iterator[Section]:
    depth = max((len(run.modules) for run in runs), default=0)
    for title, cell in MODULE_ROWS:
        rows: list[tuple[str, ...]] = [
            (
                f"module {m}",
                *((cell(r.modules[m]) if m < len(r.modules) else None) or DASH for r in runs),
            )
            for m in range(depth)
        ]
        if not has_values(rows):
            continue
        if title.startswith("InfoNCE"):
            rows.append(("chance", *(f"{run.chance_nce:.3f}" for run in runs)))
        yield Section(f"validation: {title}", rows)


def _task_rows(runs: Sequence[ComparedRun], task: str, variant: str) -> list[tuple[str, ...]]:
    """Rows of a task: the majority class, the expected baselines even if they are missing, and the trained encoders."""
    columns = [{_source(p): p for p in run.probes if (p.task, p.variant) == (task, variant)} for run in runs]
    sources = dict.fromkeys(source for column in columns for source in column)
    for kind in BASELINES:
        if not any(source[0] == kind for source in sources):
            sources[kind, Output()] = None
    majorities = [next((f"{100 * p.majority:.1f}" for p in column.values()), DASH) for column in columns]
    rows: list[tuple[str, ...]] = [("majority", *majorities)]
    for source in sorted(sources, key=_order):
        cells = [_accuracy(column[source]) if source in column else DASH for column in columns]
        rows.append((source_name(*source), *cells))
    return rows


def _weight_sections(comparison: Comparison) -> Iterator[Section]:
    """A section for each probe whose weights were read, if any were."""
    by_probe: dict[tuple[str, str, int, int | None], dict[str, ComparedWeights]] = {}
    for weights in comparison.weights:
        key = (weights.task, weights.variant, weights.module, weights.layer)
        by_probe.setdefault(key, {})[weights.run] = weights
    for (task, variant, module, layer), by_run in by_probe.items():
        title = f"probe's weights: {task}" + (f" ({variant})" if variant else "")
        rows: list[tuple[str, ...]] = [
            (label, *(cell(by_run[run.name]) if run.name in by_run else DASH for run in comparison.runs))
            for label, cell in WEIGHT_ROWS
        ]
        yield Section(f"{title}, {Output(module, layer).name}", rows)


Source = tuple[str, Output]
"""Where features come from: encoder and output."""


def _source(probe: ComparedProbe) -> Source:
    return probe.encoder, probe.output


def _order(source: Source) -> tuple[object, ...]:
    """Sort MFCC, random, other baselines, then the trained encoder; each by depth."""
    kind, output = source
    known = [*BASELINES, kind]
    rank = len(known) if kind == "trained" else known.index(kind)
    return rank, kind, output.depth


def source_name(encoder: str, output: Output) -> str:
    """`trained module 2`, `mfcc`."""
    return f"{encoder} {output.name}".rstrip()


def _accuracy(probe: ComparedProbe) -> str:
    return f"{100 * probe.accuracy:.1f} ({in_percent(probe.interval_over_utterances)})"


def as_text(table: ComparisonTable, width: int = 0) -> str:
    """Format the table for a terminal; runs that do not fit beside the others go below them.

    Args:
        width: Columns of the terminal; 0 for no limit.
    """
    rows = [row for section in table.sections for row in section.rows]
    widths = [max(len(head), *(len(row[i]) for row in rows)) for i, head in enumerate(("", *table.names))]
    blocks: list[list[int]] = [[]]
    used = widths[0]
    for column in range(1, len(widths)):
        if width and blocks[-1] and used + 2 + widths[column] > width:
            blocks.append([])
            used = widths[0]
        blocks[-1].append(column)
        used += 2 + widths[column]
    lines = [f"verdict: {sentence}" for sentence in table.verdict] + next_lines(table.next)
    lines += [""] * bool(lines)
    for block in blocks:
        lines.append(_line(("", *table.names), [0, *block], widths))
        for section in table.sections:
            lines += ["", section.title]
            lines += [_line(row, [0, *block], widths) for row in section.rows]
        lines.append("")
    return "\n".join([*lines, *(f"note: {note}" for note in table.notes)]).rstrip()


def _line(row: Sequence[str], columns: Sequence[int], widths: Sequence[int]) -> str:
    first, *others = columns
    return "  ".join([row[first].ljust(widths[first]), *(row[c].rjust(widths[c]) for c in others)]).rstrip()


def as_markdown(table: ComparisonTable) -> str:
    """Format one Markdown table, with a bold row before each section, and the verdict and the notes as lists."""
    lines = [f"- {_cell(sentence)}" for sentence in table.verdict]
    lines += [f"- next, to {table.next.purpose}: `{table.next.command}`"] if table.next is not None else []
    lines += [""] * bool(lines)
    lines += ["| | " + " | ".join(map(_cell, table.names)) + " |", "|---|" + "---:|" * len(table.names)]
    for section in table.sections:
        lines.append(f"| **{section.title}** |" + " |" * len(table.names))
        lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in section.rows]
    return "\n".join([*lines, "", *(f"- {_cell(note)}" for note in table.notes)]).rstrip() + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def as_csv(comparison: Comparison) -> str:
    """Format a row for each run with unrounded numbers, for programs; unknown values are empty."""
    records = [_record(run) for run in comparison.runs]
    columns = dict.fromkeys(column for record in records for column in record)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def _record(run: ComparedRun) -> dict[str, object]:
    record: dict[str, object] = run.model_dump(exclude={"cost", "modules", "probes", "verdict", "settings"})
    record |= {key: value for key, value in run.settings.items() if key not in record}
    record |= run.cost.model_dump() if run.cost is not None else {}
    for module in run.modules:
        values = module.model_dump(exclude={"module"})
        record |= {f"module{module.module}_{name}": value for name, value in values.items()}
    for probe in run.probes:
        words = [probe.task, probe.variant, source_name(*_source(probe))]
        name = "_".join(word.replace(",", "").replace(" ", "_") for word in words if word)
        record[f"{name}_accuracy"] = probe.accuracy
        record[f"{name}_low"] = probe.interval_over_utterances.low
        record[f"{name}_high"] = probe.interval_over_utterances.high
    return record
