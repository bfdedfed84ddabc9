"""The errors a user can cause. Each message carries the value, the reason and the fix, in one line.

The command line prints the message alone and exits with the class's `exit_code`; anything that is not a
`VgimError` is a defect of ours and keeps its traceback.
"""

from __future__ import annotations


class VgimError(Exception):
    """Base of all errors that are the user's to mend."""

    exit_code = 1


class ConfigError(VgimError):
    """A config key or value that cannot be used."""

    exit_code = 2


class DataError(VgimError):
    """A corpus, a shard folder or a label file that cannot be used."""

    exit_code = 3


class CheckpointError(VgimError):
    """A checkpoint that is incomplete, damaged, or of another architecture."""

    exit_code = 4


class StorageError(VgimError):
    """Storage that cannot be read or written."""

    exit_code = 5


class TrainingError(VgimError):
    """A run that could not go on: a loss that is not finite, a collapse, a lost worker."""

    exit_code = 6
