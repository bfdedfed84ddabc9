"""Files that other people and programs made: which errors are a file's own, and which end the work.

`problem_of` decides about every error that listing, reading and decoding raise. A file with a problem of its own is
skipped and listed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from vgim.data.audio_problem import AudioProblem, check_listed
from vgim.data.source import LostSourceError, Source
from vgim.errors import StorageError, VgimError
from vgim.storage import Location, is_transient
from vgim.storage.causes import reason_and_fix
from vgim.text import first_line, shorten

MAX_FILE_BYTES = 2**32
"""What the header of a WAV file can hold. A larger file is no recording, and would fill the memory."""
_OF_THE_PROCESS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors of a machine that has no more files or memory to give: they say nothing about the file."""


@contextmanager
def own_problems(corpus: Source | None = None) -> Iterator[None]:
    """Turn every error inside that is a file's own into AudioProblem; others pass.

    Args:
        corpus: Where the file belongs: the corpus's folder, or the list that names it. None if nothing is read inside.

    Raises:
        AudioProblem: The file cannot be used.
    """
    try:
        yield
    except Exception as error:
        problem = problem_of(error, corpus)
        if problem is None or problem is error:
            raise
        raise problem from error


def problem_of(error: Exception, corpus: Source | None) -> AudioProblem | None:
    """What an error says about the file that was read or decoded; None if it says nothing, so that the work ends.

    Args:
        error: Raised while the file was read or decoded.
        corpus: Where the file belongs: the corpus's folder, or the list that names it. None if nothing was read.
    """
    if isinstance(error, AudioProblem):
        return error
    if isinstance(error, LostSourceError):
        return None
    if isinstance(error, StorageError) and corpus is not None:
        cause = error.__cause__
        if cause is not None and not corpus.is_local and is_transient(cause):
            return None  # storage that does not answer
        if getattr(cause, "errno", None) in _OF_THE_PROCESS or not _is_there(corpus):
            return None
        return AudioProblem("unreadable", str(error))
    if isinstance(error, VgimError | ImportError | NameError):
        return None  # the last two say that a library is missing, or that vgim has a defect
    if isinstance(error, MemoryError):
        return AudioProblem("unreadable", "there is too little memory for it")
    words = shorten(first_line(error), 100)
    return AudioProblem("corrupt", f"decoding stopped with an error ({type(error).__name__}: {words})")


def read_foreign(file: Source, listed_bytes: int | None = None) -> bytes:
    """Read a file that may be anything.

    Args:
        file: The file.
        listed_bytes: Its size when it was listed; None if it was not.

    Raises:
        AudioProblem: The file is too large, or not as it was listed.
        StorageError: The file cannot be read.
    """
    num_bytes = file.size() if listed_bytes is None and file.is_local else listed_bytes or 0
    if num_bytes > MAX_FILE_BYTES:
        raise AudioProblem(
            "unreadable", f"{num_bytes} bytes, at most {MAX_FILE_BYTES} are read; cut the recording"
        )
    data = file.read_bytes()
    if listed_bytes is not None:
        check_listed(len(data), listed_bytes)
    return data


def _is_there(corpus: Source) -> bool:
    """Whether storage still holds a corpus: a disk or a mount that is gone says nothing about its files."""
    try:
        if not isinstance(corpus, Location) or not corpus.is_local:
            return corpus.exists()
        path = corpus.local_path
        if not path.is_dir():
            return path.exists()
        with os.scandir(path) as entries:
            return next(entries, None) is not None
    except (OSError, StorageError):
        return False


def reason_of(error: BaseException) -> str:
    """Why a file or folder cannot be read, without the path and what to do."""
    return reason_and_fix(error, is_remote=False)[0]
