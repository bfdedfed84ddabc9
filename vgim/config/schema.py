"""The whole run as frozen pydantic models: every key, its type, its bounds and its default.

A field marked `MAY_CHANGE` may differ when an interrupted run is continued: it changes neither the weights a
step computes nor the order of the data. Every other difference makes a continuation refuse.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vgim.config.choices import CONTRASTIVE_LOSSES, NEGATIVES, OneOf, describe
from vgim.schedules.registry import SCHEDULES, names_of_schedules, schedules_help

MAY_CHANGE: dict[str, Any] = {"may_change": True}


def default_home() -> str:
    """The folder that holds runs and shards when a config names none: $VGIM_HOME or ~/vgim."""
    return os.environ.get("VGIM_HOME") or "~/vgim"


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class SyntheticConfig(Section):
    """The embedded corpus, made where `data.shards` does not exist yet."""

    speakers: int = Field(12, ge=1, le=999)
    """Synthetic speakers, each with a pitch, a vocal tract length and a rate of their own."""
    utterances: int = Field(360, ge=1)
    """Utterances in all, spread evenly over the speakers."""
    seed: int = Field(0, ge=0)
    """Seed of the corpus; the same seed gives the same bytes."""


class DataConfig(Section):
    """What is read, and how utterances become crops."""

    shards: str = Field(..., min_length=1, json_schema_extra=MAY_CHANGE)
    """Folder or URI that `vgim data prepare` wrote. Its fingerprint, not its place, identifies the data."""
    synthetic: SyntheticConfig | None = None
    """When set and `data.shards` does not exist, make the embedded corpus there."""
    crop: Literal["random", "tile", "first"] = "random"
    """random: one crop per utterance per epoch; tile: the whole utterance from a random phase;
    first: the first samples, zero-padded where the utterance is shorter."""
    crop_samples: int = Field(20_480, gt=0)
    """Samples in a crop, at 16 kHz."""
    normalize: Literal["none", "corpus", "utterance"] = "none"
    """none: float PCM in [-1, 1]; corpus: the manifest's mean and deviation; utterance: its own."""
    shuffle_window: int = Field(256, gt=0)
    """Utterances that are read together and mixed; row groups are drawn at random each epoch."""
    prefetch_batches: int = Field(4, ge=1, json_schema_extra=MAY_CHANGE)
    """Batches kept ready ahead of the step."""


class ModelConfig(Section):
    """The encoder (design: five convolutions, three greedy modules, a GRU)."""

    family: Literal["sim", "gim", "cpc"] = "sim"
    """sim: Gaussian posteriors (V-GIM); gim: greedy without distributions; cpc: one end-to-end module."""
    channels: int = Field(512, gt=0)
    """Channels of every convolution and of every latent."""
    kernels: tuple[int, ...] = (10, 8, 4, 4, 4)
    """Kernel size of each convolution."""
    strides: tuple[int, ...] = (5, 4, 2, 2, 2)
    """Stride of each convolution."""
    paddings: tuple[int, ...] = (2, 2, 2, 2, 1)
    """Zero padding of each convolution."""
    layers_per_module: tuple[int, ...] = (2, 2, 1)
    """Convolutions in each greedy module; they add up to the number of convolutions."""
    gru_units: int = Field(256, ge=0)
    """Units of the autoregressive module on the last latents; 0 leaves it out."""
    depth: int = Field(0, ge=0)
    """Modules kept, counted from the input (the GRU is the last); 0 keeps all. Greedy families only."""
    batch_norm: Literal["none", "local", "sync"] = "local"
    """BatchNorm1d after each convolution: none, statistics per rank, or over all ranks."""

    @model_validator(mode="after")
    def _layers_agree(self) -> ModelConfig:
        num_layers = len(self.kernels)
        if not (num_layers == len(self.strides) == len(self.paddings)):
            raise ValueError(
                f"kernels, strides and paddings have {num_layers}, {len(self.strides)} and "
                f"{len(self.paddings)} entries; give each one entry per convolution"
            )
        if (
            any(v < 1 for v in (*self.kernels, *self.strides, *self.layers_per_module))
            or min(self.paddings, default=0) < 0
        ):
            raise ValueError("kernels, strides and layers_per_module must be at least 1, paddings at least 0")
        if sum(self.layers_per_module) != num_layers:
            raise ValueError(
                f"layers_per_module={list(self.layers_per_module)} adds up to {sum(self.layers_per_module)} "
                f"but there are {num_layers} convolutions"
            )
        total = len(self.layers_per_module) + (self.gru_units > 0)
        if self.depth > total:
            raise ValueError(f"depth={self.depth} but there are only {total} modules; use 0 for all of them")
        if self.family == "cpc" and self.depth:
            raise ValueError("depth has no meaning for cpc, which is one module; leave it at 0")
        return self

    @property
    def num_modules(self) -> int:
        """Modules with a loss of their own."""
        if self.family == "cpc":
            return 1
        return self.depth or len(self.layers_per_module) + (self.gru_units > 0)


