"""Units of the KL term; importable without torch, for readers of a run's figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

KLReduction = Literal["time_sum", "mean", "frame"]
Nats = TypeVar("Nats", float, "Tensor")


def in_unit(kl_per_element: Nats, num_frames: int, num_channels: int, reduction: KLReduction) -> Nats:
    """The KL term [] from the mean of KL over all elements."""
    if reduction == "mean":
        return kl_per_element
    return kl_per_element * (num_frames if reduction == "time_sum" else num_channels)
