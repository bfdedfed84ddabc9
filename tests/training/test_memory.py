"""Memory that a step needs: refused before the first step, or told in one line."""

from __future__ import annotations

import pytest
import torch

from tests.training.cases import small_encoder
from vgim.config import load_config
from vgim.errors import ConfigError, TrainingError
from vgim.training import memory
from vgim.training.memory import check_scores_fit, out_of_memory_as_error, scores_bytes


def test_scores_are_counted_for_the_module_with_the_most_frames() -> None:
    config = load_config("quickstart", ["objective.window_frames=0", "train.batch_size=4"]).config
    encoder = small_encoder()
    frames = max(encoder.module_frames(config.data.crop_samples))
    objective = config.objective
    scores = 4 * frames * objective.prediction_steps * (objective.num_negatives + 1)
    assert scores_bytes(encoder, config) == memory.COPIES * torch.empty(scores, device="meta").nbytes


def test_scores_are_counted_for_the_module_with_the_most_of_them() -> None:
    config = load_config("quickstart", ["train.batch_size=4", "objective.prediction_steps=[2,3,40,3]"]).config
    encoder = small_encoder(objective={"prediction_steps": (2, 3, 40, 3)})
    frames = encoder.module_frames(config.data.crop_samples)
    window, objective = min(frames[2], config.objective.window_frames), config.objective
    scores = 4 * window * 40 * (objective.num_negatives + 1)
    assert scores_bytes(encoder, config) == memory.COPIES * torch.empty(scores, device="meta").nbytes


def test_negatives_that_no_machine_holds_are_refused_before_they_are_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "physical_bytes", lambda: 16 * memory.GIB)
    overrides = ["objective.num_negatives=65536", "train.batch_size=256"]
    with pytest.raises(
        ConfigError, match=r"num_negatives=65536 .*batch_size=256 need \d+ GiB, .* has 16; lower one"
    ):
        check_scores_fit(small_encoder(), load_config("quickstart", overrides).config)
    check_scores_fit(small_encoder(), load_config("quickstart").config)


def test_memory_that_torch_does_not_get_is_told_in_one_line() -> None:
    with (
        pytest.raises(
            TrainingError, match=r"too little memory \(can't allocate .*lower train.batch_size"
        ) as e,
        out_of_memory_as_error(),
    ):
        torch.empty(2**60)
    assert "\n" not in str(e.value)
    with pytest.raises(TrainingError, match="too little memory"), out_of_memory_as_error():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shape"), out_of_memory_as_error():
        raise RuntimeError("shape")
