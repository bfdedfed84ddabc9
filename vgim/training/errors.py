"""The errors that end a run, and how `run.json` names them."""

from __future__ import annotations

from vgim.errors import CheckpointError, ConfigError, DataError, StorageError, TrainingError, VgimError
from vgim.runs.folder import RunRecord


class NotFiniteError(TrainingError):
    """A gradient is not finite. All ranks raise it at the same step, before the optimizer uses the gradient."""


class CollapsedError(TrainingError):
    """A posterior has collapsed under `objective.on_collapse=stop`. All ranks raise it at the same step."""


ERRORS_BY_NAME: dict[str, type[VgimError]] = {
    error.__name__: error
    for error in (
        CheckpointError,
        CollapsedError,
        ConfigError,
        DataError,
        NotFiniteError,
        StorageError,
        TrainingError,
    )
}
"""Errors with which a worker can end a run, by the name in `RunRecord.error`."""


def error_of(record: RunRecord) -> VgimError:
    """The error that ended a failed run; a TrainingError where the record names an error that workers do not raise."""
    return ERRORS_BY_NAME.get(record.error, TrainingError)(record.message)
