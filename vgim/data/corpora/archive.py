"""The archives in which a corpus is published."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """A `.tar.gz` with a part of a corpus.

    One of `md5` and `content` is given.
    """

    url: str
    md5: str = ""
    """MD5 of the archive, as its publisher states it."""
    content: str = ""
    """SHA-256 of the listing of the archive's files, for archives that are packed anew for each download: see
    `vgim.data.download.unpack.Unpacked.content`."""
    strip: int = 0
    """Folders at the head of each name in the archive that are left out."""

    @property
    def file_name(self) -> str:
        """Name of the archive's file."""
        return self.url.rpartition("/")[2]
