"""Decoders of a run, from RUN/decoder/NAME: their training, their distances from the original, and their sounds.

The page reads only the fields that it shows, and ignores others, so that results of any version of vgim are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, RootModel

from vgim.config import DecoderConfig
from vgim.errors import VgimError
from vgim.pages.chart import Chart
from vgim.report.commands import command_line
from vgim.report.curves import metric_chart
from vgim.report.embed import EmbeddedSound, Embedder, inside
from vgim.report.metrics import MetricsLine, read_records
from vgim.report.notes import Notes, list_folder, read_json
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
MOST_DIMENSIONS = 16
"""Dimensions of an interpolation that are listed; its index has all."""
CURVES = {
    "loss": "Loss of the decoder",
    "si_sdr_db": "SI-SDR (dB, higher is better)",
    "log_spectral_distance_db": "Log-spectral distance (dB, lower is better)",
}
IN_DB = {"si_sdr_db": "SI-SDR, dB", "log_spectral_distance_db": "log-spectral distance, dB"}


class AudioRecord(BaseModel):
    """An entry of `audio/index.json`; files are relative to its folder."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    file: str
    group: str
    title: str = ""
    original: str | None = None
    value: float | None = None
    """Value of the dimension in a traversal; share of the way in an interpolation."""
    dimension: int | None = None
    """The dimension that a traversal changes."""
    sources: tuple[str, ...] = ()
    """Files that an interpolation or a traversal decodes."""
    moved: tuple[int, ...] | None = None
    """Dimensions that move in an interpolation; None for all."""
    mask: str | None = None
    """Which dimensions were kept, as `--mask` spells it; None for all."""
    command: tuple[str, ...] = ()
    """The command that made the sound."""


class AudioIndex(RootModel[tuple[AudioRecord, ...]]):
    """`audio/index.json`."""


@dataclass(frozen=True)
class Sound:
    """A sound and, for a reconstruction, its original."""

    title: str
    value: str
    clip: EmbeddedSound
    original: EmbeddedSound | None


@dataclass(frozen=True)
class SoundRow:
    """Sounds under one title: a traversal of one dimension of a file, one interpolation, or all else of one mask."""

    title: str
    dimensions: str
    """Dimensions that move in an interpolation of a few; empty otherwise."""
    sources: str
    """Files that are decoded, each with its folder; empty for draws, and in an index of an earlier version."""
    sounds: tuple[Sound, ...]


@dataclass(frozen=True)
class SoundGroup:
    """Sounds of one kind."""

    heading: str
    rows: tuple[SoundRow, ...]
    num_shown: int
    num_all: int


@dataclass(frozen=True)
class DecoderSection:
    """One decoder of a run, ready to show."""

    name: str
    setting: str
    """One line with the decoded module, the loss, and how far the decoder was trained."""
    charts: tuple[Chart, ...]
    measured_at: int
    """Step of the latest validation; 0 if there is none."""
    metrics: tuple[tuple[str, str], ...]
    """Names and values of the latest validation."""
    groups: tuple[SoundGroup, ...]
    commands: tuple[str, ...]


def read_decoders(run: Location, embedder: Embedder, notes: Notes) -> tuple[DecoderSection, ...]:
    """Every decoder of a run, by name."""
    names = list_folder(run.child(DECODERS), notes)
    return tuple(
        _decoder(number, run.child(DECODERS, name), embedder, notes) for number, name in enumerate(names)
    )


def _decoder(number: int, path: Location, embedder: Embedder, notes: Notes) -> DecoderSection:
    record = read_json(path.child(RECORD), RunRecord, notes)
    index = read_json(path.child(AUDIO, INDEX), AudioIndex, notes)
    records, entries = read_records(path, notes), index.root if index else ()
    charts = [
        metric_chart(f"decoder{number}-{metric}", title, metric, records, numbered=False)
        for metric, title in CURVES.items()
    ]
    measured = next((r for r in reversed(records) if r.kind == "validation" and r.modules), None)
    commands = [record.command if record else (), *(entry.command for entry in entries)]
    return DecoderSection(
        name=path.name,
        setting=_setting(_config(path, notes), record, records),
        charts=tuple(chart for chart in charts if chart is not None),
        measured_at=measured.step if measured else 0,
        metrics=tuple(_metrics(measured)) if measured else (),
        groups=_groups(path.child(AUDIO), entries, embedder, notes),
        commands=tuple(dict.fromkeys(command_line(command) for command in commands)),
    )


