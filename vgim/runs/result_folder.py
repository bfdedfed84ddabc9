"""The folder of one result: pictures, tables, TensorBoard events and, written last, `result.json`."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from vgim.runs.layout import RESULT, TENSORBOARD
from vgim.storage import (
    Location,
    locked_temporary_folder,
    replace_folder,
    storage_errors,
    temporary_folder,
)

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


def refuse_unwritable(folder: Location) -> None:
    """Refuse a folder in which no result could be written, before the first is computed.

    The folder is made. Only local folders are tried: other storage has no folders that could be refused.

    Raises:
        StorageError: The folder cannot be written.
    """
    if not folder.is_local:
        return
    path = folder.local_path
    with storage_errors("write", folder.uri, kinds=(OSError,)):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            is_read_only = os.statvfs(path).f_flag & os.ST_RDONLY
            number = errno.EROFS if is_read_only else errno.EACCES
            raise OSError(number, os.strerror(number), str(path))


def write_result_folder(
    folder: Location,
    result: BaseModel,
    files: Mapping[str, bytes],
    write_events: Callable[[SummaryWriter], None] | None = None,
) -> Location:
    """Write a result and its files, replacing an earlier result in the same folder.

    A folder with a `result.json` is complete, even if a process died while it replaced the folder. On local storage the
    new folder is made beside the old one and takes its name at the end, so that of two processes that write the same
    result at once, the later one's stays, whole. Elsewhere, `result.json` of the earlier result is deleted first and
    the new one is written last.

    Args:
        files: Content of each file beside `result.json`, by name.
        write_events: Adds the result's scalars to TensorBoard events; None writes no events.

    Returns:
        `folder`.

    Raises:
        StorageError: The storage cannot be written.
    """
    with temporary_folder("vgim-result-") as staging:
        if write_events is not None:
            from vgim.runs.event_board import strict_board

            with strict_board(staging) as writer:
                write_events(writer)
        tensorboard = staging if write_events is not None else None
        if folder.is_local:
            with (
                storage_errors("write", folder.uri, kinds=(OSError,)),
                locked_temporary_folder(folder.local_path) as new,
            ):
                _write(Location(new), result, files, tensorboard)
                replace_folder(new, folder.local_path)
        else:
            folder.child(RESULT).delete()
            folder.delete()
            _write(folder, result, files, tensorboard)
    return folder


def _write(target: Location, result: BaseModel, files: Mapping[str, bytes], tensorboard: Path | None) -> None:
    """Write the files of a result into a folder, `result.json` last."""
    for name, content in files.items():
        target.child(name).write_bytes_atomic(content)
    if tensorboard is not None:
        target.child(TENSORBOARD).upload_dir(tensorboard)
    target.child(RESULT).write_bytes_atomic((result.model_dump_json(indent=1) + "\n").encode())
