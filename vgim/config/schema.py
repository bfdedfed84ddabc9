"""The whole run as frozen pydantic models: every key, its type, its bounds and its default.

A field marked `MAY_CHANGE` may differ when an interrupted run is continued: it changes neither the weights that a
step computes nor the order of the data. A run refuses to continue if any other field differs.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vgim.config.choices import CONTRASTIVE_LOSSES, NEGATIVES, OneOf, describe
from vgim.schedules.registry import SCHEDULES, names_of_schedules, schedules_help

MAY_CHANGE: dict[str, Any] = {"may_change": True}

# Every number has an upper bound, so that a slip of the keyboard is an error and not a machine without memory.
MAX_COUNT = 10**12
"""Largest number of steps or epochs."""
MAX_SEED = 2**63 - 1
"""Largest seed: what a signed integer of 64 bits holds."""
MAX_WIDTH = 16_384
"""Largest number of channels or units of a layer."""
MAX_LAYERS = 256
"""Largest number of convolutions."""
MAX_BATCH = 65_536
"""Largest number of crops in a batch, batches in a step, or batches that are prepared ahead."""
MAX_WEIGHT = 1e6
"""Largest weight of a term of a loss, and largest learning rate."""


def default_home() -> str:
    """The folder that holds runs and shards when a config names none: $VGIM_HOME or ~/vgim."""
    return os.environ.get("VGIM_HOME") or "~/vgim"


class Section(BaseModel):
    """Base of all sections of a config: frozen, without unknown keys; a field's docstring is its help text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class SyntheticConfig(Section):
    """The embedded corpus, which is written to `data.shards` if that folder does not exist."""

    speakers: int = Field(12, ge=1, le=999)
    """Synthetic speakers; each has its own pitch, vocal tract length and speaking rate."""
    utterances: int = Field(360, ge=1, le=1_000_000)
    """Utterances of all speakers together, spread evenly over the speakers."""
    seed: int = Field(0, ge=0, le=MAX_SEED)
    """Seed of the corpus; the same seed gives the same bytes."""


class DataConfig(Section):
    """The shards, and how their utterances become crops."""

    shards: str = Field(..., min_length=1, json_schema_extra=MAY_CHANGE)
    """Folder or URI that `vgim data prepare` wrote. The data is identified by its fingerprint, not by this path."""
    synthetic: SyntheticConfig | None = None
    """If set, the embedded corpus is made in `data.shards` where that folder does not exist."""
    crop: Literal["random", "tile", "first"] = "random"
    """random: one random crop per utterance and epoch; tile: crops side by side over the whole utterance, from a
    random offset; first: the first samples, zero-padded if the utterance is shorter."""
    crop_samples: int = Field(20_480, gt=0, le=16_000 * 3600)
    """Samples in a crop, at 16 kHz."""
    normalize: Literal["none", "corpus", "utterance"] = "none"
    """Audio that the model sees. none: PCM as floats in [-1, 1]; corpus: minus the corpus's mean, over its standard
    deviation; utterance: the same with the utterance's own mean and standard deviation."""
    shuffle_window: int = Field(256, gt=0, le=1_000_000)
    """Utterances in the shuffle buffer. Row groups are read in a new random order each epoch."""
    prefetch_batches: int = Field(4, ge=1, le=MAX_BATCH, json_schema_extra=MAY_CHANGE)
    """Batches that are prepared ahead of the step."""


Family = Literal["sim", "gim", "cpc"]
"""Families of encoders."""


LayerSize = Annotated[int, Field(le=65_536)]
"""Kernel, stride or padding of a convolution, or a number of convolutions."""


