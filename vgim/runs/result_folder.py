"""The folder of one result: pictures, tables, TensorBoard events and, written last, `result.json`."""

from __future__ import annotations

import errno
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import BaseModel

from vgim.errors import StorageError
from vgim.runs.layout import RESULT, TENSORBOARD
from vgim.storage import TEMPORARY_MARK, Location, storage_errors, temporary_folder

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


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
        target = _beside(folder) if folder.is_local else folder
        try:
            if target == folder:
                folder.child(RESULT).delete()
                folder.delete()
            for name, content in files.items():
                target.child(name).write_bytes_atomic(content)
            if write_events is not None:
                target.child(TENSORBOARD).upload_dir(staging)
            target.child(RESULT).write_bytes_atomic((result.model_dump_json(indent=1) + "\n").encode())
            if target != folder:
                _replace(folder, target)
        except BaseException:
            if target != folder:
                with suppress(StorageError):  # it would hide the error
                    target.delete()
            raise
    return folder


def _beside(folder: Location) -> Location:
    """A new name beside a folder, which listings leave out."""
    return folder.parent.child(f".{folder.name}{TEMPORARY_MARK}{uuid.uuid4().hex[:12]}")


def _replace(folder: Location, new: Location) -> None:
    """Give a local folder another's name. Of several processes that do so at once, the last one's folder stays."""
    earlier: list[Location] = []
    with storage_errors("write", folder.uri, kinds=(OSError,)):
        while True:
            try:
                new.local_path.rename(folder.local_path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            else:
                break
            earlier.append(_beside(folder))
            with suppress(FileNotFoundError):  # another process has moved it aside
                folder.local_path.rename(earlier[-1].local_path)
    for aside in earlier:
        aside.delete()
