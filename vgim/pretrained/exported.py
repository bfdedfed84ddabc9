"""The config of an exported encoder (`config.json`), and the encoder of an exported folder.

FOLDER/  config.json  model.safetensors  README.md  vgim_encoder.py

`vgim export` writes such a folder. Loading one executes nothing in it.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal, Self

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from vgim.config import RunConfig
from vgim.errors import CheckpointError
from vgim.model.audio import Normalize, Normalizer, Statistics
from vgim.model.stack import Encoder, build_encoder
from vgim.pretrained.encoder import FrozenEncoder
from vgim.runs.checkpoint import Checkpoint
from vgim.runs.training_state import FileStamp, TrainingState
from vgim.storage import Location
from vgim.text import first_problem

CONFIG, WEIGHTS = "config.json", "model.safetensors"
LOSS_ONLY = ".nce"
"""Part of the names of tensors that the loss alone needs; an export leaves them out."""


class ExportRecord(BaseModel):
    """Base of the records in `config.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class ConvRecord(ExportRecord):
    """One convolution."""

    kernel: int
    stride: int
    padding: int
    batch_norm: bool
    """Whether BatchNorm follows."""
    relu: bool
    """Whether ReLU follows, behind BatchNorm."""
    preemphasis: float = 0.0
    """a of the filter (x[t] − a·x[t − 1]) / √(1 − a²) through which it reads; 0 for none."""


class ModuleRecord(ExportRecord):
    """One greedy module."""

    convs: tuple[ConvRecord, ...]
    """Empty for a module that is a GRU alone."""
    channels_in: int
    channels: int
    head: Literal["none", "linear", "gaussian"]
    """What makes the latents from the last convolution: nothing, a linear map, or the mean of a Gaussian posterior."""
    posterior_norm: bool = False
    """Whether the posterior's mean less `running_mean` is multiplied by √((1 - `running_noise`) / (`running_var` +
    1e-5))."""
    gru_units: int
    """Units of the GRU that makes the output; 0 for none."""
    gru_bidirectional: bool = False
    """Whether a second GRU reads from the end, so that the output has twice as many channels."""
    hop_samples: int
    """Samples of audio from one frame of the output to the next."""

    @property
    def channels_out(self) -> int:
        """Channels of the output."""
        return self.gru_units * (1 + self.gru_bidirectional) or self.channels


class NormalizeRecord(ExportRecord):
    """Normalization of the input, which is part of the encoder."""

    mode: Normalize
    mean: float | None
    std: float | None = Field(ge=0)
    """Mean and standard deviation of the training audio in [-1, 1]; mode `corpus` normalizes by them."""

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if self.mode == "corpus" and (self.mean is None or self.std is None):
            raise ValueError("mode corpus needs mean and std")
        return self


class ModuleFigures(ExportRecord):
    """What the run measured of a module last, on validation where it validated."""

    module: int
    nce: float | None = None
    """Contrastive loss in nats."""
    accuracy: float | None = None
    """Share of positives that score above all negatives."""
    kl_per_frame: float | None = None
    """KL divergence in nats a frame; None without a posterior."""


class ProbeFigures(ExportRecord):
    """The result of a linear probe."""

    task: str
    variant: str
    """Options that differ from the defaults; empty for the defaults."""
    encoder: str
    module: int | None
    layer: int | None
    concat: tuple[int, ...] = ()
    """Modules whose outputs were concatenated."""
    accuracy: float
    low: float
    high: float
    """Ends of the 95 % interval over utterances."""
    majority: float
    """Accuracy of always saying the most frequent class."""
    step: int | None


class DataFacts(ExportRecord):
    """The data of the training."""

    fingerprint: str
    corpus: str = ""
    """Name of the corpus; empty if the shards could not be read when the encoder was exported."""
    title: str = ""
    license: str = ""
    """License of the corpus as its publisher states it; empty if it is not known."""
    variant: str = ""
    hours: float | None = None
    utterances: int | None = None
    speakers: int | None = None
    """Size of the train split."""


class Facts(ExportRecord):
    """What the model card tells beside the architecture."""

    run: str
    """Name of the run."""
    data: DataFacts
    figures_from: str = ""
    """Where the modules' figures come from, such as `validation at step 200`; empty if there are none."""
    chance: float | None = None
    """Contrastive loss at chance, in nats."""
    chance_formula: str = ""
    modules: tuple[ModuleFigures, ...] = ()
    probes: tuple[ProbeFigures, ...] = ()
    verdict: tuple[str, ...] = ()
    """Sentences on what the figures mean; empty for a checkpoint that is not the run's newest, and in older exports."""
    license: str = ""
    """License of the weights, as the exporter states it; empty if it is not stated."""


class ExportedConfig(ExportRecord):
    """The content of `config.json`."""

    format: Literal["vgim-encoder"] = "vgim-encoder"
    format_version: Literal[1] = 1
    sample_rate_hz: int = 16_000
    family: str
    normalize: NormalizeRecord
    min_samples: int
    """Fewest samples of which every module makes a frame."""
    modules: tuple[ModuleRecord, ...]
    facts: Facts
    run_config: dict[str, Any]
    """Config of the run, without paths and the cluster."""
    training: dict[str, Any]
    """Training state of the checkpoint, without its files."""
    versions: dict[str, str]
    """Versions of the packages that wrote the export."""
    created: str
    files: dict[str, FileStamp] = Field(min_length=1)
    """Size and hash of the weights."""


def is_export(folder: Location) -> bool:
    """Whether a folder looks like an exported encoder."""
    return folder.child(CONFIG).exists() and folder.child(WEIGHTS).exists()


def read_exported_config(folder: Location) -> ExportedConfig:
    """The config of an exported folder.

    Raises:
        CheckpointError: It is damaged, or of another format.
        StorageError: It cannot be read.
    """
    path = folder.child(CONFIG)
    try:
        return ExportedConfig.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CheckpointError(
            f"{path.uri} does not read as the config of an exported encoder ({first_problem(error)}); export the run "
            "again, or load the folder with its own vgim_encoder.py"
        ) from error


def load_exported(folder: Location, device: str | torch.device = "cpu") -> FrozenEncoder:
    """Load the encoder of an exported folder.

    Its `checkpoint` has the training state and no files. The loss's predictors are not exported, and are not trained.

    Raises:
        CheckpointError: A file is missing or damaged, or the files are of two exports.
        StorageError: The storage cannot be read.
    """
    record = read_exported_config(folder)
    try:
        config = RunConfig.model_validate(record.run_config)
        state = TrainingState.model_validate({**record.training, "files": {}})
    except ValidationError as error:
        raise CheckpointError(
            f"{folder.child(CONFIG).uri} is damaged or of another version of vgim ({first_problem(error)}); export the "
            "run again"
        ) from error
    encoder = build_encoder(config.model, config.objective, config.train.seed)
    if module_records(encoder) != record.modules:
        raise CheckpointError(
            f"{folder.child(CONFIG).uri} is damaged: its modules are not those of its run_config; export the run again"
        )
    _load(encoder, _read_weights(folder, record), folder)
    statistics = None
    if record.normalize.mean is not None and record.normalize.std is not None:
        statistics = Statistics(record.normalize.mean, record.normalize.std)
    normalizer = Normalizer(record.normalize.mode, statistics)
    return FrozenEncoder(encoder, normalizer, config, Checkpoint(folder, state)).to(device)


def module_records(encoder: Encoder) -> tuple[ModuleRecord, ...]:
    """The architecture of an encoder's modules."""
    records = []
    for index in range(len(encoder)):
        spec = encoder.module(index).spec
        relus = spec.relus or (True,) * len(spec.convs)
        convs = tuple(
            ConvRecord(
                kernel=conv.kernel,
                stride=conv.stride,
                padding=conv.padding,
                batch_norm=relu and encoder.model.batch_norm != "none",
                relu=relu,
                preemphasis=spec.preemphasis if number == 0 else 0.0,
            )
            for number, (conv, relu) in enumerate(zip(spec.convs, relus, strict=True))
        )
        records.append(
            ModuleRecord(
                convs=convs,
                channels_in=spec.channels_in,
                channels=spec.channels,
                head="gaussian" if spec.posterior else "linear" if spec.head else "none",
                posterior_norm=spec.posterior_norm,
                gru_units=spec.gru_units,
                gru_bidirectional=spec.gru_bidirectional,
                hop_samples=encoder.hop_samples(index),
            )
        )
    return tuple(records)


def _read_weights(folder: Location, record: ExportedConfig) -> dict[str, Tensor]:
    path = folder.child(WEIGHTS)
    stamp = record.files.get(WEIGHTS)
    data = path.read_bytes()
    if stamp is None or len(data) != stamp.bytes or hashlib.sha256(data).hexdigest() != stamp.sha256:
        raise CheckpointError(
            f"{path.uri} is damaged, or of another export than {CONFIG} beside it; copy the folder again, or export "
            "the run again"
        )
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path.uri} does not read ({error}); export the run again") from error
    return tensors


def _load(encoder: Encoder, tensors: dict[str, Tensor], folder: Location) -> None:
    ours = {name: tensor.shape for name, tensor in encoder.state_dict().items() if LOSS_ONLY not in name}
    theirs = {name: tensor.shape for name, tensor in tensors.items()}
    wrong = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    if wrong:
        raise CheckpointError(
            f"{folder.child(WEIGHTS).uri} has other tensors than {CONFIG} says, first {wrong[0]}; export the run again"
        )
    encoder.load_state_dict(tensors, strict=False)
