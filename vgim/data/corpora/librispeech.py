"""LibriSpeech, and other corpora in its layout, such as the embedded corpus.

SUBSET/SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE.flac     (or .wav)
SUBSET/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt          "103-1240-0000 CHAPTER ONE MISSUS RACHEL ..."
phones.txt, phone_inventory.txt                           phone labels, if there are any
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from vgim.data.corpora.archive import Archive
from vgim.data.corpora.corpus import (
    Corpus,
    Skipped,
    SourceUtterance,
    and_skipped,
    list_corpus,
    read_text,
    skip_other_sound,
)
from vgim.data.corpora.kind import CorpusKind, CorpusOption
from vgim.data.corpora.open_corpus import CorpusRoot, only_folder, open_corpus, unread_archives
from vgim.data.corpora.phone_labels import LABELS_NAME
from vgim.data.source import Source
from vgim.errors import DataError
from vgim.storage import FileSizes
from vgim.text import first_few, plural

FLAC_TO_PCM = 1.9
"""Bytes of PCM16 per byte of LibriSpeech's FLAC, roughly."""
SYNTHETIC_MARKER = "synthetic.json"
"""The file that says that `vgim data synth` made the corpus, and with which numbers."""
SYNTHETIC_NAME = "synthetic"
SYNTHETIC_FACTS = ("version", "speakers", "utterances", "seed")
_LAYOUT = "SUBSET/SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE.flac (or .wav)"
_AUDIO_SUFFIXES = (".flac", ".wav")
_UTTERANCE = re.compile(r"([^-/]+)-([^-/]+)-([^-/]+)\.(flac|wav)")


def find_librispeech(root: CorpusRoot, *, subsets: Sequence[str] | None = None) -> Corpus:
    """List a corpus in LibriSpeech's layout. Transcripts are read, audio is not.

    Args:
        root: The folder that holds the subsets, one subset, or the folder that holds `LibriSpeech/`; or an archive, or
            a folder of archives.
        subsets: List only these folders, such as `["train-clean-100"]`.

    Raises:
        DataError: No utterance is there.
    """
    folder = open_corpus(root, f"give the root of a corpus laid out as {_LAYOUT}")
    files, skipped = list_corpus(folder)
    warnings = unread_archives(files)
    if subsets:
        there = sorted({path.split("/")[-4] for path, _ in files if path.count("/") >= 3})
        files = [file for file in files if set(file[0].split("/")[:-3]) & set(subsets)]
        skipped = [item for item in skipped if set(item.path_or_id.split("/")) & set(subsets)]
        if there and not files:
            raise DataError(
                f"{folder} has no subset {' or '.join(subsets)}; it has {first_few(there)}: name these with --subset"
            )
    transcripts, problems = _read_transcripts(folder, files, skipped)
    utterances = _list_utterances(files, transcripts, skipped)
    if not utterances:
        raise _no_utterances(folder, files, subsets, skipped)
    silent = [item.utterance_id for item in utterances if not item.transcript]
    if silent:
        warnings.append(f"no transcript for {plural(len(silent), 'utterance')}: {first_few(silent)}")
    if problems:
        warnings.append(f"transcripts with bytes that are no text, kept as U+FFFD: {first_few(problems)}")
    # "61/70968/61-70968-0000.flac": the root is a subset, and the corpus's own files lie one folder up
    is_subset = utterances[0].path.count("/") <= 2
    marker = _find_corpus_file(folder, SYNTHETIC_MARKER, is_subset)
    variant = ",".join(sorted(subsets)) if subsets else None
    if marker is not None:
        variant = synthetic_variant(read_synthetic_marker(marker))
    return Corpus(
        name=SYNTHETIC_NAME if marker else LIBRISPEECH.name,
        root=folder,
        utterances=tuple(utterances),
        skipped=tuple(skipped),
        warnings=tuple(warnings),
        labels=_find_corpus_file(folder, LABELS_NAME, is_subset),
        pcm_bytes_per_file_byte=FLAC_TO_PCM,
        variant=variant,
    )


def read_synthetic_marker(marker: Source) -> dict[str, Any]:
    """The numbers that an embedded corpus was made with, and its hours.

    Raises:
        DataError: The marker is damaged.
        StorageError: The storage cannot be read.
    """
    try:
        facts = json.loads(marker.read_bytes())
        hours = float(facts["hours"])
        if math.isfinite(hours) and all(isinstance(facts[name], int) for name in SYNTHETIC_FACTS):
            return dict(facts)
    except (ValueError, TypeError, LookupError, RecursionError, OverflowError):
        pass
    raise DataError(
        f"{marker} does not read as the numbers of `vgim data synth`, so the corpus may not be whole; remove "
        f"{marker.parent} and make it again"
    )


