"""Small corpora that are written in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

CorpusMaker = Callable[..., Path]


@pytest.fixture
def make_corpus(tmp_path: Path) -> CorpusMaker:
    """Writes a corpus in LibriSpeech's layout: `speakers` × `utterances` of a little over 1.4 s of noise."""

    def make(name: str = "corpus", *, speakers: int = 3, utterances: int = 10, labels: bool = False) -> Path:
        root = tmp_path / name
        lines = []
        for speaker in range(1, speakers + 1):
            chapter = root / "some-clean" / str(speaker) / "7"
            chapter.mkdir(parents=True)
            transcript = []
            for number in range(utterances):
                utterance_id = f"{speaker}-7-{number:04d}"
                rng = np.random.default_rng([speaker, number])
                num_frames = 140 + int(rng.integers(40))
                samples = rng.integers(-3000, 3000, num_frames * 160, dtype=np.int16)
                soundfile.write(chapter / f"{utterance_id}.flac", samples, 16_000, subtype="PCM_16")
                transcript.append(f"{utterance_id} WORDS OF {speaker} AND {number}\n")
                classes = rng.integers(0, 3, num_frames - 1)
                lines.append(f"{utterance_id} {' '.join(map(str, classes))}\n")
            (chapter / f"{speaker}-7.trans.txt").write_text("".join(transcript))
        if labels:
            (root / "phones.txt").write_text("".join(lines))
            (root / "phone_inventory.txt").write_text("0 SIL\n1 AA\n2 T\n")
        return root

    return make
