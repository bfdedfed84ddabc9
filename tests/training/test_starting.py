"""What a run's workers wait for, in words, before they begin."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.cases import run_location
from vgim.cluster.placement import Placement
from vgim.config import ResolvedConfig
from vgim.runs.folder import RunFolder
from vgim.training import starting
from vgim.training.starting import (
    ALONE,
    CONTROLLER,
    IMPORTING,
    needed_resources,
    starting_worker,
    starting_workers,
)


def test_resources_that_are_missing_are_named_beside_what_is_free() -> None:
    cpus = needed_resources(Placement(2, 1.0, False), {"CPU": 1.0})
    assert cpus == "waiting for 2 x 1 CPU; the cluster has 1 CPU free"
    gpus = needed_resources(Placement(8, 0.5, True, min_workers=4), {"CPU": 16.0, "GPU": 3.0})
    assert gpus == "waiting for 4 x 0.5 CPU and 1 GPU; the cluster has 16 CPU and 3 GPU free"


def test_the_start_ends_when_a_worker_has_begun(
    tiny_config: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    resolved = tiny_config()  # type: ignore[operator]
    assert isinstance(resolved, ResolvedConfig)
    folder = RunFolder(run_location(resolved.config))
    folder.claim(resolved.config, "d" * 64)
    start = starting_workers(folder, Placement(2, 1.0, False))
    assert start.title == "starting 2 workers"
    alone = starting_worker(folder)
    assert (alone.title, alone.waits_for()) == ("starting 1 worker", ALONE)
    monkeypatch.setattr(starting, "group_states", lambda: {"PENDING", "REMOVED"})
    monkeypatch.setattr(starting, "free_resources", lambda: {"CPU": 1.0})
    assert start.waits_for() == "waiting for 2 x 1 CPU; the cluster has 1 CPU free"
    monkeypatch.setattr(starting, "group_states", lambda: {"CREATED"})
    assert start.waits_for() == IMPORTING
    monkeypatch.setattr(starting, "group_states", lambda: {"REMOVED"})
    assert start.waits_for() == CONTROLLER
    folder.begin_attempt(2)
    assert start.waits_for() is None
    assert alone.waits_for() is None
