"""Shards of syllables, and probes without their slowest part."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.downstream.cases import make_syllables
from vgim.downstream import writing


@pytest.fixture(scope="session")
def syllables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of Artificial Speech syllables."""
    return make_syllables(tmp_path_factory.mktemp("syllables"))


@pytest.fixture
def without_confusion_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write an empty file instead of drawing confusion matrices, which takes longer than the rest of a tiny probe."""
    monkeypatch.setattr(writing, "can_draw", lambda: False)
