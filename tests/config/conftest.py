"""A folder of presets to resolve, and a current directory that holds nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

WritePreset = Callable[[str, str], Path]


@pytest.fixture
def write_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WritePreset:
    """Writes configs/NAME.yaml below a fresh current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()

    def write(name: str, text: str) -> Path:
        path = tmp_path / "configs" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
        return path

    return write
