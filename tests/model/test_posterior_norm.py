"""Normalized posteriors: their moments, their KL, and their running statistics."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.model.cases import audio, small_encoder
from vgim.downstream.encoders.untrained import adapt_batch_norm
from vgim.model.module import GreedyModule
from vgim.model.posterior import gaussian_kl
from vgim.model.posterior_norm import PosteriorNorm
from vgim.model.randomness import DrawKey

CROPS, FRAMES, CHANNELS = 3, 40, 4


def head(seed: int = 0, scale: float = 2.0, shift: float = 5.0) -> Tensor:
    """A head's output whose first half is far from mean 0 and variance 1."""
    generator = torch.Generator().manual_seed(seed)
    a_BTC, b_BTC = torch.randn(2, CROPS, FRAMES, CHANNELS, dtype=torch.float64, generator=generator)
    return torch.cat([scale * a_BTC + shift, scale * b_BTC], -1)


def moments_of_z(posterior_BTX: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of z over all frames, by the law of total variance, [C] each."""
    mu_RC, logvar_RC = posterior_BTX.flatten(0, 1).chunk(2, -1)
    return mu_RC.mean(0), mu_RC.var(0, correction=0) + logvar_RC.exp().mean(0)


def normalizer() -> PosteriorNorm:
    return PosteriorNorm(CHANNELS).double()


@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 100), shift=st.floats(-100, 100))
def test_z_has_mean_0_and_variance_1_over_a_batch(seed: int, scale: float, shift: float) -> None:
    mean_C, var_C = moments_of_z(normalizer()(head(seed, scale, shift)))
    torch.testing.assert_close(mean_C, torch.zeros_like(mean_C), atol=1e-8, rtol=0)
    torch.testing.assert_close(
        var_C, torch.ones_like(var_C), atol=2e-3, rtol=0
    )  # 1e-5 is added to a variance


@given(scale=st.floats(0.1, 10), shift=st.floats(-10, 10))
def test_the_kl_is_what_a_gaussian_channel_of_this_noise_carries(scale: float, shift: float) -> None:
    mu_BTC, logvar_BTC = normalizer()(head(0, scale, shift)).chunk(2, -1)
    kl_C, carried_C = gaussian_kl(mu_BTC, logvar_BTC).mean((0, 1)), -0.5 * logvar_BTC.mean((0, 1))
    torch.testing.assert_close(kl_C, carried_C, atol=2e-3, rtol=0)


def test_no_outlier_takes_the_variance_of_all_other_frames() -> None:
    head_BTX = head(scale=1.0)
    head_BTX[0, 0, CHANNELS:] = 29  # the log of a variance, as BatchNorm's outliers made it
    mu_BTC, logvar_BTC = normalizer()(head_BTX).chunk(2, -1)
    assert gaussian_kl(mu_BTC, logvar_BTC).mean() < 1
    assert logvar_BTC.max() <= 0


def test_a_channel_of_noise_alone_has_a_mean_of_0_and_finite_gradients() -> None:
    head_BTX = head(scale=1.0)
    head_BTX[..., CHANNELS:] = 60
    head_BTX.requires_grad_()
    mu_BTC, logvar_BTC = normalizer()(head_BTX).chunk(2, -1)
    assert mu_BTC.abs().max() < 1e-3
    (mu_BTC.square().sum() + logvar_BTC.sum()).backward()
    assert head_BTX.grad is not None
    assert head_BTX.grad.isfinite().all()


@pytest.mark.parametrize("scale", [1e4, 1e6, 1e12])
def test_a_head_that_has_grown_large_is_normalized_as_any_other(scale: float) -> None:
    mean_C, var_C = moments_of_z(PosteriorNorm(CHANNELS)(head(scale=scale).float()))
    torch.testing.assert_close(mean_C, torch.zeros_like(mean_C), atol=1e-4, rtol=0)
    torch.testing.assert_close(var_C, torch.ones_like(var_C), atol=2e-3, rtol=0)


def test_an_untrained_head_is_half_signal_and_half_noise() -> None:
    module, x = modules("local")[0], audio(4, 2000)
    kl = module(x, module.draw(x, DrawKey(seed=1, step=0))).kl_per_element
    assert float(kl) == pytest.approx(0.5 * math.log(2), rel=0.2)


def test_evaluation_takes_the_mean_of_what_training_saw() -> None:
    norm = normalizer()
    for step in range(200):
        norm(head(seed=step))
    norm.eval()
    mean_C, var_C = moments_of_z(norm(head(seed=500)))
    assert mean_C.abs().max() < 0.2
    assert (var_C - 1).abs().max() < 0.2
    before = norm.running_mean
    norm(head(seed=501, shift=50))
    assert norm.running_mean is before
    assert int(norm.num_batches_tracked) == 200  # type: ignore[arg-type]


def modules(kind: str) -> list[GreedyModule]:
    encoder = small_encoder(model={"posterior_norm": kind})
    return [encoder.module(index) for index in range(len(encoder))]


def test_a_pass_measures_the_normalized_posterior() -> None:
    module, x = modules("local")[0], audio(4, 120)
    out = module(x, module.draw(x, DrawKey(seed=1, step=0), deterministic=True))
    latents_RC = out.latents.flatten(0, 1)
    torch.testing.assert_close(latents_RC.mean(0), torch.zeros(5, dtype=torch.float64), atol=1e-8, rtol=0)
    assert out.kl_per_element > 0


def test_a_bias_that_is_subtracted_again_stays_as_drawn() -> None:
    module, x = modules("local")[0], audio(4, 120)
    module(x, module.draw(x, DrawKey(seed=1, step=0)), 0.01).loss.backward()
    assert module.posterior is not None
    assert module.posterior.bias.grad is not None
    of_mean, of_noise = module.posterior.bias.grad.chunk(2)
    assert (of_mean == 0).all()
    assert (of_noise != 0).all()


def test_weights_are_those_of_an_encoder_without() -> None:
    plain, normed = modules("none"), modules("local")
    for a, b in zip(plain, normed, strict=True):
        for (name, theirs), (own, ours) in zip(a.named_parameters(), b.named_parameters(), strict=True):
            assert name == own
            assert torch.equal(theirs, ours)
    assert [module.posterior_norm is not None for module in normed] == [True, True, False]  # the GRU has none


@pytest.mark.parametrize("family", ["gim", "cpc"])
def test_a_family_without_posteriors_has_nothing_to_normalize(family: str) -> None:
    encoder = small_encoder(model={"family": family, "posterior_norm": "local"})
    assert not [name for name, _ in encoder.named_buffers() if "posterior_norm" in name]


def test_an_untrained_encoder_is_normalized_by_the_clips_that_adapt_it() -> None:
    encoder = small_encoder(model={"posterior_norm": "local"}).eval()

    class Clips:
        utterances = (1, 2)

        def normalized(self, normalizer: object, device: object) -> Tensor:
            return audio(2, 400)

    assert adapt_batch_norm(encoder, [Clips(), Clips()], None) == 4  # type: ignore[list-item, arg-type]
    mean_C, var_C = moments_of_z(_posterior_of(encoder.module(0), audio(2, 400)))
    torch.testing.assert_close(mean_C, torch.zeros_like(mean_C), atol=1e-2, rtol=0)
    torch.testing.assert_close(var_C, torch.ones_like(var_C), atol=2e-2, rtol=0)


def _posterior_of(module: GreedyModule, x: Tensor) -> Tensor:
    mean, std = module.distribution(x)
    assert std is not None
    return torch.cat([mean, 2 * std.log()], -1)
