"""Lists of recordings that other programs write: CSV or JSONL, and the manifests of NeMo and lhotse as they are.

path,speaker,transcript,split                                            CSV or TSV with a header
{"audio_filepath": "a.wav", "duration": 1.5, "text": "..."}              NeMo
{"id": "a", "start": 0, "duration": 1.5, "recording": {...}, "supervisions": [...]}   a cut of lhotse
{"id": "a", "sources": [{"type": "file", "source": "a.wav"}], ...}       a recording of lhotse
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vgim.data.corpora.cells import ReadLine, cell_of, open_table, text_of
from vgim.data.text_lines import TextLine
from vgim.errors import DataError
from vgim.storage import Location
from vgim.text import shorten

PATH = (
    "path",
    "audio_filepath",
    "audio_path",
    "audio",
    "file",
    "file_name",
    "filename",
    "file_path",
    "filepath",
    "wav",
)
"""Names of the column with the path, the first first; so with the other columns."""
SPEAKER = ("speaker", "speaker_id", "client_id", "spk")
TRANSCRIPT = ("transcript", "text", "sentence", "transcription")
SPLIT = ("split", "subset", "partition")
NAME = ("id", "utterance_id", "utt_id")
START = ("start", "offset", "start_s")
DURATION = ("duration", "duration_s")
END = ("end", "end_s")
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}
WHOLE_WITHIN_S = 1e-3
"""Seconds by which a cut of the whole recording may be shorter than it."""
MAX_BYTES = 2**32
"""Bytes to which a compressed manifest may unpack."""


@dataclass(frozen=True)
class ManifestRow:
    """One utterance of a manifest."""

    line: int
    path: str
    """As written: relative, or absolute."""
    name: str = ""
    speaker: str = ""
    transcript: str = ""
    split: str | None = None
    segment_s: tuple[float, float | None] | None = None
    """First second in the file, and the second after the last, where None means the file's end; None for the whole
    file."""


@dataclass(frozen=True)
class BadLine:
    """A line of a manifest from which no utterance can be made."""

    line: int
    reason: str


def read_manifest_rows(file: Location) -> list[ManifestRow | BadLine]:
    """Read a manifest. Files whose names end in `.gz` are unpacked.

    Returns:
        A row or a reason for each line, in their order.

    Raises:
        DataError: There are no lines, or the file is none of the kinds that are read.
        StorageError: The file cannot be read.
    """
    if not file.exists():
        raise DataError(f"there is no manifest {file}; check --manifest")
    data = file.read_bytes()
    if file.name.endswith(".gz"):
        data = _unzipped(data, file)
    read_line, lines, _ = open_table(data, file, PATH)
    rows = [_row_or_problem(line, read_line) for line in lines]
    if not rows:
        raise DataError(f"the manifest {file} names no recording; expected a header and lines, or JSON lines")
    return rows


def _row_or_problem(line: TextLine, read_line: ReadLine) -> ManifestRow | BadLine:
    if line.problem:
        return BadLine(line.number, f"{line.problem}; save the file as UTF-8 text")
    try:
        return _row(_of_lhotse(read_line(line.text)), line.number)
    except (ValueError, OverflowError) as problem:  # JSON has numbers of any size
        return BadLine(line.number, str(problem))


def _unzipped(data: bytes, file: Location) -> bytes:
    try:
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(data)).read(MAX_BYTES + 1)
    except (zlib.error, EOFError, OSError) as error:
        raise DataError(f"{file} is no gzip ({error}); unpack it, or remove .gz from its name") from error
    if len(unpacked) > MAX_BYTES:
        raise DataError(f"{file} unpacks to more than {MAX_BYTES:,} bytes; cut it into several manifests")
    return unpacked


def _of_lhotse(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values of a cut or a recording of lhotse by the names of this file; other values as they are."""
    recording = values.get("recording", values)
    sources = recording.get("sources") if isinstance(recording, dict) else None
    if not isinstance(sources, list) or not sources or not isinstance(sources[0], dict):
        return values
    _refuse_other_audio(values, recording, sources)
    found: dict[str, Any] = {"path": sources[0].get("source"), "id": values.get("id")}
    if recording is not values and not _is_whole(values, recording):  # a cut
        found |= {"start": values.get("start"), "duration": values.get("duration")}
    spoken = values.get("supervisions")
    if isinstance(spoken, list) and spoken and all(isinstance(part, dict) for part in spoken):
        found["transcript"] = " ".join(str(part["text"]) for part in spoken if part.get("text"))
        found["speaker"] = spoken[0].get("speaker")
    custom = values.get("custom")
    if isinstance(custom, dict) and "split" in custom:
        found["split"] = custom["split"]
    return found


def _refuse_other_audio(
    values: Mapping[str, Any], recording: Mapping[str, Any], sources: list[dict[str, Any]]
) -> None:
    """Raise ValueError if a cut or a recording is not the audio of its first file, mixed down if need be."""
    transforms = recording.get("transforms")
    named = [each for each in transforms if isinstance(each, dict)] if isinstance(transforms, list) else []
    if changes := [str(each.get("name")) for each in named if each.get("name") != "Resample"]:
        raise ValueError(f"lhotse changes the audio when it is loaded ({shorten(', '.join(changes))})")
    if len(sources) > 1:
        raise ValueError(f"its channels are in {len(sources)} files; write them into one")
    channels = sources[0].get("channels")
    if isinstance(channels, list) and len(channels) > 1 and isinstance(values.get("channel"), int):
        raise ValueError(f"it is one of {len(channels)} channels; write each into a file of its own")


def _is_whole(cut: Mapping[str, Any], recording: Mapping[str, Any]) -> bool:
    length, whole = cut.get("duration"), recording.get("duration")
    if not (isinstance(length, int | float) and isinstance(whole, int | float)):
        return False
    return cut.get("start") == 0 and abs(length - whole) < WHOLE_WITHIN_S


def _row(values: Mapping[str, Any], number: int) -> ManifestRow:
    path = cell_of(values, PATH).strip()
    if not path:
        raise ValueError(f"it names no file; expected one of {', '.join(PATH[:3])}")
    split = text_of(values, SPLIT).lower()
    if split and split not in SPLIT_NAMES:
        raise ValueError(f"{shorten(split)!r} is no split; write train, validation or test")
    return ManifestRow(
        line=number,
        path=path,
        name=text_of(values, NAME),
        speaker=text_of(values, SPEAKER),
        transcript=text_of(values, TRANSCRIPT),
        split=SPLIT_NAMES.get(split),
        segment_s=_segment(values),
    )


def _segment(values: Mapping[str, Any]) -> tuple[float, float | None] | None:
    """A line's segment; None if it is a whole file, of which a duration alone says how long it is."""
    start, duration, end = (seconds_of(values, names) for names in (START, DURATION, END))
    if start is None:
        return None
    if duration is not None:
        return start, start + duration
    if end is not None and end < start:
        raise ValueError(f"end={end:g} is before start={start:g}")
    return start, end


def seconds_of(values: Mapping[str, Any], names: tuple[str, ...]) -> float | None:
    """A time of a line in seconds; None if it has none. ValueError if it does not read."""
    text = text_of(values, names)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < 1e7:
        raise ValueError(f"{names[0]}={shorten(text)} is no time in seconds")
    return seconds
