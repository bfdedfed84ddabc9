"""Features in batches are those of each utterance alone, at its true length."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.downstream.cases import utterance
from vgim.config.schema import ModelConfig, ObjectiveConfig
from vgim.data.pcm import Pcm16
from vgim.data.shards.read import Utterance
from vgim.downstream.features import source as batching
from vgim.downstream.features.encoder_features import EncoderFeatures, EncoderOutput
from vgim.downstream.features.source import (
    ClipBatch,
    batch_clips,
    similar_lengths,
    stream_features,
    whole_utterance,
)
from vgim.model.audio import Normalizer, Statistics, normalize, to_float
from vgim.model.stack import Encoder, build_encoder

LENGTHS = (5120, 5120, 4000, 4000, 4000, 7777, 20, 5120)


def encoder(**model: object) -> Encoder:
    config = ModelConfig.model_validate({"channels": 8, "gru_units": 6, **model})
    return build_encoder(config, ObjectiveConfig(), 0).eval()


def source(built: Encoder, **options: object) -> EncoderFeatures:
    every = tuple(EncoderOutput(module) for module in range(len(built)))
    settings = {"outputs": every, "normalizer": Normalizer(), **options}
    return EncoderFeatures(built, **settings)  # type: ignore[arg-type]


@pytest.fixture
def spoken() -> list[Utterance]:
    return [utterance(n, name=f"u{i}", seed=i) for i, n in enumerate(LENGTHS)]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_batched_features_equal_the_encoders_output_for_each_utterance(
    spoken: list[Utterance], bidirectional: bool
) -> None:
    built = encoder(gru_bidirectional=bidirectional)
    found = list(stream_features(source(built), spoken, whole_utterance))
    assert [u.utterance_id for u, _ in found] == ["u0", "u1", "u2", "u3", "u4", "u5", "u7"]  # u6: no frame
    for heard, features in found:
        x_BL = torch.from_numpy(heard.audio)[None].float() / 32_768
        frames = built.module_frames(len(heard.audio))
        for module, features_TC in enumerate(features):
            assert features_TC.shape == (frames[module], [8, 8, 8, 12 if bidirectional else 6][module])
            torch.testing.assert_close(features_TC, built.encode(x_BL, module)[0])


def test_cpc_gives_its_context() -> None:
    built = encoder(family="cpc")
    heard = utterance(5120)
    ((_, (features_TC,)),) = stream_features(source(built), [heard], whole_utterance)
    x_BL = torch.from_numpy(heard.audio)[None].float() / 32_768
    torch.testing.assert_close(features_TC, built.encode(x_BL)[0])
    assert features_TC.shape[1] == 6


@pytest.mark.parametrize(
    ("family", "head"),
    [("sim", "none"), ("gim", "none"), ("cpc", "none"), ("gim", "linear"), ("cpc", "linear")],
)
def test_layers_and_outputs_are_read_in_one_pass_each_with_its_hop(
    family: str, head: str, spoken: list[Utterance]
) -> None:
    built = encoder(family=family, head=head)
    outputs = [
        EncoderOutput(m, j) for m in range(len(built)) for j in (*built.module(m).spec.inner_layers, None)
    ]
    assert len(outputs) == (6 if (family, head) == ("gim", "none") or family == "cpc" else 9)
    made = source(built, outputs=tuple(outputs))
    for heard, features in stream_features(made, spoken[:3], whole_utterance):
        x_BL = torch.from_numpy(heard.audio)[None].float() / 32_768
        for at, spec, features_TC in zip(outputs, made.specs, features, strict=True):
            assert (spec.module, spec.layer) == at
            torch.testing.assert_close(features_TC, built.encode(x_BL, *at)[0])
            assert abs(len(features_TC) - len(heard.audio) / spec.hop_samples) < 2
            assert features_TC.shape[1] == spec.channels
            alone = source(built, outputs=(at,))
            ((_, (same,)),) = stream_features(alone, [heard], whole_utterance)
            torch.testing.assert_close(same, features_TC)


@pytest.mark.parametrize("modules", [(0, 1, 2, 3), (0, 2), (1, 3)])
@pytest.mark.parametrize("sample_seed", [None, 1])
def test_modules_side_by_side_are_the_means_of_their_frames_for_each_utterance(
    spoken: list[Utterance], modules: tuple[int, ...], sample_seed: int | None
) -> None:
    built = encoder()
    at = (EncoderOutput(1, 0),)
    made = source(built, outputs=at, concat=modules, sample_seed=sample_seed)
    spec = made.specs[-1]
    assert (spec.module, spec.hop_samples, spec.concat) == (None, 160, modules)
    assert spec.channels == sum(map(built.channels, modules))
    single = source(built, outputs=tuple(map(EncoderOutput, modules)), sample_seed=sample_seed)
    alone = {u.utterance_id: features for u, features in stream_features(single, spoken, whole_utterance)}
    found = list(stream_features(made, spoken, whole_utterance))
    assert len(found) == 7
    for heard, (_, joined_TC) in found:
        assert made.num_frames(len(heard.audio))[-1] == len(joined_TC)
        for t in range(len(joined_TC)):
            expected = []
            for module, features_TC in zip(modules, alone[heard.utterance_id], strict=True):
                hop = built.hop_samples(module)
                inside = [i for i in range(len(features_TC)) if 160 * t <= i * hop < 160 * (t + 1)]
                expected.append(features_TC[inside].mean(0))
            torch.testing.assert_close(joined_TC[t], torch.cat(expected))
        frames = [len(features_TC) for features_TC in alone[heard.utterance_id]]
        assert len(joined_TC) == min(frames)  # of the slowest module


def test_audio_is_normalized_as_in_training(spoken: list[Utterance]) -> None:
    built = encoder()
    raw = torch.from_numpy(np.stack([spoken[0].audio, spoken[1].audio]))
    mean = torch.tensor([u.mean for u in spoken[:2]], dtype=torch.float32)
    std = torch.tensor([u.std for u in spoken[:2]], dtype=torch.float32)
    corpus = Statistics(0.1, 0.5)
    expected = {
        "utterance": normalize(to_float(raw), Statistics(mean, std)),
        "corpus": normalize(to_float(raw), corpus),
    }
    for mode, x_BL in expected.items():
        made = source(built, normalizer=Normalizer(mode, corpus), outputs=(EncoderOutput(1),))
        for i, (_, (features_TC,)) in enumerate(stream_features(made, spoken[:2], whole_utterance)):
            torch.testing.assert_close(features_TC, built.encode(x_BL, 1)[i])


def test_a_sample_depends_on_utterance_and_seed_alone(spoken: list[Utterance]) -> None:
    built = encoder()

    def sampled(seed: int, heard: list[Utterance]) -> torch.Tensor:
        made = source(built, outputs=(EncoderOutput(2),), sample_seed=seed)
        return {u.utterance_id: f for u, (f,) in stream_features(made, heard, whole_utterance)}["u4"]

    assert torch.equal(sampled(0, spoken), sampled(0, spoken[4:]))
    assert not torch.equal(sampled(0, spoken), sampled(1, spoken))


def test_batches_hold_one_length_and_leave_out_what_is_too_short(spoken: list[Utterance]) -> None:
    sizes = [tuple(c.audio_BL.shape) for c in batch_clips(spoken, whole_utterance, 200, 2)]
    assert sizes == [(2, 5120), (2, 4000), (1, 4000), (1, 7777), (1, 5120)]

    def never(_: Utterance) -> Pcm16 | None:
        return None

    assert list(batch_clips(spoken, never, 1, 2)) == []


def test_the_shortest_clip_has_a_frame_of_every_output() -> None:
    built = encoder()
    for at in (EncoderOutput(0, 0), EncoderOutput(0), EncoderOutput(1, 1), EncoderOutput(3)):
        shortest = source(built, outputs=(EncoderOutput(0, 0), at)).min_samples()
        assert built.encode(torch.zeros(1, shortest), *at).shape[1] == 1


def test_clips_of_similar_length_are_encoded_together_and_come_back_in_order(
    spoken: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[list[int]] = []
    encode = EncoderFeatures.__call__

    def counted(self: EncoderFeatures, clips: ClipBatch) -> list[torch.Tensor]:
        sizes.append([len(u.audio) for u in clips.utterances])
        return encode(self, clips)

    monkeypatch.setattr(EncoderFeatures, "__call__", counted)
    made = source(encoder())
    found = [u.utterance_id for u, _ in stream_features(made, spoken, whole_utterance)]
    assert found == ["u0", "u1", "u2", "u3", "u4", "u5", "u7"]
    assert sizes == [[7777], [5120, 5120, 5120, 4000, 4000, 4000]]
    sizes.clear()
    monkeypatch.setattr(batching, "WINDOW_CLIPS", 3)
    assert [u.utterance_id for u, _ in stream_features(made, spoken, whole_utterance)] == found
    assert sizes == [[5120, 5120, 4000], [7777], [4000, 4000], [5120]]


def test_groups_of_clips_keep_to_their_bounds() -> None:
    assert similar_lengths([10, 8, 9, 2, 30], 100, 8) == [[4], [0, 2, 1], [3]]
    assert similar_lengths([10, 8, 9, 2, 30], 20, 8) == [[4], [0, 2], [1], [3]]
    assert similar_lengths([5] * 5, 100, 2) == [[0, 1], [2, 3], [4]]
    assert similar_lengths([], 100, 2) == []
