"""Utterances of noise, and shards of Artificial Speech syllables that are made of tones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from vgim.data.corpora.artificial_speech import SYLLABLES, find_artificial_speech
from vgim.data.shards.prepare import prepare
from vgim.data.shards.read import Utterance

VOWEL_HZ = {"a": 700.0, "i": 300.0, "u": 450.0}
ONSET_HZ = {"b": 1500.0, "d": 2500.0, "g": 3500.0}


def utterance(
    num_samples: int, *, name: str = "u", seed: int = 0, phones: list[int] | None = None
) -> Utterance:
    """An utterance of noise."""
    audio = np.random.default_rng(seed).integers(-3000, 3000, num_samples, dtype=np.int16)
    scaled = audio / 32_768
    return Utterance(
        utterance_id=name,
        speaker_id="s",
        transcript="",
        audio=audio,
        phones=None if phones is None else np.array(phones, np.int16),
        mean=float(scaled.mean()),
        std=float(scaled.std()),
    )


def make_syllables(folder: Path, takes: int = 8, validation_fraction: float = 0.34) -> Path:
    """Shards of syllables of two tones each, in the layout of Artificial Speech."""
    corpus = folder / "artificial"
    for take in range(takes):
        split = "test" if take % 4 == 3 else "train"
        target = corpus / "split up data padded" / split
        target.mkdir(parents=True, exist_ok=True)
        for number, syllable in enumerate(SYLLABLES):
            rng = np.random.default_rng([take, number])
            time_s = np.arange(6_000) / 22_050
            tones = sum(
                np.sin(2 * np.pi * hz * rng.uniform(0.98, 1.02) * time_s)
                for hz in (ONSET_HZ[syllable[0]], VOWEL_HZ[syllable[1]])
            )
            soundfile.write(target / f"word_{take}_1_{syllable}.wav", 0.2 * tones, 22_050, subtype="PCM_16")
    shards = folder / "syllables"
    found = find_artificial_speech(corpus, part="syllables")
    prepare(found, shards, validation_fraction=validation_fraction, workers=0)
    return shards
