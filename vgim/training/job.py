"""What a launch trains: the config, the run's folder, the learner, and what the launch knows of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from vgim.claims.ticket import ClaimTicket
from vgim.config import DecoderConfig, RunConfig
from vgim.logs import TEXT
from vgim.storage import Location

if TYPE_CHECKING:  # whoever starts other processes that train needs no torch
    from vgim.training.learner import Learner, LearnerContext, LearnerFactory

ConfigT = TypeVar("ConfigT", RunConfig, DecoderConfig)


@dataclass(frozen=True)
class TrainJob(Generic[ConfigT]):
    """What to train; the same on every rank."""

    config: ConfigT
    run: str
    """Path or URI of the run's folder."""
    learner: LearnerFactory[ConfigT]
    resume_from: str | None = None
    """Checkpoint or run to continue from if the run has no checkpoint of its own."""
    init_from: str | None = None
    """Checkpoint or run to load only the weights from, if the run has no checkpoint of its own."""
    until_epoch: int = 0
    """Epoch before which the run pauses, with a checkpoint; 0 trains to the end."""
    notes: tuple[str, ...] = ()
    """Sentences of the launch for the run's log: on its config, and on what it found in the run's folder."""
    stop_folder: str | None = None
    """Folder besides the run's in which a request to stop is heeded: that of the sweep that the run belongs to."""
    lost_workers: int = 0
    """How often workers of this launch were lost and started again."""
    loss: str = ""
    """Which worker was lost last; empty if that is not known."""
    world_size_before: int = 0
    """Ranks that trained the run last; 0 if none did."""
    log_format: str = TEXT
    """Form of the log lines of ranks: text or json."""
    claim: ClaimTicket | None = None
    """The launch's claim of the run's folder; None in a folder that nobody else can use."""

    def check_claim(self) -> None:
        """Raise ClaimLostError if another launch has taken over the run's folder."""
        if self.claim is not None:
            self.claim.check()

    @property
    def stop_folders(self) -> list[Location]:
        """Folders in which a request to stop is heeded."""
        return [Location(folder) for folder in (self.run, self.stop_folder) if folder is not None]

    def build_learner(self, context: LearnerContext) -> Learner:
        """The learner of the job's config, on one rank."""
        return self.learner(self.config, context)


AnyTrainJob = TrainJob[RunConfig] | TrainJob[DecoderConfig]
