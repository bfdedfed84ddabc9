"""Files and folders on any storage that pyarrow.fs reads: local paths, NFS, s3://, gs://, ...

A `Location` is only text, so it can be pickled and sent to workers; each process opens the filesystem behind it
once. A file that is written through it is whole or absent. Operations on remote storage that fail for the moment are
repeated; other failures are raised as `StorageError`.
"""

from vgim.storage.atomic import TEMPORARY_MARK, locked_temporary_folder, replace_folder
from vgim.storage.causes import is_transient
from vgim.storage.errors import storage_errors
from vgim.storage.files import COPY_CHUNK_BYTES
from vgim.storage.lines import AppendedLines
from vgim.storage.location import Bytes, Entry, FileSizes, Location, Names
from vgim.storage.second_place import Manner, give_second_place
from vgim.storage.temporary import temporary_folder
from vgim.storage.whole_folders import replace_by, write_folder

__all__ = [
    "COPY_CHUNK_BYTES",
    "TEMPORARY_MARK",
    "AppendedLines",
    "Bytes",
    "Entry",
    "FileSizes",
    "Location",
    "Manner",
    "Names",
    "give_second_place",
    "is_transient",
    "locked_temporary_folder",
    "replace_by",
    "replace_folder",
    "storage_errors",
    "temporary_folder",
    "write_folder",
]
