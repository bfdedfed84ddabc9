"""Fixtures of the tests of a cache of shards."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faulty_storage import Faults, faulty_storage


@pytest.fixture
def faults(tiny_shards: Path, tmp_path: Path) -> Iterator[Faults]:
    """Remote storage that holds the tiny shards at `SHARDS`."""
    shutil.copytree(tiny_shards, tmp_path / "remote" / "store" / "shards")
    with faulty_storage(tmp_path / "remote") as faults:
        yield faults


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The cache's folder."""
    return tmp_path / "cache"
