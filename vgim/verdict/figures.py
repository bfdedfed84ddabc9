"""The figures of a run that a verdict is made from: plain values, without files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from vgim.config import RunConfig
from vgim.downstream.result import ProbeResult

Curve = tuple[tuple[int, float], ...]
"""Optimizer step and InfoNCE in nats, oldest first."""


class Measurement(NamedTuple):
    """A mean InfoNCE."""

    nce: float | None
    """In nats; None if it was not finite."""
    num_crops: int | None
    """Crops that it is a mean over; None if that is unknown."""


@dataclass(frozen=True)
class ModuleFigures:
    """What training recorded of a module."""

    module: int
    num_spans: int
    """Stretches of a crop that predictions of the module see apart: frames of the window over prediction steps."""
    has_posterior: bool = False
    validation: Measurement | None = None
    """The latest validation; None without any."""
    training: Measurement | None = None
    """Mean over the records of the last tenth of the module's steps; None for a module that was not trained."""
    curve: Curve = ()
    """InfoNCE on training batches."""
    validations: Curve = ()
    """InfoNCE on the validation split."""
    steps: int = 0
    """Optimizer steps that trained the module."""
    kld_weight: float | None = None
    """Weight of the KL term at the last recorded step; None if none is recorded."""
    rate: float | None = None
    """KL in nats a frame on training batches, of the last record; None if none is recorded."""
    active_units: float | None = None
    """Latest share of active units, of validation if there is any."""
    has_collapse_event: bool = False
    """Whether training recorded that the module collapsed, and not that it recovered."""


class LatentFigures(NamedTuple):
    """What the analysis of a module's latents found."""

    module: int
    step: int
    """Optimizer steps behind the weights."""
    active_share: float
    """Share of dimensions whose mean varies over frames."""


@dataclass(frozen=True)
class RunFigures:
    """What a run's folder says about the run."""

    uri: str
    config: RunConfig
    state: str = "finished"
    """A state of `vgim runs`."""
    message: str = ""
    """Why the run failed, or how it ended."""
    error: str = ""
    """Class name of the error that ended the run."""
    command: Sequence[str] = ()
    """The command that started the run; empty if it is not known, or if its preset has changed since."""
    step: int = 0
    """Optimizer steps that the run has taken."""
    epoch: float = 0.0
    modules: tuple[ModuleFigures, ...] = ()
    hours: float | None = None
    """Audio of the train split; None if the shards cannot be read."""
    task: str = "speaker"
    """The probe that the shards have labels for: phone before syllable before speaker."""
    probes: Sequence[ProbeResult] = field(default_factory=tuple)
    """The newest result of each kind."""
    latents: tuple[LatentFigures, ...] = ()
    """Analyses of the distribution of latents, by module."""
    has_latents: bool = False
    """Whether latents were analyzed."""
    has_decoder: bool = False
    """Whether a decoder was trained."""

    @property
    def trained(self) -> tuple[ModuleFigures, ...]:
        """The modules of which training recorded anything."""
        return tuple(m for m in self.modules if m.validation is not None or m.training is not None)
