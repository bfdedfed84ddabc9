"""Paths between decoded utterances, whose length is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.latents.cases import input_of, normal
from vgim.latents.analyses import smoothness
from vgim.latents.analyses.smoothness import SmoothnessAnalysis, measure_path
from vgim.latents.decoded_pairs import Pairs
from vgim.latents.result import LatentOptions


def test_a_straight_even_path_has_ratio_one() -> None:
    a_TM, b_TM = torch.from_numpy(normal(5, 4)), torch.from_numpy(normal(5, 4, seed=1))
    path = measure_path(torch.lerp(a_TM[None], b_TM[None], torch.linspace(0, 1, 9)[:, None, None]))
    assert path.ratio == pytest.approx(1, abs=1e-5)
    assert path.largest_share == pytest.approx(1 / 8, abs=1e-5)


def test_a_detour_is_longer_and_a_jump_is_one_step() -> None:
    corner = torch.tensor([[0.0, 0], [3, 0], [3, 4]])[:, None]
    assert measure_path(corner).ratio == pytest.approx(7 / 5)
    jump = torch.tensor([[0.0], [0], [1], [1]])[:, None]
    assert (measure_path(jump).ratio, measure_path(jump).largest_share) == (1, 1)


def test_a_path_that_does_not_move_is_finite() -> None:
    path = measure_path(torch.zeros(4, 2, 3))
    assert (path.ratio, path.largest_share) == (0, 0)


def ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of an utterance whose latents are 0 and one whose latents are 1, both ways."""
    latents_UTC = torch.stack([torch.zeros(3, 2), torch.ones(3, 2)])
    pairs = Pairs(latents_UTC, np.array([0, 1]), np.array([1, 0]), 2_000)
    monkeypatch.setattr(smoothness, "make_pairs", lambda *_: pairs)


def test_audio_that_jumps_once_has_all_of_its_path_in_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    ends(monkeypatch)
    sounds_2L = torch.from_numpy(0.1 * normal(2, 2_000))

    def jump(latents_BTC: torch.Tensor, num_samples: int) -> torch.Tensor:
        return sounds_2L[(latents_BTC.mean((1, 2)) > 0.55).long()]

    output = SmoothnessAnalysis().run(input_of(options=LatentOptions(steps=5), decoder=jump))
    assert output.metrics["path_ratio"] == pytest.approx(1, abs=1e-12)
    assert output.metrics["largest_step_share"] == pytest.approx(1, abs=1e-12)
    assert output.metrics["even_step_share"] == 0.2
    assert output.metrics["num_pairs"] == 2
    (curve,) = output.curves
    assert curve.y == pytest.approx((0, 0, 1, 0, 0))


def test_decibels_that_rise_evenly_are_a_straight_even_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loud noise, e times as loud at the end: log-mel rises by 2 nats, evenly in all bands."""
    ends(monkeypatch)
    noise_1L = torch.from_numpy(1_000 * normal(1, 2_000))

    def louder(latents_BTC: torch.Tensor, num_samples: int) -> torch.Tensor:
        return noise_1L * latents_BTC.mean((1, 2)).exp()[:, None]

    output = SmoothnessAnalysis().run(input_of(options=LatentOptions(steps=5), decoder=louder))
    assert output.metrics["path_ratio"] == pytest.approx(1, abs=1e-3)
    assert output.metrics["largest_step_share"] == pytest.approx(0.2, abs=1e-3)
    assert output.metrics["end_to_end_log_mel"] == pytest.approx(2, abs=0.02)
