"""The embedded corpus of `vgim data synth`: synthetic speech with known phones, in LibriSpeech's layout.

Several voices speak random sentences of a small invented language. Its lexicon of a few hundred words is built from
syllables, so that phones follow one another as in speech.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from vgim.data.audio import encode_flac
from vgim.data.corpora.librispeech import SYNTHETIC_MARKER, read_synthetic_marker
from vgim.data.corpora.phone_labels import (
    INVENTORY_NAME,
    LABELS_NAME,
    Phones,
    format_inventory,
    format_phones,
)
from vgim.data.corpora.synthetic_phones import CLASS_OF, PHONES, SIL
from vgim.data.corpora.synthetic_voice import Voice, synthesize_phones
from vgim.data.pcm import HOP_SAMPLES, SAMPLE_RATE_HZ
from vgim.errors import ConfigError, DataError
from vgim.progress import SILENT, Progress, track
from vgim.storage import TEMPORARY_MARK, Location, storage_errors, temporary_folder
from vgim.text import first_few

SUBSET = "synth-clean"
DICTIONARY_NAME = "dictionary.txt"
"""Pronunciations of the words, for `vgim data align --dictionary`."""
VERSION = 1
"""Version of the synthesizer. It changes whenever the same seed gives other audio."""
LEXICON_WORDS = 240
UTTERANCES_PER_CHAPTER = 20
MIN_SECONDS, MAX_SECONDS = 2.0, 8.0
MIN_FRAMES = 3
FIRST_SPEAKER = 101
_VOICES, _LEXICON, _UTTERANCES = 1, 2, 3  # independent streams of random numbers

_ONSETS = ("M", "N", "L", "R", "W", "Y", "HH", "F", "S", "SH", "V", "Z", "P", "T", "K", "B", "D", "G")
_NUCLEI = ("IY", "EH", "AE", "AA", "AO", "UW", "AH", "ER", "AY", "OW")
_CODAS = ("M", "N", "NG", "L", "R", "F", "S", "SH", "Z", "T", "K", "P", "D")

Word = tuple[int, ...]
"""Phones as classes of `PHONES`."""


@dataclass(frozen=True)
class SynthSummary:
    """The corpus that `synthesize` wrote or found."""

    out: str
    speakers: int
    utterances: int
    hours: float
    phones: int
    unchanged: bool
    """Whether the same corpus was there already."""


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
    progress: Progress = SILENT,
) -> SynthSummary:
    """Write the corpus to `out`, whole or not at all. The same arguments give the same bytes.

    Args:
        out: Folder or URI.
        speakers: Number of voices.
        utterances: Number of utterances, spread evenly over the voices.
        seed: Seed of voices, lexicon and utterances.
        progress: Where to report how far the work is.

    Raises:
        ConfigError: There are fewer utterances than speakers, or a number is out of bounds.
        DataError: `out` holds something else.
        StorageError: `out` cannot be written.
    """
    folder = Location(out)
    facts = synthetic_facts(speakers, utterances, seed)
    if (hours := _existing_hours(folder, facts)) is not None:
        return SynthSummary(folder.uri, speakers, utterances, hours, len(PHONES), unchanged=True)
    if folder.is_local:
        target = folder.local_path
        building = target.with_name(f".{target.name}{TEMPORARY_MARK}synth")
        shutil.rmtree(building, ignore_errors=True)  # a killed call may have left it
        try:
            with storage_errors("write", folder.uri):
                hours = _build(building, facts, progress)
                if target.exists():
                    target.rmdir()  # it is empty, as _existing_hours has checked; a rename needs a free name
            Location(building).move(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    else:
        with temporary_folder("vgim-corpus-") as scratch:
            with storage_errors("write", str(scratch)):
                hours = _build(scratch, facts, progress)
            marker = scratch / SYNTHETIC_MARKER
            content = marker.read_bytes()
            marker.unlink()
            folder.upload_dir(scratch)
            folder.child(SYNTHETIC_MARKER).write_bytes_atomic(content)
    return SynthSummary(folder.uri, speakers, utterances, hours, len(PHONES), unchanged=False)


def synthetic_facts(speakers: int, utterances: int, seed: int) -> dict[str, int]:
    """The content of the corpus's marker, without its hours.

    Raises:
        ConfigError: There are fewer utterances than speakers, or a number is out of bounds.
    """
    if speakers < 1 or utterances < speakers or not 0 <= seed < 2**63:
        raise ConfigError(
            f"speakers={speakers}, utterances={utterances}, seed={seed}: at least one speaker, an utterance for each "
            "and a seed of 0 or more are needed"
        )
    return {"version": VERSION, "speakers": speakers, "utterances": utterances, "seed": seed}


def _existing_hours(folder: Location, facts: dict[str, int]) -> float | None:
    """Hours of audio if the corpus is there already; None if the folder is free; DataError if it holds other files."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"--out {folder} is a file; choose a folder")
    marker = folder.child(SYNTHETIC_MARKER)
    if not marker.exists():
        # an object store has no rename: an interrupted upload leaves this subset, and is simply repeated
        others = [name for name in folder.list() if folder.is_local or name != SUBSET]
        if others:
            raise DataError(
                f"--out {folder} holds other files ({first_few(others)}); choose an empty or new folder for the corpus"
            )
        return None
    existing = read_synthetic_marker(marker)
    hours = float(existing.pop("hours"))
    for name, value in facts.items():
        if existing.get(name) != value:
            raise DataError(
                f"{folder} holds a synthetic corpus with {name}={existing.get(name)}, not {value}; choose another "
                "--out, or remove the folder"
            )
    return hours


