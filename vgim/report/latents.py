"""Latent analyses of a run, from RUN/latents/moduleM/ANALYSIS: sentences, metrics, tables and pictures.

The page reads only the fields that it shows, and ignores others, so that results of any version of vgim are shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from vgim.latents.figure_names import figure_name, figure_text
from vgim.latents.registry import ANALYSES
from vgim.pages.chart import Chart
from vgim.report.analysis_charts import draw_analysis
from vgim.report.commands import command_line
from vgim.report.embed import EmbeddedPicture, Embedder, inside
from vgim.report.meanings import meaning_of
from vgim.report.notes import Notes, list_folder, read_json
from vgim.report.tables import Table, cell
from vgim.runs.layout import LATENTS, RESULT
from vgim.storage import Location

Value = float | int | str | bool | None
UNFOLDED = ("distribution", "map", "labels")
"""Analyses that are shown at once; others are folded."""
METRIC = "metric"
"""First column of the table that compares runs."""
NUM_FIGURES = 6
"""Figures that are shown at once: the first of a result, which are the most telling."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class PictureRecord(_Record):
    file: str
    caption: str = ""


class TableRecord(_Record):
    title: str = ""
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...] = ()


class AnalysisRecord(_Record):
    """The fields of an analysis's `result.json` that the page shows."""

    analysis: str
    module: int | None = None
    title: str
    summary: tuple[str, ...] = ()
    figures: dict[str, Value] = {}
    pictures: tuple[PictureRecord, ...] = ()
    tables: tuple[TableRecord, ...] = ()
    notes: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class AnalysisSection:
    """One analysis, ready to show."""

    name: str
    module: str
    title: str
    meaning: str
    """One sentence: what the figures mean; empty for an analysis of another version."""
    is_folded: bool
    summary: tuple[str, ...]
    metrics: tuple[tuple[str, str], ...]
    """Names and values of the first figures."""
    more_metrics: tuple[tuple[str, str], ...]
    charts: tuple[Chart, ...]
    pictures: tuple[EmbeddedPicture, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...]
    command: str


def read_analyses(run: Location, embedder: Embedder, notes: Notes) -> tuple[AnalysisSection, ...]:
    """Every analysis of a run, by module, then in the order of the analyses' registry."""
    return tuple(_analyses(run.child(LATENTS), embedder, notes))


def _analyses(folder: Location, embedder: Embedder, notes: Notes) -> Iterator[AnalysisSection]:
    for module in sorted(list_folder(folder, notes), key=_natural_order):
        for name in sorted(list_folder(folder.child(module), notes), key=_registry_position):
            path = folder.child(module, name)
            record = read_json(path.child(RESULT), AnalysisRecord, notes)
            if record is not None:
                yield _section(module, record, path, embedder, notes)


def _registry_position(name: str) -> tuple[int, str]:
    """Sorts analyses as `vgim latents` makes them, and unknown ones behind, by name."""
    return (list(ANALYSES).index(name) if name in ANALYSES else len(ANALYSES), name)


def _section(
    module: str, record: AnalysisRecord, path: Location, embedder: Embedder, notes: Notes
) -> AnalysisSection:
    of_module = f"module {record.module}" if record.module is not None else module
    drawn = draw_analysis(
        f"latents-{of_module.replace(' ', '')}-{path.name}", record.analysis, path, record.figures
    )
    replaced = {file for one in drawn for file in one.replaces}
    pictures = []
    for entry in record.pictures:
        if entry.file in replaced:
            continue
        try:
            picture = embedder.picture(inside(path, entry.file), entry.caption or record.title)
        except ValueError as error:
            notes.damage(path.child(RESULT), str(error))
            continue
        if picture is not None:
            pictures.append(picture)
    tables = []
    for table in record.tables:
        if any(len(row) != len(table.columns) for row in table.rows):
            notes.damage(path.child(RESULT), f"its table {table.title!r} has rows of different lengths")
            continue
        to_text = _of_metrics if table.columns[:1] == (METRIC,) else _cells
        tables.append(Table(table.title, table.columns, tuple(map(to_text, table.rows))))
    metrics = [(figure_name(key), figure_text(key, value)) for key, value in record.figures.items()]
    return AnalysisSection(
        name=record.analysis,
        module=of_module,
        title=record.title,
        summary=record.summary,
        meaning=meaning_of(record.analysis, record.figures),
        is_folded=record.analysis not in UNFOLDED,
        metrics=tuple(metrics[:NUM_FIGURES]),
        more_metrics=tuple(metrics[NUM_FIGURES:]),
        charts=tuple(one.chart for one in drawn),
        pictures=tuple(pictures),
        tables=tuple(tables),
        notes=record.notes,
        command=command_line(record.command),
    )


def _cells(row: tuple[Value, ...]) -> tuple[str, ...]:
    return tuple(map(cell, row))


def _of_metrics(row: tuple[Value, ...]) -> tuple[str, ...]:
    """A row of a table that compares runs: the metric's name, and its value in each run."""
    key, *values = row
    return figure_name(str(key)), *(cell(v) if v is None else figure_text(str(key), v) for v in values)


def _natural_order(name: str) -> tuple[str, int, str]:
    """A sort key that puts module2 before module10."""
    digits = name.lstrip("abcdefghijklmnopqrstuvwxyz-_")
    return (name.removesuffix(digits), int(digits) if digits.isdigit() else 0, name)
