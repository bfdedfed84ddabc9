"""The best trial of a sweep, and a copy of its run."""

from __future__ import annotations

from vgim.config import RunConfig, to_yaml
from vgim.errors import StorageError
from vgim.runs.folder import RunFolder
from vgim.runs.layout import CONFIG, RECORD
from vgim.storage import Location, temporary_folder
from vgim.tune.results import TrialResult
from vgim.tune.show import show


def best(folder: str, copy_to: str | None) -> tuple[TrialResult, tuple[str, ...]]:
    """Find the finished trial with the best metric.

    Args:
        copy_to: folder to copy the trial's run to, where it can be continued; None to copy nothing.

    Returns:
        The trial, and notes on the sweep's results.

    Raises:
        StorageError: there is no sweep, no trial has finished, or `copy_to` exists.
    """
    result = show(folder)
    best_trials = [trial for trial in result.trials if trial.id == result.best]
    if not best_trials:
        raise StorageError(f"no trial of {folder} has finished with a metric; continue the sweep")
    if copy_to is not None:
        _copy(Location(best_trials[0].run), Location(copy_to))
    return best_trials[0], result.notes


def _copy(run: Location, target: Location) -> None:
    if target.exists():
        raise StorageError(f"{target.uri} exists; name a folder that does not")
    record, config = RunFolder(run).record(), RunFolder(run).config()
    assert record is not None
    assert isinstance(config, RunConfig)
    with temporary_folder("vgim-best-") as staging:
        for name in run.list():
            if name not in (RECORD, CONFIG):
                part = run.child(name)
                if part.is_dir():
                    part.download_to(f"{staging}/{name}")
                else:
                    Location(staging).child(name).write_bytes_atomic(part.read_bytes())
        target.upload_dir(staging)
    storage = config.storage.model_copy(update={"root": target.parent.uri, "name": target.name})
    target.child(CONFIG).write_bytes_atomic(to_yaml(config.model_copy(update={"storage": storage})).encode())
    RunFolder(target).write(record.model_copy(update={"name": target.name}))
