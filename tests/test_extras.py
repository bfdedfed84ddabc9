"""What is said where a package is missing, or does not fit another."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vgim.data.audio import decode
from vgim.data.foreign import own_problems
from vgim.errors import ConfigError
from vgim.extras import import_torchaudio

REFUSAL = (
    "raise RuntimeError('Detected that PyTorch and TorchAudio were compiled with different CUDA versions. PyTorch has "
    "CUDA version 13.2 whereas TorchAudio has CUDA version 13.0. Please install the version that matches.')"
)


@pytest.fixture
def other_torchaudio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a torchaudio that is imported instead of the installed one."""
    package = tmp_path / "torchaudio"
    package.mkdir()
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    return package / "__init__.py"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (REFUSAL, r"PyTorch has CUDA version 13\.2"),
        ("raise OSError('libtorchaudio.so: undefined symbol: one\\nof two lines')", "undefined symbol: one"),
        ("raise ModuleNotFoundError('No module named torchaudio')", "No module named torchaudio"),
    ],
    ids=["other CUDA", "other torch", "missing"],
)
def test_a_torchaudio_that_cannot_be_imported_is_one_line(
    content: str, reason: str, other_torchaudio: Path
) -> None:
    other_torchaudio.write_text(content)
    with pytest.raises(ConfigError, match=f"{reason}.*; install both together") as caught:
        import_torchaudio("transforms")
    assert "\n" not in str(caught.value)


def test_no_file_is_called_corrupt_where_torchaudio_cannot_be_used(other_torchaudio: Path) -> None:
    other_torchaudio.write_text(REFUSAL)
    sound = io.BytesIO()
    soundfile.write(sound, np.zeros(8_000, np.int16), 8_000, format="WAV")
    with pytest.raises(ConfigError, match="torchaudio cannot be used"), own_problems():
        decode(sound.getvalue(), resample=True)
