"""The sections that define the encoder and its loss."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vgim.config.choices import CONTRASTIVE_LOSSES, NEGATIVES, OneOf, describe
from vgim.config.section import MAX_COUNT, MAX_LAYERS, MAX_WEIGHT, MAX_WIDTH, MAY_CHANGE, Section

Family = Literal["sim", "gim", "cpc"]
"""Families of encoders."""
NormKind = Literal["none", "local", "sync"]
"""Which batches a normalization takes its statistics from. none: there is no normalization; local: each rank's own;
sync: those of all ranks."""

LayerSize = Annotated[int, Field(le=65_536)]
"""Kernel, stride or padding of a convolution, or a number of convolutions."""


EXTRA_LAYER = (3, 1, 1)
"""Kernel, stride and padding of a convolution of `model.extra_modules`."""


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
    extra_modules: int = Field(0, ge=0, le=MAX_LAYERS)
    """Further greedy modules between those of `layers_per_module` and the GRU, of convolutions with kernel 3, stride 1
    and padding 1, which keep every frame; 4 make eight modules of the published four. cpc gets their convolutions."""
    extra_layers: int = Field(1, ge=1, le=MAX_LAYERS)
    """Convolutions of each of the `extra_modules`."""
    gru_units: int = Field(256, ge=0, le=MAX_WIDTH)
    """Units of the GRU, the last module, which reads the last convolutional latents; 0 for no GRU."""
    gru_bidirectional: bool = False
    """Whether the GRU, if there is one, has a second direction of as many units, which reads the latents from the end
    and predicts those before; the output has both contexts side by side, and the loss is the mean of both."""
    depth: int = Field(0, ge=0, le=2 * MAX_LAYERS + 1)
    """Modules that are trained, counted from the input (the GRU is the last); 0 for all. Greedy families only."""
    batch_norm: NormKind = "local"
    """BatchNorm1d between each convolution and its ReLU. none: no normalization; local: statistics of each rank's
    batch; sync: statistics over the batches of all ranks."""
    posterior_norm: NormKind = "none"
    """Family sim: divides the variance 1 of each channel of z between μ and σ², so that z has mean 0 and variance 1
    over the data whatever the weight of the KL, and the KL counts nothing but what z tells of the audio. none: μ and
    σ² are free, as published; local: by statistics of each rank's batch; sync: of the batches of all ranks."""
    preemphasis: float = Field(0.0, ge=0, le=0.999)
    """a: each sample less a times the one before, over √(1 − a²), is what the first convolution reads, so that the low
    frequencies, which hold most of speech's energy, do not hide the others (0.97 is usual); 0: the audio itself."""
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
        if self.extra_layers > 1 and not self.extra_modules:
            raise ValueError(
                f"extra_layers={self.extra_layers} has no effect without extra modules; set extra_modules, or leave "
                "extra_layers at 1"
            )
        if self.family == "cpc" and self.depth:
            raise ValueError("depth has no meaning for cpc, which is one module; leave it at 0")
        if self.depth > self.full_depth:
            raise ValueError(
                f"depth={self.depth} but there are only {self.full_depth} modules; use 0 for all of them"
            )
        if self.family == "sim" and self.head != "none":
            raise ValueError(
                f"head={self.head} has no place in family sim, whose latents are made by its posterior; use head=none, "
                "or family gim or cpc"
            )
        return self

    @property
    def num_modules(self) -> int:
        """Modules with a loss of their own."""
        return self.depth or self.full_depth

    @property
    def full_depth(self) -> int:
        """Modules of the whole encoder, whatever `depth` is."""
        return 1 if self.family == "cpc" else len(self.module_sizes) + (self.gru_units > 0)

    @property
    def module_sizes(self) -> tuple[int, ...]:
        """Convolutions of each greedy module of convolutions, the extra ones too, whatever the depth."""
        return (*self.layers_per_module, *(self.extra_modules * (self.extra_layers,)))

    @property
    def convolutions(self) -> tuple[tuple[int, int, int, bool], ...]:
        """Kernel, stride and padding of each convolution, the extra ones too, and whether a ReLU follows it."""
        relus = self.relus or len(self.kernels) * (True,)
        extra = self.extra_modules * self.extra_layers * ((*EXTRA_LAYER, True),)
        return (*zip(self.kernels, self.strides, self.paddings, relus, strict=True), *extra)


