"""The training state in a checkpoint: one typed record, loaded strictly."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class FileStamp(BaseModel):
    """Size and hash of a file of the checkpoint, so that a damaged file is never loaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int = Field(ge=0)
    sha256: str


class TrainingState(BaseModel):
    """Everything besides weights and optimizer that continuing exactly needs.

    Randomness needs no state: every draw comes from a generator seeded by (seed, module, step, rank), and the
    order of the data is a function of (seed, epoch).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    step: int = Field(ge=0)
    """Number of optimizer steps taken."""
    epoch: int = Field(ge=0)
    """Epoch of the next step."""
    step_in_epoch: int = Field(ge=0)
    """Steps of that epoch already taken, which is the position in the data."""
    phase: int = Field(0, ge=0)
    """Phase of the schedule: 0 for joint, the module's index for sequential."""
    phase_step: int = Field(0, ge=0)
    phase_epoch: int = Field(0, ge=0)
    best_loss: float | None = None
    """Lowest validation loss of the phase so far."""
    stale_validations: int = Field(0, ge=0)
    """Validations since the lowest loss."""
    world_size: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    accumulate: int = Field(ge=1)
    seed: int
    data_fingerprint: str
    corpus_mean: float | None = None
    """Mean of the training shards' audio in [-1, 1], by which `data.normalize: corpus` normalizes."""
    corpus_std: float | None = None
    """Standard deviation of the same audio. Both are None in checkpoints of vgim 0.1.0, which did not record them."""
    validation_loss: float | None
    """Mean over the phase's modules on the validation split, at this step or the last validated one before."""
    kld_weight: float | None = Field(None, exclude=True)
    """Written by vgim 0.1 alone, and read by nobody."""
    vgim_version: str
    torch_version: str
    files: dict[str, FileStamp]