def synthetic_variant(facts: Mapping[str, object]) -> str:
    """The `Corpus.variant` of an embedded corpus, from the content of its marker."""
    return " ".join(f"{name}={facts[name]}" for name in SYNTHETIC_FACTS)


def _list_utterances(
    files: FileSizes, transcripts: Mapping[str, str], skipped: list[Skipped]
) -> list[SourceUtterance]:
    """The utterances in the order of the files. What has another name, or the id of one before, goes to `skipped`."""
    by_id: dict[str, SourceUtterance] = {}
    for path, size in files:
        if not path.lower().endswith(_AUDIO_SUFFIXES):
            skipped += skip_other_sound(path, _AUDIO_SUFFIXES)
            continue
        # "test-clean/61/70968/61-70968-0000.flac"; the folders above the chapter may be missing from `path`
        *folders, name = path.split("/")
        match = _UTTERANCE.fullmatch(name)
        if match is None or folders[-2:] not in ([match[1], match[2]], [match[2]], []):
            reason = "expected SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE.flac"
            skipped.append(Skipped(path_or_id=path, kind="unexpected name", reason=reason))
            continue
        utterance_id = name.rpartition(".")[0]
        if (first := by_id.get(utterance_id)) is not None:
            reason = f"it has the same id as {first.path}, {utterance_id}"
            skipped.append(Skipped(path_or_id=path, kind="unexpected name", reason=reason))
            continue
        by_id[utterance_id] = SourceUtterance(
            utterance_id=utterance_id,
            speaker_id=match[1],
            chapter_id=match[2],
            path=path,
            size_bytes=size,
            transcript=transcripts.get(utterance_id, ""),
        )
    return list(by_id.values())


def _read_transcripts(
    folder: Source, files: FileSizes, skipped: list[Skipped]
) -> tuple[dict[str, str], list[str]]:
    """Utterance id → transcript, from all `.trans.txt` files, and what in them is no text."""
    transcripts, problems = {}, []
    for path, size in files:
        if path.endswith(".trans.txt"):
            for line in read_text(folder, path, size, skipped):  # "103-1240-0000 CHAPTER ONE ..."
                utterance_id, *words = line.text.split(maxsplit=1)
                transcripts[utterance_id] = words[0].strip() if words else ""
                if line.problem:
                    problems.append(f"{path}, line {line.number}: {line.problem}")
    return transcripts, problems


def _find_corpus_file(folder: Source, name: str, is_subset: bool) -> Source | None:
    """A file of the whole corpus: at the root, in `LibriSpeech/`, in an archive's only folder, or above a subset."""
    candidates = [folder.child(name), folder.child("LibriSpeech", name), only_folder(folder).child(name)]
    if is_subset:
        candidates.append(folder.parent.child(name))
    return next((file for file in candidates if file.exists()), None)


def _no_utterances(
    folder: Source, files: FileSizes, subsets: Sequence[str] | None, skipped: Sequence[Skipped]
) -> DataError:
    chosen = f" in the subsets {', '.join(subsets)}" if subsets else ""
    num_audio = sum(path.lower().endswith(_AUDIO_SUFFIXES) for path, _ in files)
    found = f"{len(files)} files, {num_audio} of them audio" if files else "no files"
    return DataError(
        f"no utterance in {folder}{chosen}: expected {_LAYOUT}, found {found}{and_skipped(skipped)}; check the path "
        "and its layout"
    )


ADDRESS = "https://www.openslr.org/resources/12"
MD5 = {
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
}
"""MD5 of each subset's archive, from md5sum.txt beside them."""

LIBRISPEECH = CorpusKind(
    name="librispeech",
    title="LibriSpeech",
    license="CC BY 4.0 if it is LibriSpeech itself; another corpus in its layout has its own",
    help="LibriSpeech or a corpus in its layout. Reads SUBSET/SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE.flac.",
    find=find_librispeech,
    options=(
        CorpusOption(
            "subsets",
            "--subset",
            help="Only this subset, such as train-clean-100. Repeatable.",
            is_repeatable=True,
        ),
    ),
    archives={subset: Archive(f"{ADDRESS}/{subset}.tar.gz", md5=md5) for subset, md5 in MD5.items()},
)

SYNTHETIC = CorpusKind(
    name=SYNTHETIC_NAME,
    title="the embedded synthetic corpus",
    license="none needed: vgim synthesizes it from a seed, without recordings",
    find=None,  # `find_librispeech` recognizes it by its marker
)
