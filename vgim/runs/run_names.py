"""Short names that differ, for runs that are shown together."""

from __future__ import annotations

from collections.abc import Sequence

from vgim.runs.layout import STATE
from vgim.storage import Location


def distinct_names(locations: Sequence[Location]) -> list[str]:
    """A name for each run or checkpoint: its folder's name, or as many of the folders above as make names differ.

    A checkpoint has its run's name in front: `sim step-00000200`.
    """
    paths = [_folders(path) for path in locations]
    for parts in range(1, max(map(len, paths), default=1)):
        names = ["/".join(folders[-parts:]) for folders in paths]
        if len(set(names)) == len(names):
            return names
    return [path.uri for path in locations]


def _folders(path: Location) -> list[str]:
    """Names of the folders above a run, and its own name last."""
    if path.child(STATE).exists():
        *above, run, _, step = path.uri.split("/")
        return [*above, f"{run} {step}"]
    return path.uri.split("/")
