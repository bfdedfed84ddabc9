"""Archives for tests."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 3, link: str = "") -> tarfile.TarInfo:
    """A header; `size` is of regular files."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = size if kind == tarfile.REGTYPE else 0
    return info


def archive(folder: Path, *members: tarfile.TarInfo, mode: str = "w:gz", name: str = "some.tar.gz") -> Path:
    """An archive of these members, whose files hold `x`."""
    file = folder / name
    with tarfile.open(file, mode) as tar:
        for info in members:
            tar.addfile(info, io.BytesIO(b"x" * info.size) if info.isreg() else None)
    return file


def packed(files: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    """An archive of these files, by name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for name, data in files.items():
            tar.addfile(member(name, size=len(data)), io.BytesIO(data))
    return out.getvalue()


def pack_folder(folder: Path, file: Path, mode: str = "w:gz") -> Path:
    """An archive of all that is in a folder, in an order that differs from the names'."""
    with tarfile.open(file, mode) as tar:
        for path in sorted(folder.rglob("*"), key=lambda path: (path.name[::-1], path)):
            tar.add(path, arcname=str(path.relative_to(folder)), recursive=False)
    return file
