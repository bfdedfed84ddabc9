"""The model agrees with the oracle: losses, accuracy, latents and the gradient of every parameter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model.cases import assert_agree, audio, expect, small_encoder
from vgim.model.randomness import DrawKey


def check_all_modules(
    num_crops: int,
    num_samples: int,
    *,
    kld_weight: float = 0.0,
    deterministic: bool = False,
    model: dict[str, Any] | None = None,
    **objective: Any,
) -> None:
    encoder = small_encoder(model=model, **objective)
    x = audio(num_crops, num_samples)
    for index in range(len(encoder)):
        module = encoder.module(index)
        draws = module.draw(x, DrawKey(seed=3, step=index), deterministic=deterministic)
        out = module(x, draws, kld_weight)
        assert_agree(module, out, expect(module, x, draws, kld_weight))
        x = out.latents


@pytest.mark.parametrize("negatives", ["batch", "sequence", "exact", "global"])
@pytest.mark.parametrize("family", ["sim", "gim", "cpc"])
def test_every_family_with_every_kind_of_negatives(family: str, negatives: str) -> None:
    check_all_modules(
        3,
        60,
        model={"family": family},
        kld_weight=0.03 if family == "sim" else 0.0,
        prediction_steps=3,
        num_negatives=4,
        negatives=negatives,
        window_frames=7,
    )


@pytest.mark.parametrize("steps", [10, 12])
@pytest.mark.parametrize("window", [0, 14])
def test_published_numbers_of_steps(steps: int, window: int) -> None:
    check_all_modules(
        2,
        180,
        model={"layers_per_module": (1, 2)},
        prediction_steps=steps,
        num_negatives=10,
        window_frames=window,
        kld_weight=0.0035,
    )


@pytest.mark.parametrize("batch_norm", ["none", "local", "sync"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_normalization_and_deterministic_latents(batch_norm: str, deterministic: bool) -> None:
    check_all_modules(
        3,
        48,
        model={"batch_norm": batch_norm},
        deterministic=deterministic,
        prediction_steps=2,
        num_negatives=3,
        kld_weight=0.01,
    )


@pytest.mark.parametrize("reduction", ["time_sum", "mean", "frame"])
@pytest.mark.parametrize("free_bits", [0.0, 0.3])
def test_kl_reductions_and_free_bits(reduction: str, free_bits: float) -> None:
    check_all_modules(
        2,
        60,
        kld_weight=0.5,
        kl_reduction=reduction,
        free_bits=free_bits,
        prediction_steps=2,
        num_negatives=2,
    )


@pytest.mark.parametrize("free_bits", [0.0, 0.3])
@pytest.mark.parametrize("posterior_norm", ["local", "sync"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_normalized_posteriors(posterior_norm: str, deterministic: bool, free_bits: float) -> None:
    check_all_modules(
        3,
        60,
        model={"posterior_norm": posterior_norm},
        deterministic=deterministic,
        kld_weight=0.3,
        kl_reduction="frame",
        free_bits=free_bits,
        prediction_steps=2,
        num_negatives=3,
        window_frames=5,
    )


@pytest.mark.parametrize(
    "model",
    [
        {"family": "gim"},
        {"family": "gim", "batch_norm": "none", "layers_per_module": (1, 1, 1)},
        {"family": "cpc"},
        {"family": "cpc", "gru_units": 0},
    ],
)
def test_a_linear_head(model: dict[str, Any]) -> None:
    check_all_modules(3, 60, model={"head": "linear", **model}, prediction_steps=3, num_negatives=4)


@pytest.mark.parametrize("batch_norm", ["none", "local", "sync"])
@pytest.mark.parametrize(
    ("model", "relus"),
    [
        ({"family": "cpc", "head": "linear"}, (True, False, True)),
        ({"family": "cpc"}, (True, True, False)),
        ({"family": "gim"}, (False, True, False)),
        ({"family": "sim"}, (True, False, True)),
    ],
)
def test_layers_without_a_relu(model: dict[str, Any], relus: tuple[bool, ...], batch_norm: str) -> None:
    model = {**model, "relus": relus, "batch_norm": batch_norm}
    check_all_modules(3, 60, model=model, prediction_steps=3, num_negatives=4)


@pytest.mark.parametrize("gru_units", [0, 4])
def test_cpc_with_and_without_a_gru(gru_units: int) -> None:
    check_all_modules(2, 80, model={"family": "cpc", "gru_units": gru_units}, prediction_steps=2)


@pytest.mark.parametrize("negatives", ["batch", "sequence", "exact", "global"])
@pytest.mark.parametrize("family", ["sim", "cpc"])
def test_a_gru_that_reads_from_the_end_too(family: str, negatives: str) -> None:
    model = {"family": family, "gru_bidirectional": True}
    check_all_modules(3, 90, model=model, prediction_steps=3, negatives=negatives, window_frames=5)


def test_steps_of_each_module() -> None:
    check_all_modules(3, 60, prediction_steps=(7, 2, 4), num_negatives=3, kld_weight=0.01)


def test_more_steps_than_frames() -> None:
    check_all_modules(1, 30, prediction_steps=12, num_negatives=2, negatives="exact")


@settings(max_examples=15, deadline=None)
@given(
    num_crops=st.integers(1, 5),
    num_samples=st.integers(24, 70),
    steps=st.integers(1, 6),
    num_negatives=st.integers(1, 5),
    window=st.sampled_from([0, 2, 3, 5]),
    negatives=st.sampled_from(["batch", "sequence", "exact"]),
    family=st.sampled_from(["sim", "gim"]),
    head=st.sampled_from(["none", "linear"]),
)
def test_any_shape(
    num_crops: int,
    num_samples: int,
    steps: int,
    num_negatives: int,
    window: int,
    negatives: str,
    family: str,
    head: str,
) -> None:
    head = "none" if family == "sim" else head
    check_all_modules(
        num_crops,
        num_samples,
        model={"family": family, "batch_norm": "none", "gru_units": 0, "head": head},
        kld_weight=0.1 if family == "sim" else 0.0,
        prediction_steps=steps,
        num_negatives=num_negatives,
        window_frames=window,
        negatives=negatives,
    )


@pytest.mark.parametrize("family", ["gim", "cpc"])
def test_heads_of_half_precision_follow_fp32(family: str) -> None:
    model = {"family": family, "head": "linear", "relus": (True, False, True), "channels": 32}
    module, x = small_encoder(model=model).float().module(0), audio(4, 200).float()
    exact = module(x, module.draw(x, DrawKey(0, 0)))
    with torch.autocast("cpu", torch.bfloat16):
        out = module(x, module.draw(x, DrawKey(0, 0)))
    out.loss.backward()
    assert out.loss.dtype == torch.float32
    torch.testing.assert_close(out.loss, exact.loss, rtol=0.03, atol=0.03)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_half_precision_keeps_losses_in_fp32() -> None:
    encoder = small_encoder(model={"channels": 32}).float()
    x = audio(4, 200).float()
    for index in range(len(encoder)):
        module = encoder.module(index)
        draws = module.draw(x, DrawKey(0, 0))
        exact = module(x, draws, 0.01)
        with torch.autocast("cpu", torch.bfloat16):
            out = module(x, draws, 0.01)
        out.loss.backward()
        assert {out.loss.dtype, out.nce.dtype, out.kl.dtype, out.latents.dtype} == {torch.float32}
        torch.testing.assert_close(out.loss, exact.loss, rtol=0.03, atol=0.03)
        x = exact.latents