class ModelConfig(Section):
    """The encoder; by default five convolutions in three greedy modules, and a GRU."""

    family: Family = "sim"
    """sim: greedy modules with Gaussian posteriors (V-GIM); gim: greedy modules with deterministic latents (Greedy
    InfoMax); cpc: one module, trained end to end."""
    channels: int = Field(512, gt=0, le=MAX_WIDTH)
    """Channels of every convolution and of every latent."""
    kernels: tuple[LayerSize, ...] = Field((10, 8, 4, 4, 4), max_length=MAX_LAYERS)
    """Kernel size of each convolution."""
    strides: tuple[LayerSize, ...] = Field((5, 4, 2, 2, 2), max_length=MAX_LAYERS)
    """Stride of each convolution."""
    paddings: tuple[LayerSize, ...] = Field((2, 2, 2, 2, 1), max_length=MAX_LAYERS)
    """Zero padding of each convolution."""
    layers_per_module: tuple[LayerSize, ...] = Field((2, 2, 1), max_length=MAX_LAYERS)
    """Convolutions of each greedy module; their sum is the number of kernels."""
    gru_units: int = Field(256, ge=0, le=MAX_WIDTH)
    """Units of the GRU, the last module, which reads the last convolutional latents; 0 for no GRU."""
    depth: int = Field(0, ge=0, le=MAX_LAYERS + 1)
    """Modules that are trained, counted from the input (the GRU is the last); 0 for all. Greedy families only."""
    batch_norm: Literal["none", "local", "sync"] = "local"
    """BatchNorm1d between each convolution and its ReLU. none: no normalization; local: statistics of each rank's
    batch; sync: statistics over the batches of all ranks."""
    relus: tuple[bool, ...] = Field((), max_length=MAX_LAYERS)
    """Whether BatchNorm and ReLU follow each convolution, or nothing does; empty for all true."""
    head: Literal["none", "linear"] = "none"
    """Families gim and cpc: what makes the latents from the last convolution of a module. none: nothing, so that
    they are the ReLU's output; linear: a linear map of each frame (1×1), as published."""

    @model_validator(mode="after")
    def _layers_agree(self) -> ModelConfig:
        num_layers = len(self.kernels)
        if not (num_layers == len(self.strides) == len(self.paddings)):
            raise ValueError(
                f"kernels, strides and paddings have {num_layers}, {len(self.strides)} and "
                f"{len(self.paddings)} entries; give each one entry per convolution"
            )
        if self.relus and len(self.relus) != num_layers:
            raise ValueError(
                f"relus has {len(self.relus)} entries but there are {num_layers} convolutions; give each one an entry, "
                "or leave it empty for a ReLU behind each"
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
        if self.family == "sim" and self.head != "none":
            raise ValueError(
                f"head={self.head} has no place in family sim, whose latents are made by its posterior; use head=none, "
                "or family gim or cpc"
            )
        return self

    @property
    def num_modules(self) -> int:
        """Modules with a loss of their own."""
        if self.family == "cpc":
            return 1
        return self.depth or len(self.layers_per_module) + (self.gru_units > 0)


class ObjectiveConfig(Section):
    """The contrastive loss and the KL term."""

    loss: Annotated[str, OneOf(CONTRASTIVE_LOSSES)] = Field(
        "info_nce", description=describe(CONTRASTIVE_LOSSES)
    )
    prediction_steps: int = Field(12, ge=1, le=1024)
    """K: number of future latents that each context predicts."""
    num_negatives: int = Field(10, ge=1, le=65_536)
    """N: negatives per positive."""
    negatives: Annotated[str, OneOf(NEGATIVES)] = Field("batch", description=describe(NEGATIVES))
    predictor_init: Literal["zero", "uniform"] = "zero"
    """zero: the loss starts at chance, ln(1 + N); uniform: as published, where scores start as noise of standard
    deviation sqrt(C/3), which training has to unlearn."""
    window_frames: int = Field(128, ge=0, le=1_000_000)
    """Frames of a crop that are contexts and positives, if a module has more; 0 uses all."""
    kld_weight: float = Field(0.0, ge=0, le=MAX_WEIGHT)
    """Weight of the KL term."""
    kl_reduction: Literal["time_sum", "mean", "frame"] = "time_sum"
    """Unit of the KL term. time_sum: sum over time, mean over channels and batch (as published); mean: mean over all
    elements; frame: nats a frame, summed over channels, mean over frames and batch, so that one kld_weight means the
    same at every width and depth (the β of a β-VAE)."""
    kld_warmup_steps: int = Field(0, ge=0, le=MAX_COUNT)
    """Optimizer steps over which kld_weight rises linearly from 0."""
    free_bits: float = Field(0.0, ge=0, le=MAX_WEIGHT)
    """Nats per dimension and frame below which the KL term has no gradient."""
    on_collapse: Literal["warn", "stop"] = Field("warn", json_schema_extra=MAY_CHANGE)
    """warn: write an event if a module's posterior collapses; stop: end the run with an error."""
    collapse_patience_steps: int = Field(200, ge=1, le=MAX_COUNT, json_schema_extra=MAY_CHANGE)
    """Steps after the warm-up for which a posterior must look collapsed before it counts as collapsed."""


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
    epochs: int = Field(1000, ge=1, le=MAX_COUNT, json_schema_extra=MAY_CHANGE)
    """Epochs to train."""
    module_epochs: tuple[Annotated[int, Field(ge=1, le=MAX_COUNT)], ...] = Field(
        (), max_length=MAX_LAYERS + 1, json_schema_extra=MAY_CHANGE
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
    """Whether a GPU runs a module's forward and backward pass as one CUDA graph."""
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


AutoOrCount = Annotated[int, Field(ge=1, le=MAX_BATCH)] | Literal["auto"]
WorkerRange = Annotated[str, Field(pattern=r"^[0-9]{1,5}\.\.[0-9]{1,5}$")]
"""Fewest and most workers, as `2..8`."""
WORKERS_IN_WORDS = "an integer at least 0, or a range such as 2..8"


class ClusterConfig(Section):
    """Where training runs. Of these keys only `workers` changes results, because its maximum multiplies the batch."""

    workers: Annotated[int, Field(ge=0, le=MAX_BATCH)] | WorkerRange = Field(
        1,
        json_schema_extra={**MAY_CHANGE, "in_words": WORKERS_IN_WORDS},
    )
    """Workers, each one a DDP rank; 0 trains in this process, without Ray. MIN..MAX: as many as the cluster has
    room for, which take the steps of MAX workers."""
    device: Literal["auto", "cpu", "cuda"] = Field("auto", json_schema_extra=MAY_CHANGE)
    """auto: one GPU per worker where the cluster has enough, else the CPU."""
    backend: Literal["auto", "gloo", "nccl"] = Field("auto", json_schema_extra=MAY_CHANGE)
    """auto: nccl on GPUs, gloo on CPUs."""
    cpus_per_worker: Annotated[float, Field(gt=0, le=MAX_BATCH)] | Literal["auto"] = Field(
        "auto", json_schema_extra=MAY_CHANGE
    )
    """Logical CPUs that Ray reserves per worker; auto leaves enough for Ray Data, which reads the shards."""
    threads_per_worker: AutoOrCount = Field("auto", json_schema_extra=MAY_CHANGE)
    """torch threads per worker; auto divides a node's cores among its workers."""
    autoscaling: bool = Field(False, json_schema_extra=MAY_CHANGE)
    """Whether the cluster adds nodes on demand, so that workers may need more than it has now. Needs `device` cuda or
    cpu, since GPUs of nodes that do not exist yet cannot be counted."""
    max_failures: int = Field(3, ge=0, le=1_000_000, json_schema_extra=MAY_CHANGE)
    """Number of times that lost workers are replaced before the run fails."""
    start_timeout_s: int = Field(300, ge=10, le=10**7, json_schema_extra=MAY_CHANGE)
    """Seconds to wait for the cluster to offer the workers' resources."""
    stop_grace_s: float = Field(60.0, ge=0, le=1e6, json_schema_extra=MAY_CHANGE)
    """Seconds after SIGINT, SIGTERM or SIGHUP in which the checkpoint of the current step must be written; 0 stops at
    once."""

    @model_validator(mode="after")
    def _range_has_a_meaning(self) -> ClusterConfig:
        if self.min_workers > self.max_workers:
            raise ValueError(
                f"workers={self.workers} has its larger number first; write workers="
                f"{self.max_workers}..{self.min_workers}"
            )
        if isinstance(self.workers, str) and self.min_workers < 1:
            raise ValueError(
                f"workers={self.workers} needs at least one worker; write workers=1..{self.max_workers}, or "
                "workers=0 to train in this process"
            )
        if self.is_elastic and self.cpus_per_worker != "auto" and not self.cpus_per_worker.is_integer():
            raise ValueError(
                f"workers={self.workers} needs whole CPUs, and cpus_per_worker={self.cpus_per_worker:g} is a part of "
                "one; use auto for one CPU per worker, or an integer"
            )
        return self

    @model_validator(mode="after")
    def _device_is_known(self) -> ClusterConfig:
        if self.autoscaling and self.device == "auto":
            raise ValueError(
                "autoscaling=true needs to know what to ask for; set device=cuda for one GPU per worker, or device=cpu"
            )
        return self

    @property
    def min_workers(self) -> int:
        """The fewest workers that train; `workers` itself where it is a number."""
        return self.workers if isinstance(self.workers, int) else int(self.workers.partition("..")[0])

    @property
    def max_workers(self) -> int:
        """The most workers that train, whose batches together are the batch of a step; 0 for none."""
        return self.workers if isinstance(self.workers, int) else int(self.workers.partition("..")[2])

    @property
    def is_elastic(self) -> bool:
        """Whether the number of workers may change while the run trains."""
        return self.min_workers < self.max_workers


class StorageConfig(Section):
    """Where the run's folder is."""

    root: str = Field(
        default_factory=lambda: f"{default_home()}/runs", min_length=1, json_schema_extra=MAY_CHANGE
    )
    """Folder or URI (of any kind that pyarrow.fs reads) that holds the runs. All nodes must see it."""
    name: str = Field(
        "",
        max_length=200,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$|^$",
        json_schema_extra={
            **MAY_CHANGE,
            "in_words": "text of letters, digits, dots, underscores and hyphens that starts with a letter or digit",
        },
    )
    """Name of the run's folder; empty for the preset's name."""


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

    @model_validator(mode="after")
    def _elastic_ranks_are_independent(self) -> RunConfig:
        """Ranks with unequal numbers of micro-batches cannot wait for each other within one."""
        if not self.cluster.is_elastic:
            return self
        workers = f"cluster.workers={self.cluster.workers}, where ranks have unequal numbers of them"
        if self.model.batch_norm == "sync":
            raise ValueError(
                "model.batch_norm=sync takes statistics over all ranks in each micro-batch, which does not go with "
                f"{workers}; use model.batch_norm=local, or a fixed number of workers"
            )
        if self.objective.negatives == "global":
            raise ValueError(
                "objective.negatives=global draws from all ranks in each micro-batch, which does not go with "
                f"{workers}; use objective.negatives=batch, or a fixed number of workers"
            )
        return self

    @property
    def family(self) -> str:
        """`model.family`; every config that is trained has this property."""
        return self.model.family

    @property
    def kld_weight(self) -> float:
        """`objective.kld_weight`; every config that is trained has this property."""
        return self.objective.kld_weight

    @property
    def trained_modules(self) -> tuple[int, ...]:
        """Modules with a loss of their own."""
        return tuple(range(self.model.num_modules))

    @property
    def architecture(self) -> dict[str, Section]:
        """The sections that decide which weights fit, by name."""
        return {"model": self.model}
