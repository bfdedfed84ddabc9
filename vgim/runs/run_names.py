"""Short names for runs that are told apart."""

from __future__ import annotations

from collections.abc import Sequence

from vgim.runs.layout import STATE
from vgim.storage import Location


def distinct_names(places: Sequence[Location]) -> list[str]:
    """A name for each run or checkpoint: its folder's where that is enough, else more of the way to it.

    A checkpoint's has its run's in front: `sim step-00000200`.
    """
    ways = [_ways(path) for path in places]
    for parts in range(1, max(map(len, ways), default=1)):
        names = ["/".join(way[-parts:]) for way in ways]
        if len(set(names)) == len(names):
            return names
    return [path.uri for path in places]


def _ways(path: Location) -> list[str]:
    """The folders on the way to a run, its own last."""
    if path.child(STATE).exists():
        *above, run, _, step = path.uri.split("/")
        return [*above, f"{run} {step}"]
    return path.uri.split("/")
