"""The sections that every training has: the optimizer and the loop."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from vgim.config.choices import OneOf
from vgim.config.section import MAX_BATCH, MAX_COUNT, MAX_LAYERS, MAX_SEED, MAX_WEIGHT, MAY_CHANGE, Section
from vgim.schedules.registry import SCHEDULES, schedules_help


class OptimConfig(Section):
    """The Adam optimizer over all modules."""

    learning_rate: float = Field(2e-4, gt=0, le=MAX_WEIGHT)
    """Adam's step size."""
    decay_per_epoch: float = Field(1.0, gt=0, le=1)
    """Factor by which the learning rate is multiplied after each epoch; 1 keeps it constant."""
    clip_norm: float = Field(0.0, ge=0, le=1e12)
    """Gradient norm of a module above which its gradient is scaled down; 0 turns clipping off."""


BatchLimit = (
    Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)] | Annotated[float, Field(strict=True, gt=0, le=1)]
)
"""1 is one batch, 1.0 all of them: strict types keep the two apart."""
BATCH_LIMIT_IN_WORDS: dict[str, Any] = {"in_words": "an integer at least 0, or a share in (0, 1]"}


ModulesOfStage = Annotated[
    tuple[Annotated[int, Field(ge=0, le=MAX_LAYERS)], ...], Field(min_length=1, max_length=MAX_LAYERS + 1)
]
PLACEMENT_IN_WORDS: dict[str, Any] = {
    "in_words": "auto, or at least two lists of modules, such as [[0], [1, 2, 3]]"
}


class TrainConfig(Section):
    """The training loop."""

    seed: int = Field(0, ge=0, le=MAX_SEED)
    """Seed of initial weights, crops, posterior noise and negatives."""
    batch_size: int = Field(8, gt=0, le=MAX_BATCH)
    """Crops per rank and forward pass."""
    accumulate: int = Field(1, ge=1, le=MAX_BATCH)
    """Forward passes per optimizer step."""
    schedule: Annotated[str, OneOf(SCHEDULES)] = Field(
        "joint",
        description=f"{schedules_help()}. Epochs, steps and warm-up count within a phase of the schedule.",
    )
    virtual_ranks: int = Field(0, ge=0, le=MAX_BATCH, json_schema_extra=MAY_CHANGE)
    """Parts of a step, each with `batch_size` × `accumulate` crops and draws of its own, which the ranks divide among
    them: with the same number, any number of ranks takes the same steps. 0: one for each worker."""
    placement: (
        Annotated[tuple[ModulesOfStage, ...], Field(min_length=2, max_length=MAX_LAYERS + 1)]
        | Literal["auto"]
    ) = Field("auto", json_schema_extra={**MAY_CHANGE, **PLACEMENT_IN_WORDS})
    """Modules of each stage under schedule parallel, such as [[0], [1], [2, 3]]; auto: balanced by the time that each
    module takes on this device."""
    replicas: tuple[Annotated[int, Field(ge=1, le=MAX_BATCH)], ...] = Field(
        (), max_length=MAX_LAYERS + 1, json_schema_extra=MAY_CHANGE
    )
    """Ranks of each stage under schedule parallel, such as [4, 2, 1]; empty: balanced as the placement is."""
    transfer_dtype: Literal["fp32", "bf16"] = "fp32"
    """Type of the latents that stages send each other; bf16 halves the bytes and rounds."""
    transfer_buffers: int = Field(2, ge=1, le=1024, json_schema_extra=MAY_CHANGE)
    """Micro-batches of latents that may be under way between two ranks of neighbouring stages."""
    epochs: int = Field(1000, ge=1, le=MAX_COUNT, json_schema_extra=MAY_CHANGE)
    """Epochs to train."""
    module_epochs: tuple[Annotated[int, Field(ge=1, le=MAX_COUNT)], ...] = Field(
        (), max_length=2 * MAX_LAYERS + 1, json_schema_extra=MAY_CHANGE
    )
    """Epochs of each module, under a schedule that trains one module after the other; empty gives each `epochs`."""
    max_steps: int = Field(0, ge=0, le=MAX_COUNT, json_schema_extra=MAY_CHANGE)
    """Largest number of optimizer steps; 0 for no limit besides the epochs."""
    early_stop_validations: int = Field(0, ge=0, le=MAX_COUNT, json_schema_extra=MAY_CHANGE)
    """Validations without a lower loss after which a phase of the schedule ends; 0 never."""
    limit_train_batches: BatchLimit = Field(0, json_schema_extra=BATCH_LIMIT_IN_WORDS)
    """Training batches per rank and epoch at most, or a share of them (0.01, 1.0), at least one; 0 for all."""
    limit_validation_batches: BatchLimit = Field(0, json_schema_extra={**MAY_CHANGE, **BATCH_LIMIT_IN_WORDS})
    """Validation batches per rank at most, or a share of them (0.01, 1.0), at least one; 0 for all."""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """fp32; tf32: fp32 whose products a GPU computes with ten bits of mantissa; bf16: autocast to bfloat16, except the
    contrastive loss's logits and the KL term, which stay in fp32."""
    compile: bool = Field(False, json_schema_extra=MAY_CHANGE)
    """Whether each module is compiled by torch.compile."""
    cuda_graphs: bool = Field(True, json_schema_extra=MAY_CHANGE)
    """Whether a GPU runs the passes of all modules as one CUDA graph, and holds their activations at once."""
    log_every_steps: int = Field(10, ge=1, le=MAX_COUNT, json_schema_extra=MAY_CHANGE)
    """Optimizer steps between two records of metrics."""
    validate_every_epochs: int = Field(1, ge=1, le=MAX_COUNT, json_schema_extra=MAY_CHANGE)
    """Epochs between two validations; the last epoch is always validated."""
    checkpoint_every_steps: int = Field(0, ge=0, le=MAX_COUNT, json_schema_extra=MAY_CHANGE)
    """Optimizer steps between two checkpoints, instead of one at the end of each epoch; 0 for one checkpoint per epoch.
    The last step always has one."""
    checkpoint_every_minutes: float = Field(10.0, ge=0, le=1e6, json_schema_extra=MAY_CHANGE)
    """Minutes of training after which a checkpoint is written, besides those at steps or epochs; 0 for none."""
    keep_last: int = Field(2, ge=1, le=MAX_COUNT, json_schema_extra=MAY_CHANGE)
    """Number of newest checkpoints that are kept."""
    keep_best: int = Field(1, ge=0, le=MAX_COUNT, json_schema_extra=MAY_CHANGE)
    """Number of checkpoints of lowest validation loss that are kept besides the newest."""
    keep_every_epochs: int = Field(0, ge=0, le=MAX_COUNT, json_schema_extra=MAY_CHANGE)
    """Epochs between two checkpoints that are kept for good, counted over the run, besides the newest and the best; 0
    for none."""
