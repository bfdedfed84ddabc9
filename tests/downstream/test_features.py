"""Features in batches are those of each utterance alone, at its true length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from downstream_cases import utterance

from vgim.config.schema import ModelConfig, ObjectiveConfig
from vgim.data.cut import I16
from vgim.data.utterances import Utterance
from vgim.downstream.features import EncoderFeatures, batch_clips, hop_samples, min_samples, stream_features
from vgim.downstream.gather import whole
from vgim.model.audio import to_float
from vgim.model.stack import Encoder, build_encoder

LENGTHS = (5120, 5120, 4000, 4000, 4000, 7777, 20, 5120)


def encoder(**model: object) -> Encoder:
    config = ModelConfig.model_validate({"channels": 8, "gru_units": 6, **model})
    return build_encoder(config, ObjectiveConfig(), 0).eval()


def source(built: Encoder, **options: object) -> EncoderFeatures:
    settings = {"modules": tuple(range(len(built))), "normalize": "none", "corpus": (0.0, 1.0), **options}
    return EncoderFeatures(built, **settings)  # type: ignore[arg-type]


@pytest.fixture
def spoken() -> list[Utterance]:
    return [utterance(n, name=f"u{i}", seed=i) for i, n in enumerate(LENGTHS)]


def test_they_equal_the_encoders_own_output_for_each_utterance(spoken: list[Utterance]) -> None:
    built = encoder()
    found = list(stream_features(source(built), spoken, whole))
    assert [u.utterance_id for u, _ in found] == ["u0", "u1", "u2", "u3", "u4", "u5", "u7"]  # u6: no frame
    for heard, features in found:
        x_BL = torch.from_numpy(heard.audio)[None].float() / 32_768
        frames = built.module_frames(len(heard.audio))
        for module, features_TC in enumerate(features):
            assert features_TC.shape == (frames[module], [8, 8, 8, 6][module])
            torch.testing.assert_close(features_TC, built.encode(x_BL, module)[0])


def test_cpc_gives_its_context() -> None:
    built = encoder(family="cpc")
    heard = utterance(5120)
    ((_, (features_TC,)),) = stream_features(source(built), [heard], whole)
    x_BL = torch.from_numpy(heard.audio)[None].float() / 32_768
    torch.testing.assert_close(features_TC, built.encode(x_BL)[0])
    assert features_TC.shape[1] == 6


def test_audio_is_normalised_as_in_training(spoken: list[Utterance]) -> None:
    built = encoder()
    raw = torch.from_numpy(np.stack([spoken[0].audio, spoken[1].audio]))
    mean = torch.tensor([u.mean for u in spoken[:2]], dtype=torch.float32)
    std = torch.tensor([u.std for u in spoken[:2]], dtype=torch.float32)
    expected = {
        "utterance": to_float(raw, "utterance", mean, std),
        "corpus": to_float(raw, "corpus", 0.1, 0.5),
    }
    for mode, x_BL in expected.items():
        made = source(built, normalize=mode, corpus=(0.1, 0.5), modules=(1,))
        for i, (_, (features_TC,)) in enumerate(stream_features(made, spoken[:2], whole)):
            torch.testing.assert_close(features_TC, built.encode(x_BL, 1)[i])


def test_a_sample_belongs_to_utterance_and_seed(spoken: list[Utterance]) -> None:
    built = encoder()

    def sampled(seed: int, heard: list[Utterance]) -> torch.Tensor:
        made = source(built, modules=(2,), sample_seed=seed)
        return {u.utterance_id: f for u, (f,) in stream_features(made, heard, whole)}["u4"]

    assert torch.equal(sampled(0, spoken), sampled(0, spoken[4:]))
    assert not torch.equal(sampled(0, spoken), sampled(1, spoken))


def test_batches_hold_one_length_and_leave_out_what_is_too_short(spoken: list[Utterance]) -> None:
    sizes = [tuple(c.audio_BL.shape) for c in batch_clips(spoken, whole, 200, 2)]
    assert sizes == [(2, 5120), (2, 4000), (1, 4000), (1, 7777), (1, 5120)]

    def never(_: Utterance) -> I16 | None:
        return None

    assert list(batch_clips(spoken, never, 1, 2)) == []


def test_hops_and_shortest_clips_follow_from_the_layers() -> None:
    built = encoder()
    assert [hop_samples(built, m) for m in range(4)] == [20, 80, 160, 160]
    for module in range(4):
        shortest = min_samples(built, module)
        assert built.module_frames(shortest)[module] == 1
        assert 0 in built.module_frames(shortest - 1)[: module + 1]
