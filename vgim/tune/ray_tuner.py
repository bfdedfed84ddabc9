"""Ray Tune around trials: one driver function for each, whose workers Ray Train starts beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from vgim.errors import Interrupted, VgimError
from vgim.storage import Location
from vgim.text import first_line
from vgim.tune.resources import TrialResources
from vgim.tune.schedulers import METRIC, TIME
from vgim.tune.space import Values
from vgim.tune.trial_driver import TrialContext, run_chain
from vgim.tune.trial_reports import MetricReport
from vgim.tune.trials import Trial, TrialChain

OnEnd = Callable[[TrialChain, str | None], None]
"""Called with each chain that has ended, and the error that its process died of, if it did."""


def run_tuner(
    store: Location,
    chain_of: Callable[[Values], TrialChain],
    context: TrialContext,
    resources: TrialResources,
    num_trials: int,
    *,
    max_failures: int,
    scheduler: Any,
    search: Any,
    on_end: OnEnd,
) -> None:
    """Run chains of trials on Tune. Ray must be initialized.

    Args:
        store: folder for Tune's own files, which the sweep never reads.
        chain_of: the chain that one set of Tune's parameters stands for.
        num_trials: number of Tune's trials, each of which runs one chain.
        max_failures: how often a chain whose driver is lost is started again.
    """
    from ray import tune

    def drive(params: Values) -> None:
        def report_to_tune(trial: Trial, report: MetricReport) -> None:
            tune.report({METRIC: report.value, TIME: report.epoch, "step": report.step, "run": trial.id})

        run_chain(chain_of(params), context, report_to_tune)

    fit(
        drive,
        store,
        resources,
        chain_of=lambda trial: chain_of(trial.config),
        on_end=on_end,
        max_failures=max_failures,
        param_space=None if search is not None else {"chain": tune.grid_search(list(range(num_trials)))},
        num_samples=num_trials if search is not None else 1,
        max_concurrent_trials=resources.trials_at_once,
        scheduler=scheduler,
        search_alg=search,
    )


def fit(
    drive: Callable[[Values], None],
    store: Location,
    resources: TrialResources,
    *,
    chain_of: Callable[[Any], TrialChain],
    on_end: OnEnd,
    max_failures: int,
    message_of: Callable[[Any, dict[str, Any]], str] = lambda trial, result: "",
    param_space: dict[str, Any] | None,
    **tune_config: Any,
) -> None:
    """Run Tune with `drive` as the function of each of its trials.

    Args:
        chain_of: the chain that one of Tune's trials stands for.
        max_failures: how often one of Tune's trials whose driver is lost is started again.
        message_of: a line to print for a report of one of Tune's trials; empty for none.

    Raises:
        VgimError: `on_end` raised it; the other trials are ended.
    """
    import ray
    from ray import tune

    errors: dict[str, Exception | None] = {}
    unrecorded: list[VgimError] = []

    def end(trial: Any, error: str | None) -> None:
        try:
            on_end(chain_of(trial), error)
        except VgimError as failure:
            unrecorded.append(failure)
            raise

    class Watch(tune.Callback):  # type: ignore[misc]
        def __reduce__(self) -> tuple[Any, ...]:
            # Tune keeps a copy for a restoration that nobody asks for; what is called here holds the sweep's claim.
            return tune.Callback, ()

        def on_trial_result(
            self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            message = message_of(trial, result)
            if message:
                print(message, flush=True)

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            end(trial, None)

        def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            names = ", ".join(one.id for one in chain_of(trial).trials)
            print(f"{names}: the driver was lost with its process or node, and is started again", flush=True)

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            error = errors.get(trial.trial_id)
            if isinstance(error, ray.exceptions.RayActorError):
                return end(trial, first_line(error))
            lines = str(getattr(error, "cause", None) or error).strip().splitlines()
            return end(trial, lines[-1] if lines else type(error).__name__)

    def drive_until_stopped(params: Values) -> None:
        # The sweep's command ends all when its trials have stopped.
        with suppress(Interrupted):
            drive(params)

    tuner = tune.Tuner(
        tune.with_resources(drive_until_stopped, resources.driver),
        param_space=param_space,
        tune_config=tune.TuneConfig(**tune_config),
        run_config=tune.RunConfig(
            name=store.name, storage_path=store.parent.uri, callbacks=[Watch()], verbose=0
        ),
    )
    assert ray.is_initialized()
    with _lost_drivers_return(max_failures, errors):
        try:
            tuner.fit()
        except tune.TuneError:  # in which Tune wraps the traceback of what a callback raises
            if unrecorded:
                raise unrecorded[0] from None
            raise


@contextmanager
def _lost_drivers_return(max_failures: int, errors: dict[str, Exception | None]) -> Iterator[None]:
    """Let Tune start a trial again whose driver was lost with its process or node, and none that failed by itself.

    Tune's own limit does not tell the two apart. Drivers whose node was taken away with notice it does not count.

    Args:
        errors: gets the latest error of each trial, by Tune's id.
    """
    from ray.exceptions import RayActorError
    from ray.tune.experiment import Trial as TuneTrial

    handle_error = TuneTrial.handle_error

    def remember_error(trial: Any, error: Exception | None = None) -> None:
        errors[trial.trial_id] = error
        trial.max_failures = max_failures if isinstance(error, RayActorError) else 0
        handle_error(trial, error)

    TuneTrial.handle_error = remember_error
    try:
        yield
    finally:
        TuneTrial.handle_error = handle_error
