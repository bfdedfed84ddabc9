"""Files and folders on any storage that pyarrow.fs reads: local paths, NFS, s3://, gs://, ...

A `Location` is only text, so it can be pickled and sent to workers; each process opens the filesystem behind it
once. A file that is written through it is whole or absent. Failures are raised as `StorageError`.
"""

from vgim.storage.atomic import TEMPORARY_MARK
from vgim.storage.errors import storage_errors
from vgim.storage.location import COPY_CHUNK_BYTES, FileSizes, Location, Names

__all__ = ["COPY_CHUNK_BYTES", "TEMPORARY_MARK", "FileSizes", "Location", "Names", "storage_errors"]