def _build(folder: Path, facts: dict[str, int], progress: Progress) -> float:
    """Write all files of the corpus; its hours of audio."""
    num_speakers, num_utterances, seed = facts["speakers"], facts["utterances"], facts["seed"]
    lexicon = _lexicon(seed)
    voices = [
        Voice.draw(np.random.default_rng([seed, _VOICES, number]), female=number % 2 == 1)
        for number in range(num_speakers)
    ]
    labels: dict[str, Phones] = {}
    transcripts: dict[Path, list[str]] = {}
    for number in track(progress, range(num_utterances), "synthesizing speech", "utterance"):
        utterance = _speak(number, voices, lexicon, seed)
        chapter = folder / SUBSET / utterance.speaker_id / utterance.chapter_id
        chapter.mkdir(parents=True, exist_ok=True)
        (chapter / f"{utterance.utterance_id}.flac").write_bytes(utterance.flac)
        labels[utterance.utterance_id] = utterance.phones
        transcript = chapter / f"{utterance.speaker_id}-{utterance.chapter_id}.trans.txt"
        transcripts.setdefault(transcript, []).append(f"{utterance.utterance_id} {utterance.words}\n")
    for path, lines in transcripts.items():
        path.write_text("".join(lines))
    hours = sum(len(phones) for phones in labels.values()) * HOP_SAMPLES / SAMPLE_RATE_HZ / 3600
    (folder / "SPEAKERS.TXT").write_text(_speakers_table(voices, labels))
    (folder / LABELS_NAME).write_text(format_phones(labels))
    (folder / INVENTORY_NAME).write_text(format_inventory(tuple(phone.name for phone in PHONES)))
    (folder / DICTIONARY_NAME).write_text("".join(map(_pronunciation, lexicon)))
    (folder / SYNTHETIC_MARKER).write_text(json.dumps({**facts, "hours": round(hours, 6)}) + "\n")
    return round(hours, 6)


def _speak(number: int, voices: list[Voice], lexicon: list[Word], seed: int) -> _Utterance:
    """Synthesize utterance `number`. It does not depend on the others."""
    rng = np.random.default_rng([seed, _UTTERANCES, number])
    index_of_speaker, speaker = divmod(number, len(voices))
    chapter, index_in_chapter = divmod(index_of_speaker, UTTERANCES_PER_CHAPTER)
    speaker_id = str(FIRST_SPEAKER + speaker)
    chapter_id = f"{speaker_id}{chapter:02d}"
    words, classes, num_frames = _sentence(rng, lexicon, voices[speaker].rate)
    samples = synthesize_phones(classes, num_frames, voices[speaker], rng)
    return _Utterance(
        speaker_id=speaker_id,
        chapter_id=chapter_id,
        utterance_id=f"{speaker_id}-{chapter_id}-{index_in_chapter:04d}",
        words=" ".join(_spelling(word) for word in words),
        phones=np.repeat(np.array(classes, np.int16), num_frames),
        flac=encode_flac(samples),
    )


