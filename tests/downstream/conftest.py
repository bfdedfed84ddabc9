"""A tiny run, trained once in the tests' own process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.downstream.cases import make_syllables


@pytest.fixture(scope="session")
def syllables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of Artificial Speech syllables."""
    return make_syllables(tmp_path_factory.mktemp("syllables"))
