"""`vgim data synth`: the embedded corpus, in LibriSpeech's layout, with known phones and no download.

Several voices speak random sentences of a small invented language: a lexicon of a few hundred words built from
syllables, so that phones follow one another as in speech and not at random.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from vgim.data.audio import encode_flac
from vgim.data.corpora.librispeech import SYNTHETIC_MARKER
from vgim.data.corpora.phone_labels import (
    INVENTORY_NAME,
    LABELS_NAME,
    Phones,
    format_inventory,
    format_phones,
)
from vgim.data.corpora.synthetic_voice import CLASS_OF, PHONES, SIL, Voice, synthesize_phones
from vgim.data.pcm import HOP_SAMPLES, SAMPLE_RATE_HZ
from vgim.errors import ConfigError, DataError
from vgim.storage import TEMPORARY_MARK, Location, storage_errors
from vgim.text import first_few

SUBSET = "synth-clean"
VERSION = 1
"""Of the speech itself; a new one means that the same seed gives other audio."""
LEXICON_WORDS = 240
UTTERANCES_PER_CHAPTER = 20
MIN_SECONDS, MAX_SECONDS = 2.0, 8.0
MIN_FRAMES = 3
FIRST_SPEAKER = 101
_VOICES, _LEXICON, _UTTERANCES = 1, 2, 3  # streams of random numbers that do not disturb one another

_ONSETS = ("M", "N", "L", "R", "W", "Y", "HH", "F", "S", "SH", "V", "Z", "P", "T", "K", "B", "D", "G")
_NUCLEI = ("IY", "EH", "AE", "AA", "AO", "UW", "AH", "ER", "AY", "OW")
_CODAS = ("M", "N", "NG", "L", "R", "F", "S", "SH", "Z", "T", "K", "P", "D")


@dataclass(frozen=True)
class SynthSummary:
    """What `synthesize` made, or found made."""

    out: str
    speakers: int
    utterances: int
    hours: float
    phones: int
    unchanged: bool
    """The same corpus was there already."""


@dataclass(frozen=True)
class _Utterance:
    speaker_id: str
    chapter_id: str
    utterance_id: str
    words: str
    phones: Phones
    flac: bytes


def synthesize(
    out: str | Path | Location,
    *,
    speakers: int = 12,
    utterances: int = 360,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> SynthSummary:
    """Write the corpus to `out`, whole or not at all; the same arguments give the same bytes.

    progress: called with the number of utterances done and in all. Raises ConfigError for numbers that make no
    corpus, DataError if `out` holds something else, StorageError if it cannot be written.
    """
    folder = Location(out)
    facts = synthetic_facts(speakers, utterances, seed)
    if (hours := _made_before(folder, facts)) is not None:
        return SynthSummary(folder.uri, speakers, utterances, hours, len(PHONES), unchanged=True)
    if folder.is_local:
        place = folder.local_path
        building = place.with_name(f".{place.name}{TEMPORARY_MARK}synth")
        shutil.rmtree(building, ignore_errors=True)  # what a killed call left
        try:
            with storage_errors("write", folder.uri):
                hours = _build(building, facts, progress)
            if place.exists():
                place.rmdir()  # empty, as _made_before saw; a rename needs its place free
            Location(building).move(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            with storage_errors("write", scratch):
                hours = _build(Path(scratch), facts, progress)
            marker = Path(scratch, SYNTHETIC_MARKER)
            content = marker.read_bytes()
            marker.unlink()
            folder.upload_dir(scratch)
            folder.child(SYNTHETIC_MARKER).write_bytes_atomic(content)
    return SynthSummary(folder.uri, speakers, utterances, hours, len(PHONES), unchanged=False)


def synthetic_facts(speakers: int, utterances: int, seed: int) -> dict[str, int]:
    """What the corpus's marker holds; ConfigError for numbers that make no corpus."""
    if speakers < 1 or utterances < speakers or not 0 <= seed < 2**63:
        raise ConfigError(
            f"speakers={speakers}, utterances={utterances}, seed={seed}: at least one speaker, an utterance for each "
            "and a seed of 0 or more are needed"
        )
    return {"version": VERSION, "speakers": speakers, "utterances": utterances, "seed": seed}


def _made_before(folder: Location, facts: dict[str, int]) -> float | None:
    """Hours of the corpus if it is there already; DataError if something else is."""
    marker = folder.child(SYNTHETIC_MARKER)
    if not marker.exists():
        # an object store has no rename: an upload that broke off left this subset, and is simply done again
        others = [name for name in folder.list() if folder.is_local or name != SUBSET]
        if others:
            raise DataError(
                f"--out {folder} holds other files ({first_few(others)}); choose an empty or new folder for the corpus"
            )
        return None
    found = json.loads(marker.read_text())
    hours = float(found.pop("hours"))
    for name, value in facts.items():
        if found.get(name) != value:
            raise DataError(
                f"{folder} holds a synthetic corpus with {name}={found.get(name)}, not {value}; choose another --out, "
                "or remove the folder"
            )
    return hours