class ObjectiveConfig(Section):
    """InfoNCE and the KL term (design, section 3)."""

    loss: Annotated[str, OneOf(CONTRASTIVE_LOSSES)] = Field(
        "info_nce", description=describe(CONTRASTIVE_LOSSES)
    )
    prediction_steps: int = Field(12, ge=1)
    """K: how many latents ahead are predicted."""
    num_negatives: int = Field(10, ge=1)
    """N: negatives beside each positive."""
    negatives: Annotated[str, OneOf(NEGATIVES)] = Field("batch", description=describe(NEGATIVES))
    predictor_init: Literal["zero", "uniform"] = "zero"
    """zero: the loss starts at chance, ln(1 + N); uniform: as published, where noise scores of deviation
    sqrt(C/3) must first be unlearned."""
    window_frames: int = Field(128, ge=0)
    """Frames that give contexts and positives when a module has more; 0 uses all."""
    kld_weight: float = Field(0.0, ge=0)
    """Weight of the KL term."""
    kl_reduction: Literal["time_sum", "mean"] = "time_sum"
    """time_sum: summed over time, mean over channels and batch (as published); mean: per element."""
    kld_warmup_steps: int = Field(0, ge=0)
    """Optimizer steps over which kld_weight rises linearly from 0."""
    free_bits: float = Field(0.0, ge=0)
    """Nats per dimension and frame below which the KL term does not pull."""
    on_collapse: Literal["warn", "stop"] = Field("warn", json_schema_extra=MAY_CHANGE)
    """What to do when a module's posterior has collapsed."""
    collapse_patience_steps: int = Field(200, ge=1, json_schema_extra=MAY_CHANGE)
    """Steps a module must look collapsed, after the warm-up, before it counts as such."""


class OptimConfig(Section):
    """Adam over all modules."""

    learning_rate: float = Field(2e-4, gt=0)
    """Adam's step size."""
    decay_per_epoch: float = Field(1.0, gt=0, le=1)
    """Factor on the learning rate after each epoch; 1 keeps it."""
    clip_norm: float = Field(0.0, ge=0)
    """Largest gradient norm of a module; 0 turns clipping off."""


class TrainConfig(Section):
    """The loop."""

    seed: int = Field(0, ge=0)
    """Seed of weights, crops, noise and negatives."""
    batch_size: int = Field(8, gt=0)
    """Crops per worker and forward pass."""
    accumulate: int = Field(1, ge=1)
    """Forward passes per optimizer step."""
    schedule: Annotated[str, OneOf(SCHEDULES)] = Field(
        "joint",
        description=f"{schedules_help()}. Epochs, steps and warm-up count within a phase of the schedule.",
    )
    epochs: int = Field(1000, ge=1, json_schema_extra=MAY_CHANGE)
    """Epochs to train."""
    module_epochs: tuple[Annotated[int, Field(ge=1)], ...] = Field((), json_schema_extra=MAY_CHANGE)
    """Epochs of each module, under a schedule that trains one module after the other; empty gives each `epochs`."""
    max_steps: int = Field(0, ge=0, json_schema_extra=MAY_CHANGE)
    """Optimizer steps to train at most; 0 leaves it to the epochs."""
    early_stop_validations: int = Field(0, ge=0, json_schema_extra=MAY_CHANGE)
    """Validations without a lower loss after which a phase of the schedule ends; 0 never."""
    limit_train_batches: int = Field(0, ge=0)
    """Batches per worker and epoch at most; 0 for all."""
    limit_validation_batches: int = Field(0, ge=0, json_schema_extra=MAY_CHANGE)
    """Validation batches per worker at most; 0 for all."""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """bf16: autocast; InfoNCE logits and KL stay in fp32. tf32: fp32 whose products a GPU rounds to ten bits."""
    compile: bool = Field(False, json_schema_extra=MAY_CHANGE)
    """torch.compile each module."""
    cuda_graphs: bool = Field(True, json_schema_extra=MAY_CHANGE)
    """On a GPU, launch a module's forward and backward as one CUDA graph."""
    log_every_steps: int = Field(10, ge=1, json_schema_extra=MAY_CHANGE)
    """Steps between two records of the metrics."""
    validate_every_epochs: int = Field(1, ge=1, json_schema_extra=MAY_CHANGE)
    """Epochs between two validations; the last epoch is always validated."""
    checkpoint_every_steps: int = Field(0, ge=0, json_schema_extra=MAY_CHANGE)
    """Steps between two checkpoints inside an epoch; 0 for one per epoch. The end always has one."""
    keep_last: int = Field(2, ge=1, json_schema_extra=MAY_CHANGE)
    """Newest checkpoints that are kept."""
    keep_best: int = Field(1, ge=0, json_schema_extra=MAY_CHANGE)
    """Checkpoints of the lowest validation loss that are kept besides."""


