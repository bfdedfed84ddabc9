"""On a GPU, modules compute the numbers of the formulas by other kernels, and fp32 is not rounded to TF32."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.model.cases import audio, expect, small_encoder
from vgim.model.conv import conv_channels_last
from vgim.model.losses.info_nce import score_products
from vgim.model.precision import set_precision
from vgim.model.randomness import DrawKey
from vgim.model.specs import ConvSpec

pytestmark = pytest.mark.gpu
KEY = DrawKey(seed=3, step=7)


@pytest.mark.parametrize("negatives", ["batch", "sequence", "exact"])
@pytest.mark.parametrize("model", [{}, {"posterior_norm": "local"}, {"family": "gim"}, {"family": "cpc"}])
def test_every_family_and_kind_of_negatives_agrees_with_the_formulas(
    model: dict[str, Any], negatives: str
) -> None:
    objective: dict[str, Any] = {"negatives": negatives, "window_frames": 6, "prediction_steps": 4}
    encoder = small_encoder(model=model, **objective)
    on_gpu = copy.deepcopy(encoder).cuda()
    x = audio(3, 150)
    for m in range(len(encoder)):
        module, module_on_gpu = encoder.module(m), on_gpu.module(m)
        draws = module.draw(x, KEY)
        expected = expect(module, x, draws, 0.01)
        draws_on_gpu = draws._replace(
            **{k: v.cuda() for k, v in draws._asdict().items() if isinstance(v, Tensor)}
        )
        out = module_on_gpu(x.cuda(), draws_on_gpu, 0.01)
        out.loss.backward()
        torch.testing.assert_close(out.loss.cpu(), expected.loss, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(out.latents.cpu(), expected.latents, atol=1e-9, rtol=1e-9)
        for name, parameter in module_on_gpu.named_parameters():
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad.cpu(), expected.gradients[name], atol=1e-9, rtol=1e-9)
        x = expected.latents.detach()


def error_of_a_convolution(precision: Any, autocast: bool) -> float:
    set_precision(precision)
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 200, 64, generator=generator), torch.randn(64, 64, 4, generator=generator)
    with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
        got = conv_channels_last(x.cuda(), weight.cuda(), None, ConvSpec(4, 2, 1)).cpu().double()
    exact = F.conv1d(x.double().mT, weight.double(), None, 2, 1).mT
    return float((got - exact).norm() / exact.norm())


def test_only_tf32_and_bf16_round_to_few_bits() -> None:
    assert error_of_a_convolution("fp32", autocast=False) < 2e-6
    assert 1e-5 < error_of_a_convolution("tf32", autocast=False) < 2e-3
    assert 1e-3 < error_of_a_convolution("bf16", autocast=True) < 1e-2


def test_scores_of_half_precision_are_fp32() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(4, n, 512, generator=generator).bfloat16().cuda().requires_grad_() for n in (12, 10))
    scores = score_products(a, b)
    assert scores.dtype == torch.float32
    expected = torch.bmm(a.detach().double(), b.detach().double().mT)
    torch.testing.assert_close(scores.double(), expected, atol=1e-3, rtol=1e-5)
    grad = torch.randn(scores.shape, generator=generator).cuda()
    for got, expected in zip(
        torch.autograd.grad(scores, (a, b), grad), (grad @ b.float(), grad.mT @ a.float()), strict=True
    ):
        assert (got.float() - expected).norm() / expected.norm() < 1e-2


@pytest.mark.parametrize("family", ["sim", "gim", "cpc"])
def test_bf16_gives_the_loss_and_gradients_of_fp32_to_two_digits(family: str) -> None:
    set_precision("bf16")
    encoder = small_encoder(model={"family": family, "channels": 64, "gru_units": 32}).float().cuda()
    module, x = encoder.module(0), audio(8, 600).float().cuda()
    results = []
    for autocast in (False, True):
        module.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
            out = module(x, module.draw(x, KEY), 0.001)
        out.loss.backward()
        results.append((out.loss.item(), torch.cat([p.grad.flatten() for p in module.parameters()])))
    (loss, gradient), (half_loss, half_gradient) = results
    assert half_loss == pytest.approx(loss, rel=2e-2)
    assert torch.cosine_similarity(gradient, half_gradient, 0) > 0.99
