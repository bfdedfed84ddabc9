"""Folders that are whole or absent: written beside the target and renamed, or with a marker that is written last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vgim.storage.atomic import locked_temporary_folder, replace_folder
from vgim.storage.errors import storage_errors
from vgim.storage.exclusive import delete_among_others
from vgim.storage.location import Location


def write_folder(folder: Location, contents: Mapping[str, bytes]) -> None:
    """Write a folder of a few files, replacing one of the same name.

    On local storage the new folder is made beside the old one and takes its name at the end. Elsewhere the old folder
    is deleted, its marker first, and the marker is written last.

    Args:
        folder: The folder.
        contents: Content of each file by name; the last one is the marker, without which a folder is not whole.

    Raises:
        StorageError: The storage cannot be written.
    """
    if folder.is_local:
        with (
            storage_errors("write", folder.uri, kinds=(OSError,)),
            locked_temporary_folder(folder.local_path) as new,
        ):
            for name, data in contents.items():
                Location(new).child(name).write_bytes_atomic(data)
            replace_folder(new, folder.local_path)
        return
    folder.child(list(contents)[-1]).delete()
    folder.delete()
    for name, data in contents.items():
        folder.child(name).write_bytes_atomic(data)


def replace_by(source: Path, folder: Location) -> None:
    """Copy a local folder to another place, where it replaces what is there.

    Several processes may do so at once; on local storage the last one's folder stays, whole.

    Args:
        source: The local folder.
        folder: The place.

    Raises:
        StorageError: The storage cannot be written.
    """
    if not folder.is_local:
        delete_among_others(folder)
        folder.upload_dir(source)
        return
    with (
        storage_errors("write", folder.uri, kinds=(OSError,)),
        locked_temporary_folder(folder.local_path) as new,
    ):
        Location(new).upload_dir(source)
        replace_folder(new, folder.local_path)
