"""Why a file of a corpus cannot be used; importable without the libraries that decode it."""

from __future__ import annotations

from typing import Literal

SkipKind = Literal[
    "corrupt", "truncated", "sample rate", "channels", "empty", "too short", "unexpected name", "unreadable"
]
"""Why a file of a corpus is skipped, in the words that a manifest counts."""


class AudioProblem(Exception):  # noqa: N818 (no error of the program: the file is skipped)
    """A file that cannot be used. The manifest counts `kind` and lists `reason`."""

    def __init__(self, kind: SkipKind, reason: str) -> None:
        super().__init__(reason)
        self.kind: SkipKind = kind
        self.reason = reason


def check_listed(num_bytes: int, listed_bytes: int) -> None:
    """Raise AudioProblem if a file has another size than when its corpus was listed."""
    if num_bytes != listed_bytes:
        raise AudioProblem(
            "unreadable",
            f"it had {listed_bytes} bytes when the corpus was listed, and has {num_bytes} now; wait until it is whole",
        )
