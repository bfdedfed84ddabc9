"""A tiny run, trained once in the tests' own process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from downstream_cases import make_syllables

from vgim.config import ResolvedConfig


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results need not outlive a power cut here."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture(scope="session")
def probed_run(
    tiny_config_in: Callable[..., ResolvedConfig], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run of twenty steps; tests write below its `probes`."""
    from vgim.train.trainer import train

    resolved = tiny_config_in(tmp_path_factory.mktemp("probed"))
    train(resolved)
    storage = resolved.config.storage
    return Path(storage.root, storage.name)


@pytest.fixture(scope="session")
def syllables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of Artificial Speech syllables."""
    return make_syllables(tmp_path_factory.mktemp("syllables"))
