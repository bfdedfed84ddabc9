"""The log of a launch says what its machine computes slowly: a precision, or the losses without fused kernels."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from tests.training.cases import records, run_location, single_rank_trainer
from vgim.config import ResolvedConfig
from vgim.decode.learner import DecoderLearner
from vgim.model.kernels import fused
from vgim.training.greedy import GreedyLearner

Maker = Callable[..., ResolvedConfig]
LEFT_OUT = "without the fused kernels: no compiler"


@pytest.fixture(autouse=True)
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "left_out", lambda device: LEFT_OUT)


def test_every_launch_says_that_the_fused_kernels_are_left_out(tiny_config: Maker) -> None:
    for steps, times in ((1, 1), (2, 2)):
        config = tiny_config(f"train.max_steps={steps}", "model.depth=1").config
        single_rank_trainer(config).run()
        told = [record["message"] for record in records(run_location(config), "event")]
        assert told.count(LEFT_OUT) == times


def test_runs_that_have_no_fused_kernels_do_not_speak_of_them(tiny_config: Maker) -> None:
    compiled = SimpleNamespace(_config=tiny_config("train.compile=true").config)
    assert GreedyLearner.slowed_by(compiled, torch.device("cuda")) == []
    assert DecoderLearner.slowed_by(compiled, torch.device("cuda")) == []
