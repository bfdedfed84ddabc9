"""Units of the KL term, by hand and in both branches of a module."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.model.cases import audio, small_encoder
from vgim.model.draws import Draws
from vgim.model.kernels import fused
from vgim.model.kl_unit import KLReduction
from vgim.model.posterior import GaussianHead, Posterior, gaussian_kl, reduce_kl, sample
from vgim.model.randomness import DrawKey

UNITS: tuple[KLReduction, ...] = ("time_sum", "mean", "frame")


def test_each_unit_by_hand() -> None:
    kl_BTC = torch.full((2, 3, 4), 0.5)
    assert [float(reduce_kl(kl_BTC, unit)) for unit in UNITS] == [1.5, 0.5, 2.0]
    kl_BTC[..., 0] = 2.5  # above the free bits, under which the other three channels count as 1
    assert [float(reduce_kl(kl_BTC, unit, 1.0)) for unit in UNITS] == [4.125, 1.375, 5.5]


def test_a_nat_a_frame_costs_the_same_at_every_width_and_length() -> None:
    for num_frames, num_channels in ((3, 4), (50, 4), (3, 64)):
        kl_BTC = torch.full((2, num_frames, num_channels), 1 / num_channels)  # one nat a frame
        assert float(reduce_kl(kl_BTC, "frame")) == pytest.approx(1)


def torchs_sample_and_kl(head_BTX: Tensor, draws: Draws, logvar_max: float) -> tuple[Tensor, Tensor, Tensor]:
    assert draws.eps_z is not None
    assert draws.eps_c is not None
    posterior = GaussianHead.split(head_BTX, logvar_max)
    in_window = Posterior(draws.window(posterior.mu), draws.window(posterior.logvar))
    kl = gaussian_kl(*posterior).mean()
    return sample(posterior, draws.eps_z), sample(in_window, draws.eps_c), kl


@pytest.mark.parametrize("unit", UNITS)
def test_the_branch_of_fused_kernels_has_the_units_of_the_plain_one(
    unit: KLReduction, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = small_encoder(kl_reduction=unit).module(0)
    x = audio(2, 60)
    draws = module.draw(x, DrawKey(0, 0))
    plain = module(x, draws, 0.3)
    monkeypatch.setattr(fused, "applies", lambda head: True)
    monkeypatch.setattr(fused, "sample_and_kl", torchs_sample_and_kl)
    branch = module(x, draws, 0.3)
    torch.testing.assert_close(branch.loss, plain.loss)
    torch.testing.assert_close(branch.kl_per_frame, plain.kl_per_frame)
    term = (plain.loss - plain.nce).detach() / 0.3
    metric = {"time_sum": plain.kl, "mean": plain.kl_per_element, "frame": plain.kl_per_frame}[unit]
    torch.testing.assert_close(term, metric)


def test_a_log_variance_above_its_bound_counts_as_the_bound_and_gets_no_gradient() -> None:
    head_BTX = torch.tensor([[[7.0, 8.0, 9.0, 1.5, -5.0, 2.5]]], requires_grad=True)
    mu, logvar = GaussianHead.split(head_BTX, 2.0)
    assert mu.tolist() == [[[7, 8, 9]]]
    assert logvar.tolist() == [[[1.5, -5, 2]]]
    (gradient,) = torch.autograd.grad(logvar.sum(), head_BTX)
    assert gradient.tolist() == [[[0, 0, 0, 1, 1, 0]]]
    assert (
        GaussianHead.split(torch.full((1, 1, 2), math.nan), 2.0).logvar.isnan().all()
    )  # errors stay visible


@pytest.mark.parametrize("fused_branch", [False, True])
def test_a_module_bounds_its_posterior_in_training_and_in_use(
    fused_branch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, wide, tight = (small_encoder(logvar_max=bound).module(0) for bound in ("none", 80.0, 0.0))
    if fused_branch:
        monkeypatch.setattr(fused, "applies", lambda head: True)
        monkeypatch.setattr(fused, "sample_and_kl", torchs_sample_and_kl)
    x = audio(2, 60)
    draws = free.draw(x, DrawKey(0, 0))
    outputs = [module(x, draws, 0.3) for module in (free, wide, tight)]
    assert torch.equal(outputs[0].loss, outputs[1].loss)
    assert torch.equal(outputs[0].latents, outputs[1].latents)
    assert not torch.equal(outputs[0].latents, outputs[2].latents)
    stds = [module.distribution(x)[1] for module in (free, tight)]
    assert stds[0].max() > 1
    assert torch.equal(stds[1], stds[0].clamp(max=1))
