"""Download one archive. What has arrived is kept, and the next call goes on after it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from vgim.data.corpora.archive import Archive
from vgim.errors import DataError, StorageError
from vgim.progress import SILENT, Progress, Stage
from vgim.secrets import mask_secrets
from vgim.storage import storage_errors
from vgim.text import first_line, shorten

CHUNK_BYTES = 1 << 16
CONNECT_S, READ_S = 20.0, 60.0
"""Seconds without an answer after which the server counts as gone."""
TRIES = 5
"""Connections in a row that may bring nothing new."""
MEGABYTE = 1_000_000


def fetch(archive: Archive, url: str, folder: Path, progress: Progress = SILENT) -> Path:
    """Download an archive into a folder, unless it is there, and check it.

    Args:
        archive: What is downloaded.
        url: Where from: `archive.url`, or a mirror's.
        folder: A local folder. The part that has arrived is kept in it as `NAME.part`.
        progress: Where to report how far the download is.

    Returns:
        The archive's file.

    Raises:
        StorageError: The server does not answer, or breaks off again and again; the part is kept.
        DataError: The file is not the one that the corpus's publisher has; it is removed.
    """
    import pooch

    pooch.get_logger().setLevel(logging.ERROR)
    target = folder / archive.file_name
    if target.exists() and (not archive.md5 or pooch.file_hash(str(target), alg="md5") == archive.md5):
        return target
    target.unlink(missing_ok=True)
    for stale in folder.glob("tmp*"):  # of a call that was killed while it compared the hash
        stale.unlink(missing_ok=True)
    part = folder / f"{archive.file_name}.part"
    with progress.stage(f"downloading {archive.file_name}", unit="MB") as stage:
        resume = _Resume(part, stage, progress.message)
        known_hash = f"md5:{archive.md5}" if archive.md5 else None
        try:
            pooch.retrieve(
                url,
                known_hash=known_hash,
                fname=target.name,
                path=folder,
                downloader=resume,
                progressbar=False,
            )
        except ValueError as error:
            part.unlink(missing_ok=True)
            raise DataError(
                f"{mask_secrets(url)} is not the archive that its publisher has ({_hashes(str(error))}); it was "
                "removed: give the command again, or another server with --mirror"
            ) from None
    part.unlink(missing_ok=True)
    return target


class _Resume:
    """The downloader that `pooch` calls: it appends to the part until all has arrived, and hands it over."""

    def __init__(self, part: Path, stage: Stage, say: Callable[[str], None]) -> None:
        self._part, self._stage, self._say = part, stage, say

    def __call__(self, url: str, output_file: str, downloads: Any) -> None:
        import requests

        idle, most = 0, self._size()
        while True:
            problem = ""
            try:
                if self._read(url, self._size()):
                    break
                problem = "the server closed the connection"
            except requests.HTTPError as error:
                answer = error.response
                raise StorageError(
                    f"cannot download {mask_secrets(url)}: the server answers {answer.status_code} {answer.reason}; "
                    "look at the address in a browser, or name another server with --mirror"
                ) from None
            except (
                requests.RequestException,
                ValueError,
            ) as error:  # urllib's, of an address after a redirect
                problem = _in_words(error)
            # A part that was begun anew has brought nothing until it is longer than it ever was.
            idle = 0 if self._size() > most else idle + 1
            most = max(most, self._size())
            if idle == TRIES:
                raise StorageError(
                    f"cannot download {mask_secrets(url)}: {mask_secrets(problem)}; {self._kept()}the same command "
                    "goes on, and --mirror URL names another server"
                )
            self._stage.update(detail=f"connecting again after {self._size() // MEGABYTE} MB")
        # A second name: a kill while the hash is compared, which takes minutes, leaves the part.
        Path(output_file).unlink(missing_ok=True)
        try:
            os.link(self._part, output_file)
        except OSError:  # a file system without hard links
            self._part.replace(output_file)

    def _read(self, url: str, start: int) -> bool:
        """Read the rest of the file; returns whether all has arrived."""
        import requests

        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_S, READ_S)) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                # The part is whole, or of another file. The hash tells.
                return (self._part.exists() and _total(response) == start) or self._start_anew()
            response.raise_for_status()
            if response.status_code != requests.codes.partial_content:
                start = 0  # the server sends the file from its beginning
            length = response.headers.get("Content-Length")
            total = start + int(length) if length is not None and length.isdecimal() else None
            # Servers that call an archive's own gzip an encoding would have it unpacked here.
            response.raw.headers.discard("Content-Encoding")
            self._stage.update(total=total and total // MEGABYTE, done=start // MEGABYTE, detail="")
            writing = partial(storage_errors, "write", str(self._part))
            with writing():
                out = self._part.open("r+b" if start else "wb", buffering=0)
            with out:
                out.seek(start)
                for chunk in response.iter_content(CHUNK_BYTES):
                    with writing():  # requests' errors are errors of the system too
                        out.write(chunk)
                    self._stage.update(done=out.tell() // MEGABYTE)
                return total is None or out.tell() == total

    def _start_anew(self) -> bool:
        self._part.unlink(missing_ok=True)
        return False

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _kept(self) -> str:
        return f"{self._size():,} bytes are kept in {self._part}: " if self._size() else ""


def _total(response: Any) -> int | None:
    """The file's size of `Content-Range: bytes */SIZE`."""
    size = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(size) if size.isdecimal() else None


def _in_words(error: Exception) -> str:
    """Why a connection failed."""
    import requests

    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.Timeout):
        return f"the server did not answer for {READ_S:g} s"
    # requests wraps the system's words, which stand last: "...: [Errno 111] Connection refused"
    reason = first_line(error).rpartition(": ")[2].rstrip(")'\"")
    return f"no connection ({shorten(reason)})"


def _hashes(message: str) -> str:
    """The two hashes in the message of `pooch`, which names the expected one first."""
    found = re.findall(r"\b[0-9a-f]{32}\b", message)
    return f"MD5 {found[1]} instead of {found[0]}" if len(found) == 2 else first_line(ValueError(message))