def _build(folder: Path, facts: dict[str, int], progress: Callable[[int, int], None] | None) -> float:
    speakers, count, seed = facts["speakers"], facts["utterances"], facts["seed"]
    lexicon = _lexicon(seed)
    voices = [
        Voice.draw(np.random.default_rng([seed, _VOICES, number]), female=number % 2 == 1)
        for number in range(speakers)
    ]
    labels: dict[str, Phones] = {}
    transcripts: dict[Path, list[str]] = {}
    for number in range(count):
        made = _utterance(number, voices, lexicon, seed)
        chapter = folder / SUBSET / made.speaker_id / made.chapter_id
        chapter.mkdir(parents=True, exist_ok=True)
        (chapter / f"{made.utterance_id}.flac").write_bytes(made.flac)
        labels[made.utterance_id] = made.phones
        transcript = chapter / f"{made.speaker_id}-{made.chapter_id}.trans.txt"
        transcripts.setdefault(transcript, []).append(f"{made.utterance_id} {made.words}\n")
        if progress is not None:
            progress(number + 1, count)
    for path, lines in transcripts.items():
        path.write_text("".join(lines))
    hours = sum(len(phones) for phones in labels.values()) * HOP_SAMPLES / SAMPLE_RATE_HZ / 3600
    (folder / "SPEAKERS.TXT").write_text(_speakers_table(voices, labels))
    (folder / LABELS_NAME).write_text(format_phones(labels))
    (folder / INVENTORY_NAME).write_text(format_inventory(tuple(phone.name for phone in PHONES)))
    (folder / SYNTHETIC_MARKER).write_text(json.dumps({**facts, "hours": round(hours, 6)}) + "\n")
    return round(hours, 6)


def _utterance(number: int, voices: list[Voice], lexicon: list[tuple[int, ...]], seed: int) -> _Utterance:
    """The utterance of that number; depends on no other, so they could be made in any order."""
    rng = np.random.default_rng([seed, _UTTERANCES, number])
    index, speaker = divmod(number, len(voices))
    chapter, place = divmod(index, UTTERANCES_PER_CHAPTER)
    speaker_id = str(FIRST_SPEAKER + speaker)
    chapter_id = f"{speaker_id}{chapter:02d}"
    words, classes, frames = _sentence(rng, lexicon, voices[speaker].rate)
    samples = synthesize_phones(classes, frames, voices[speaker], rng)
    return _Utterance(
        speaker_id=speaker_id,
        chapter_id=chapter_id,
        utterance_id=f"{speaker_id}-{chapter_id}-{place:04d}",
        words=" ".join(_spelling(word) for word in words),
        phones=np.repeat(np.array(classes, np.int16), frames),
        flac=encode_flac(samples),
    )


def _sentence(
    rng: np.random.Generator, lexicon: list[tuple[int, ...]], rate: float
) -> tuple[list[tuple[int, ...]], list[int], list[int]]:
    """Words, and their phones with durations in frames, silence around and sometimes between them."""
    wanted = rng.uniform(MIN_SECONDS + 0.3, MAX_SECONDS - 1.5) * 100
    words: list[tuple[int, ...]] = []
    classes, frames = [SIL], [int(rng.integers(12, 30))]
    tail = int(rng.integers(12, 30))
    while sum(frames) + tail < wanted:
        # a few words are frequent and most are rare, as in any language
        word = lexicon[min(int(rng.exponential(len(lexicon) / 4)), len(lexicon) - 1)]
        durations = [_duration(rng, phone, rate) for phone in word]
        pause = int(rng.integers(8, 25)) if words and rng.random() < 0.2 else 0
        if words and sum(frames) + tail + pause + sum(durations) > MAX_SECONDS * 100:
            break
        if pause:
            classes.append(SIL)
            frames.append(pause)
        words.append(word)
        classes.extend(word)
        frames.extend(durations)
    return words, [*classes, SIL], [*frames, tail]


def _duration(rng: np.random.Generator, phone: int, rate: float) -> int:
    ms = PHONES[phone].duration_ms / rate * float(np.exp(rng.normal(0, 0.18)))
    return max(MIN_FRAMES, round(ms / 10))


def _lexicon(seed: int) -> list[tuple[int, ...]]:
    """Distinct words of one to three syllables, as phone classes, most frequent first."""
    rng = np.random.default_rng([seed, _LEXICON])
    words: dict[tuple[int, ...], None] = {}
    spelled: set[str] = set()
    while len(words) < LEXICON_WORDS:
        names: list[str] = []
        for _ in range(int(rng.choice((1, 2, 2, 3)))):
            if rng.random() < 0.9:
                names.append(str(rng.choice(_ONSETS)))
            names.append(str(rng.choice(_NUCLEI)))
            if rng.random() < 0.35:
                names.append(str(rng.choice(_CODAS)))
        word = tuple(CLASS_OF[name] for name in names)
        repeats = any(first == second for first, second in pairwise(word))
        if len(word) > 1 and not repeats and _spelling(word) not in spelled:
            words[word] = None
            spelled.add(_spelling(word))
    return list(words)


def _spelling(word: tuple[int, ...]) -> str:
    return "".join(PHONES[phone].spelling for phone in word)


def _speakers_table(voices: list[Voice], labels: dict[str, Phones]) -> str:
    """Lines as in LibriSpeech: `14   | F | train-clean-360  | 25.03 | Kristin LeMoine`."""
    lines = [";ID  |SEX| SUBSET           |MINUTES| NAME\n"]
    for number, voice in enumerate(voices):
        speaker = FIRST_SPEAKER + number
        frames = sum(len(phones) for name, phones in labels.items() if name.startswith(f"{speaker}-"))
        minutes = frames * HOP_SAMPLES / SAMPLE_RATE_HZ / 60
        lines.append(
            f"{speaker:<4} | {voice.sex} | {SUBSET:<16} | {minutes:5.2f} | Synthetic voice {speaker}\n"
        )
    return "".join(lines)
