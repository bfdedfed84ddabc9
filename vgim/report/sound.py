"""What decoders left below RUN/decoder/NAME: their own training, and sounds to listen to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, RootModel

from vgim.report.chart import Chart
from vgim.report.curves import figure_chart
from vgim.report.embed import Clip, Embedder, inside
from vgim.report.notes import Notes, children, read_json
from vgim.report.records import MetricsRecord, read_records
from vgim.report.shell import command_line
from vgim.storage import Location
from vgim.train.folder import RECORD, RunRecord

FOLDER, AUDIO, INDEX = "decoder", "audio", "index.json"
HEADINGS = {
    "reconstruction": "Reconstructions",
    "sample": "Samples from N(0, 1)",
    "interpolation": "Interpolations",
    "traversal": "Traversals",
}


class AudioRecord(BaseModel):
    """An entry of `audio/index.json`; files are relative to its folder."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    file: str
    group: str
    title: str = ""
    original: str | None = None
    value: float | None = None
    """Where on a traversal's or an interpolation's way."""
    dimension: int | None = None
    """Which dimension a traversal moves."""


class AudioIndex(RootModel[tuple[AudioRecord, ...]]):
    """`audio/index.json`."""


@dataclass(frozen=True)
class Sound:
    """A sound and, for a reconstruction, what it was made of."""

    title: str
    value: str
    clip: Clip
    original: Clip | None


@dataclass(frozen=True)
class Row:
    """Sounds that belong together: one original's, one dimension's, one pair's."""

    title: str
    sounds: tuple[Sound, ...]


@dataclass(frozen=True)
class Group:
    """Sounds of one kind."""

    heading: str
    rows: tuple[Row, ...]
    num_shown: int
    num_all: int


@dataclass(frozen=True)
class Decoder:
    """One decoder of a run."""

    name: str
    state: str
    command: str
    charts: tuple[Chart, ...]
    groups: tuple[Group, ...]


def decoders(run: Location, embedder: Embedder, notes: Notes) -> tuple[Decoder, ...]:
    """Every decoder of a run, by name."""
    names = children(run.child(FOLDER), notes)
    return tuple(
        _decoder(number, run.child(FOLDER, name), embedder, notes) for number, name in enumerate(names)
    )


def _decoder(number: int, place: Location, embedder: Embedder, notes: Notes) -> Decoder:
    record = read_json(place.child(RECORD), RunRecord, notes)
    index = read_json(place.child(AUDIO, INDEX), AudioIndex, notes)
    return Decoder(
        name=place.name,
        state=record.message or record.state if record else "",
        command=command_line(record.command) if record else "",
        charts=_charts(number, read_records(place, notes)),
        groups=_groups(place.child(AUDIO), index.root if index else (), embedder, notes),
    )


def _charts(number: int, records: Sequence[MetricsRecord]) -> tuple[Chart, ...]:
    charts = []
    chart = figure_chart(f"decoder{number}-loss", "Loss of the decoder", "loss", records)
    if chart is not None:
        charts.append(chart)
    return tuple(charts)


def _groups(
    folder: Location, entries: Sequence[AudioRecord], embedder: Embedder, notes: Notes
) -> tuple[Group, ...]:
    kinds = list(dict.fromkeys([*HEADINGS, *(entry.group for entry in entries)]))
    groups = []
    for kind in kinds:
        own = [entry for entry in entries if entry.group == kind]
        chosen = own[: embedder.limits.clips]
        sounds = [(entry, sound) for entry in chosen if (sound := _sound(folder, entry, embedder, notes))]
        rows: dict[str, list[Sound]] = {}
        for entry, sound in sounds:
            rows.setdefault(_row_of(entry), []).append(sound)
        if own:
            groups.append(
                Group(
                    heading=HEADINGS.get(kind, kind.capitalize()),
                    rows=tuple(Row(title, tuple(row)) for title, row in rows.items()),
                    num_shown=len(sounds),
                    num_all=len(own),
                )
            )
    return tuple(groups)


def _row_of(entry: AudioRecord) -> str:
    return "" if entry.dimension is None else f"Dimension {entry.dimension}"


def _sound(folder: Location, entry: AudioRecord, embedder: Embedder, notes: Notes) -> Sound | None:
    """None where the sound is damaged or too much; a sound stays though its original is."""
    clip = _clip(folder, entry.file, embedder, notes)
    if clip is None:
        return None
    original = _clip(folder, entry.original, embedder, notes) if entry.original else None
    sign = "+" if entry.dimension is not None else ""
    value = "" if entry.value is None else format(entry.value, f"{sign}.3g")
    return Sound(entry.title or entry.file, value, clip, original)


def _clip(folder: Location, name: str, embedder: Embedder, notes: Notes) -> Clip | None:
    try:
        return embedder.clip(inside(folder, name))
    except ValueError as error:
        notes.damage(folder.child(INDEX), str(error))
        return None
