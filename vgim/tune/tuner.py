"""Ray Tune around trials: a driver function each, whose run's workers Ray Train starts beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vgim.storage import Location
from vgim.tune.plan import Chain, Trial
from vgim.tune.resources import TrialResources
from vgim.tune.schedulers import METRIC, TIME
from vgim.tune.space import Values
from vgim.tune.trial import TrialContext, run_chain
from vgim.tune.trial_reports import Report


def run_tuner(
    store: Location,
    chain_of: Callable[[Values], Chain],
    setting: TrialContext,
    shares: TrialResources,
    num_trials: int,
    *,
    scheduler: Any,
    search: Any,
    ended: Callable[[Chain, str | None], None],
) -> None:
    """Let Tune run trials; Ray is up already.

    Args:
        store: folder for Tune's own files, which nothing is read from.
        chain_of: what a set of parameters stands for.
        ended: told of each chain that has ended, with what its process died of, if it did.
    """
    from ray import tune

    def drive(params: Values) -> None:
        def tell(trial: Trial, report: Report) -> None:
            tune.report({METRIC: report.value, TIME: report.epoch, "step": report.step, "run": trial.id})

        run_chain(chain_of(params), setting, tell)

    fit(
        drive,
        store,
        shares,
        chain_of=lambda trial: chain_of(trial.config),
        ended=ended,
        param_space=None if search is not None else {"chain": tune.grid_search(list(range(num_trials)))},
        num_samples=num_trials if search is not None else 1,
        max_concurrent_trials=shares.trials_at_once,
        scheduler=scheduler,
        search_alg=search,
    )


def fit(
    drive: Callable[[Values], None],
    store: Location,
    shares: TrialResources,
    *,
    chain_of: Callable[[Any], Chain],
    ended: Callable[[Chain, str | None], None],
    says: Callable[[Any, dict[str, Any]], str] = lambda trial, result: "",
    param_space: dict[str, Any] | None,
    **tune_config: Any,
) -> None:
    """Run Tune with `drive` as a trial's function.

    Args:
        chain_of: what one of Tune's trials stands for.
        says: a sentence to print of a trial and its report, if there is anything to say.
    """
    import ray
    from ray import tune

    class Watch(tune.Callback):  # type: ignore[misc]
        def on_trial_result(
            self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            sentence = says(trial, result)
            if sentence:
                print(sentence, flush=True)

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            ended(chain_of(trial), None)

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            error = trial.get_error()
            lines = str(getattr(error, "cause", None) or error).strip().splitlines()
            ended(chain_of(trial), lines[-1] if lines else type(error).__name__)

    tuner = tune.Tuner(
        tune.with_resources(drive, shares.driver),
        param_space=param_space,
        tune_config=tune.TuneConfig(**tune_config),
        run_config=tune.RunConfig(
            name=store.name, storage_path=store.parent.uri, callbacks=[Watch()], verbose=0
        ),
    )
    assert ray.is_initialized()
    tuner.fit()
