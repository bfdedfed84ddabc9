"""Runs and sounds that features are written of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.export.cases import FAMILIES, make_run


@pytest.fixture(scope="package")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("runs")
    return {family: str(make_run(root, family, *overrides)) for family, overrides in FAMILIES.items()}


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder of four usable sound files, a damaged one and one of two samples."""
    folder, rng = tmp_path / "sounds", np.random.default_rng(0)
    for name, rate, num in (
        ("a/x.wav", 16_000, 9_000),
        ("b/x.flac", 16_000, 7_000),
        ("stereo.wav", 8_000, 6_000),
        ("61/70968/61-70968-0000.wav", 16_000, 5_000),
        ("short.wav", 16_000, 2),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (num, 2) if "stereo" in name else (num,)
        soundfile.write(path, rng.uniform(-0.1, 0.1, shape), rate, subtype="PCM_16")
    (folder / "broken.wav").write_bytes(b"RIFF")
    (folder / "notes.txt").write_text("no sound")
    return folder
