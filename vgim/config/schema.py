"""The whole run as frozen pydantic models: every key, its type, its bounds and its default."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vgim.config.attach_section import AttachConfig
from vgim.config.augment_section import AugmentConfig
from vgim.config.cluster_section import ClusterConfig
from vgim.config.model_sections import Family, ModelConfig, ObjectiveConfig
from vgim.config.section import (
    MAX_BATCH,
    MAX_COUNT,
    MAX_LAYERS,
    MAX_SEED,
    MAX_WEIGHT,
    MAX_WIDTH,
    MAY_CHANGE,
    Section,
    default_home,
)
from vgim.config.stage_rules import (
    check_exchanging_stages,
    check_stages,
    check_virtual_ranks,
    num_virtual_ranks,
)
from vgim.config.train_sections import OptimConfig, TrainConfig
from vgim.schedules.registry import SCHEDULES, names_of_schedules
from vgim.secrets import mask_location
from vgim.text import plural

__all__ = [
    "MAX_BATCH",
    "MAX_COUNT",
    "MAX_LAYERS",
    "MAX_SEED",
    "MAX_WEIGHT",
    "MAX_WIDTH",
    "MAY_CHANGE",
    "AttachConfig",
    "AugmentConfig",
    "ClusterConfig",
    "DataConfig",
    "Family",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimConfig",
    "RunConfig",
    "Section",
    "StorageConfig",
    "SyntheticConfig",
    "TrainConfig",
    "default_home",
]


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
    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    shuffle_window: int = Field(256, gt=0, le=1_000_000)
    """Utterances in the shuffle buffer. Row groups are read in a new random order each epoch."""
    prefetch_batches: int = Field(4, ge=1, le=MAX_BATCH, json_schema_extra=MAY_CHANGE)
    """Batches that are prepared ahead of the step."""
    cache_dir: str = Field("", json_schema_extra=MAY_CHANGE)
    """Folder on each node's own disk that keeps copies of the shards, so that remote or shared storage is read once;
    empty for none."""
    cache_gib: float = Field(100.0, gt=0, le=1_000_000, json_schema_extra=MAY_CHANGE)
    """Most GiB that the copies in `cache_dir` may have together; those that no process uses go first."""

    @model_validator(mode="after")
    def _cache_is_a_local_folder(self) -> DataConfig:
        if "://" in self.cache_dir:
            raise ValueError(
                f"cache_dir={mask_location(self.cache_dir)} is a URI; give a folder on the node's own disk"
            )
        default = DataConfig.model_fields["cache_gib"].default
        if not self.cache_dir and self.cache_gib != default:
            raise ValueError(
                f"cache_gib={self.cache_gib:g} has no effect without cache_dir; set cache_dir, or cache_gib={default:g}"
            )
        return self


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
    model: ModelConfig = Field(default_factory=ModelConfig)
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)
    optim: OptimConfig = Field(default_factory=OptimConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    attach: AttachConfig = Field(default_factory=AttachConfig)
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    storage: StorageConfig = Field(default_factory=StorageConfig)

    @model_validator(mode="after")
    def _every_module_has_its_steps(self) -> RunConfig:
        steps, num_modules = self.objective.prediction_steps, self.model.full_depth
        if isinstance(steps, tuple) and len(steps) != num_modules:
            depth = f", whatever model.depth={self.model.depth} leaves out" if self.model.depth else ""
            raise ValueError(
                f"objective.prediction_steps={list(steps)} is a list of {len(steps)} but the encoder has "
                f"{plural(num_modules, 'module')}; give one for each{depth}, or one number for all"
            )
        return self

    @model_validator(mode="after")
    def _families_agree(self) -> RunConfig:
        if self.model.family != "sim":
            set_keys = {key: getattr(self.objective, key) for key in ("target_rate", "kld_weight")}
            useless = {f"objective.{key}": value for key, value in set_keys.items() if value > 0}
            if useless:
                named = " and ".join(f"{key}={value:g}" for key, value in useless.items())
                zeros = " ".join(f"{key}=0" for key in useless)
                raise ValueError(
                    f"{named} {'has' if len(useless) == 1 else 'have'} no effect for model.family={self.model.family}, "
                    f"which has no posterior; set {zeros}, or use family sim"
                )
        if self.objective.target_rate > 0 and not self.objective.kld_weight:
            raise ValueError(
                f"objective.target_rate={self.objective.target_rate:g} adapts a KL weight that starts at "
                "objective.kld_weight=0 and would stay there; set kld_weight above 0, such as 0.001"
            )
        spared = self.objective.free_bits * self.model.channels
        if 0 < self.target_rate <= spared:
            raise ValueError(
                f"{self.rate_in_words} cannot be held where "
                f"objective.free_bits={self.objective.free_bits:g} spares {spared:g} nats a frame of "
                f"{self.model.channels} channels; lower free_bits or raise target_rate"
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
    def _ranks_have_work(self) -> RunConfig:
        check_virtual_ranks(self.train, self.cluster)
        check_stages(self.train, self.cluster, self.model.num_modules)
        for key, exchanges in (
            ("model.batch_norm=sync", self.model.batch_norm == "sync"),
            ("model.posterior_norm=sync", self.model.posterior_norm == "sync"),
            ("objective.negatives=global", self.objective.negatives == "global"),
        ):
            if exchanges:
                check_exchanging_stages(self.train, self.cluster, self.model.num_modules, key)
        return self

    @model_validator(mode="after")
    def _attached_runs_train_one_module(self) -> RunConfig:
        if not self.attach.run:
            return self
        if self.model.family == "cpc":
            raise ValueError(
                "attach.run has no meaning for model.family=cpc, whose layers are one module; use family sim or gim"
            )
        if not SCHEDULES[self.train.schedule].trains_one_module:
            raise ValueError(
                f"train.schedule={self.train.schedule} has no meaning with attach.run, which trains one module; use "
                f"{names_of_schedules(lambda other: other.trains_one_module)}"
            )
        return self

    @model_validator(mode="after")
    def _elastic_ranks_are_independent(self) -> RunConfig:
        """Ranks with unequal numbers of micro-batches cannot wait for each other within one."""
        if not self.cluster.is_elastic:
            return self
        workers = f"cluster.workers={self.cluster.workers}, where ranks have unequal numbers of them"
        for key in ("batch_norm", "posterior_norm"):
            if getattr(self.model, key) == "sync":
                raise ValueError(
                    f"model.{key}=sync takes statistics over all ranks in each micro-batch, which does not go with "
                    f"{workers}; use model.{key}=local, or a fixed number of workers"
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
    def target_rate(self) -> float:
        """`objective.target_rate` in nats a frame; every config that is trained has this property."""
        channels = self.model.channels if self.objective.target_rate_unit == "channel" else 1
        return self.objective.target_rate * channels

    @property
    def rate_in_words(self) -> str:
        """`objective.target_rate=15`, or `objective.target_rate=0.35 a channel, 44.8 a frame`."""
        words = f"objective.target_rate={self.objective.target_rate:g}"
        if self.objective.target_rate_unit == "channel":
            words += f" a channel, {self.target_rate:.3g} a frame"
        return words

    @property
    def rate_note(self) -> str | None:
        """What a rate a channel is a frame, for those who meant a rate a frame; None for any other rate."""
        if not self.target_rate or self.objective.target_rate_unit == "frame":
            return None
        return (
            f"the KL of each module is held at {self.rate_in_words} (objective.target_rate_unit=channel; with frame it "
            f"would be {self.objective.target_rate:g} a frame)"
        )

    @property
    def num_virtual_ranks(self) -> int:
        """Parts of a step's batch, each with draws of its own."""
        return num_virtual_ranks(self.train, self.cluster)

    @property
    def trained_modules(self) -> tuple[int, ...]:
        """Modules that the run trains: the last one behind the modules of another run, else all of them."""
        modules = tuple(range(self.model.num_modules))
        return modules[-1:] if self.attach.run else modules

    @property
    def architecture(self) -> dict[str, Section]:
        """The sections that decide which weights fit, by name."""
        return {"model": self.model}
