"""What a greedy module's forward pass returns, and the metrics in it.

Shapes: B crops, T frames, W window frames, C channels.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from vgim.model.precision import at_least_fp32

ACTIVE_VARIANCE = 0.01
"""A unit is active if its mean varies more than this over the data (Burda et al. 2015, appendix C)."""


class ModuleOutput(NamedTuple):
    """Output of a forward pass: its metrics, scalars of which only `loss` has a graph, and the latents."""

    loss: Tensor
    """Contrastive loss + kld_weight · KL, with a graph."""
    nce: Tensor
    """Contrastive loss; InfoNCE is in nats, and ln(1 + N) is chance."""
    kl: Tensor
    """KL in nats, summed over time, mean over crops and channels (the published unit), before free bits."""
    kl_per_element: Tensor
    """KL in nats, mean over crops, frames and channels, which compares across depths."""
    kl_per_frame: Tensor
    """KL in nats, summed over channels, mean over crops and frames, which compares across depths and widths."""
    accuracy: Tensor
    """Share of positives that score above all of their negatives; a tie counts as wrong."""
    active_units: Tensor | None
    """Share of channels whose mean has a variance above ACTIVE_VARIANCE; None if not measured."""
    latents: Tensor
    """z [B, T, C], detached."""

    def metrics(self) -> dict[str, Tensor]:
        """The measured metrics by name, detached."""
        values = {name: getattr(self, name) for name in METRICS}
        return {name: value.detach() for name, value in values.items() if value is not None}


class Encoded(NamedTuple):
    """A module's latents, and what of its forward pass the loss needs besides."""

    latents: Tensor
    """Targets z [B, T, C], with a graph."""
    contexts: Tensor | None
    """Contexts c [B, W, C] of the window, sampled from the posterior; None without a posterior."""
    mean: Tensor
    """μ [B, T, C], or z without a posterior."""
    penalty: Tensor | None
    """The KL term, [], with a graph; None without a posterior, or if its weight is the number 0."""
    kl_per_element: Tensor
    """Mean KL per element in nats, [], detached; 0 without a posterior."""


METRICS = tuple(name for name in ModuleOutput._fields if name != "latents")
"""Names of a module's metrics: the scalars of its output. Steps, records and validations hold all of them."""
METRICS_ON_REQUEST = ("active_units",)
"""Metrics that a forward pass measures only if it is told to, because a step's record alone needs them."""


def active_units(mean_BTC: Tensor) -> Tensor:
    """Share of channels whose mean has a variance above ACTIVE_VARIANCE over frames, [] (Burda et al. 2015)."""
    mean_RC = at_least_fp32(mean_BTC).flatten(0, 1)
    return (mean_RC.var(0) > ACTIVE_VARIANCE).to(mean_RC.dtype).mean()
