"""Ray Tune's scheduler and search for a sweep."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from vgim.errors import ConfigError
from vgim.model.randomness import mix
from vgim.tune.results import TrialResult
from vgim.tune.space import Values
from vgim.tune.sweep_file import Sweep

METRIC, TIME = "metric", "epoch"


def make_scheduler(sweep: Sweep, max_epochs: int) -> Any:
    """ASHA, or None for any other kind of scheduler.

    Raises:
        ConfigError: ASHA would stop no trial.
    """
    from ray.tune.schedulers import ASHAScheduler

    chosen = sweep.config.scheduler
    if chosen.kind != "asha":
        return None
    if chosen.grace_epochs >= max_epochs:
        raise ConfigError(
            f"scheduler.grace_epochs={chosen.grace_epochs}, but a trial has {max_epochs} epochs, so that no trial "
            "would be stopped; lower it, or use scheduler.kind=none"
        )
    return ASHAScheduler(
        time_attr=TIME,
        metric=METRIC,
        mode=sweep.config.metric.mode,
        # ASHA stops every trial at max_t, which none may reach: epochs of `tile` crops differ in length, so that each
        # phase that ends by steps may have one more.
        max_t=2 * max_epochs + 1,
        grace_period=chosen.grace_epochs,
        reduction_factor=chosen.reduction_factor,
    )


def optuna_search(sweep: Sweep, known: Sequence[TrialResult], ended: Collection[str]) -> Any:
    """Optuna's sampler, with the trials that have ended as observations and the others as first proposals.

    Args:
        known: Results of all trials that there are.
        ended: Ids of the trials of which nothing is left to train.

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
    unfinished: list[Values] = [t.values for t in known if t.id not in ended]
    search = OptunaSearch(
        space=_distributions(sweep),
        metric=METRIC,
        mode=sweep.config.metric.mode,
        points_to_evaluate=unfinished or None,
        # With the seed of an earlier launch the sampler would propose that launch's trials again.
        seed=mix("optuna", sweep.config.seed, len(known)) % 2**31,
    )
    for trial in known:
        if trial.id in ended and trial.metric is not None:
            search.add_evaluated_point(trial.values, trial.metric)
    return search


def _distributions(sweep: Sweep) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    distributions: dict[str, Any] = {}
    for axis in sweep.config.axes:
        bounds = axis.range
        if bounds is None:
            distributions[axis.key] = CategoricalDistribution(axis.values)
        elif bounds.kind == "int":
            distributions[axis.key] = IntDistribution(int(bounds.low), int(bounds.high))
        else:
            distributions[axis.key] = FloatDistribution(bounds.low, bounds.high, log=bounds.kind == "log")
    return distributions
