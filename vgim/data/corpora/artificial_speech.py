"""The Artificial Speech corpus of Smooth InfoMax: words of three syllables, and the same words cut into syllables.

reshuffledv2/{train,test}/bagidu_1.wav                    44.1 kHz; take 1 of the word "bagidu"
split up data padded/{train,test}/bagidu_1_2_gi.wav       22.05 kHz; its second syllable, "gi"

The takes of the words are numbered over both folders, the takes of the syllables in each folder from 1. So a syllable's
file name may stand in both folders, and the one in test is cut from the word's next take.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Literal

from vgim.data.corpora.archive import Archive
from vgim.data.corpora.corpus import (
    Corpus,
    Skipped,
    SourceUtterance,
    and_skipped,
    list_corpus,
    skip_other_sound,
)
from vgim.data.corpora.kind import CorpusKind, CorpusOption, CorpusTraits
from vgim.data.corpora.open_corpus import CorpusRoot, only_folder, open_corpus
from vgim.data.pcm import SAMPLE_RATE_HZ
from vgim.errors import DataError

Part = Literal["words", "syllables"]
SYLLABLES = ("ba", "bi", "bu", "da", "di", "du", "ga", "gi", "gu")
SPEAKER_ID = "artificial"
"""The corpus has one synthetic voice."""
FOLDERS: dict[Part, str] = {"words": "reshuffledv2", "syllables": "split up data padded"}
RATES_HZ: dict[Part, int] = {"words": 44_100, "syllables": 22_050}
_FILE_NAMES: dict[Part, re.Pattern[str]] = {
    "words": re.compile(r"(?P<word>[a-z]+)_(?P<take>[0-9]+)\.(?i:wav)"),
    "syllables": re.compile(
        rf"(?P<word>[a-z]+)_(?P<take>[0-9]+)_(?P<position>[0-9]+)_(?P<syllable>{'|'.join(SYLLABLES)})\.(?i:wav)"
    ),
}
_SPLITS = ("train", "validation", "test")
_UTTERANCE_ID = re.compile(
    rf"(?:(?P<split>{'|'.join(_SPLITS)})-)?(?P<word>[a-z]+)_(?P<take>[0-9]+)(?:_[0-9]+_[a-z]+)?"
)
"""An utterance id, such as `train-bagidu_1_2_gi`. Shards of vgim 0.1 have ids without the split."""


def find_artificial_speech(root: CorpusRoot, *, part: Part = "words") -> Corpus:
    """List one part of the corpus.

    The folders train and test are the splits. An utterance's id is its split and its file's name, such as
    `test-bagidu_1_2_gi`, since a name may stand in both folders. Its transcript is the word or syllable, its chapter
    the word.

    Args:
        root: The part's folder, or the folder or archive that holds it.
        part: Whole words, or the syllables cut from them.

    Raises:
        DataError: No file of the part is there.
    """
    folder = open_corpus(root, f"give the one that holds {FOLDERS[part]!r}")
    inner = [place.child(FOLDERS[part]) for place in (folder, only_folder(folder))]
    base = next((place for place in inner if place.exists()), folder)
    utterances = []
    files, skipped = list_corpus(base)
    for path, size in files:
        split, _, name = path.rpartition("/")
        if not name.lower().endswith(".wav"):
            skipped += skip_other_sound(path, (".wav",))
            continue
        if split not in _SPLITS:
            reason = f"not in {FOLDERS[part]}/train or {FOLDERS[part]}/test itself, so it has no split"
            skipped.append(Skipped(path_or_id=path, kind="unexpected name", reason=reason))
            continue
        match = _FILE_NAMES[part].fullmatch(name)
        if match is None:
            expected = "bagidu_1.wav" if part == "words" else "bagidu_1_2_gi.wav"
            reason = f"not named like {expected}, so no {part[:-1]} can be read from it"
            skipped.append(Skipped(path_or_id=path, kind="unexpected name", reason=reason))
            continue
        utterances.append(
            SourceUtterance(
                utterance_id=utterance_id_of(path),
                speaker_id=SPEAKER_ID,
                chapter_id=match["word"],
                path=path,
                size_bytes=size,
                transcript=match["word"] if part == "words" else match["syllable"],
                split=split,
                earlier_id=name.rpartition(".")[0],
            )
        )
    if not utterances:
        raise DataError(
            f"no {part} in {base}: expected {FOLDERS[part]}/{{train,test}}/*.wav{and_skipped(skipped)}; check the "
            "path and the part"
        )
    return Corpus(
        name=ARTIFICIAL_SPEECH.name,
        root=base,
        utterances=tuple(utterances),
        skipped=tuple(skipped),
        warnings=tuple(
            f"there are no {part} in {FOLDERS[part]}/{split}, so the {split} split is empty"
            for split in ("train", "test")
            if not any(item.split == split for item in utterances)
        ),
        pcm_bytes_per_file_byte=SAMPLE_RATE_HZ / RATES_HZ[part],
        min_samples=0,
        resample=True,
        variant=part,
    )


def utterance_id_of(path: str) -> str:
    """`test-bagidu_1_2_gi` for the path `test/bagidu_1_2_gi.wav`; the file's name alone if its folder is no split."""
    file = PurePosixPath(path)
    return f"{file.parent.name}-{file.stem}" if file.parent.name in _SPLITS else file.stem