AutoOrCount = Annotated[int, Field(ge=1)] | Literal["auto"]


class ClusterConfig(Section):
    """Where it runs. Nothing here changes the numbers but `workers`, which multiplies the batch."""

    workers: int = Field(1, ge=0, json_schema_extra=MAY_CHANGE)
    """DDP ranks; 0 trains in this process, without Ray."""
    device: Literal["auto", "cpu", "cuda"] = Field("auto", json_schema_extra=MAY_CHANGE)
    """auto: one GPU per worker where the cluster has enough, else the CPU."""
    backend: Literal["auto", "gloo", "nccl"] = Field("auto", json_schema_extra=MAY_CHANGE)
    """auto: nccl on GPUs, gloo on CPUs."""
    cpus_per_worker: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        "auto", json_schema_extra=MAY_CHANGE
    )
    """Logical CPUs Ray sets aside per worker; auto leaves some for Ray Data, without which nothing moves."""
    threads_per_worker: AutoOrCount = Field("auto", json_schema_extra=MAY_CHANGE)
    """torch threads per worker; auto shares the node's cores among its workers."""
    autoscaling: bool = Field(False, json_schema_extra=MAY_CHANGE)
    """The cluster adds nodes when they are asked for: workers may need more than it has now. Needs `device` cuda
    or cpu, since GPUs that are not there yet cannot be counted."""
    max_failures: int = Field(3, ge=0, json_schema_extra=MAY_CHANGE)
    """Times a lost worker is replaced before the run fails."""
    start_timeout_s: int = Field(300, ge=10, json_schema_extra=MAY_CHANGE)
    """Seconds to wait for the cluster to offer the workers' resources."""

    @model_validator(mode="after")
    def _device_is_known(self) -> ClusterConfig:
        if self.autoscaling and self.device == "auto":
            raise ValueError(
                "autoscaling=true needs to know what to ask for; set device=cuda for one GPU per worker, or device=cpu"
            )
        return self


class StorageConfig(Section):
    """Where the run's folder goes."""

    root: str = Field(
        default_factory=lambda: f"{default_home()}/runs", min_length=1, json_schema_extra=MAY_CHANGE
    )
    """Folder or URI (any that pyarrow.fs reads) that holds the runs; all nodes must see it."""
    name: str = Field(
        "",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$|^$",
        json_schema_extra={
            **MAY_CHANGE,
            "in_words": "text of letters, digits, dots, underscores and hyphens that starts with a letter or digit",
        },
    )
    """Name of the run's folder; empty takes the preset's name."""


class RunConfig(Section):
    """One training run."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    cluster: ClusterConfig = ClusterConfig()
    storage: StorageConfig = StorageConfig()

    @model_validator(mode="after")
    def _families_agree(self) -> RunConfig:
        if self.model.family != "sim" and self.objective.kld_weight > 0:
            raise ValueError(
                f"objective.kld_weight={self.objective.kld_weight} has no effect for model.family="
                f"{self.model.family}, which has no posterior; set it to 0 or use family sim"
            )
        name, schedule = self.train.schedule, SCHEDULES[self.train.schedule]
        # A depth of 1 may be the first phase of a deeper run.
        first_phase = self.model.depth > 0 and schedule.continues_shallower_runs
        if self.model.num_modules < schedule.min_modules and not first_phase:
            others = names_of_schedules(lambda other: other.min_modules == 1)
            raise ValueError(f"train.schedule={name} has no meaning for one module; use {others}")
        if self.train.module_epochs and not schedule.takes_module_epochs:
            others = names_of_schedules(lambda other: other.takes_module_epochs)
            raise ValueError(
                f"train.module_epochs={list(self.train.module_epochs)} has no effect under train.schedule={name}; "
                f"leave it empty or use {others}"
            )
        if self.train.module_epochs and len(self.train.module_epochs) != self.model.num_modules:
            raise ValueError(
                f"train.module_epochs={list(self.train.module_epochs)} has {len(self.train.module_epochs)} "
                f"entries but there are {self.model.num_modules} modules; give one for each"
            )
        return self

    @property
    def family(self) -> str:
        """`model.family`, as for every config that is trained."""
        return self.model.family

    @property
    def kld_weight(self) -> float:
        """`objective.kld_weight`, likewise."""
        return self.objective.kld_weight

    @property
    def trained_modules(self) -> tuple[int, ...]:
        """Modules with a loss of their own."""
        return tuple(range(self.model.num_modules))

    @property
    def architecture(self) -> dict[str, Section]:
        """The sections that say which weights fit."""
        return {"model": self.model}
