"""The interface of an analysis of latents: what it reads, what it returns and what it cannot do without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, Protocol

from vgim.arrays import F32
from vgim.latents.frame_sample import FrameSample
from vgim.latents.result import Cell, Curve, LatentOptions, Table
from vgim.plotting import Figure
from vgim.pretrained.decoder import FrozenDecoder
from vgim.pretrained.opened_run import OpenedRun
from vgim.storage import Location

Need = Literal["labels", "decoder"]
"""labels: the shards have labels that a probe can learn; decoder: the run has a trained decoder of the module."""


class CsvFile(NamedTuple):
    """Column names and rows of a CSV file."""

    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]


class PictureFile(NamedTuple):
    """A picture that is drawn only when it is written: pictures of runs compared with never are."""

    file: str
    """Name of the PNG."""
    caption: str
    draw: Callable[[], Figure]


class Embedding(NamedTuple):
    """Points for TensorBoard's projector, [N, C], with one row of metadata per point."""

    points_NC: F32
    header: list[str]
    metadata: list[list[str]]


@dataclass
class AnalysisOutput:
    """What an analysis computed of one module of one run; the job writes it."""

    summary: list[str]
    """Sentences for the reader, with units."""
    metrics: dict[str, float]
    """Numbers by name, the most telling first."""
    headlines: list[str] = field(default_factory=list)
    """Names of the metrics in the console's table; empty for the first ones."""
    pictures: list[PictureFile] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    csv_files: dict[str, CsvFile] = field(default_factory=dict)
    """Contents by file name."""
    notes: list[str] = field(default_factory=list)
    """Limits to what the numbers say."""
    embedding: Embedding | None = None


@dataclass(frozen=True)
class AnalysisInput:
    """What every analysis reads: one module of a run, a sample of its latents, and the options."""

    opened: OpenedRun
    module: int
    options: LatentOptions
    frames: FrameSample
    decoder: FrozenDecoder | None
    """Decoder of the module; None if the run has none, or if no analysis needs one."""
    decoder_location: Location | None = None
    """Folder of the decoder."""


class Analysis(Protocol):
    """One way to look at a module's latents. Its name is its key in `vgim.latents.registry.ANALYSES`."""

    title: ClassVar[str]
    """Heading in the report."""
    needs: ClassVar[frozenset[Need]]
    """The job skips the analysis, and says why, where one of these is missing."""

    def run(self, inputs: AnalysisInput) -> AnalysisOutput:
        """Analyze the latents; the same inputs give the same output."""
