"""Invented results of a sweep of many trials, for tests of its page."""

from __future__ import annotations

import math

from vgim.tune.config import MetricConfig
from vgim.tune.metric_levels import MetricLevel
from vgim.tune.results import SweepResult, TrialResult, TrialState, ranked

WEIGHTS = (1e-4, 3.162e-4, 1e-3, 3.162e-3, 0.01, 0.03162, 0.1)
DEPTHS = (1, 2, 3, 4)
LEVELS = (MetricLevel(name="chance", value=1 / 41), MetricLevel(name="most frequent class", value=0.12))


def made_up() -> SweepResult:
    """28 trials: 25 finished, one failed, one stopped, one that waits."""
    metric = MetricConfig(kind="probe", task="phone")
    trials = [_trial(weight, depth) for weight in WEIGHTS for depth in DEPTHS]
    return SweepResult(
        name="kld-and-depth",
        metric=metric,
        metric_name="phone accuracy (quick probe) of the last module",
        keys=("objective.kld_weight", "model.depth"),
        best=ranked(trials, metric)[0].id,
        trials=tuple(trials),
        levels=LEVELS,
    )


def _trial(weight: float, depth: int) -> TrialResult:
    state: TrialState = "finished"
    message = "trained to the end"
    if (weight, depth) == (0.1, 4):
        state, message = "waiting", ""
    elif (weight, depth) == (0.1, 3):
        state, message = (
            "failed",
            "the gradient of module 2 is not finite at step 812; lower optim.learning_rate",
        )
    elif (weight, depth) == (0.1, 2):
        state, message = "stopped", "stopped by the sweep: others were better at the same epoch"
    strength = math.log10(weight) + 2.5
    accuracy = None if state in ("waiting", "failed") else 0.30 + 0.05 * depth - 0.03 * strength**2
    modules = min(depth, 3)
    return TrialResult(
        id=f"kld_weight{weight:.10g}-depth{depth}",
        run=f"/runs/kld-and-depth/trials/kld_weight{weight:.10g}-depth{depth}",
        state=state,
        message=message,
        values={"objective.kld_weight": weight, "model.depth": depth},
        metric=accuracy,
        curve=() if accuracy is None else ((1, accuracy - 0.1), (2, accuracy)),
        step=0 if state == "waiting" else 72 * depth,
        depth=depth,
        nce=tuple(1.2 + 0.1 * m + 0.02 * strength for m in range(depth)),
        kl_per_element=tuple(
            0.9 * 10 ** (-0.4 * (strength + 1)) / (m + 1) if m < modules else None for m in range(depth)
        ),
        mean_ks=None if accuracy is None else 0.02 + 0.12 / (1 + math.exp(strength)) + 0.01 * depth,
        train_seconds=30.0 * depth,
    )
