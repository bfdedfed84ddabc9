"""The errors that a user can cause. Each message says in one line what happened, why, and what to do.

The command line prints only the message and exits with the class's `exit_code`. Any other exception is a defect of
vgim and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vgim.secrets import mask_secrets
from vgim.signals import Stopped, signal_of


class VgimError(Exception):
    """Base of all errors that a user can fix. Passwords and keys in the message's URIs are masked."""

    exit_code = 1

    def __init__(self, *args: object) -> None:
        super().__init__(*(mask_secrets(arg) if isinstance(arg, str) else arg for arg in args))


class ConfigError(VgimError):
    """A config key or value that cannot be used."""

    exit_code = 2


class DataError(VgimError):
    """A corpus, a shard folder or a label file that cannot be used."""

    exit_code = 3


class CheckpointError(VgimError):
    """A folder that is no run, or a checkpoint that is incomplete, damaged, or of another architecture."""

    exit_code = 4


class StorageError(VgimError):
    """Storage that cannot be read or written."""

    exit_code = 5


class TrainingError(VgimError):
    """A run that could not go on: a loss that is not finite, a collapse, a lost worker."""

    exit_code = 6


class Interrupted(Stopped):
    """A signal stopped the command, and a line has been printed that says what was kept."""


@contextmanager
def told_when_stopped(say: Callable[[str], None], kept: str) -> Iterator[None]:
    """Say what is kept when a signal stops the work inside.

    Args:
        say: Prints a line.
        kept: What follows `interrupted;`.

    Raises:
        Interrupted: A signal came; the command says no more.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        say(f"interrupted; {kept}")
        raise Interrupted(signal_of(error)) from None
