"""What a step costs on many GPUs, by schedule: a timeline of passes and all-reduces, from costs that were measured.

All schedules take the same step: as many virtual ranks as ranks, each with one micro-batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vgim.schedules.stages import balanced

WEIGHT_BYTES, TRAINED_BYTES = 4, 12
"""Bytes of a parameter: its weight, which every rank holds, and gradient and Adam's moments, where it is trained."""
BUFFERS = 3
"""Micro-batches of latents that a stage holds: two under way and one in use."""


@dataclass(frozen=True)
class Costs:
    """Seconds of one rank's step, by module, and bytes of gradients and activations."""

    forward_s: tuple[float, ...]
    backward_s: tuple[float, ...]
    frozen_s: tuple[float, ...]
    gradient_bytes: tuple[int, ...]
    other_s: float
    """Seconds of the step outside of all modules: the optimizer above all."""
    latent_bytes: tuple[int, ...] = ()
    """Bytes of each module's output on a micro-batch."""

    @property
    def step_s(self) -> float:
        """Seconds of the whole step of one rank."""
        return sum(self.forward_s) + sum(self.backward_s) + self.other_s

    @property
    def module_s(self) -> list[float]:
        """Seconds of each module's pass on a micro-batch."""
        return [forward + backward for forward, backward in zip(self.forward_s, self.backward_s, strict=True)]

    def faster(self, factor: float) -> Costs:
        """The costs on a device that is `factor` times as fast in every part of the step."""
        names = ("forward_s", "backward_s", "frozen_s")
        parts = {name: tuple(s / factor for s in getattr(self, name)) for name in names}
        return replace(self, **parts, other_s=self.other_s / factor)

    def deeper(self, num_modules: int, repeated: int) -> Costs:
        """The costs of a stack with copies of module `repeated` behind it, `num_modules` in all."""
        names = ("forward_s", "backward_s", "frozen_s", "gradient_bytes", "latent_bytes")
        copies = num_modules - len(self.forward_s)

        def repeat(values: tuple[float, ...]) -> tuple[float, ...]:
            return (*values[: repeated + 1], *(copies * (values[repeated],)), *values[repeated + 1 :])

        parts = {name: repeat(getattr(self, name)) for name in names}
        factor = sum(parts["gradient_bytes"]) / sum(self.gradient_bytes)
        return replace(self, **parts, other_s=self.other_s * factor)

    def wider(self, factor: float) -> Costs:
        """The costs with `factor` times the channels: convolutions cost its square, latents the factor."""
        names = ("forward_s", "backward_s", "frozen_s", "gradient_bytes")
        parts = {name: tuple(value * factor**2 for value in getattr(self, name)) for name in names}
        latents = tuple(int(value * factor) for value in self.latent_bytes)
        return replace(self, **parts, other_s=self.other_s * factor**2, latent_bytes=latents)


@dataclass(frozen=True)
class Link:
    """An all-reduce over n ranks takes 2(n - 1)/n · bytes / bandwidth + 2 · log2(n) · latency."""

    bytes_per_s: float
    latency_s: float

    def all_reduce_s(self, num_bytes: float, ranks: int) -> float:
        """Seconds of an all-reduce of `num_bytes` over `ranks`."""
        if ranks < 2:
            return 0.0
        hops = (ranks - 1).bit_length()
        return 2 * (ranks - 1) / ranks * num_bytes / self.bytes_per_s + 2 * hops * self.latency_s

    def send_s(self, num_bytes: float) -> float:
        """Seconds of a transfer from one rank to another."""
        return num_bytes / self.bytes_per_s + self.latency_s


@dataclass(frozen=True)
class Prediction:
    """A step of all ranks."""

    step_s: float
    memory_bytes: float
    """Memory of the rank that holds most: weights, gradients, Adam's moments, and latents under way."""
    stages: str = ""
    """Modules and ranks of each stage, as `0 x4 | 1-3 x2`."""


def joint_s(costs: Costs, link: Link, ranks: int) -> float:
    """Seconds of a joint step: modules in order; each all-reduce starts after its module's backward, one at a time."""
    now = network_free = 0.0
    for own, num_bytes in zip(costs.module_s, costs.gradient_bytes, strict=True):
        now += own
        network_free = max(now, network_free) + link.all_reduce_s(num_bytes, ranks)
    return max(now, network_free) + costs.other_s


def sequential_s(costs: Costs, link: Link, ranks: int) -> float:
    """Seconds of one step of each module's phase, added up: frozen modules, the module itself, its all-reduce."""
    total = 0.0
    for m, num_bytes in enumerate(costs.gradient_bytes):
        share = costs.other_s * num_bytes / sum(costs.gradient_bytes)
        total += sum(costs.frozen_s[:m]) + costs.module_s[m] + link.all_reduce_s(num_bytes, ranks) + share
    return total


def joint(costs: Costs, link: Link, ranks: int, nodes: int) -> Prediction:
    """The joint step of `ranks` ranks on `nodes` nodes, within which all-reduces are free."""
    return Prediction(joint_s(costs, link, nodes), _memory(costs, range(len(costs.forward_s)), 0))


def parallel(costs: Costs, link: Link, ranks: int, ranks_per_node: int) -> Prediction:
    """The step in stages that vgim's own planner places, with `ranks` ranks and as many virtual ranks.

    The slowest stage sets the pace. Latents travel beside the passes; where a transfer takes longer than the passes
    of a micro-batch, it sets the pace.
    """
    placement, replicas = balanced(costs.module_s, ranks, ranks)
    slowest, most = 0.0, 0.0
    for modules, size in zip(placement, replicas, strict=True):
        own = replace(
            costs,
            **{
                name: tuple(getattr(costs, name)[m] for m in modules)
                for name in ("forward_s", "backward_s", "frozen_s", "gradient_bytes")
            },
            other_s=costs.other_s * sum(costs.gradient_bytes[m] for m in modules) / sum(costs.gradient_bytes),
        )
        passes = -(-ranks // size)
        last_s = joint_s(own, link, -(-size // ranks_per_node))
        sent = 0 if modules[-1] == len(costs.forward_s) - 1 else costs.latent_bytes[modules[-1]]
        pass_s = max(sum(own.module_s), link.send_s(sent) if sent else 0.0)
        slowest = max(slowest, (passes - 1) * pass_s + last_s)
        read = costs.latent_bytes[modules[0] - 1] if modules[0] else 0
        most = max(most, _memory(costs, modules, read))
    names = (f"{m[0]}-{m[-1]}" if len(m) > 1 else str(m[0]) for m in placement)
    text = " | ".join(f"{name} x{size}" for name, size in zip(names, replicas, strict=True))
    return Prediction(slowest, most, text)


def _memory(costs: Costs, modules: Sequence[int], latent_bytes: float) -> float:
    trained = sum(costs.gradient_bytes[m] for m in modules) / WEIGHT_BYTES
    weights = sum(costs.gradient_bytes)
    return weights + trained * TRAINED_BYTES + BUFFERS * latent_bytes
