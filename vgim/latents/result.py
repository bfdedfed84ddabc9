"""What an analysis of latents is asked (`LatentOptions`) and what it leaves (`result.json`, an `AnalysisResult`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FiniteFloat

from vgim.downstream.result import ResultModel
from vgim.latents.registry import ANALYSES
from vgim.pretrained.choices import CheckpointChoice, Device
from vgim.runs.provenance import Provenance


def _registered(name: str) -> str:
    if name not in ANALYSES:
        raise ValueError(f"{name!r} is not an analysis; use {', '.join(ANALYSES)}")
    return name


AnalysisName = Annotated[str, AfterValidator(_registered)]
"""A key of `vgim.latents.registry.ANALYSES`."""
Split = Literal["train", "validation", "test"]
Cell = str | int | float | None
HEADLINES = 3
"""Figures of an analysis in the console's table; analyses put the most telling first."""


class LatentOptions(ResultModel):
    """Everything that shapes the numbers of an analysis, beside the run and the shards."""

    module: int | None = -1
    """Counted from the input, negative from the last; None for all modules."""
    only: tuple[AnalysisName, ...] = Field(default_factory=lambda: tuple(ANALYSES))
    """Analyses to make; all by default."""
    checkpoint: CheckpointChoice = "last"
    shards: str | None = None
    """Look at other shards than the run was trained on."""
    split: Split = "test"
    """Whose frames are looked at; probes learn on train and choose on validation."""
    max_utterances: int = Field(200, ge=2)
    """Of each split that is read."""
    max_frames: int = Field(8_000, ge=100)
    """Frames of the split, drawn evenly over its utterances; also the most examples a probe takes of a split."""
    map_frames: int = Field(1_000, ge=50)
    """FrameSample in the t-SNE and in the projector."""
    information_frames: int = Field(1_000, ge=50)
    """Examples from which mutual information is estimated."""
    density_frames: int = Field(1_000, ge=100)
    """FrameSample from which total correlation is estimated."""
    subsets: int = Field(16, ge=2)
    """Random subsets for each total correlation."""
    pairs: int = Field(24, ge=2)
    """Pairs of utterances that are swapped and interpolated."""
    steps: int = Field(12, ge=2)
    """Steps of an interpolation."""
    epsilons: tuple[float, ...] = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
    """Sizes of the attack on the audio, whose full scale is 1."""
    decoder: str | None = None
    """Name of a decoder below RUN/decoder; None takes one that fits the module."""
    seed: int = 0
    device: Device = "auto"


class AnalysisPicture(ResultModel):
    """A PNG in the analysis's folder."""

    file: str
    caption: str


class Table(ResultModel):
    """Rows to show."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


class Curve(ResultModel):
    """A line that can be laid over the same line of another run."""

    title: str
    x_label: str
    y_label: str
    x: tuple[FiniteFloat, ...]
    y: tuple[FiniteFloat, ...]
    low: tuple[FiniteFloat, ...] = ()
    """Ends of the 95 % interval of each y; empty for none."""
    high: tuple[FiniteFloat, ...] = ()
    log_x: bool = False


class AnalysisResult(Provenance):
    """See docs/latents.md."""

    schema_version: Literal[1] = 1
    analysis: str
    module: int
    """Module whose latents were analyzed, counted from the input."""
    title: str
    summary: tuple[str, ...]
    """Sentences for the reader."""
    figures: dict[str, FiniteFloat]
    """The most telling first."""
    pictures: tuple[AnalysisPicture, ...]
    tables: tuple[Table, ...]
    curves: tuple[Curve, ...]
    data_files: tuple[str, ...]
    """CSV files beside result.json."""
    notes: tuple[str, ...]
    family: str
    step: int
    """Optimizer steps behind the weights."""
    checkpoint: str
    """Checkpoint that the weights were loaded from."""
    decoder: str | None
    """Where the decoder is, for analyses that decode."""
    compared_with: dict[str, dict[str, FiniteFloat]]
    """The same figures of each other run."""
    options: LatentOptions
    command: tuple[str, ...]
    """That made it, as a list of arguments."""


def format_table(results: Sequence[AnalysisResult]) -> str:
    """The first figures of each analysis as a table for a terminal; a column more for each run compared with."""
    others = list(dict.fromkeys(name for result in results for name in result.compared_with))
    rows = [("module", "analysis", "figure", "value", *others)]
    for result in results:
        for figure in list(result.figures)[:HEADLINES]:
            compared = [result.compared_with.get(name, {}).get(figure) for name in others]
            values = [result.figures[figure], *compared]
            shown = ["-" if value is None else f"{value:.4g}" for value in values]
            rows.append((str(result.module), result.analysis, figure, *shown))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i > 2 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
