"""The errors that end a run, and how `run.json` names them."""

from __future__ import annotations

from collections.abc import Iterator

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


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error and the errors that it wraps, outermost first. Ray wraps a worker's exception in its own.

    A worker that does not answer has an error whose `health_check_failure` says why.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        wrapped = getattr(error, "cause", None) or getattr(error, "health_check_failure", None)
        error = wrapped or error.__cause__
