"""KL weights that follow `objective.target_rate`: constrained optimization instead of a weight set by hand.

Each module minimizes its contrastive loss under the constraint that its KL is R nats a frame. The weight w of its KL
term is the constraint's multiplier. Dual ascent on log w raises w while the KL is above R and lowers it while the KL
is below (Rezende & Viola 2018, "Taming VAEs", algorithm 1, with log(KL / R) for the constraint).
"""

from __future__ import annotations

import math
from typing import Protocol

STEP_SIZE = 0.02
"""Change of log w a step while the KL is off by a factor of e or more; a smaller deviation changes it less."""
REACH = 1000.0
"""Times `objective.kld_weight` that a weight can rise to, or fall below it, so that it comes back soon enough."""
STEPS_TO_SETTLE = math.ceil(math.log(REACH) / STEP_SIZE)
"""Steps that a weight takes to the end of its reach, at most: before them a KL that is off says little."""
NEARLY_ZERO = 1e-30
"""Rate in nats a frame that a smaller one counts as, since 0 has no logarithm."""
HELD = 0.1
"""Share of R by which a rate may differ from R and counts as held there. Ours."""


class HoldsRate(Protocol):
    """What a config says of the constraint."""

    @property
    def target_rate(self) -> float:
        """R in nats a frame, above 0."""

    @property
    def kld_weight(self) -> float:
        """The weight that training starts with."""


def is_held(rate: float, weight: float, config: HoldsRate) -> bool:
    """Whether a module's KL meets the constraint: it is near R, or below R although its weight fell all the way."""
    deviation = rate / config.target_rate - 1
    at_the_end = weight <= 1.001 * config.kld_weight / REACH
    return abs(deviation) <= HELD or (deviation < 0 and at_the_end)


def next_weight(weight: float, rate: float, config: HoldsRate) -> float:
    """Weight of a module's KL term at the next step.

    Args:
        weight: Its weight at this step.
        rate: Its KL in nats a frame at this step, mean over the crops of all ranks.
        config: Of the run.
    """
    deviation = math.log(max(rate, NEARLY_ZERO) / config.target_rate)
    moved = weight * math.exp(STEP_SIZE * min(max(deviation, -1.0), 1.0))
    return min(max(moved, config.kld_weight / REACH), config.kld_weight * REACH)
