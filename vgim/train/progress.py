"""How far a run is in the phases of its schedule: steps, epochs, and what early stopping compares."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from vgim.config import AnyConfig
from vgim.config.schema import TrainConfig
from vgim.schedules.registry import SCHEDULES
from vgim.schedules.schedule import Phase, Schedule


@dataclass(frozen=True)
class Progress:
    """Where a run is. Steps and epochs count over the whole run, `phase_…` within the phase."""

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    phase: int = 0
    phase_step: int = 0
    phase_epoch: int = 0
    validation_loss: float | None = None
    """At the last validation of the phase: mean over the modules that it trains."""
    best_loss: float | None = None
    stale_validations: int = 0
    """Validations since the best one."""

    def after_step(self, steps_in_epoch: int) -> Progress:
        """One step on."""
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
        """This place, or the next epoch's start where this one's end is passed: a changed batch may leave no step."""
        if self.step_in_epoch < steps_in_epoch:
            return self
        return replace(self, step_in_epoch=0, epoch=self.epoch + 1, phase_epoch=self.phase_epoch + 1)

    def after_validation(self, loss: float) -> Progress:
        """The same place, knowing its validation loss; one that is not finite counts as none and is not the best."""
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
        """The first place of the next phase; it starts with a new epoch of the data."""
        return Progress(step=self.step, epoch=self.epoch + (self.step_in_epoch > 0), phase=self.phase + 1)


def schedule_of(config: AnyConfig) -> Schedule:
    """The schedule that a config names."""
    return SCHEDULES[config.train.schedule]


def phases(config: AnyConfig) -> list[Phase]:
    """The phases of a run, in order."""
    train = config.train
    return schedule_of(config).phases(config.trained_modules, train.epochs, train.module_epochs)


def is_done(progress: Progress, phase: Phase, train: TrainConfig) -> bool:
    """Whether a phase has had its epochs or steps, or stopped early."""
    return (
        progress.phase_epoch >= phase.epochs
        or 0 < train.max_steps <= progress.phase_step
        or 0 < train.early_stop_validations <= progress.stale_validations
    )


def remaining(progress: Progress, config: AnyConfig) -> list[Phase]:
    """Phases with something left to do, from a place on; empty when the run is finished."""
    ahead = phases(config)[progress.phase :]
    return ahead[1:] if ahead and is_done(progress, ahead[0], config.train) else ahead
