"""Options of the analyses of latents, and the record `result.json` that an analysis writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FiniteFloat

from vgim.downstream.options import ResultModel
from vgim.latents.figure_names import figure_name, figure_text
from vgim.latents.registry import ANALYSES
from vgim.pretrained.choices import CheckpointChoice, Device
from vgim.runs.masked import MaskedText
from vgim.runs.provenance import Provenance
from vgim.text import MISSING, align_columns


def _registered(name: str) -> str:
    """Refuse a name that is not in the registry."""
    if name not in ANALYSES:
        raise ValueError(f"{name!r} is not an analysis; use {', '.join(ANALYSES)}")
    return name


AnalysisName = Annotated[str, AfterValidator(_registered)]
"""A key of `vgim.latents.registry.ANALYSES`."""
Split = Literal["train", "validation", "test"]
Cell = str | int | float | None
"""Value in a table or a CSV file."""
NUM_HEADLINES = 3
"""Metrics in the console's table of an analysis that names none: its first ones."""


class LatentOptions(ResultModel):
    """Everything besides run and shards that an analysis's numbers depend on."""

    module: int | None = -1
    """Counted from the input, negative from the last; None for all modules."""
    only: tuple[AnalysisName, ...] = Field(default_factory=lambda: tuple(ANALYSES))
    """Analyses to make; all by default."""
    checkpoint: CheckpointChoice = "last"
    shards: str | None = None
    """Shards to analyze; None for those of the run's training."""
    split: Split = "test"
    """Split whose frames are analyzed. Probes are fitted on train, and select their regularization on validation."""
    max_utterances: int = Field(200, ge=2)
    """Most utterances of each split that are read."""
    max_frames: int = Field(8_000, ge=100)
    """Most frames, drawn evenly over the utterances; also the most examples of a probe in each split."""
    map_frames: int = Field(1_000, ge=50)
    """Most frames in the t-SNE map and in TensorBoard's projector."""
    information_frames: int = Field(1_000, ge=50)
    """Most examples from which mutual information is estimated."""
    density_frames: int = Field(1_000, ge=100)
    """Most windows of frames from which total correlation is estimated."""
    dims: tuple[Annotated[int, Field(ge=2)], ...] = ()
    """Numbers of dimensions whose total correlation is estimated, as published and by ours; empty for 10, 50, 100, 512
    where the module has more, and for all of them."""
    subsets: int = Field(16, ge=2)
    """Random subsets of dimensions over which a total correlation is averaged."""
    pairs: int = Field(24, ge=2)
    """Pairs of utterances whose dimensions are swapped, and between which is interpolated."""
    steps: int = Field(12, ge=2)
    """Steps of an interpolation."""
    epsilons: tuple[float, ...] = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
    """Sizes of the attack on the audio, whose full scale is 1."""
    decoder: str | None = None
    """Folder of a decoder below RUN/decoder; None chooses one that decodes the module."""
    seed: int = 0
    device: Device = "auto"


class AnalysisPicture(ResultModel):
    """A PNG in the analysis's folder."""

    file: str
    caption: str


class Table(ResultModel):
    """A table in the report."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


class Curve(ResultModel):
    """A line that is drawn together with the line of the same title of another run."""

    title: str
    x_label: str
    y_label: str
    x: tuple[FiniteFloat, ...]
    y: tuple[FiniteFloat, ...]
    low: tuple[FiniteFloat, ...] = ()
    """Lower end of the 95 % interval of each y; empty if there are no intervals."""
    high: tuple[FiniteFloat, ...] = ()
    """Upper end of the 95 % interval of each y."""
    log_x: bool = False


class AnalysisResult(Provenance):
    """The record `result.json` of one analysis of one module; docs/latents.md explains its fields."""

    schema_version: Literal[1] = 1
    analysis: str
    """Name in the registry."""
    module: int
    """Module whose latents were analyzed, counted from the input."""
    title: str
    summary: tuple[str, ...]
    """Sentences for the reader."""
    figures: dict[str, FiniteFloat]
    """Metrics by name, the most telling first."""
    headlines: tuple[str, ...] = ()
    """Names of the metrics in the console's table; empty for the first ones."""
    pictures: tuple[AnalysisPicture, ...]
    tables: tuple[Table, ...]
    curves: tuple[Curve, ...]
    data_files: tuple[str, ...]
    """CSV files beside result.json."""
    notes: tuple[str, ...]
    family: str
    step: int
    """Optimizer steps after which the weights were saved."""
    checkpoint: str
    """Checkpoint that the weights were loaded from."""
    decoder: str | None
    """Folder of the decoder; None for an analysis that needs none."""
    compared_with: dict[str, dict[str, FiniteFloat]]
    """The same metrics of other runs, by run name."""
    weights: dict[MaskedText, str] = Field(default_factory=dict)
    """SHA-256 of all weights that were read, by the checkpoint's URI; empty in results that an earlier vgim wrote."""
    options: LatentOptions
    command: tuple[MaskedText, ...]
    """Command that wrote the result, as a list of arguments."""


def format_table(results: Sequence[AnalysisResult], width: int | None = None) -> str:
    """A table for a terminal of a width: the headlines of each analysis, with a column for each run compared with."""
    others = list(dict.fromkeys(name for result in results for name in result.compared_with))
    rows = [("module", "analysis", "figure", "value", *others)]
    for result in results:
        for metric in result.headlines or list(result.figures)[:NUM_HEADLINES]:
            compared = [result.compared_with.get(name, {}).get(metric) for name in others]
            values = [result.figures[metric], *compared]
            cells = [MISSING if value is None else figure_text(metric, value) for value in values]
            rows.append((str(result.module), result.analysis, figure_name(metric), *cells))
    return align_columns(rows, num_left=3, width=width)
