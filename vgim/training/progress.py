"""How far a run is: steps and epochs in its schedule's phases, what early stopping compares, adapted KL weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

from vgim.config import AnyConfig
from vgim.config.schema import TrainConfig
from vgim.runs.training_state import TrainingState
from vgim.schedules.registry import SCHEDULES
from vgim.schedules.schedule import Phase, Schedule
from vgim.text import join_words


@dataclass(frozen=True)
class Progress:
    """Steps and epochs that a run has trained, its validation losses, and its KL weights if they are adapted."""

    step: int = 0
    """Optimizer steps that the run has taken."""
    epoch: int = 0
    """Epoch of the next step, counted over the run."""
    step_in_epoch: int = 0
    """Steps taken in that epoch."""
    phase: int = 0
    """Number of the phase."""
    phase_step: int = 0
    """Optimizer steps taken in the phase."""
    phase_epoch: int = 0
    """Epoch of the next step, counted within the phase."""
    validation_loss: float | None = None
    """Loss at the phase's last validation: mean over the modules that it trains."""
    best_loss: float | None = None
    """Lowest validation loss of the phase."""
    stale_validations: int = 0
    """Validations since the lowest loss."""
    kl_weights: tuple[float, ...] = ()
    """Weight of each module's KL term at the next step, under `objective.target_rate`; else empty."""
    source_step: int | None = None
    """Step of the checkpoint of `attach.run` whose modules are used; None for a run that trains all of its modules."""

    def after_step(self, steps_in_epoch: int) -> Progress:
        """Progress after one more step."""
        ended = self.step_in_epoch + 1 >= steps_in_epoch
        return replace(
            self,
            step=self.step + 1,
            phase_step=self.phase_step + 1,
            step_in_epoch=0 if ended else self.step_in_epoch + 1,
            epoch=self.epoch + ended,
            phase_epoch=self.phase_epoch + ended,
        )

    def within(self, steps_in_epoch: int) -> Progress:
        """The same progress, or the next epoch's start if no step of this epoch is left, as after a change of batch."""
        if self.step_in_epoch < steps_in_epoch:
            return self
        return replace(self, step_in_epoch=0, epoch=self.epoch + 1, phase_epoch=self.phase_epoch + 1)

    def after_validation(self, loss: float) -> Progress:
        """Progress after a validation. A loss that is not finite counts as no loss, and is never the best."""
        if not math.isfinite(loss):
            return replace(self, validation_loss=None, stale_validations=self.stale_validations + 1)
        better = self.best_loss is None or loss < self.best_loss
        return replace(
            self,
            validation_loss=loss,
            best_loss=loss if better else self.best_loss,
            stale_validations=0 if better else self.stale_validations + 1,
        )

    def in_next_phase(self) -> Progress:
        """Progress at the start of the next phase, which begins with a new epoch of the data."""
        return Progress(
            step=self.step,
            epoch=self.epoch + (self.step_in_epoch > 0),
            phase=self.phase + 1,
            kl_weights=self.kl_weights,
            source_step=self.source_step,
        )


def progress_of(state: TrainingState) -> Progress:
    """Progress at which a checkpoint was written."""
    return Progress(**{field.name: getattr(state, field.name) for field in fields(Progress)})


def progress_behind(state: TrainingState, config: AnyConfig, world_size: int) -> Progress:
    """Progress of a checkpoint, its steps in the epoch counted in steps of a run that may have another batch.

    Args:
        world_size: ranks of the run, or its virtual ranks.
    """
    before = state.world_size * state.batch_size * state.accumulate
    now = world_size * config.train.batch_size * config.train.accumulate
    return replace(progress_of(state), step_in_epoch=state.step_in_epoch * before // now)


def schedule_of(config: AnyConfig) -> Schedule:
    """The schedule that a config names."""
    return SCHEDULES[config.train.schedule]


def phases(config: AnyConfig) -> list[Phase]:
    """The phases of a run, in order."""
    train = config.train
    return schedule_of(config).phases(config.trained_modules, train.epochs, train.module_epochs)


def is_done(progress: Progress, phase: Phase, train: TrainConfig) -> bool:
    """Whether a phase has trained its epochs or steps, or was stopped early."""
    return bool(_reached(progress, phase, train))


def _reached(progress: Progress, phase: Phase, train: TrainConfig) -> list[str]:
    """The keys by which a phase has ended; empty while it goes on."""
    ends = {
        "train.module_epochs" if train.module_epochs else "train.epochs": progress.phase_epoch
        >= phase.epochs,
        "train.max_steps": 0 < train.max_steps <= progress.phase_step,
        "train.early_stop_validations": 0 < train.early_stop_validations <= progress.stale_validations,
    }
    return [key for key, has_ended in ends.items() if has_ended]


def how_to_go_on(progress: Progress, config: AnyConfig) -> str:
    """What to change so that a finished run goes on, such as `raise train.epochs`."""
    return f"raise {join_words(_reached(progress, phases(config)[progress.phase], config.train))}"


def last_step(progress: Progress, phase: Phase, train: TrainConfig, steps_in_epoch: int) -> int:
    """The step at which a phase ends; an estimate under `data.crop=tile`, where epochs differ in length."""
    by_epochs = (phase.epochs - progress.phase_epoch) * steps_in_epoch - progress.step_in_epoch
    by_steps = train.max_steps - progress.phase_step
    return progress.step + (min(by_epochs, by_steps) if train.max_steps else by_epochs)


def remaining(progress: Progress, config: AnyConfig) -> list[Phase]:
    """Phases that are not done at `progress`; empty if the run is finished."""
    ahead = phases(config)[progress.phase :]
    return ahead[1:] if ahead and is_done(progress, ahead[0], config.train) else ahead
