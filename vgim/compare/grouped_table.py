"""A comparison of groups as tables: accuracies, paired differences and training, as text, Markdown or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from vgim.compare.crossed import Estimate
from vgim.compare.grouped import GroupedComparison, RunGroup
from vgim.compare.hits import WHOLE
from vgim.compare.settings import settings_rows
from vgim.compare.table import (
    DASH,
    ComparisonTable,
    Section,
    as_markdown,
    as_text,
    has_values,
    kl_weight_cell,
)
from vgim.text import format_clock

ACCURACIES_LEGEND = (
    "accuracies are means over seeds in percent, ± half of the 95 % interval over seeds and test utterances"
)
DIFFERENCES_LEGEND = "differences are paired, in percentage points; * marks an interval without 0"


def grouped_tables(comparison: GroupedComparison) -> list[ComparisonTable]:
    """The tables: accuracies, differences where there are any, and training with the notes.

    The verdict stands above the first. The legend stands below the last table of accuracies or differences.
    """
    tables = [_accuracies(comparison)] if comparison.accuracies else []
    if comparison.differences:
        tables.append(_differences(comparison))
    if tables:
        tables[-1] = tables[-1]._replace(notes=_legend(comparison))
    tables.append(_training(comparison))
    if comparison.verdict is not None:
        verdict = comparison.verdict
        tables[0] = tables[0]._replace(verdict=verdict.sentences, next=verdict.next)
    return tables


def tables_as_text(comparison: GroupedComparison, width: int = 0) -> str:
    """Format the tables for a terminal; columns that do not fit beside the others go below them.

    Args:
        width: Columns of the terminal; 0 for no limit.
    """
    return "\n\n".join(as_text(table, width) for table in grouped_tables(comparison))


def tables_as_markdown(comparison: GroupedComparison) -> str:
    """Format the tables as Markdown."""
    return "\n".join(as_markdown(table) for table in grouped_tables(comparison))


def task_title(comparison: GroupedComparison, task: str, variant: str, part: str) -> str:
    """`syllable`, `syllable: consonant`, `syllable (adam)`.

    The name of the probed shards is left out where all results of the task are of the same shards.
    """
    others = {words for name, words, _ in comparison.tasks() if name == task}
    words = variant.split(", ") if variant else []
    shards = {word for other in others for word in other.split(", ") if word.startswith("data")}
    if len(shards) == 1:
        words = [word for word in words if word not in shards]
    title = task if part == WHOLE else f"{task}: {part}"
    return f"{title} ({', '.join(words)})" if words else title


def _accuracies(comparison: GroupedComparison) -> ComparisonTable:
    columns = comparison.columns()
    sections = []
    for task, variant, part in comparison.tasks():
        found = [a for a in comparison.accuracies if (a.task, a.variant, a.part) == (task, variant, part)]
        cells = {(a.column, a.depth): _percent(a.accuracy) for a in found}
        rows = [
            (name, *(cells.get((column, depth), cells.get((column, None), DASH)) for column in columns))
            for depth, name in enumerate(comparison.row_names)
            if any((column, depth) in cells for column in columns)
        ] or [("no module", *(cells.get((column, None), DASH) for column in columns))]
        majority = "" if found[0].majority is None else f"majority {100 * found[0].majority:.1f}, "
        title = task_title(comparison, task, variant, part)
        sections.append(
            Section(f"{title}, % ({majority}{found[0].num_test_utterances} test utterances)", rows)
        )
    return ComparisonTable(tuple(columns), sections, ())


def _legend(comparison: GroupedComparison) -> tuple[str, ...]:
    layers = tuple(
        f"{group.name} is one module: the rows hold its {group.layers}"
        for group in comparison.groups
        if group.layers
    )
    words = [ACCURACIES_LEGEND, *([DIFFERENCES_LEGEND] if comparison.differences else [])]
    return ("; ".join(words), *layers)


def _differences(comparison: GroupedComparison) -> ComparisonTable:
    columns = list(dict.fromkeys(f"{d.column} - {d.minus}" for d in comparison.differences))
    sections = []
    for task, variant, part in comparison.tasks():
        cells = {
            (f"{d.column} - {d.minus}", d.depth): _points(d.difference)
            for d in comparison.differences
            if (d.task, d.variant, d.part) == (task, variant, part)
        }
        rows = [
            (name, *(cells.get((column, depth), DASH) for column in columns))
            for depth, name in enumerate(comparison.row_names)
            if any((column, depth) in cells for column in columns)
        ]
        if rows:
            title = task_title(comparison, task, variant, part)
            sections.append(Section(f"{title}, percentage points", rows))
    return ComparisonTable(tuple(columns), sections, ())


GROUP_ROWS: list[tuple[str, Callable[[RunGroup], str | None]]] = [
    ("runs finished", lambda g: f"{sum(s == 'finished' for s in g.states.values())} of {len(g.states)}"),
    ("seeds", lambda g: ", ".join(map(str, g.seeds))),
    ("family", lambda g: g.family),
    ("channels", lambda g: str(g.channels)),
    ("kld_weight", lambda g: kl_weight_cell(g.kld_weight, g.target_rate)),
    ("encoder parameters", lambda g: f"{g.encoder_parameters:,}"),
    ("steps", lambda g: " to ".join(f"{s:,}" for s in sorted({s for s in g.steps if s is not None})) or None),
    ("time in steps", lambda g: None if g.step_s is None else format_clock(g.step_s)),
    ("crops seen", lambda g: None if g.crops is None else f"{g.crops:,.0f}"),
]


def _training(comparison: GroupedComparison) -> ComparisonTable:
    groups = comparison.groups
    depth = max((len(group.modules) for group in groups), default=0)
    sections = [
        Section(
            "training, mean over runs",
            [(label, *(cell(g) or DASH for g in groups)) for label, cell in GROUP_ROWS]
            + settings_rows(groups, DASH),
        )
    ]

    def modules(cell: Callable[[RunGroup, int], str | None]) -> list[tuple[str, ...]]:
        return [
            (f"module {m}", *((cell(g, m) if m < len(g.modules) else None) or DASH for g in groups))
            for m in range(depth)
        ]

    chance = ("chance", *(f"{g.chance_nce:.3f}" for g in groups))
    for title, nces in (
        ("validation: InfoNCE, nats (± 95 % over seeds)", modules(lambda g, m: _nats(g.modules[m].nce))),
        (
            "last epoch: InfoNCE, nats (± 95 % over seeds)",
            modules(lambda g, m: _nats(g.modules[m].train_nce)),
        ),
    ):
        if has_values(nces):
            sections.append(Section(title, [*nces, chance]))
    if any(m.kl_per_frame is not None for g in groups for m in g.modules):
        sections.append(Section("validation: KL, nats a frame", modules(_kl)))
    if any(m.collapsed for g in groups for m in g.modules):
        sections.append(Section("collapsed runs", modules(lambda g, m: str(g.modules[m].collapsed))))
    return ComparisonTable(tuple(g.name for g in groups), sections, comparison.notes)


def _kl(group: RunGroup, module: int) -> str | None:
    value = group.modules[module].kl_per_frame
    return None if value is None else f"{value:.3g}"


def _percent(accuracy: Estimate) -> str:
    return f"{100 * accuracy.mean:.1f} ± {50 * (accuracy.high - accuracy.low):.1f}"


def _points(difference: Estimate) -> str:
    half = 50 * (difference.high - difference.low)
    mark = "*" if difference.low > 0 or difference.high < 0 else " "
    return f"{100 * difference.mean:+.1f} ± {half:.1f}{mark}"


def _nats(nce: Estimate | None) -> str | None:
    if nce is None:
        return None
    half = (nce.high - nce.low) / 2
    return f"{nce.mean:.3f} ± {half:.3f}" if nce.num_seeds > 1 else f"{nce.mean:.3f}"


def grouped_csv(comparison: GroupedComparison) -> str:
    """Format a row for each accuracy and each difference with unrounded numbers, for programs."""
    out = io.StringIO()
    columns = (
        "kind",
        "task",
        "variant",
        "part",
        "depth",
        "column",
        "minus",
        "mean",
        "low",
        "high",
        "num_seeds",
    )
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    rows: Sequence[tuple[str, str, object, Estimate]] = [
        *(("accuracy", "", a, a.accuracy) for a in comparison.accuracies),
        *(("difference", d.minus, d, d.difference) for d in comparison.differences),
    ]
    for kind, minus, cell, estimate in rows:
        record = {name: getattr(cell, name) for name in ("task", "variant", "part", "depth", "column")}
        writer.writerow({"kind": kind, **record, "minus": minus, **estimate.model_dump()})
    return out.getvalue()
