"""Small encoders in fp64, and the oracle's results for their modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tests.model import oracle
from vgim.config.schema import ModelConfig, ObjectiveConfig
from vgim.model.draws import Draws
from vgim.model.module import GreedyModule
from vgim.model.module_output import ModuleOutput
from vgim.model.stack import Encoder, build_encoder

SMALL: dict[str, Any] = {
    "channels": 5,
    "kernels": (5, 4, 3),
    "strides": (3, 2, 2),
    "paddings": (2, 1, 1),
    "layers_per_module": (2, 1),
    "gru_units": 4,
}


def small_encoder(seed: int = 0, *, model: dict[str, Any] | None = None, **objective: Any) -> Encoder:
    """An encoder of few channels in fp64, in training mode."""
    return build_encoder(
        ModelConfig(**{**SMALL, **(model or {})}),
        ObjectiveConfig(**{"predictor_init": "uniform", **objective}),
        seed,
    ).double()


def audio(num_crops: int, num_samples: int, seed: int = 0) -> Tensor:
    """Noise [B, L] in fp64."""
    return torch.randn(
        num_crops, num_samples, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


@dataclass
class Expected:
    """The oracle's results for one pass of a module."""

    loss: Tensor
    nce: Tensor
    kl: Tensor
    kl_per_element: Tensor
    kl_per_frame: Tensor
    accuracy: float
    latents: Tensor
    gradients: dict[str, Tensor]


def expect(module: GreedyModule, x: Tensor, draws: Draws, kld_weight: float) -> Expected:
    """The oracle's results for a module's pass, with the gradients of all parameters."""
    w = {name: p.detach().clone().requires_grad_() for name, p in module.named_parameters()}
    spec, objective = module.spec, module.objective
    h = x
    if spec.convs:
        strides, paddings = [c.stride for c in spec.convs], [c.padding for c in spec.convs]
        relus = list(spec.relus) or [True] * len(strides)
        h = oracle.layers(x, w, strides, paddings, relus)
    start, num_window = draws.window_start, draws.negatives.shape[2]
    zero = torch.zeros((), dtype=x.dtype)
    kl_loss, kl_sum, kl_per_element, kl_per_frame = zero, zero, zero, zero
    if spec.head:
        h = h @ w["head.weight"].T + w["head.bias"]
    z = h
    c = oracle.gru(h, w, "l0") if spec.gru_units else h
    c = c[:, start : start + num_window]
    if spec.posterior:
        both = h @ w["posterior.weight"].T + w["posterior.bias"]
        mu, logvar = both[..., : spec.channels], both[..., spec.channels :]
        if spec.posterior_norm:
            mu, logvar = oracle.normalize_posterior(mu, logvar)
        kl_loss = oracle.kl(mu, logvar, objective.kl_reduction, objective.free_bits)
        kl_sum, kl_per_element, kl_per_frame = (
            oracle.kl(mu, logvar, unit, 0) for unit in ("time_sum", "mean", "frame")
        )
        z, c = mu, mu[:, start : start + num_window]
        if draws.eps_z is not None and draws.eps_c is not None:
            z = mu + torch.exp(logvar / 2) * draws.eps_z
            c = c + torch.exp(logvar[:, start : start + num_window] / 2) * draws.eps_c
    pool = z.reshape(-1, z.shape[-1])
    nce, accuracy = oracle.info_nce(c, z, pool, w["nce.weight"], start, draws.negatives)
    if spec.gru_bidirectional:
        back = z.flip(1)
        c = oracle.gru(back, w, "l0_reverse")[:, start : start + num_window]
        pool = back.reshape(-1, z.shape[-1])
        other, accurate = oracle.info_nce(c, back, pool, w["nce_reverse.weight"], start, draws.negatives)
        nce, accuracy = (nce + other) / 2, (accuracy + accurate) / 2
    loss = nce + kld_weight * kl_loss
    gradients = torch.autograd.grad(loss, list(w.values()), allow_unused=True, materialize_grads=True)
    return Expected(
        loss.detach(),
        nce.detach(),
        kl_sum.detach(),
        kl_per_element.detach(),
        kl_per_frame.detach(),
        accuracy,
        z.detach(),
        dict(zip(w, gradients, strict=True)),
    )


def assert_agree(module: GreedyModule, out: ModuleOutput, expected: Expected) -> None:
    """The pass `out`, run backward here, agrees with the oracle in every number."""
    module.zero_grad()
    out.loss.backward()
    close = {"rtol": 1e-9, "atol": 1e-10}
    for name in ("loss", "nce", "kl", "kl_per_element", "kl_per_frame", "latents"):
        torch.testing.assert_close(
            getattr(out, name).detach(), getattr(expected, name), **close, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert abs(float(out.accuracy) - expected.accuracy) < 1e-9
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, f"{name} got no gradient"
        torch.testing.assert_close(
            parameter.grad, expected.gradients[name], **close, msg=lambda m, n=name: f"gradient of {n}: {m}"
        )
