"""The shape that all analyses of latents have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vgim.latents.frame_sample import FrameSample
from vgim.latents.result import AnalysisName, Cell, Curve, LatentOptions, Table
from vgim.latents.subject import Subject
from vgim.pretrained.decoder import FrozenDecoder
from vgim.storage import Location

Need = Literal["labels", "decoder"]


class CsvFile(NamedTuple):
    """A CSV file."""

    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]


class PictureFile(NamedTuple):
    """A picture, drawn when it is written: runs that are compared with have theirs left out."""

    file: str
    caption: str
    draw: Callable[[], bytes]


class Embedding(NamedTuple):
    """Points for TensorBoard's projector: [N, C] with a row of metadata each."""

    points_NC: NDArray[np.float32]
    header: list[str]
    metadata: list[list[str]]


@dataclass
class AnalysisOutput:
    """What an analysis found; the job writes it."""

    summary: list[str]
    figures: dict[str, float]
    """The most telling first."""
    pictures: list[PictureFile] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    csv_files: dict[str, CsvFile] = field(default_factory=dict)
    """Data by the file's name."""
    notes: list[str] = field(default_factory=list)
    embedding: Embedding | None = None


@dataclass(frozen=True)
class AnalysisInput:
    """A module of a run, looked at: what every analysis is given."""

    subject: Subject
    module: int
    options: LatentOptions
    frames: FrameSample
    decoder: FrozenDecoder | None
    """For the module; None where there is none."""
    decoder_at: Location | None = None
    """Where it is."""


class Analysis(Protocol):
    """One way to inputs at a module's latents."""

    name: ClassVar[AnalysisName]
    title: ClassVar[str]
    needs: ClassVar[frozenset[Need]]
    """Without these it is left out."""

    def run(self, inputs: AnalysisInput) -> AnalysisOutput:
        """Look; the same options give the same output."""
