"""The best trial of a sweep, copied as a run."""

from __future__ import annotations

import os
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
    trial, notes = best(sweep.folder.uri, str(target))
    assert trial.id == result.best
    assert not any("checkpoint" in note for note in notes)
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


def test_a_damaged_checkpoint_of_the_best_trial_is_named(finished_sweep: FinishedSweep) -> None:
    sweep, result = finished_sweep
    (run,) = (trial.run for trial in result.trials if trial.id == result.best)
    newest = max(Path(run, "checkpoints").glob("step-*"))
    config = newest / "config.yaml"
    whole, times = config.read_bytes(), config.stat()
    config.write_text("other")
    try:
        trial, notes = best(sweep.folder.uri, None)
    finally:  # other tests read the sweep and its results too
        config.write_bytes(whole)
        os.utime(config, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert best(sweep.folder.uri, None)[0] == next(t for t in result.trials if t.id == result.best)
    assert trial.id == result.best
    (note,) = (note for note in notes if newest.name in note)
    assert note.startswith(f"{trial.id}: ")
    assert note.endswith("; that checkpoint cannot be read")
