"""The folder of one result: pictures, tables, TensorBoard events and, written last, `result.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel

from vgim.runs.layout import RESULT, TENSORBOARD
from vgim.storage import Location, temporary_folder

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


def write_result_folder(
    folder: Location,
    result: BaseModel,
    files: Mapping[str, bytes],
    write_events: Callable[[SummaryWriter], None] | None = None,
) -> Location:
    """Write a result and its files, replacing an earlier result in the same folder.

    `result.json` of the earlier result is deleted first and the new one is written last. A folder with a
    `result.json` is therefore complete, even if a process died while it replaced the folder.

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
        folder.child(RESULT).delete()
        folder.delete()
        for name, content in files.items():
            folder.child(name).write_bytes_atomic(content)
        if write_events is not None:
            folder.child(TENSORBOARD).upload_dir(staging)
    folder.child(RESULT).write_bytes_atomic((result.model_dump_json(indent=1) + "\n").encode())
    return folder
