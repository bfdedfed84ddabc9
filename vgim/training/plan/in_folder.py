"""What `vgim train` would do in a run's folder; the folder is only read."""

from __future__ import annotations

from dataclasses import dataclass

from vgim.config import RunConfig
from vgim.config.difference import config_difference
from vgim.runs.checkpoint import Checkpoint, find_checkpoint
from vgim.runs.claim import TRAINING, refuse_seen_holder
from vgim.runs.folder import RunFolder
from vgim.runs.recovery import Recovery, find_recovery
from vgim.runs.restore import problems_of_run
from vgim.storage import Location
from vgim.text import first_few, plural
from vgim.training.attach import newest_checkpoint, source_of
from vgim.training.job import AnyTrainJob
from vgim.training.progress import Progress, how_to_go_on, progress_behind, remaining
from vgim.training.resumable import holds_first_modules, other_settings, start_behind


@dataclass(frozen=True)
class InFolder:
    """What a launch would do."""

    lines: tuple[str, ...]
    start: Progress
    """Progress that the training would start from."""


def what_would_happen(job: AnyTrainJob, config: RunConfig, data_fingerprint: str) -> InFolder:
    """What a launch of the job would do in the run's folder.

    Raises:
        VgimError: the launch would be refused, for this reason.
    """
    run = Location(job.run)
    folder = RunFolder(run)
    refuse_seen_holder(run, TRAINING, None)
    problems = problems_of_run(run)
    recovery = find_recovery(run)
    own = recovery.checkpoint
    lines = [f"folder: {run.uri}"]
    if problems:
        lines.append(f"would mend first: {', '.join(problems)}")
        if own is not None:
            before = own.config()
            folder.refuse_other_run(before, own.state.data_fingerprint, config, data_fingerprint)
        earlier = None
    else:
        earlier = folder.check(config, data_fingerprint)
    lines += _damaged(recovery)
    if own is not None:
        start = progress_behind(own.state, config, config.num_virtual_ranks)
        has_ended = earlier is not None and earlier.state == "finished" and not recovery.damaged
        if earlier is not None and has_ended and not remaining(start, config):
            action = (
                f"nothing: the run is finished ({earlier.message}); {how_to_go_on(start, config)} to go on"
            )
        else:
            action = f"goes on from its checkpoint of {_position(own)}"
            if changed := _changed(own, config):
                action += f", with other values of {changed}"
        return InFolder((*lines, f"would do: {action}"), start)
    if job.resume_from is not None:
        source = find_checkpoint(job.resume_from)
        modules = ", which has the first modules" if holds_first_modules(source, config) else ""
        action = f"starts from {source.location.uri}{modules}, at {_position(source)}"
        if differing := other_settings(source, config):
            action += f", with other settings than that run had: {'; '.join(differing)}"
        start = start_behind(source, config, config.num_virtual_ranks, data_fingerprint)
        return InFolder((*lines, f"would do: {action}"), start)
    if job.init_from is not None:
        weights = f"with the weights of {find_checkpoint(job.init_from).location.uri}"
    else:
        weights = f"with weights drawn from seed {config.train.seed}"
    if (attached_to := source_of(config)) is not None:
        weights += f", behind the modules of {newest_checkpoint(attached_to).location.uri}"
    kind = "starts a new run" if earlier is None else f"starts again: {earlier.state}, without a checkpoint,"
    return InFolder((*lines, f"would do: {kind} {weights}"), Progress())


def _damaged(recovery: Recovery) -> list[str]:
    return [
        f"would set aside the damaged checkpoint of step {step}: {damage}"
        for step, damage in recovery.damaged.items()
    ]


def _position(checkpoint: Checkpoint) -> str:
    state = checkpoint.state
    return f"step {state.step}, epoch {state.epoch}, {plural(state.step_in_epoch, 'step')} into it"


def _changed(checkpoint: Checkpoint, config: RunConfig) -> str:
    """Keys that may change and did, with both values; empty for none."""
    return first_few(config_difference(checkpoint.config(), config))
