"""Ray Tune's scheduler and search for a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vgim.errors import ConfigError
from vgim.model.randomness import mix
from vgim.tune.load import Sweep
from vgim.tune.results import TrialResult
from vgim.tune.space import Values

METRIC, TIME = "metric", "epoch"


def scheduler_of(sweep: Sweep, most_epochs: int) -> Any:
    """ASHA where the sweep asks for it; None for first in, first out."""
    from ray.tune.schedulers import ASHAScheduler

    chosen = sweep.config.scheduler
    if chosen.kind != "asha":
        return None
    if chosen.grace_epochs >= most_epochs:
        raise ConfigError(
            f"scheduler.grace_epochs={chosen.grace_epochs}, but a trial has {most_epochs} epochs, so that none would "
            "be stopped; lower it, or use scheduler.kind=none"
        )
    return ASHAScheduler(
        time_attr=TIME,
        metric=METRIC,
        mode=sweep.config.metric.mode,
        max_t=most_epochs + 1,  # at max_t itself it stops every trial, in the middle of its last checkpoint
        grace_period=chosen.grace_epochs,
        reduction_factor=chosen.reduction_factor,
    )


def optuna_search(sweep: Sweep, known: Sequence[TrialResult]) -> Any:
    """Optuna's sampler, told of the trials that have ended, with those that have not as its first proposals.

    Raises:
        ConfigError: optuna is not installed.
    """
    try:
        import optuna
        from ray.tune.search.optuna import OptunaSearch
    except ImportError:
        raise ConfigError(
            "search=optuna, but optuna is not installed; pip install 'vgim[search]', or use search=random"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    unfinished: list[Values] = [t.values for t in known if not _ended(t)]
    search = OptunaSearch(
        space=_distributions(sweep),
        metric=METRIC,
        mode=sweep.config.metric.mode,
        points_to_evaluate=unfinished or None,
        # A sampler with the first launch's seed would propose the first launch's trials again.
        seed=mix("optuna", sweep.config.seed, len(known)) % 2**31,
    )
    for trial in known:
        if _ended(trial) and trial.metric is not None:
            search.add_evaluated_point(trial.values, trial.metric)
    return search


def _ended(trial: TrialResult) -> bool:
    return trial.state in ("finished", "stopped", "failed")


def _distributions(sweep: Sweep) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    made: dict[str, Any] = {}
    for axis in sweep.config.axes:
        given = axis.range
        if given is None:
            made[axis.key] = CategoricalDistribution(axis.values)
        elif given.kind == "int":
            made[axis.key] = IntDistribution(int(given.low), int(given.high))
        else:
            made[axis.key] = FloatDistribution(given.low, given.high, log=given.kind == "log")
    return made
