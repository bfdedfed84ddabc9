"""A validation's histograms show the latents that it evaluates, of a batch that no number of ranks changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pytest
import torch
from torch import Tensor

from tests.training.cases import audio, small_encoder
from vgim.model.module import GreedyModule
from vgim.model.randomness import DrawKey
from vgim.model.rank_group import ALONE
from vgim.model.stack import Encoder
from vgim.runs.histogram import Histogram, histogram_of
from vgim.training.prefetch import RankedBatch
from vgim.training.step import frozen_latents
from vgim.training.validate import Validation, validate

TAGS = [*(f"latents/module{m}/{name}" for m in range(3) for name in ("mu", "sigma")), "latents/module3/mu"]


def batch(rank: int, number: int) -> RankedBatch:
    return RankedBatch(rank, number, audio(2, seed=10 * rank + number))


def validated(encoder: Encoder, modules: Sequence[int], batches: Iterable[RankedBatch]) -> Validation:
    return validate(encoder, modules, batches, seed=5, group=ALONE, kld_weight=0.01, autocast=None)


def shown(histograms: Mapping[str, Histogram], m: int) -> list[Histogram]:
    return [histogram for tag, histogram in histograms.items() if tag.startswith(f"latents/module{m}/")]


@torch.no_grad()
def made_of(module: GreedyModule, x: Tensor) -> list[Histogram | None]:
    return [histogram_of(tensor) for tensor in module.distribution(x) if tensor is not None]


def test_histograms_show_what_each_module_makes_of_the_latents_that_it_gets() -> None:
    encoder = small_encoder()
    found = validated(encoder, range(4), [batch(0, 0)]).histograms
    assert list(found) == TAGS
    encoder.eval()
    x, key = batch(0, 0).input, DrawKey(5, 0, 0, 0, "validation")
    for module in encoder.greedy:
        assert shown(found, module.index) == made_of(module, x)
        x = module(x, module.draw(x, key)).latents


def test_histograms_are_those_of_the_first_batch_of_the_first_virtual_rank_whoever_has_which() -> None:
    encoder = small_encoder()
    first = validated(encoder, range(4), [batch(0, 0)]).histograms
    several = [batch(0, 0), batch(0, 1), batch(1, 0)]
    assert validated(encoder, range(4), several).histograms == first
    assert validated(encoder, range(4), [batch(1, 0), batch(1, 1)]).histograms == {}


def test_histograms_show_few_crops_of_a_large_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = small_encoder()
    whole = validated(encoder, range(4), [batch(0, 0)]).histograms
    monkeypatch.setattr("vgim.training.validate.HISTOGRAM_CROPS", 1)
    few = validated(encoder, range(4), [batch(0, 0)]).histograms
    assert [2 * histogram.num for histogram in few.values()] == [h.num for h in whole.values()]


def test_modules_before_those_that_are_evaluated_have_histograms_too() -> None:
    encoder = small_encoder()
    found = validated(encoder, [2], [batch(0, 0)]).histograms
    assert list(found) == TAGS[:6]
    encoder.eval()
    x, key = batch(0, 0).input, DrawKey(5, 0, 0, 0, "validation")
    for m in range(3):
        assert shown(found, m) == made_of(encoder.module(m), x)
        x = frozen_latents(encoder, m, x, key, None)
