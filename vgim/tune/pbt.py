"""Population based training on Ray Tune (Jaderberg et al. 2017).

Members train side by side and are compared every few epochs. The worse ones exploit the better ones: they continue from
their checkpoints, with perturbed values. The comparison is synchronous: all members are compared at the same epoch, so
that a member and the one it exploits have trained the same number of steps.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vgim.errors import ConfigError
from vgim.model.randomness import mix
from vgim.schedules.registry import SCHEDULES, names_of_schedules
from vgim.storage import Location, temporary_folder
from vgim.tune.pbt_comparison import Comparison, Exploitation, carry_out, read_comparison, write_comparison
from vgim.tune.pbt_lineage import with_current_values
from vgim.tune.pbt_member import (
    CheckpointRef,
    IntervalReport,
    first_comparison_epoch,
    run_member,
)
from vgim.tune.pbt_mutation import clip_to_space, mutations
from vgim.tune.ray_tuner import OnEnd, fit
from vgim.tune.resources import TrialResources
from vgim.tune.schedulers import METRIC, TIME
from vgim.tune.sweep_file import Sweep
from vgim.tune.trial_driver import TrialContext
from vgim.tune.trials import Trial, TrialChain

POINT, VALUES, NAME, MESSAGE = "point", "values", "name", "message"
CHECKPOINT_REF = "checkpoint_ref.json"


def check_population(
    sweep: Sweep, members: Sequence[Trial], resources: TrialResources, max_epochs: int, *, private: bool
) -> None:
    """Refuse settings with which population based training does not work.

    Args:
        max_epochs: epochs of the longest member.
        private: whether Ray is started for this sweep, with one CPU for each member that trains at the same time.

    Raises:
        ConfigError: the setting, the reason, the fix.
    """
    scheduler, train, metric = sweep.config.scheduler, sweep.base.train, sweep.config.metric
    if len(members) < 2:
        raise ConfigError(
            f"scheduler.kind=pbt with {len(members)} member has no other member to exploit; raise samples to 2 or more"
        )
    if not SCHEDULES[train.schedule].trains_all_modules_throughout:
        others = names_of_schedules(lambda schedule: schedule.trains_all_modules_throughout)
        raise ConfigError(
            f"train.schedule={train.schedule}, but scheduler.kind=pbt compares members by a module that a "
            f"{train.schedule} run may not have trained yet; use train.schedule={others}, or scheduler.kind=none"
        )
    if train.early_stop_validations:
        raise ConfigError(
            f"train.early_stop_validations={train.early_stop_validations}, but scheduler.kind=pbt changes the weights "
            "of the loss during a run, so that validations do not compare; set it to 0"
        )
    if scheduler.interval_epochs >= max_epochs:
        raise ConfigError(
            f"scheduler.interval_epochs={scheduler.interval_epochs}, but a member has {max_epochs} epochs, so that "
            "members would never be compared; lower it, or use scheduler.kind=none"
        )
    if metric.kind == "nce" and scheduler.interval_epochs % train.validate_every_epochs:
        raise ConfigError(
            f"scheduler.interval_epochs={scheduler.interval_epochs} is no multiple of train.validate_every_epochs="
            f"{train.validate_every_epochs}, but metric.kind=nce is measured at validations only; make it a multiple"
        )
    if resources.placement is not None and resources.trials_at_once < len(members):
        raise ConfigError(
            f"scheduler.kind=pbt trains its {len(members)} members side by side, and there is room for "
            f"{resources.trials_at_once}; lower samples, set trials_at_once={len(members)} to let members share the "
            "CPUs, or set cluster.workers=0 to let members take turns"
        )
    if (
        not private
        and isinstance(sweep.config.trials_at_once, int)
        and resources.trials_at_once < len(members)
    ):
        raise ConfigError(
            f"trials_at_once={resources.trials_at_once} has no effect on scheduler.kind=pbt on a cluster: it trains as "
            f"many of its {len(members)} members at once as there are CPUs; set trials_at_once=auto"
        )


def run_population(
    store: Location,
    sweep: Sweep,
    members: Sequence[Trial],
    context: TrialContext,
    resources: TrialResources,
    *,
    on_end: OnEnd,
) -> None:
    """Train members that have not ended from where they are. Ray must be initialized.

    Args:
        store: folder for Tune's own files, which the sweep never reads.
    """
    from ray import tune

    comparison = read_comparison(sweep.folder)
    carry_out(comparison, members)
    members = [with_current_values(member) for member in members]
    by_name = {member.id: member for member in members}
    interval = sweep.config.scheduler.interval_epochs
    first_comparison = first_comparison_epoch(members, interval, comparison.epoch)

    def drive(params: dict[str, Any]) -> None:
        # Ray reuses a paused member's process, and gives up a member that does not leave `report` within this time.
        os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "60")
        # A member that exploits another gets the other's parameters; Tune keeps only its name.
        member = by_name[tune.get_context().get_trial_name()]
        checkpoint = _read_ref(tune.get_checkpoint())
        run_member(
            member,
            params[POINT][VALUES],
            context,
            interval,
            _report_to_tune,
            checkpoint,
            first_comparison,
            comparison.epoch,
        )

    before = random.getstate()
    try:
        fit(
            drive,
            store,
            resources,
            chain_of=lambda trial: TrialChain((by_name[str(trial)],)),
            on_end=on_end,
            max_failures=sweep.base.cluster.max_failures,
            message_of=lambda trial, result: f"{trial} {result[MESSAGE]}" if result.get(MESSAGE) else "",
            param_space={POINT: tune.grid_search([{NAME: m.id, VALUES: dict(m.values)} for m in members])},
            scheduler=population_scheduler(sweep, first_comparison),
            reuse_actors=True,  # all pause at each comparison; a new process needs seconds to import torch
            trial_name_creator=lambda trial: trial.config[POINT][NAME],
            trial_dirname_creator=lambda trial: str(trial),
        )
    finally:
        random.setstate(before)


def _report_to_tune(report: IntervalReport) -> None:
    from ray import tune

    result: dict[str, Any] = {MESSAGE: report.message}
    if report.metric is not None:
        result |= {METRIC: report.metric.value, TIME: report.metric.epoch}
    with temporary_folder("vgim-checkpoint-ref-") as folder:
        if report.checkpoint is not None:
            content = json.dumps(asdict(report.checkpoint)).encode()
            Location(folder).child(CHECKPOINT_REF).write_bytes_atomic(content)
        tune.report(result, checkpoint=tune.Checkpoint(folder) if report.checkpoint is not None else None)


def _read_ref(checkpoint: Any) -> CheckpointRef | None:
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        return CheckpointRef(**json.loads(Path(folder, CHECKPOINT_REF).read_text()))


def population_scheduler(sweep: Sweep, first_comparison: int) -> Any:
    """Ray's scheduler, which also continues if the member that all others wait for has failed or ended.

    Its draws depend on the sweep's seed and the epoch of the comparison alone, and its decisions are on storage before
    a member goes on. So a sweep that is killed and continued decides as one that is not.

    Args:
        first_comparison: epoch of the first comparison. No member may be past it: Ray would let that member wait
            forever.
    """
    from ray.tune.experiment import Trial as TuneTrial
    from ray.tune.schedulers import PopulationBasedTraining

    config, axes = sweep.config, sweep.config.axes

    def mutations_at(epoch: int) -> dict[str, Any]:
        return {POINT: {VALUES: mutations(axes, mix("pbt mutations", config.seed, epoch))}}

    def explore(params: dict[str, Any]) -> dict[str, Any]:
        params[POINT][VALUES] = clip_to_space(axes, params[POINT][VALUES])
        return params

    class Population(PopulationBasedTraining):  # type: ignore[misc]
        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> Any:
            epoch = self._next_perturbation_sync
            self.exploitations: dict[str, Exploitation] = {}
            self._hyperparam_mutations = mutations_at(epoch)
            random.seed(mix("pbt", config.seed, epoch))  # Ray draws from Python's global generator
            answer = super().on_trial_result(controller, trial, result)
            if self._next_perturbation_sync > epoch:
                compared = Comparison(epoch=result[TIME], exploitations=self.exploitations)
                write_comparison(sweep.folder, compared)
            return answer

        def _exploit(self, controller: Any, trial: Any, trial_to_clone: Any) -> None:
            super()._exploit(controller, trial, trial_to_clone)
            ref = _read_ref(self._trial_state[trial_to_clone].last_checkpoint)
            assert ref is not None  # Ray exploits trials with a checkpoint only
            self.exploitations[str(trial)] = Exploitation(
                run=ref.run, step=ref.step, values=trial.config[POINT][VALUES]
            )

        def choose_trial_to_run(self, controller: Any) -> Any:
            unfinished = [trial for trial in controller.get_trials() if not trial.is_finished()]
            if unfinished and all(self._waits(trial) for trial in unfinished):
                # Ray compares at the last member's report, which never comes from a member that has failed.
                self.on_trial_result(controller, unfinished[0], unfinished[0].last_result)
            return super().choose_trial_to_run(controller)

        def _waits(self, trial: Any) -> bool:
            state = self._trial_state[trial]
            return bool(
                trial.status == TuneTrial.PAUSED and state.last_train_time >= self._next_perturbation_sync
            )

    return Population(
        time_attr=TIME,
        metric=METRIC,
        mode=config.metric.mode,
        perturbation_interval=config.scheduler.interval_epochs,
        burn_in_period=first_comparison,
        hyperparam_mutations=mutations_at(first_comparison),
        quantile_fraction=config.scheduler.quantile,
        resample_probability=config.scheduler.resample_probability,
        custom_explore_fn=explore,
        log_config=False,  # each run's lineage.json has the values
        require_attrs=False,  # the report of an exploitation has no metric
        synch=True,
    )
