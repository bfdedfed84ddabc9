"""PCM to normalized float, and back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vgim.model.audio import Normalizer, Statistics, measure, to_float

PCM = torch.tensor([[0, 16384, -32768, 32767], [100, 100, 100, 100]], dtype=torch.int16)


def own_statistics() -> Statistics:
    scaled = PCM.float() / 32768
    return Statistics(scaled.mean(1), scaled.std(1))


def test_none_scales_pcm16_to_one_and_ignores_statistics() -> None:
    x = Normalizer("none", Statistics(5.0, 7.0))(PCM, own_statistics())
    assert x.dtype == torch.float32
    assert x[0].tolist() == [0.0, 0.5, -1.0, 32767 / 32768]
    assert torch.equal(to_float(x), x)


def test_corpus_uses_two_numbers() -> None:
    x = Normalizer("corpus", Statistics(0.5, 0.25))(PCM, own_statistics())
    assert x[0, :3].tolist() == [-2.0, 0.0, -6.0]


def test_utterance_uses_one_pair_per_crop_and_leaves_silence_finite() -> None:
    x = Normalizer("utterance")(PCM, own_statistics())
    assert float(x[0].mean()) == pytest.approx(0, abs=1e-6)
    assert float(x[0].std()) == pytest.approx(1, abs=1e-6)
    assert x[1].tolist() == [0.0] * 4


def test_a_row_without_statistics_counts_as_a_whole_utterance() -> None:
    x = Normalizer("utterance")(PCM)
    assert float(x[0].mean()) == pytest.approx(0, abs=1e-6)
    assert float(x[0].std(correction=0)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("normalizer", "utterances"),
    [
        (Normalizer(), None),
        (Normalizer("corpus", Statistics(0.1, 0.3)), None),
        (Normalizer("utterance"), measure(to_float(PCM))),
    ],
    ids=["none", "corpus", "utterance"],
)
def test_invert_undoes_the_normalization(normalizer: Normalizer, utterances: Statistics | None) -> None:
    back: Tensor = normalizer.invert(normalizer(PCM, utterances), utterances)
    torch.testing.assert_close(back, PCM.float() / 32768)


def test_audio_of_no_utterance_is_inverted_to_the_level_of_the_corpus() -> None:
    x = torch.tensor([[1.0, -1.0]])
    assert Normalizer("utterance", Statistics(0.5, 0.25)).invert(x).tolist() == [[0.75, 0.25]]
    with pytest.raises(ValueError, match="no corpus statistics"):
        Normalizer("utterance").invert(x)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shapes \[\] and \[\].*needs \[2\]"):
        Normalizer("utterance")(PCM, Statistics(0.0, 1.0))
    with pytest.raises(ValueError, match="int32"):
        Normalizer()(PCM.int())
    with pytest.raises(ValueError, match="training shards"):
        Normalizer("corpus")(PCM)