def _sentence(
    rng: np.random.Generator, lexicon: list[Word], rate: float
) -> tuple[list[Word], list[int], list[int]]:
    """Words, their phones and the phones' durations in frames, with silence around and sometimes between words."""
    target_frames = rng.uniform(MIN_SECONDS + 0.3, MAX_SECONDS - 1.5) * 100
    words: list[Word] = []
    classes, num_frames = [SIL], [int(rng.integers(12, 30))]
    last_silence = int(rng.integers(12, 30))
    while sum(num_frames) + last_silence < target_frames:
        # a few words are frequent and most are rare, as in any language
        word = lexicon[min(int(rng.exponential(len(lexicon) / 4)), len(lexicon) - 1)]
        durations = [_num_frames(rng, phone, rate) for phone in word]
        pause = int(rng.integers(8, 25)) if words and rng.random() < 0.2 else 0
        if words and sum(num_frames) + last_silence + pause + sum(durations) > MAX_SECONDS * 100:
            break
        if pause:
            classes.append(SIL)
            num_frames.append(pause)
        words.append(word)
        classes.extend(word)
        num_frames.extend(durations)
    return words, [*classes, SIL], [*num_frames, last_silence]


def _num_frames(rng: np.random.Generator, phone: int, rate: float) -> int:
    """A random duration of the phone, in frames of 10 ms."""
    duration_ms = PHONES[phone].duration_ms / rate * float(np.exp(rng.normal(0, 0.18)))
    return max(MIN_FRAMES, round(duration_ms / 10))


def _lexicon(seed: int) -> list[Word]:
    """Distinct words of one to three syllables, the most frequent first."""
    rng = np.random.default_rng([seed, _LEXICON])
    words: list[Word] = []
    spellings: set[str] = set()
    while len(words) < LEXICON_WORDS:
        names: list[str] = []
        for _ in range(int(rng.choice((1, 2, 2, 3)))):
            if rng.random() < 0.9:
                names.append(str(rng.choice(_ONSETS)))
            names.append(str(rng.choice(_NUCLEI)))
            if rng.random() < 0.35:
                names.append(str(rng.choice(_CODAS)))
        word = tuple(CLASS_OF[name] for name in names)
        has_double_phone = any(first == second for first, second in pairwise(word))
        if len(word) > 1 and not has_double_phone and _spelling(word) not in spellings:
            words.append(word)
            spellings.add(_spelling(word))
    return words


def _spelling(word: Word) -> str:
    return "".join(PHONES[phone].spelling for phone in word)


def _pronunciation(word: Word) -> str:
    """A line of the dictionary that `vgim data align` takes, as PocketSphinx writes them."""
    return f"{_spelling(word).lower()} {' '.join(PHONES[phone].name for phone in word)}\n"


def _speakers_table(voices: list[Voice], labels: dict[str, Phones]) -> str:
    """The content of SPEAKERS.TXT, as in LibriSpeech: `14   | F | train-clean-360  | 25.03 | Kristin LeMoine`."""
    lines = [";ID  |SEX| SUBSET           |MINUTES| NAME\n"]
    for number, voice in enumerate(voices):
        speaker = FIRST_SPEAKER + number
        num_frames = sum(
            len(phones) for utterance_id, phones in labels.items() if utterance_id.startswith(f"{speaker}-")
        )
        minutes = num_frames * HOP_SAMPLES / SAMPLE_RATE_HZ / 60
        lines.append(
            f"{speaker:<4} | {voice.sex} | {SUBSET:<16} | {minutes:5.2f} | Synthetic voice {speaker}\n"
        )
    return "".join(lines)
