"""The Artificial Speech corpus of Smooth InfoMax: words of three syllables, and the same words cut into syllables.

reshuffledv2/{train,test}/bagidu_1.wav                    44.1 kHz; take 1 of the word "bagidu"
split up data padded/{train,test}/bagidu_1_2_gi.wav       22.05 kHz; its second syllable, "gi"
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from vgim.data.corpora.corpus import Corpus, Skipped, SourceUtterance
from vgim.data.corpora.kind import CorpusKind, CorpusOption, CorpusTraits
from vgim.data.pcm import SAMPLE_RATE_HZ
from vgim.errors import DataError
from vgim.storage import Location

Part = Literal["words", "syllables"]
SYLLABLES = ("ba", "bi", "bu", "da", "di", "du", "ga", "gi", "gu")
SPEAKER_ID = "artificial"
"""The corpus has one synthetic voice."""
FOLDERS: dict[Part, str] = {"words": "reshuffledv2", "syllables": "split up data padded"}
RATES_HZ: dict[Part, int] = {"words": 44_100, "syllables": 22_050}
_FILE_NAMES: dict[Part, re.Pattern[str]] = {
    "words": re.compile(r"(?P<word>[a-z]+)_(?P<take>[0-9]+)\.wav"),
    "syllables": re.compile(
        r"(?P<word>[a-z]+)_(?P<take>[0-9]+)_(?P<position>[0-9]+)_(?P<syllable>[a-z]+)\.wav"
    ),
}


def find_artificial_speech(root: str | Path | Location, *, part: Part = "words") -> Corpus:
    """List one part of the corpus.

    The folders train and test are the splits. An utterance's transcript is its word or syllable, its chapter the word.

    Args:
        root: The part's folder, or the folder that holds it.
        part: Whole words, or the syllables cut from them.

    Raises:
        DataError: No file of the part is there.
    """
    folder = Location(root)
    if not folder.exists():
        raise DataError(f"there is no folder {folder}; give the one that holds {FOLDERS[part]!r}")
    inner = folder.child(FOLDERS[part])
    base = inner if inner.exists() else folder
    utterances, skipped = [], []
    for path, size in base.list_files():
        split, _, name = path.rpartition("/")
        if not name.lower().endswith(".wav") or split not in ("train", "validation", "test"):
            continue
        match = _FILE_NAMES[part].fullmatch(name)
        if match is None:
            expected = "bagidu_1.wav" if part == "words" else "bagidu_1_2_gi.wav"
            reason = f"not named like {expected}, so no {part[:-1]} can be read from it"
            skipped.append(Skipped(path_or_id=path, kind="unexpected name", reason=reason))
            continue
        utterances.append(
            SourceUtterance(
                utterance_id=name.rpartition(".")[0],
                speaker_id=SPEAKER_ID,
                chapter_id=match["word"],
                path=path,
                size_bytes=size,
                transcript=match["word"] if part == "words" else match["syllable"],
                split=split,
            )
        )
    if not utterances:
        found = f"; {len(skipped)} WAV files there have other names" if skipped else ""
        raise DataError(
            f"no {part} in {base}: expected {FOLDERS[part]}/{{train,test}}/*.wav{found}; check the path and "
            "the part"
        )
    return Corpus(
        name=ARTIFICIAL_SPEECH.name,
        root=base,
        utterances=tuple(utterances),
        skipped=tuple(skipped),
        pcm_bytes_per_file_byte=SAMPLE_RATE_HZ / RATES_HZ[part],
        min_samples=0,
        resample=True,
        variant=part,
    )


def recording_of(utterance_id: str) -> str:
    """The recorded word: `bagidu_1` for itself and for its syllable `bagidu_1_2_gi`."""
    return "_".join(utterance_id.split("_")[:2])


def _traits(variant: str | None) -> CorpusTraits:
    return CorpusTraits(syllables=SYLLABLES if variant == "syllables" else (), recording_of=recording_of)


ARTIFICIAL_SPEECH = CorpusKind(
    name="artificial-speech",
    title="Artificial Speech",
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
    traits=_traits,
)
