"""What decoders left below RUN/decoder/NAME: their own training, how close they come, and sounds to listen to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, RootModel

from vgim.config import DecoderConfig
from vgim.errors import VgimError
from vgim.pages.chart import Chart
from vgim.report.commands import command_line
from vgim.report.curves import figure_chart
from vgim.report.embed import EmbeddedSound, Embedder, inside
from vgim.report.notes import Notes, children, read_json
from vgim.report.records import ParsedRecord, read_records
from vgim.report.tables import cell
from vgim.runs.folder import RunFolder, RunRecord
from vgim.runs.layout import CONFIG, DECODERS, RECORD
from vgim.storage import Location

AUDIO, INDEX = "audio", "index.json"
HEADINGS = {
    "reconstruction": "Reconstructions",
    "sample": "Samples from N(0, 1)",
    "interpolation": "Interpolations",
    "traversal": "Traversals",
}
CURVES = {
    "loss": "Loss of the decoder",
    "si_sdr_db": "SI-SDR (dB, higher is better)",
    "log_spectral_distance_db": "Log-spectral distance (dB, lower is better)",
}
IN_DB = {"si_sdr_db": "SI-SDR, dB", "log_spectral_distance_db": "log-spectral distance, dB"}


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
    command: tuple[str, ...] = ()
    """What was typed for it."""


class AudioIndex(RootModel[tuple[AudioRecord, ...]]):
    """`audio/index.json`."""


@dataclass(frozen=True)
class Sound:
    """A sound and, for a reconstruction, what it was made of."""

    title: str
    value: str
    clip: EmbeddedSound
    original: EmbeddedSound | None


@dataclass(frozen=True)
class Row:
    """Sounds that belong together: one original's, one dimension's, one pair's."""

    title: str
    sounds: tuple[Sound, ...]


@dataclass(frozen=True)
class SoundGroup:
    """Sounds of one kind."""

    heading: str
    rows: tuple[Row, ...]
    num_shown: int
    num_all: int


@dataclass(frozen=True)
class Decoder:
    """One decoder of a run."""

    name: str
    setting: str
    """What it decodes, its loss, and how far it was trained."""
    charts: tuple[Chart, ...]
    measured_at: int
    """Step of the latest validation; 0 for none."""
    figures: tuple[tuple[str, str], ...]
    """Of that validation: names and values."""
    groups: tuple[SoundGroup, ...]
    commands: tuple[str, ...]


def decoders(run: Location, embedder: Embedder, notes: Notes) -> tuple[Decoder, ...]:
    """Every decoder of a run, by name."""
    names = children(run.child(DECODERS), notes)
    return tuple(
        _decoder(number, run.child(DECODERS, name), embedder, notes) for number, name in enumerate(names)
    )


def _decoder(number: int, path: Location, embedder: Embedder, notes: Notes) -> Decoder:
    record = read_json(path.child(RECORD), RunRecord, notes)
    index = read_json(path.child(AUDIO, INDEX), AudioIndex, notes)
    records, entries = read_records(path, notes), index.root if index else ()
    charts = [
        figure_chart(f"decoder{number}-{figure}", title, figure, records, numbered=False)
        for figure, title in CURVES.items()
    ]
    measured = next((r for r in reversed(records) if r.kind == "validation" and r.modules), None)
    typed = [record.command if record else (), *(entry.command for entry in entries)]
    return Decoder(
        name=path.name,
        setting=_setting(_config(path, notes), record, records),
        charts=tuple(chart for chart in charts if chart is not None),
        measured_at=measured.step if measured else 0,
        figures=tuple(_figures(measured)) if measured else (),
        groups=_groups(path.child(AUDIO), entries, embedder, notes),
        commands=tuple(dict.fromkeys(command_line(command) for command in typed)),
    )


def _config(path: Location, notes: Notes) -> DecoderConfig | None:
    try:
        return RunFolder(path).decoder_config()
    except VgimError as error:
        notes.damage(path.child(CONFIG), str(error))
        return None


def _setting(config: DecoderConfig | None, record: RunRecord | None, records: Sequence[ParsedRecord]) -> str:
    parts = []
    if config is not None:
        source, objective = config.encoder, config.objective
        what = "sampled latents" if source.latents == "sample" else "the latents"
        what = f"convolution {source.layer}" if source.layer >= 0 else what
        first, plus, second = objective.loss.partition("+")
        loss = f"{first} + {objective.weight:g} × {second}" if plus else first
        parts += [
            f"Decodes {what} of module {source.module}, of a checkpoint at step {source.step:,}",
            f"loss {loss}",
            f"{config.decoder.channels} channels",
        ]
    step = max((one.step for one in records), default=0)
    parts += [f"{step:,} steps"] * bool(step)
    parts += [record.message or record.state] if record else []
    return "; ".join(parts)


def _figures(record: ParsedRecord) -> Iterator[tuple[str, str]]:
    """The loss, its terms, and what no loss is: distances in dB."""
    for name, value in record.modules[0].items():
        if name in IN_DB and value is not None:
            yield IN_DB[name], f"{value:.1f}"
        elif name != "module":
            yield name.replace("_", " "), cell(value)


def _groups(
    folder: Location, entries: Sequence[AudioRecord], embedder: Embedder, notes: Notes
) -> tuple[SoundGroup, ...]:
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
                SoundGroup(
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


def _clip(folder: Location, name: str, embedder: Embedder, notes: Notes) -> EmbeddedSound | None:
    try:
        return embedder.clip(inside(folder, name))
    except ValueError as error:
        notes.damage(folder.child(INDEX), str(error))
        return None
