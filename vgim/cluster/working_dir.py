"""The working directory that Ray unpacks for a submitted job, and deletes when the job ends."""

from __future__ import annotations

from pathlib import Path

from vgim.errors import ConfigError

UNPACKED = "working_dir_files"
"""A part of the path of every working directory that Ray unpacks."""


def refuse_job_folder(key: str, path: str) -> None:
    """Refuse a path in the working directory that Ray unpacks for a job and deletes.

    Args:
        key: Config key or option that the path was given by.
        path: A path or URI.

    Raises:
        ConfigError: The path is in that directory.
    """
    here, file = Path.cwd(), Path(path).absolute()
    if "://" not in path and UNPACKED in here.parts and file.is_relative_to(here):
        raise ConfigError(
            f"{key}={file.relative_to(here)} is relative, and a job's working directory is a copy that is "
            "thrown away; give an absolute path on storage that all nodes see, or a URI"
        )
