"""Population based training on Ray Tune (Jaderberg et al. 2017): members that are trained side by side, compared every
few epochs, the worse of which go on from the better ones' checkpoints with perturbed values.

Synchronous: all are compared at the same epoch, so that a member and the one it takes over from have taken the same
number of steps.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vgim.errors import ConfigError
from vgim.model.randomness import mix
from vgim.storage import Location
from vgim.tune.load import Sweep
from vgim.tune.pbt_exploit import read_lineage
from vgim.tune.pbt_member import CheckpointRef, IntervalReport, first_comparison, run_member
from vgim.tune.pbt_mutation import inside, mutations
from vgim.tune.plan import Chain, Trial
from vgim.tune.resources import TrialResources
from vgim.tune.schedulers import METRIC, TIME
from vgim.tune.trial import TrialContext
from vgim.tune.tuner import fit

POINT, VALUES, NAME, SAYS = "point", "values", "name", "says"
HANDED = "handed.json"


def check_population(
    sweep: Sweep, members: Sequence[Trial], shares: TrialResources, *, private: bool
) -> None:
    """Refuse what population based training cannot do.

    Args:
        private: Ray is started for this sweep, with as many CPUs as members are to be trained at once.

    Raises:
        ConfigError: the setting, the reason, the fix.
    """
    chosen, train, metric = sweep.config.scheduler, sweep.base.train, sweep.config.metric
    if len(members) < 2:
        raise ConfigError(
            f"scheduler.kind=pbt with {len(members)} member has none to take over from; raise samples to 2 or more"
        )
    if train.schedule != "joint":
        raise ConfigError(
            f"train.schedule={train.schedule}, but scheduler.kind=pbt compares members by modules that a sequential "
            "run has not trained yet; use train.schedule=joint, or scheduler.kind=none"
        )
    if train.early_stop_validations:
        raise ConfigError(
            f"train.early_stop_validations={train.early_stop_validations}, but scheduler.kind=pbt changes what the "
            "loss weighs in the middle of a run, and so ends no run by it; set it to 0"
        )
    if chosen.interval_epochs >= train.epochs:
        raise ConfigError(
            f"scheduler.interval_epochs={chosen.interval_epochs}, but a member has {train.epochs} epochs, so that "
            "none would be compared; lower it, or use scheduler.kind=none"
        )
    if metric.kind == "nce" and chosen.interval_epochs % train.validate_every_epochs:
        raise ConfigError(
            f"scheduler.interval_epochs={chosen.interval_epochs} is no multiple of train.validate_every_epochs="
            f"{train.validate_every_epochs}, and metric.kind=nce is known after a validation alone; make it one"
        )
    if shares.placement is not None and shares.trials_at_once < len(members):
        raise ConfigError(
            f"scheduler.kind=pbt trains its {len(members)} members side by side, and there is room for "
            f"{shares.trials_at_once}; lower samples, set trials_at_once={len(members)} to let them share the CPUs, "
            "or set cluster.workers=0, with which they take turns"
        )
    if not private and isinstance(sweep.config.trials_at_once, int) and shares.trials_at_once < len(members):
        raise ConfigError(
            f"trials_at_once={shares.trials_at_once} has no effect on scheduler.kind=pbt on a cluster: of its "
            f"{len(members)} members it trains as many at once as have a CPU; set trials_at_once=auto"
        )


def run_population(
    store: Location,
    sweep: Sweep,
    members: Sequence[Trial],
    setting: TrialContext,
    shares: TrialResources,
    *,
    ended: Callable[[Chain, str | None], None],
) -> None:
    """Let Tune train the members that have not ended, from where they are; Ray is up already.

    Args:
        store: folder for Tune's own files, which nothing is read from.
        ended: told of each member that has ended, with what its process died of, if it did.
    """
    from ray import tune

    by_name = {member.id: member for member in members}
    interval = sweep.config.scheduler.interval_epochs
    first = first_comparison(members, interval)

    def drive(params: dict[str, Any]) -> None:
        # Ray gives up a member whose process it wants to use again, and which does not leave its report by then.
        os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "60")

        def tell(leg: IntervalReport) -> None:
            figures: dict[str, Any] = {SAYS: leg.says}
            if leg.report is not None:
                figures |= {METRIC: leg.report.value, TIME: leg.report.epoch}
            with tempfile.TemporaryDirectory(prefix="vgim-handed-") as folder:
                if leg.handed is not None:
                    Path(folder, HANDED).write_text(json.dumps(vars(leg.handed)))
                tune.report(figures, checkpoint=tune.Checkpoint(folder) if leg.handed is not None else None)

        # The parameters of a member that takes over are those of the other one: only its name is still its own.
        member = by_name[tune.get_context().get_trial_name()]
        handed = _handed(tune.get_checkpoint())
        run_member(member, params[POINT][VALUES], setting, interval, tell, handed, first)

    # A later launch must not draw what the first one drew.
    seed = mix("pbt", sweep.config.seed, sum(len(read_lineage(m.run).stretches) for m in members))
    before = random.getstate()
    random.seed(seed)  # Ray's scheduler draws from Python's own generator
    try:
        fit(
            drive,
            store,
            shares,
            chain_of=lambda trial: Chain((by_name[str(trial)],)),
            ended=ended,
            says=lambda trial, result: f"{trial} {result[SAYS]}" if result.get(SAYS) else "",
            param_space={POINT: tune.grid_search([{NAME: m.id, VALUES: dict(m.values)} for m in members])},
            scheduler=population_scheduler(sweep, seed, first),
            reuse_actors=True,  # all pause at each comparison; a process that imports torch anew costs seconds
            trial_name_creator=lambda trial: trial.config[POINT][NAME],
            trial_dirname_creator=lambda trial: str(trial),
        )
    finally:
        random.setstate(before)


def population_scheduler(sweep: Sweep, seed: int, first: int) -> Any:
    """Ray's scheduler, which also goes on where the member that all wait for has failed or ended.

    Args:
        first: epoch of the first comparison. None may be past it: Ray lets a member that is ahead wait for ever.
    """
    from ray.tune.experiment import Trial as TuneTrial
    from ray.tune.schedulers import PopulationBasedTraining

    config, axes = sweep.config, sweep.config.axes

    def explored(params: dict[str, Any]) -> dict[str, Any]:
        params[POINT][VALUES] = inside(axes, params[POINT][VALUES])
        return params

    class Population(PopulationBasedTraining):  # type: ignore[misc]
        def choose_trial_to_run(self, controller: Any) -> Any:
            left = [trial for trial in controller.get_trials() if not trial.is_finished()]
            if left and all(self._waits(trial) for trial in left):
                # Ray compares when the last report comes; that of one that has failed never does.
                self.on_trial_result(controller, left[0], left[0].last_result)
            return super().choose_trial_to_run(controller)

        def _waits(self, trial: Any) -> bool:
            known = self._trial_state[trial]
            return bool(
                trial.status == TuneTrial.PAUSED and known.last_train_time >= self._next_perturbation_sync
            )

    return Population(
        time_attr=TIME,
        metric=METRIC,
        mode=config.metric.mode,
        perturbation_interval=config.scheduler.interval_epochs,
        burn_in_period=first,
        hyperparam_mutations={POINT: {VALUES: mutations(axes, seed)}},
        quantile_fraction=config.scheduler.quantile,
        resample_probability=config.scheduler.resample_probability,
        custom_explore_fn=explored,
        log_config=False,  # each run's lineage.json says it
        require_attrs=False,  # a takeover is told without a metric
        synch=True,
    )


def _handed(checkpoint: Any) -> CheckpointRef | None:
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        return CheckpointRef(**json.loads(Path(folder, HANDED).read_text()))
