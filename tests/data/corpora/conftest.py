"""A folder of sounds in every format that is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE_HZ = 16_000
FILES = (
    "ann/one.wav",
    "ann/deep/two.flac",
    "bob/three.ogg",
    "bob/four.mp3",
    "bob/five.opus",
    "six seven.wav",
)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two seconds of noise in every format that is read, by Ann, Bob and somebody else."""
    root = tmp_path / "corpus"
    rng = np.random.default_rng(0)
    for name in FILES:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.uniform(-0.3, 0.3, 2 * RATE_HZ)
        options = {"format": "OGG", "subtype": "OPUS"} if file.suffix == ".opus" else {}
        soundfile.write(file, noise, RATE_HZ, **options)
    (root / "ann/one.txt").write_text("one\r\nline\r\n")
    (root / "notes.md").write_text("no sound")
    (root / "ann/._one.wav").write_bytes(b"what macOS leaves")
    return root