def _config(path: Location, notes: Notes) -> DecoderConfig | None:
    try:
        return RunFolder(path).decoder_config()
    except VgimError as error:
        notes.damage(path.child(CONFIG), str(error))
        return None


def _setting(config: DecoderConfig | None, record: RunRecord | None, records: Sequence[MetricsLine]) -> str:
    parts = []
    if config is not None:
        source, objective = config.encoder, config.objective
        what = "sampled latents" if source.latents == "sample" else "the latents"
        what = f"convolution {source.layer}" if source.layer >= 0 else what
        first, *others = objective.loss.split("+")
        weight = f"{objective.weight:g} × " if first == "mse" else ""
        loss = " + ".join([first, *(f"{weight}{other}" for other in others)])
        extra = f" and {config.decoder.extra_layers} extra layers behind each transposed convolution"
        parts += [
            f"Decodes {what} of module {source.module}, of a checkpoint at step {source.step:,}",
            f"loss {loss}",
            f"{config.decoder.channels} channels{extra * bool(config.decoder.extra_layers)}",
        ]
    step = max((line.step for line in records), default=0)
    parts += [f"{step:,} steps"] * bool(step)
    parts += [record.message or record.state] if record else []
    return "; ".join(parts)


def _metrics(record: MetricsLine) -> Iterator[tuple[str, str]]:
    """Names and values of the loss, its terms, and distances in dB."""
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
        rows: dict[tuple[str, str, tuple[str, ...]], list[Sound]] = {}
        for entry, sound in sounds:
            key = _row_title(entry), _listed(entry.moved or ()), entry.sources
            rows.setdefault(key, []).append(sound)
        if own:
            groups.append(
                SoundGroup(
                    heading=HEADINGS.get(kind, kind.capitalize()),
                    rows=tuple(
                        SoundRow(title, dimensions, ", ".join(map(_with_folder, sources)), tuple(row))
                        for (title, dimensions, sources), row in rows.items()
                    ),
                    num_shown=len(sounds),
                    num_all=len(own),
                )
            )
    return tuple(groups)


def _row_title(entry: AudioRecord) -> str:
    parts = []
    if entry.dimension is not None:
        parts.append(f"Dimension {entry.dimension}")
    elif entry.group == "interpolation" and entry.title:
        parts.append(entry.title)
    if entry.mask:
        parts.append(f"mask {entry.mask}")
    return ", ".join(parts)


def _with_folder(file: str) -> str:
    """`x.wav` of a folder `test` as `test/x.wav`."""
    return "/".join(file.split("/")[-2:])


def _listed(dimensions: Sequence[int]) -> str:
    """The first dimensions, and how many there are more."""
    shown = ", ".join(map(str, dimensions[:MOST_DIMENSIONS]))
    more = len(dimensions) - MOST_DIMENSIONS
    return f"{shown} and {more} more" if more > 0 else shown


def _sound(folder: Location, entry: AudioRecord, embedder: Embedder, notes: Notes) -> Sound | None:
    """None if the sound is damaged or over the budget; a sound without its original is shown alone."""
    clip = _clip(folder, entry.file, embedder, notes)
    if clip is None:
        return None
    original = _clip(folder, entry.original, embedder, notes) if entry.original else None
    sign = "+" if entry.dimension is not None else ""
    value = "" if entry.value is None else format(entry.value, f"{sign}.3g")
    if original is not None:
        original = embedder.with_spectrogram(original)
    return Sound(entry.title or entry.file, value, embedder.with_spectrogram(clip, original), original)


def _clip(folder: Location, name: str, embedder: Embedder, notes: Notes) -> EmbeddedSound | None:
    try:
        return embedder.clip(inside(folder, name))
    except ValueError as error:
        notes.damage(folder.child(INDEX), str(error))
        return None
