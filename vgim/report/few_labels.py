"""Few-label studies of a run, from RUN/probes: accuracy against labels per class, as a table and pictures.

The page reads only the fields that it shows, and ignores others, so that results of any version of vgim are shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from vgim.downstream.few_labels import result as few_labels
from vgim.downstream.result import Interval
from vgim.downstream.result_table import in_percent
from vgim.errors import VgimError
from vgim.report.embed import EmbeddedPicture, Embedder
from vgim.report.notes import Notes, list_folder, read_json
from vgim.report.tables import Table
from vgim.runs.layout import RESULT
from vgim.storage import Location


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class PointRecord(_Record):
    """Accuracy of one kind of features at one number of labels."""

    encoder: str
    features: str
    labels_per_class: int | None
    """Number of labels per class; None for all labels."""
    num_labels: int
    accuracy: float
    interval: Interval | None = None


class StudyRecord(_Record):
    """The fields of a study's `result.json` that the page shows."""

    task: str
    module: int | None
    points: tuple[PointRecord, ...]
    majority: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudySection:
    """One study, ready to show."""

    heading: str
    setting: str
    table: Table
    pictures: tuple[EmbeddedPicture, ...]
    notes: tuple[str, ...]


def is_study(path: Location) -> bool:
    """Whether a folder holds a study instead of one probe: its result has points."""
    try:
        return few_labels.is_study(path.child(RESULT).read_bytes())
    except VgimError:
        return False


def read_studies(folder: Location, embedder: Embedder, notes: Notes) -> tuple[StudySection, ...]:
    """Every few-label study of a run, by folder."""
    folders = [folder.child(name) for name in list_folder(folder, notes)]
    records = [
        (path, read_json(path.child(RESULT), StudyRecord, notes)) for path in folders if is_study(path)
    ]
    return tuple(_study(path, record, embedder, notes) for path, record in records if record is not None)


def _study(path: Location, record: StudyRecord, embedder: Embedder, notes: Notes) -> StudySection:
    module = f", module {record.module}" if record.module is not None else ""
    heading = f"{record.task.capitalize()} from few labels{module}"
    files = [name for name in list_folder(path, notes) if name.endswith(".png")]
    pictures = [embedder.picture(path.child(name), heading) for name in files]
    rows = tuple(
        (
            "all" if point.labels_per_class is None else f"{point.labels_per_class:,}",
            point.encoder,
            point.features,
            f"{point.accuracy:.1%}",
            in_percent(point.interval) if point.interval else "–",
            f"{point.num_labels:,}",
        )
        for point in record.points
    )
    columns = ("labels per class", "encoder", "features", "accuracy", "95 % over seeds", "total labels")
    return StudySection(
        heading=heading,
        setting=f"Accuracy on the test split; the majority class is {record.majority:.1%} of it.",
        table=Table(heading, columns, rows),
        pictures=tuple(picture for picture in pictures if picture is not None),
        notes=record.notes,
    )
