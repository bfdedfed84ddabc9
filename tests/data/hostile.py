"""Adds to a folder what nobody wants in a corpus: special files, links to nowhere, names that are no text."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import chdir
from pathlib import Path


def add_hostile_files(folder: Path, suffix: str = ".flac") -> dict[str, str]:
    """Add files that cannot be used, in a folder of their own.

    Args:
        folder: Where to add them.
        suffix: Ending of their names.

    Returns:
        Path below `folder` → the reason why it is not used, or its beginning.
    """
    bad = folder / "bad"
    bad.mkdir()
    reasons = {}

    def name(stem: str, reason: str) -> str:
        reasons[f"bad/{stem}{suffix}"] = reason
        return f"{bad}/{stem}{suffix}"

    os.mkfifo(name("pipe", "a pipe, not a file"))
    with socket.socket(socket.AF_UNIX) as server, chdir(bad):  # a socket's address has 107 bytes at most
        server.bind(Path(name("socket", "a socket, not a file")).name)
    Path(name("device", "a device, not a file")).symlink_to("/dev/zero")
    Path(name("dangling", "a link to nowhere, which is not there")).symlink_to("nowhere")
    Path(name("itself", "a link that leads back to itself")).symlink_to(f"itself{suffix}")
    Path(name("folder", "a folder, not a file")).mkdir()
    (bad / "loop").symlink_to("..")
    reasons["bad/loop"] = "a link to a folder that holds it"
    (bad / "gone").symlink_to("/no/such/folder")
    reasons["bad/gone"] = "a link to /no/such/folder, which is not there"
    (bad / f"x?token=1{suffix}").write_bytes(b"no sound")
    reasons["bad/x?token=***"] = "its name reads as an address with a password or key; rename it"
    if sys.platform == "linux":  # others take no such name
        Path(os.fsdecode(os.fsencode(bad) + b"/\xff\xfe" + suffix.encode())).write_bytes(b"no sound")
        reasons[f"bad/\\xff\\xfe{suffix}"] = "its name is not UTF-8; rename it"
    return reasons
