"""The best trial of a sweep, copied as a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tune.sweep_cases import FinishedSweep
from vgim.errors import StorageError
from vgim.pretrained.encoder import load_encoder
from vgim.runs.folder import RunFolder
from vgim.runs.listing import list_runs
from vgim.storage import Location
from vgim.tune.best import best


def test_the_best_trial_is_copied_as_a_run_that_goes_on(
    finished_sweep: FinishedSweep, tmp_path: Path
) -> None:
    sweep, result = finished_sweep
    target = tmp_path / "won"
    assert best(sweep.folder.uri, str(target)).id == result.best
    (summary,) = list_runs(str(target))
    assert (summary.name, summary.state) == ("won", "finished")
    config = RunFolder(Location(target)).config()
    assert config is not None
    assert (config.storage.root, config.storage.name) == (str(tmp_path), "won")

    assert len(load_encoder(str(target)).encoder) == len(
        next(t for t in result.trials if t.id == result.best).nce
    )
    with pytest.raises(StorageError, match="exists; name a folder that does not"):
        best(sweep.folder.uri, str(target))
