"""What all ranks learn at the same step boundary: whether to stop, to write a checkpoint, to report a written one.

A signal reaches one process, a clock shows another time on every rank, and only the rank that writes knows when a
checkpoint is on storage. If each rank acted on its own knowledge, one would leave the loop while another waits for its
gradients. At step boundaries the ranks therefore exchange their wishes, and each gets the maximum over all of them.

The all-reduce takes place beside the next step, and its result is read at the next boundary. By then every rank has
averaged gradients with the others, so that no rank waits. Where steps are short the ranks exchange wishes only every
so many boundaries, a number that they agree on in the same way.
"""

from __future__ import annotations

import time
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from vgim.model.rank_group import RankGroup, Work

EXCHANGE_EVERY_S = 0.25
"""Seconds between two exchanges where steps are shorter. An exchange costs a rank 0.1 to 1 ms of a core."""
MOST_BOUNDARIES = 1_000  # between two exchanges


@dataclass(frozen=True)
class Wishes:
    """What a rank asks of all ranks at a step boundary, or the maximum of that over the ranks."""

    stop_signal: int = 0
    """Number of the signal that asks the run to stop; 0 goes on."""
    checkpoint: bool = False
    """Whether a checkpoint is due by the clock."""
    written_step: int = 0
    """Step of the newest checkpoint that was written in the background and is on storage; 0 if there is none."""
    source_step: int = 0
    """Step of a newer checkpoint of `attach.run` that is read and waits to be used; 0 if there is none."""

    def merged(self, other: Wishes) -> Wishes:
        """The maximum of each wish."""
        return Wishes(*map(max, astuple(self), astuple(other)))


class Agreement:
    """The exchange of wishes between the ranks of a group.

    All ranks must build it at the same place, and call its methods equally often.

    Args:
        group: the ranks that must agree. A group of one rank needs no torch.distributed.
        every_s: seconds between two exchanges; 0 exchanges at every boundary, None is `EXCHANGE_EVERY_S`.
        lag: boundaries from an exchange to the one at which its result is read, at least 1.
    """

    def __init__(self, group: RankGroup, every_s: float | None = None, lag: int = 1) -> None:
        self._group = group.on_cpu()
        self._every_s = EXCHANGE_EVERY_S if every_s is None else every_s
        self._lag = lag
        self._stated = Wishes()
        self._pending: tuple[Work, Tensor] | None = None
        self._started_at = time.monotonic()
        self._since = 0  # boundaries since the last exchange was started
        self._apart = 1  # boundaries between two exchanges, the same on all ranks

    def exchange(self, wishes: Wishes) -> Wishes:
        """State this rank's wishes at a step boundary, and learn what all ranks agree on there.

        A wish needs to be stated only once: it is passed on with the next exchange.

        Args:
            wishes: what this rank asks for.

        Returns:
            The maximum over the ranks of the wishes that the last exchange passed on, at the boundary `lag` after it,
            and no wishes at other boundaries. All ranks get the same at the same boundary. A single rank gets its own
            wishes at once.
        """
        if self._group.size == 1:
            return wishes
        self._stated = self._stated.merged(wishes)
        self._since += 1
        agreed = self.close() if self._since >= self._lag else Wishes()
        if self._pending is None and self._since >= self._apart:
            self._start()
        return agreed

    def close(self) -> Wishes:
        """Wait for the exchange that is under way, if there is one; returns what all ranks agreed on in it.

        Call it only where all ranks leave the loop at one step: after an error of one rank alone, the others never
        answer.
        """
        if self._pending is None:
            return Wishes()
        (work, values), self._pending = self._pending, None
        work.wait()
        self._apart, stop, checkpoint, *steps = values.tolist()
        return Wishes(stop, bool(checkpoint), *steps)

    def _start(self) -> None:
        now = time.monotonic()
        boundary_s = max(now - self._started_at, 1e-6) / self._since
        apart = min(max(round(self._every_s / boundary_s), 1), MOST_BOUNDARIES)
        values = torch.tensor([apart, *map(int, astuple(self._stated))], dtype=torch.int64)
        self._pending = self._group.start_all_reduce_max(values), values
        self._stated, self._started_at, self._since = Wishes(), now, 0
