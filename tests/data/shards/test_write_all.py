"""Shards that Ray tasks write."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import NoReturn

import pytest

from vgim.data.shards import write_all
from vgim.errors import ConfigError, DataError, StorageError, VgimError


@pytest.mark.parametrize("kind", [ConfigError, DataError, StorageError])
def test_an_error_that_ends_a_ray_task_keeps_its_kind_and_its_one_line(
    kind: type[VgimError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> NoReturn:
        raise kind("it cannot be read")

    monkeypatch.setattr(write_all, "write_shard", refuse)
    row = write_all._write_task({"task": pickle.dumps((None, str(tmp_path), None))})
    error = pickle.loads(row["error"])
    assert (type(error), str(error)) == (kind, "it cannot be read")