def recordings_of(utterance_ids: Iterable[str]) -> dict[str, str]:
    """The recorded word of each utterance: `bagidu_1` for `train-bagidu_1` and for its syllable `train-bagidu_1_2_gi`.

    If a take's name stands in train and in test, the one in test is the word's next take, `bagidu_2`.

    Args:
        utterance_ids: All ids of one corpus or shard folder, with or without splits.
    """
    matches = {name: _UTTERANCE_ID.fullmatch(name) for name in utterance_ids}
    takes_by_word: dict[str, set[tuple[int, int]]] = {}
    for match in matches.values():
        if match is not None:
            takes_by_word.setdefault(match["word"], set()).add(_split_and_take(match))
    recorded_as = {word: _number_takes(takes) for word, takes in takes_by_word.items()}
    return {
        name: f"{match['word']}_{recorded_as[match['word']][_split_and_take(match)]}" if match else name
        for name, match in matches.items()
    }


def _split_and_take(match: re.Match[str]) -> tuple[int, int]:
    return _SPLITS.index(match["split"] or "train"), int(match["take"])


def _number_takes(takes: set[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """(Split, take as its file is named) → take of the word. One that an earlier split has is the next free take."""
    numbers: dict[tuple[int, int], int] = {}
    named = {take for _, take in takes}
    for split, take in sorted(takes):
        number = take
        while number in numbers.values() or (number != take and number in named):
            number += 1
        numbers[split, take] = number
    return numbers


def _traits(variant: str | None) -> CorpusTraits:
    return CorpusTraits(
        syllables=SYLLABLES if variant == "syllables" else (),
        recordings_of=recordings_of,
        utterance_id=utterance_id_of,
    )


COMMIT = "1f653c9dfc17245aae30bde9b870c9cc6fc9b2b2"
REPOSITORY = "https://github.com/fdenoodt/Artificial-Speech-Dataset"

ARTIFICIAL_SPEECH = CorpusKind(
    name="artificial-speech",
    title="Artificial Speech",
    license="CC BY-NC-SA 4.0",
    help="Words or syllables of Artificial Speech. Reads WAV files below `reshuffledv2` or `split up data padded`.",
    find=find_artificial_speech,
    options=(
        CorpusOption(
            "part",
            "--part",
            help="Whole words, or the syllables cut from them.",
            choices=("words", "syllables"),
            default="words",
        ),
    ),
    archives={
        "all": Archive(
            f"{REPOSITORY}/archive/{COMMIT}.tar.gz",
            content="a674f887d419b33d71c50d6f54e5b9b70be06eaa539b48cbb9fec906c8d332e1",
            strip=1,
        )
    },
    traits=_traits,
)