MAX_STEPS_AHEAD = 1024
MAX_RATE_A_CHANNEL = 10.0
"""Nats a frame and channel, more than a posterior reaches without a KL term: a larger rate is meant a frame."""
StepsAhead = Annotated[int, Field(ge=1, le=MAX_STEPS_AHEAD)]
"""K of a module: the frames ahead that it predicts."""


class ObjectiveConfig(Section):
    """The contrastive loss and the KL term."""

    loss: Annotated[str, OneOf(CONTRASTIVE_LOSSES)] = Field(
        "info_nce", description=describe(CONTRASTIVE_LOSSES)
    )
    prediction_steps: StepsAhead | Annotated[tuple[StepsAhead, ...], Field(max_length=2 * MAX_LAYERS + 1)] = (
        Field(
            12,
            json_schema_extra={
                "in_words": f"an integer at least 1 and at most {MAX_STEPS_AHEAD}, or a list with one for each module"
            },
        )
    )
    """K: number of future latents that each context predicts; one number, or a list with one for each module of the
    whole encoder, also where model.depth leaves some out."""
    num_negatives: int = Field(10, ge=1, le=65_536)
    """N: negatives per positive."""
    negatives: Annotated[str, OneOf(NEGATIVES)] = Field("batch", description=describe(NEGATIVES))
    predictor_init: Literal["zero", "uniform"] = "zero"
    """zero: the loss starts at chance, ln(1 + N); uniform: as published, where scores start as noise of standard
    deviation sqrt(C/3), which training has to unlearn."""
    window_frames: int = Field(128, ge=0, le=1_000_000)
    """Frames of a crop that are contexts and positives, if a module has more; 0 uses all."""
    kld_weight: float = Field(0.0, ge=0, le=MAX_WEIGHT)
    """Weight of the KL term; the weight to start from under target_rate."""
    kl_reduction: Literal["time_sum", "mean", "frame"] = "time_sum"
    """Unit of the KL term. time_sum: sum over time, mean over channels and batch (as published); mean: mean over all
    elements; frame: nats a frame, summed over channels, mean over frames and batch, so that one kld_weight means the
    same at every width and depth (the β of a β-VAE)."""
    kld_warmup_steps: int = Field(0, ge=0, le=MAX_COUNT)
    """Optimizer steps over which kld_weight rises linearly from 0."""
    target_rate: float = Field(0.0, ge=0, le=MAX_WEIGHT)
    """Nats a frame at which each module's KL is held: after the warm-up, its KL weight rises while the KL is above and
    falls while it is below. 0: the weight stays at kld_weight."""
    target_rate_unit: Literal["frame", "channel"] = "frame"
    """What target_rate counts. frame: nats a frame; channel: nats a frame and channel, so that one rate makes latents
    equally normal at every width."""
    free_bits: float = Field(0.0, ge=0, le=MAX_WEIGHT)
    """Nats per dimension and frame below which the KL term has no gradient."""
    logvar_max: Annotated[float, Field(ge=0, le=80)] | Literal["none"] = "none"
    """Largest log σ² of a posterior; a larger one counts as this much and gets no gradient. none: no bound, as
    published."""
    on_collapse: Literal["warn", "stop"] = Field("warn", json_schema_extra=MAY_CHANGE)
    """warn: write an event if a module's posterior collapses; stop: end the run with an error."""
    collapse_patience_steps: int = Field(200, ge=1, le=MAX_COUNT, json_schema_extra=MAY_CHANGE)
    """Steps after the warm-up for which a posterior must look collapsed before it counts as collapsed."""

    @model_validator(mode="after")
    def _rate_is_of_its_unit(self) -> ObjectiveConfig:
        if self.target_rate_unit == "channel" and self.target_rate > MAX_RATE_A_CHANNEL:
            raise ValueError(
                f"target_rate={self.target_rate:g} is more than {MAX_RATE_A_CHANNEL:g} nats a frame and channel; "
                "if it is meant a frame, set target_rate_unit=frame"
            )
        return self

    def steps_of_module(self, module: int) -> int:
        """K of a module, counted from the input."""
        steps = self.prediction_steps
        return steps if isinstance(steps, int) else steps[module]

    @property
    def plain_steps(self) -> int | tuple[int, ...]:
        """`prediction_steps`, as one number where all modules have the same."""
        steps = self.prediction_steps
        return steps[0] if isinstance(steps, tuple) and len(set(steps)) == 1 else steps
