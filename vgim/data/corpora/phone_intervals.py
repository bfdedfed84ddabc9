"""Phone labels as intervals, a file for each utterance: TextGrids of Praat and MFA, and TIMIT's `.phn`.

SPEAKER/NAME.TextGrid      a tier `phones`, in seconds
DR1/FCJF0/SA1.PHN          "9640 11240 sh" in samples at 16 kHz
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from vgim.data.corpora.phone_labels import MAX_CLASS, SILENCE, PhoneLabels, Phones
from vgim.data.pcm import HOP_SAMPLES, SAMPLE_RATE_HZ
from vgim.data.text_lines import read_lines, read_whole_lines
from vgim.errors import DataError
from vgim.extras import require_extra
from vgim.storage import Location
from vgim.text import first_few, shorten

SILENCES = {"", "sil", "sp", "<eps>", "h#", "pau", "epi", "#h", "silence", "<p:>", "_"}
"""How aligners and corpora write silence."""
ROUNDING = 1e-6
"""Frames by which a boundary in the middle of a frame may be off."""
MAX_S = 24 * 3600.0
_STRESSED = re.compile(r"([A-Z]{2})[0-2]")
_PHONE_TIER = re.compile(r"(^|\W)(phones?|mau|segments?)$", re.IGNORECASE)


class Interval(NamedTuple):
    """A phone and when it is spoken."""

    start_s: float
    end_s: float
    name: str


def read_interval_labels(folder: Location) -> PhoneLabels:
    """Read the label files of a folder, at any depth.

    Stress marks of ARPAbet vowels are left out (`AH0` is `AH`), and all ways to write silence are `SIL`. Classes are
    ordered by name, silence first.

    Returns:
        Labels by the path of each file below the folder, without its suffix.

    Raises:
        DataError: There is no label file, or one cannot be read.
        ConfigError: praatio is not installed, which reads TextGrids.
    """
    paths = [path for path, _ in folder.list_files() if _suffix(path) in READERS]
    if not paths:
        raise DataError(
            f"{folder} holds no label file: expected NAME.TextGrid or NAME.phn for each utterance"
        )
    spoken: dict[str, list[Interval]] = {}
    for path in paths:
        stem = path[: -len(_suffix(path))]
        if stem in spoken:
            raise DataError(
                f"{folder} has two label files for {stem}, the second is {path}; remove one of them"
            )
        spoken[stem] = READERS[_suffix(path)](folder.child(path))
    names = sorted({interval.name for intervals in spoken.values() for interval in intervals} - {SILENCE})
    inventory = (SILENCE, *names)
    if len(inventory) > MAX_CLASS:
        raise DataError(
            f"{folder}: {len(inventory):,} phones are no phones; the tier may hold words: {first_few(names)}"
        )
    class_of = {name: number for number, name in enumerate(inventory)}
    return PhoneLabels({path: to_frames(found, class_of) for path, found in spoken.items()}, inventory)


def to_frames(intervals: Sequence[Interval], class_of: dict[str, int]) -> Phones:
    """The class at the middle of every 10 ms, [num_frames]; silence where no interval is."""
    frame_s = HOP_SAMPLES / SAMPLE_RATE_HZ
    num_frames = round(max((interval.end_s for interval in intervals), default=0.0) / frame_s)
    frames = np.zeros(num_frames, np.int16)
    for interval in intervals:
        first, last = (
            math.ceil(time / frame_s - 0.5 - ROUNDING) for time in (interval.start_s, interval.end_s)
        )
        frames[max(first, 0) : last] = class_of[interval.name]
    return frames


def plain_name(name: str) -> str:
    """A phone's name without stress; `SIL` for silence."""
    name = name.strip()
    if name.lower() in SILENCES:
        return SILENCE
    stressed = _STRESSED.fullmatch(name)
    return stressed[1] if stressed else "_".join(name.split())


def _read_textgrid(file: Location) -> list[Interval]:
    require_extra(f"the TextGrid {file.name}", "align", ("praatio",))
    from praatio.utilities.textgrid_io import parseTextgridStr

    lines = {line.number: line.text for line in read_lines(file)}
    text = "\n".join(lines.get(number, "") for number in range(1, max(lines, default=0) + 2))
    try:
        tiers = [tier for tier in parseTextgridStr(text, True)["tiers"] if tier["class"] == "IntervalTier"]
        names = [str(tier["name"]) for tier in tiers]
        values = [
            [Interval(float(start), float(end), plain_name(label)) for start, end, label in tier["entries"]]
            for tier in tiers
        ]
    except Exception as error:  # praatio raises whatever its parser stumbles over
        raise DataError(f"{file} is no TextGrid ({shorten(str(error) or type(error).__name__)})") from None
    chosen = [number for number, name in enumerate(names) if _PHONE_TIER.search(name)]
    if not chosen and len(values) == 1:
        chosen = [0]
    if len(chosen) != 1:
        which = "one tier" if not chosen else "one of them"
        raise DataError(
            f"{file} has the tiers {first_few(names, 6) or 'none'}; call {which} phones, and leave out the others of "
            "that name"
        )
    return _checked(values[chosen[0]], file)


def _read_phn(file: Location) -> list[Interval]:
    intervals = []
    for line in read_whole_lines(file):
        fields = line.text.split()
        if len(fields) != 3 or not all(field.isdecimal() and len(field) < 12 for field in fields[:2]):
            raise DataError(
                f"{file}, line {line.number}: expected `FIRST LAST PHONE` in samples, got {shorten(line.text)!r}"
            )
        first, last = (int(field) / SAMPLE_RATE_HZ for field in fields[:2])
        intervals.append(Interval(first, last, plain_name(fields[2])))
    return _checked(intervals, file)


def _checked(intervals: Iterable[Interval], file: Location) -> list[Interval]:
    intervals = sorted(intervals)
    for before, after in zip([None, *intervals], intervals, strict=False):
        if not 0 <= after.start_s <= after.end_s <= MAX_S:
            raise DataError(f"{file}: {after.name} is from {after.start_s:g} to {after.end_s:g} s")
        if before is not None and before.end_s - after.start_s > 1e-3:
            raise DataError(
                f"{file}: {before.name} ends at {before.end_s:g} s, after {after.name} begins at {after.start_s:g} s"
            )
    if not intervals:
        raise DataError(f"{file} holds no phones")
    return intervals


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


READERS: dict[str, Callable[[Location], list[Interval]]] = {".textgrid": _read_textgrid, ".phn": _read_phn}
"""Suffix of a label file, in small letters → how to read it."""
