"""Lists of recordings that other programs write: CSV or JSONL, and the manifests of NeMo and lhotse as they are.

path,speaker,transcript,split                                            CSV or TSV with a header
{"audio_filepath": "a.wav", "duration": 1.5, "text": "..."}              NeMo
{"id": "a", "start": 0, "duration": 1.5, "recording": {...}, "supervisions": [...]}   a cut of lhotse
{"id": "a", "sources": [{"type": "file", "source": "a.wav"}], ...}       a recording of lhotse
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vgim.data.text_lines import TextLine, split_lines
from vgim.errors import DataError
from vgim.storage import Location
from vgim.text import shorten

PATH = ("path", "audio_filepath", "audio_path", "audio", "file", "wav", "filename")
SPEAKER = ("speaker", "speaker_id", "client_id", "spk")
TRANSCRIPT = ("transcript", "text", "sentence", "transcription")
SPLIT = ("split", "subset", "partition")
NAME = ("id", "utterance_id", "utt_id")
START = ("start", "offset", "start_s")
DURATION = ("duration", "duration_s")
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


def read_manifest_rows(file: Location) -> list[ManifestRow]:
    """Read a manifest. Files whose names end in `.gz` are unpacked.

    Raises:
        DataError: A line cannot be read or names no file; or there are no lines.
        StorageError: The file cannot be read.
    """
    if not file.exists():
        raise DataError(f"there is no manifest {file}; check --manifest")
    data = file.read_bytes()
    if file.name.endswith(".gz"):
        data = _unzipped(data, file)
    lines = split_lines(data)
    for line in lines:
        if line.problem:
            raise DataError(f"{file}, line {line.number}: {line.problem}; save the file as UTF-8 text")
    is_json = bool(lines) and lines[0].text.lstrip().startswith("{")
    rows = [_row(values, number, file) for number, values in (_jsonl if is_json else _csv)(lines, file)]
    if not rows:
        raise DataError(f"the manifest {file} names no recording; expected a header and lines, or JSON lines")
    return rows


def _unzipped(data: bytes, file: Location) -> bytes:
    try:
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(data)).read(MAX_BYTES + 1)
    except (zlib.error, EOFError, OSError) as error:
        raise DataError(f"{file} is no gzip ({error}); unpack it, or remove .gz from its name") from error
    if len(unpacked) > MAX_BYTES:
        raise DataError(f"{file} unpacks to more than {MAX_BYTES:,} bytes; cut it into several manifests")
    return unpacked


def _jsonl(lines: list[TextLine], file: Location) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line in lines:
        try:
            values = json.loads(line.text)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise DataError(f"{file}, line {line.number}: expected a JSON object, got {shorten(line.text)!r}")
        yield line.number, _of_lhotse(values)


def _of_lhotse(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values of a cut or a recording of lhotse by the names of this file; other values as they are."""
    recording = values.get("recording", values)
    sources = recording.get("sources") if isinstance(recording, dict) else None
    if not isinstance(sources, list) or not sources or not isinstance(sources[0], dict):
        return values
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


def _is_whole(cut: Mapping[str, Any], recording: Mapping[str, Any]) -> bool:
    length, whole = cut.get("duration"), recording.get("duration")
    if not (isinstance(length, int | float) and isinstance(whole, int | float)):
        return False
    return cut.get("start") == 0 and abs(length - whole) < WHOLE_WITHIN_S


def _csv(lines: list[TextLine], file: Location) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if not lines:
        return
    delimiter = "\t" if "\t" in lines[0].text else ";" if ";" in lines[0].text else ","
    # One reader for each line, so that a quote that is not closed spoils one line.
    header, *_ = csv.reader([lines[0].text], delimiter=delimiter)
    names = [name.strip().lower() for name in header]
    if not set(names) & set(PATH):
        raise DataError(
            f"{file}, line {lines[0].number}: expected a header with a column path, got {shorten(lines[0].text)!r}"
        )
    for line in lines[1:]:
        cells, *_ = csv.reader([line.text], delimiter=delimiter)
        if len(cells) > len(names):
            raise DataError(
                f"{file}, line {line.number}: {len(cells)} cells under a header of {len(names)}; quote the cells that "
                f"hold {delimiter!r}"
            )
        yield line.number, dict(zip(names, cells, strict=False))


def _row(values: Mapping[str, Any], number: int, file: Location) -> ManifestRow:
    where = f"{file}, line {number}"
    path = _text(values, PATH)
    if not path:
        raise DataError(f"{where}: it names no file; expected one of {', '.join(PATH[:3])}")
    split = _text(values, SPLIT).lower()
    if split and split not in SPLIT_NAMES:
        raise DataError(f"{where}: {shorten(split)!r} is no split; write train, validation or test")
    start, duration = (_seconds(values, names, where) for names in (START, DURATION))
    return ManifestRow(
        line=number,
        path=path,
        name=_text(values, NAME),
        speaker=_text(values, SPEAKER),
        transcript=_text(values, TRANSCRIPT),
        split=SPLIT_NAMES.get(split),
        # A duration alone says how long the file is.
        segment_s=None if start is None else (start, None if duration is None else start + duration),
    )


def _text(values: Mapping[str, Any], names: tuple[str, ...]) -> str:
    found = next((values[name] for name in names if values.get(name) is not None), "")
    return " ".join(str(found).split()) if isinstance(found, str | int | float) else ""


def _seconds(values: Mapping[str, Any], names: tuple[str, ...], where: str) -> float | None:
    text = _text(values, names)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < 1e7:
        raise DataError(f"{where}: {names[0]}={shorten(text)} is no time in seconds")
    return seconds
