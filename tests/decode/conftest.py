"""A run of a small encoder, trained for two steps, for decoders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vgim.config import ResolvedConfig


@pytest.fixture(scope="session")
def encoder_run(
    tiny_config_in: Callable[..., ResolvedConfig], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run of the small encoder; copy it before you write into it."""
    from vgim.training.trainer import train

    folder = tmp_path_factory.mktemp("encoder")
    assert train(tiny_config_in(folder, "train.max_steps=2")) == 0
    return folder / "runs" / "run"


@pytest.fixture
def run(encoder_run: Path, tmp_path: Path) -> Path:
    """A copy of `encoder_run`, to write decoders into."""
    import shutil

    return Path(shutil.copytree(encoder_run, tmp_path / "run"))
