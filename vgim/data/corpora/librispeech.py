"""LibriSpeech, and whatever has its layout: the embedded corpus, other corpora rearranged like it.

SUBSET/SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE.flac     (or .wav)
SUBSET/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt          "103-1240-0000 CHAPTER ONE MISSUS RACHEL ..."
phones.txt, phone_inventory.txt                           labels, where there are any
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from vgim.data.corpora.corpus import Corpus, Skipped, SourceUtterance
from vgim.data.corpora.phone_labels import LABELS_NAME
from vgim.errors import DataError
from vgim.storage import Location
from vgim.text import first_few, plural

FLAC_TO_PCM = 1.9
"""LibriSpeech's FLAC is a little over half the size of its PCM."""
SYNTHETIC_MARKER = "synthetic.json"
"""Stands in a corpus that `vgim data synth` made."""
_AUDIO_SUFFIXES = (".flac", ".wav")
_UTTERANCE = re.compile(r"([^-/]+)-([^-/]+)-([^-/]+)\.(flac|wav)")


def find_librispeech(root: str | Path | Location, *, subsets: Sequence[str] | None = None) -> Corpus:
    """List the corpus at `root`: the folder of the subsets, one subset, or what holds `LibriSpeech/`.

    subsets: take only these folders, e.g. `["train-clean-100"]`. Opens transcripts, no audio. DataError if
    nothing of the expected layout is there.
    """
    folder = Location(root)
    files = folder.list_files()
    if subsets:
        files = [file for file in files if set(file[0].split("/")[:-3]) & set(subsets)]
    utterances, skipped = _utterances(files, _transcripts(folder, files))
    if not utterances:
        _complain(folder, files, subsets)
    silent = [item.utterance_id for item in utterances if not item.transcript]
    warnings = (
        (f"no transcript for {plural(len(silent), 'utterance')}: {first_few(silent)}",) if silent else ()
    )
    # "61/70968/61-70968-0000.flac": the root is a subset, and the corpus's own files lie one folder up
    is_subset = utterances[0].path.count("/") <= 2
    marker = _beside(folder, SYNTHETIC_MARKER, is_subset)
    return Corpus(
        name="synthetic" if marker else "librispeech",
        root=folder,
        utterances=tuple(utterances),
        skipped=tuple(skipped),
        warnings=warnings,
        labels=_beside(folder, LABELS_NAME, is_subset),
        pcm_bytes_per_file_byte=FLAC_TO_PCM,
        variant=synthetic_variant(json.loads(marker.read_text())) if marker else _names(subsets),
    )


def synthetic_variant(facts: Mapping[str, object]) -> str:
    """What tells one embedded corpus from another, as `Corpus.variant`."""
    return " ".join(f"{name}={facts[name]}" for name in ("version", "speakers", "utterances", "seed"))


def _names(subsets: Sequence[str] | None) -> str | None:
    return ",".join(sorted(subsets)) if subsets else None


def _utterances(
    files: Sequence[tuple[str, int]], transcripts: dict[str, str]
) -> tuple[list[SourceUtterance], list[Skipped]]:
    utterances, skipped = [], []
    for path, size in files:
        if not path.lower().endswith(_AUDIO_SUFFIXES):
            continue
        # "test-clean/61/70968/61-70968-0000.flac"; the folders above the chapter may be missing from `path`
        *folders, name = path.split("/")
        match = _UTTERANCE.fullmatch(name)
        if match is None or folders[-2:] not in ([match[1], match[2]], [match[2]], []):
            reason = "expected SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE.flac"
            skipped.append(Skipped(path_or_id=path, kind="unexpected name", reason=reason))
            continue
        utterance_id = name.rpartition(".")[0]
        utterances.append(
            SourceUtterance(
                utterance_id=utterance_id,
                speaker_id=match[1],
                chapter_id=match[2],
                path=path,
                size_bytes=size,
                transcript=transcripts.get(utterance_id, ""),
            )
        )
    return utterances, skipped


def _transcripts(folder: Location, files: Sequence[tuple[str, int]]) -> dict[str, str]:
    transcripts = {}
    for path, _ in files:
        if path.endswith(".trans.txt"):
            for line in folder.child(path).read_text().splitlines():
                utterance_id, _, words = line.partition(" ")
                transcripts[utterance_id] = words.strip()
    return transcripts


def _beside(folder: Location, name: str, is_subset: bool) -> Location | None:
    """A file of the corpus: at the root, in `LibriSpeech/`, or, if the root is a subset, one folder up."""
    places = [folder.child(name), folder.child("LibriSpeech", name)]
    if is_subset:
        places.append(folder.parent.child(name))
    return next((place for place in places if place.exists()), None)


def _complain(folder: Location, files: Sequence[tuple[str, int]], subsets: Sequence[str] | None) -> None:
    layout = "SUBSET/SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE.flac (or .wav)"
    if not folder.exists():
        raise DataError(f"there is no folder {folder}; give the root of a corpus laid out as {layout}")
    chosen = f" in the subsets {', '.join(subsets)}" if subsets else ""
    audio = sum(path.lower().endswith(_AUDIO_SUFFIXES) for path, _ in files)
    found = f"{len(files)} files, {audio} of them audio" if files else "no files"
    raise DataError(
        f"no utterance in {folder}{chosen}: expected {layout}, found {found}; check the path and its layout"
    )
