"""The training state in a checkpoint: one typed record, loaded strictly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vgim.runs.layout import CONFIG, OPTIMIZER, STATISTICS, WEIGHTS
from vgim.sealed_json import SealBroken, dump_sealed, load_sealed
from vgim.storage import Bytes
from vgim.text import first_problem

FILE_NAMES = (WEIGHTS, OPTIMIZER, CONFIG, STATISTICS)
"""Files of a checkpoint besides its state. A state that names any other file, or a path, is refused."""


class UnreadableState(ValueError):  # noqa: N818 (a reason, which callers put into their own errors)
    """Bytes that do not read as a training state.

    Args:
        reason: Clause that follows the file's name, such as `is empty`.
        is_damage: False for a state that is whole, but was written by another version of vgim.
    """

    def __init__(self, reason: str, *, is_damage: bool) -> None:
        super().__init__(reason)
        self.is_damage = is_damage


class FileStamp(BaseModel):
    """Size and hash of a file of the checkpoint, so that a damaged file is never loaded."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    bytes: int = Field(ge=0)
    sha256: str

    @classmethod
    def of(cls, data: Bytes) -> FileStamp:
        """The stamp of a file's content."""
        return cls(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


class TrainingState(BaseModel):
    """Everything besides weights and optimizer that continuing exactly needs.

    Randomness needs no state: every draw comes from a generator seeded by (seed, module, step, rank), and the
    order of the data is a function of (seed, epoch).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    schema_version: Literal[1, 2] = 2
    """2 for states with a checksum; vgim wrote states of version 1 without one."""
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
    kl_weights: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = ()
    """Weight of each module's KL term at the next step, under `objective.target_rate`; else empty."""
    source_step: int | None = Field(None, ge=0)
    """Step of the checkpoint of `attach.run` whose modules come first; None for a run that trains all modules."""
    kld_weight: float | None = Field(None, exclude=True)
    """Written by vgim 0.1 alone, and read by nobody."""
    vgim_version: str
    torch_version: str
    files: dict[str, FileStamp]

    @field_validator("files")
    @classmethod
    def _known_files(cls, files: dict[str, FileStamp]) -> dict[str, FileStamp]:
        unknown = [name for name in files if name not in FILE_NAMES]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no file of a checkpoint")
        return files

    @classmethod
    def from_json(cls, data: bytes) -> TrainingState:
        """Read the content of a `state.json`.

        Raises:
            UnreadableState: The content is damaged, or was written by another version of vgim.
        """
        try:
            content, is_sealed = load_sealed(data)
        except SealBroken as broken:
            raise UnreadableState(str(broken), is_damage=True) from None
        try:
            state = cls.model_validate(content)
        except ValidationError as error:
            is_foreign = is_sealed or content.get("schema_version", 1) not in (1, 2)
            raise UnreadableState(first_problem(error), is_damage=not is_foreign) from None
        if state.schema_version > 1 and not is_sealed:
            raise UnreadableState("it has no checksum", is_damage=True)
        return state

    def required(self, names: Iterable[str]) -> list[str]:
        """The files among `names` that the checkpoint must have: many are written without STATISTICS."""
        return [name for name in names if name in self.files or name != STATISTICS]

    def to_json(self) -> bytes:
        """The content of a `state.json`, with its checksum."""
        return dump_sealed({**json.loads(self.model_dump_json()), "schema_version": 2})
