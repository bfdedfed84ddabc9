"""State dicts of the public reference, and its latents computed from the formulas."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

CHANNELS, UNITS, STEPS = 6, 5, 3
KERNELS, STRIDES, PADDINGS = (10, 8, 4, 4, 4), (5, 4, 2, 2, 2), (2, 2, 2, 2, 1)
SIZES = (
    f"model.channels={CHANNELS}",
    f"model.gru_units={UNITS}",
    "model.gru_bidirectional=false",
    f"objective.prediction_steps={STEPS}",
)
GREEDY, ONE = ((0, 1), (2, 3), (4,)), ((0, 1, 2, 3, 4),)

State = dict[str, Tensor]


def reference_state(
    family: str, norm: bool, heads: bool, seed: int = 0, prefix: str = "module.", drawn: tuple[str, ...] = ()
) -> State:
    """A state dict as the reference saves it, every tensor random, biases before BatchNorm included.

    Args:
        drawn: Heads, "mu" or "var", that look as torch draws them: uniform in ±1/√C.
    """
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng) / math.sqrt(max(1, math.prod(shape[1:])))

    state: State = {}
    modules = ONE if family == "cpc" else GREEDY
    for m, layers in enumerate(modules):
        name = f"{prefix}fullmodel.{m}."
        for j, layer in enumerate(layers):
            conv = f"{name}encoder.encoder.{j}."
            state[conv + "0.weight"] = draw(CHANNELS, 1 if layer == 0 else CHANNELS, KERNELS[layer])
            state[conv + "0.bias"] = draw(CHANNELS)
            if norm:
                state[conv + "1.weight"] = 1 + 0.1 * draw(CHANNELS)
                state[conv + "1.bias"] = draw(CHANNELS)
                state[conv + "1.running_mean"] = draw(CHANNELS)
                state[conv + "1.running_var"] = 0.5 + draw(CHANNELS).square()
                state[conv + "1.num_batches_tracked"] = torch.tensor(7)
        for head in ("mu", "var") if heads else ():
            state[f"{name}encoder.encoder_{head}.weight"] = draw(CHANNELS, CHANNELS, 1)
            state[f"{name}encoder.encoder_{head}.bias"] = draw(CHANNELS)
            if head in drawn:
                for part in ("weight", "bias"):
                    tensor = state[f"{name}encoder.encoder_{head}.{part}"]
                    tensor.uniform_(-(CHANNELS**-0.5), CHANNELS**-0.5, generator=rng)
        width = CHANNELS
        if family == "cpc":
            state |= _gru(draw, name)
            width = UNITS
        state[name + "loss.predictor.weight"] = draw(STEPS * CHANNELS, width)
    if family != "cpc":
        name = f"{prefix}fullmodel.{len(modules)}."
        state |= _gru(draw, name)
        state[name + "loss.predictor.weight"] = draw(STEPS * CHANNELS, UNITS)
    return state


def _gru(draw: Any, name: str) -> State:
    shapes = {"weight_ih_l0": CHANNELS, "weight_hh_l0": UNITS}
    state = {f"{name}autoregressor.gru.{key}": draw(3 * UNITS, width) for key, width in shapes.items()}
    return state | {f"{name}autoregressor.gru.bias_{side}_l0": draw(3 * UNITS) for side in ("ih", "hh")}


def reference_latents(state: State, x_BL: Tensor, module: int) -> tuple[Tensor, Tensor]:
    """z = μ and c of a module from the formulas: convolution, BatchNorm, ReLU; 1×1 head; GRU, c = z without one."""
    z = x_BL[:, None]
    layer = 0
    for m in range(module + 1):
        name = f"module.fullmodel.{m}."
        j = 0
        while (conv := f"{name}encoder.encoder.{j}.") + "0.weight" in state:
            z = F.conv1d(z, state[conv + "0.weight"], state[conv + "0.bias"], STRIDES[layer], PADDINGS[layer])
            if conv + "1.weight" in state:
                std = (state[conv + "1.running_var"] + 1e-5).sqrt()
                z = (z - state[conv + "1.running_mean"][:, None]) / std[:, None]
                z = z * state[conv + "1.weight"][:, None] + state[conv + "1.bias"][:, None]
            z = z.clamp(min=0)
            j, layer = j + 1, layer + 1
        if j and f"{name}encoder.encoder_mu.weight" in state:
            z = F.conv1d(
                z, state[f"{name}encoder.encoder_mu.weight"], state[f"{name}encoder.encoder_mu.bias"]
            )
    z = z.mT
    gru = f"module.fullmodel.{module}.autoregressor.gru."
    if gru + "weight_hh_l0" not in state:
        return z, z
    h = torch.zeros(len(z), UNITS)
    contexts = []
    for t in range(z.shape[1]):
        from_z = z[:, t] @ state[gru + "weight_ih_l0"].T + state[gru + "bias_ih_l0"]
        from_h = h @ state[gru + "weight_hh_l0"].T + state[gru + "bias_hh_l0"]
        (rz, uz, nz), (rh, uh, nh) = from_z.chunk(3, 1), from_h.chunk(3, 1)
        reset, update = torch.sigmoid(rz + rh), torch.sigmoid(uz + uh)
        h = (1 - update) * torch.tanh(nz + reset * nh) + update * h
        contexts.append(h)
    return z, torch.stack(contexts, 1)


def preset_of(family: str, norm: bool) -> list[str]:
    return [*SIZES, f"model.batch_norm={'local' if norm else 'none'}"]


def save(state: Any, path: Path) -> str:
    torch.save(state, path)
    return str(path)


AUDIO = torch.randn(2, 2000, generator=torch.Generator().manual_seed(3))


def without(state: State, key: str) -> State:
    return {name: value for name, value in state.items() if name != key}


def with_tensors(state: State, **tensors: Tensor) -> State:
    return {**state, **{key.replace("__", "."): value for key, value in tensors.items()}}


SIM = reference_state("sim", norm=True, heads=True)
