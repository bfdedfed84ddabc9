"""A run with every kind of result; tests that change it get a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.report_cases import write_everything
from vgim.config import ResolvedConfig, RunConfig


@pytest.fixture(scope="session")
def config(
    tiny_config_in: Callable[..., ResolvedConfig], tmp_path_factory: pytest.TempPathFactory
) -> RunConfig:
    return tiny_config_in(tmp_path_factory.mktemp("report-config")).config


@pytest.fixture(scope="session")
def whole_run(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with training, probes, an analysis and a decoder; tests must not write into it."""
    run = tmp_path_factory.mktemp("report") / "whole"
    write_everything(run, config)
    return run


@pytest.fixture
def run(whole_run: Path, tmp_path: Path) -> Path:
    """A copy of `whole_run` that the test may change."""
    return Path(shutil.copytree(whole_run, tmp_path / "run"))
