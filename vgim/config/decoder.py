"""A decoder's training run: the encoder it decodes, its loss, and the sections that every run has."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vgim.config.choices import DECODER_LOSS_TERMS, DECODER_LOSSES, PUBLISHED_SUMS, OneOf, describe
from vgim.config.schema import (
    MAX_COUNT,
    MAX_LAYERS,
    MAX_WEIGHT,
    MAX_WIDTH,
    MAY_CHANGE,
    ClusterConfig,
    DataConfig,
    Family,
    OptimConfig,
    RunConfig,
    Section,
    StorageConfig,
    TrainConfig,
)
from vgim.config.stage_rules import check_stages, check_virtual_ranks
from vgim.schedules.registry import SCHEDULES

LOSS_HELP = (
    f"Distance from the audio: one of these terms, mse+TERM for a sum, {', '.join(PUBLISHED_SUMS)} or the sum of that "
    f"and mse. {describe(DECODER_LOSS_TERMS)}"
)

PADDED_TERMS = frozenset({"spectral", "mel", "stft"})
"""Terms of windows that reach beyond the ends of a crop; their functions have a parameter `padding`."""


class SourceConfig(Section):
    """The encoder's checkpoint whose latents are decoded. `vgim decode train` fills this section in."""

    run: str = Field(..., min_length=1, json_schema_extra=MAY_CHANGE)
    """The run that trained the encoder. The encoder is identified by the hash of its weights, not by this path."""
    step: int = Field(..., ge=0, le=MAX_COUNT)
    """Optimizer step of the encoder's checkpoint."""
    weights: str = Field(..., pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the checkpoint's weights."""
    family: Family
    """Family of the encoder."""
    kld_weight: float = Field(0.0, ge=0, le=MAX_WEIGHT)
    """Weight of the KL term in the encoder's training."""
    module: int = Field(..., ge=0, le=MAX_LAYERS)
    """Module whose latents are decoded, from 0."""
    layer: int = Field(-1, ge=-1, le=MAX_LAYERS)
    """Convolution of the module whose output is decoded, from 0; -1 decodes the module's own latents."""
    latents: Literal["mean", "sample"] = "mean"
    """mean: the posterior's mean; sample: a fresh sample of every module's posterior at every step."""


class DecoderModelConfig(Section):
    """The decoder: the encoder's convolutions, transposed, in reverse."""

    channels: int = Field(512, gt=0, le=MAX_WIDTH)
    """Channels between the decoder's layers; `vgim decode train` sets the encoder's number."""
    extra_layers: int = Field(0, ge=0, le=MAX_LAYERS)
    """Layers of width 3 and stride 1 behind each transposed convolution; as published 2 for module 0, else 0."""
    mirror_pointwise: bool = True
    """Whether the encoder's 1×1 convolutions are mirrored; as published they are left out."""


class DecodingObjectiveConfig(Section):
    """The loss of a reconstruction."""

    loss: Annotated[str, OneOf(DECODER_LOSSES)] = Field("mse", description=LOSS_HELP)
    weight: float = Field(1.0, gt=0, le=MAX_WEIGHT)
    """Weight of the other terms in a sum with mse."""
    padding: Literal["zeros", "reflect"] = "zeros"
    """What spectral, mel and stft see beyond the ends of a crop; reflect: as published."""

    @model_validator(mode="after")
    def _padding_has_an_effect(self) -> DecodingObjectiveConfig:
        if self.padding != "zeros" and not PADDED_TERMS.intersection(self.loss.split("+")):
            raise ValueError(
                f"padding={self.padding} has no effect on loss={self.loss}; it is for {', '.join(sorted(PADDED_TERMS))}"
            )
        return self


class ListenConfig(Section):
    """Audio and spectrograms in TensorBoard."""

    every_epochs: int = Field(10, ge=1, le=MAX_COUNT, json_schema_extra=MAY_CHANGE)
    """Epochs between two sets of audio and spectrograms. They are written at validations, the last one included."""
    crops: int = Field(4, ge=0, le=1000, json_schema_extra=MAY_CHANGE)
    """Validation crops, and as many draws from N(0, I), in a set; 0 for none."""


class DecoderConfig(Section):
    """One training run of a decoder."""

    encoder: SourceConfig
    data: DataConfig
    decoder: DecoderModelConfig = Field(default_factory=DecoderModelConfig)
    objective: DecodingObjectiveConfig = Field(default_factory=DecodingObjectiveConfig)
    listen: ListenConfig = Field(default_factory=ListenConfig)
    optim: OptimConfig = Field(default_factory=OptimConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    storage: StorageConfig = Field(default_factory=StorageConfig)

    @model_validator(mode="after")
    def _one_network(self) -> DecoderConfig:
        if SCHEDULES[self.train.schedule].min_modules > 1 or self.train.module_epochs:
            raise ValueError(
                "train.schedule and train.module_epochs have no effect on a decoder, which is one network; "
                "leave them out"
            )
        return self

    @model_validator(mode="after")
    def _ranks_have_work(self) -> DecoderConfig:
        check_virtual_ranks(self.train, self.cluster)
        check_stages(self.train, self.cluster, 1)
        return self

    @model_validator(mode="after")
    def _hears_audio_as_it_is(self) -> DecoderConfig:
        if self.data.augment.is_on:
            raise ValueError(
                "data.augment changes the crops that an encoder learns from; a decoder learns the audio itself; leave "
                "it out"
            )
        return self

    @property
    def family(self) -> str:
        """Family of the encoder."""
        return self.encoder.family

    @property
    def kld_weight(self) -> float:
        """Weight of the KL term in the encoder's training."""
        return self.encoder.kld_weight

    @property
    def target_rate(self) -> float:
        """0, since a decoder has no KL term whose weight could follow one."""
        return 0.0

    @property
    def trained_modules(self) -> tuple[int, ...]:
        """The module whose latents are decoded."""
        return (self.encoder.module,)

    @property
    def architecture(self) -> dict[str, Section]:
        """The sections that decide which weights fit, by name."""
        return {"decoder": self.decoder}


AnyConfig = RunConfig | DecoderConfig
"""Config of anything that the trainer trains."""
