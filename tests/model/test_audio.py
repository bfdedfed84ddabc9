"""PCM to normalized float."""

from __future__ import annotations

import pytest
import torch

from vgim.model.audio import to_float

PCM = torch.tensor([[0, 16384, -32768, 32767], [100, 100, 100, 100]], dtype=torch.int16)


def test_none_scales_pcm16_to_one() -> None:
    x = to_float(PCM, "none", mean=5.0, std=7.0)
    assert x.dtype == torch.float32
    assert x[0].tolist() == [0.0, 0.5, -1.0, 32767 / 32768]
    assert torch.equal(to_float(x, "none"), x)


def test_corpus_uses_two_numbers() -> None:
    x = to_float(PCM, "corpus", mean=0.5, std=0.25)
    assert x[0, :3].tolist() == [-2.0, 0.0, -6.0]


def test_utterance_uses_one_pair_per_crop_and_leaves_silence_finite() -> None:
    scaled = PCM.float() / 32768
    x = to_float(PCM, "utterance", mean=scaled.mean(1), std=scaled.std(1))
    assert float(x[0].mean()) == pytest.approx(0, abs=1e-6)
    assert float(x[0].std()) == pytest.approx(1, abs=1e-6)
    assert x[1].tolist() == [0.0] * 4


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        to_float(PCM, "utterance", mean=0.0, std=1.0)
    with pytest.raises(ValueError, match="int32"):
        to_float(PCM.int(), "none")
