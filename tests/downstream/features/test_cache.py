"""Kept features are the computed ones, belong to what made them, and never stand in the way."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.downstream.cases import utterance
from tests.recorded import Recorded
from vgim.config.schema import ModelConfig, ObjectiveConfig
from vgim.downstream import job
from vgim.downstream.features.cache import DamagedCacheError, FeatureCache
from vgim.downstream.features.encoder_features import EncoderFeatures, EncoderOutput
from vgim.downstream.features.mfcc import Mfcc
from vgim.downstream.features.source import ClipBatch, stream_features, whole_utterance
from vgim.downstream.options import ProbeOptions
from vgim.model.audio import Normalizer
from vgim.model.stack import build_encoder
from vgim.runs.layout import FEATURES
from vgim.storage import Location

pytestmark = pytest.mark.usefixtures("without_confusion_pictures")

SPOKEN = [utterance(n, name=f"u{n}", seed=n) for n in (6_000, 10, 8_000, 8_000, 7_000)]  # one is too short


def source(seed: int = 0, sample_seed: int | None = None) -> EncoderFeatures:
    encoder = build_encoder(ModelConfig(channels=8, gru_units=8), ObjectiveConfig(), seed).eval()
    return EncoderFeatures(encoder, Normalizer(), (EncoderOutput(1), EncoderOutput(3)), sample_seed)


def cache(folder: Path, **split: object) -> FeatureCache:
    return FeatureCache(Location(folder), {"shards": "f", "split": "train", "clip": "whole", **split})


def test_kept_features_equal_computed_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = list(stream_features(source(), SPOKEN, whole_utterance))
    assert [u.utterance_id for u, _ in list(cache(tmp_path).stream(source(), SPOKEN, whole_utterance))] == [
        "u6000",
        "u8000",
        "u8000",
        "u7000",
    ]

    def never(self: EncoderFeatures, clips: ClipBatch) -> list[torch.Tensor]:
        raise AssertionError("encoded again")

    monkeypatch.setattr(EncoderFeatures, "__call__", never)
    kept = list(cache(tmp_path).stream(source(), SPOKEN, whole_utterance))
    assert [u.utterance_id for u, _ in kept] == [u.utterance_id for u, _ in computed]
    for (_, again), (_, once) in zip(kept, computed, strict=True):
        for read, made in zip(again, once, strict=True):
            torch.testing.assert_close(read, made, rtol=0, atol=0)


def test_features_of_other_weights_samples_data_or_clips_have_other_files(tmp_path: Path) -> None:
    first = source()
    paths = [
        cache(tmp_path).path(first, first.specs[0]),
        cache(tmp_path).path(first, first.specs[1]),
        cache(tmp_path).path(source(seed=1), first.specs[0]),
        cache(tmp_path).path(source(sample_seed=0), first.specs[0]),
        cache(tmp_path, split="test").path(first, first.specs[0]),
        cache(tmp_path, shards="g").path(first, first.specs[0]),
        cache(tmp_path, clip=["random", 5120]).path(first, first.specs[0]),
        cache(tmp_path).path(Mfcc(), Mfcc().specs[0]),
    ]
    assert len({path.uri for path in paths}) == len(paths)
    assert cache(tmp_path).path(source(), first.specs[0]) == paths[0]


def test_an_interrupted_pass_keeps_nothing(tmp_path: Path) -> None:
    passing = cache(tmp_path).stream(source(), SPOKEN, whole_utterance)
    next(passing)
    passing.close()
    assert not cache(tmp_path).is_complete(source())


@pytest.mark.parametrize("damage", ["cut", "flip", "other"])
def test_damaged_files_of_features_are_noticed(damage: str, tmp_path: Path) -> None:
    kept = cache(tmp_path)
    spoken = SPOKEN[:1] if damage == "other" else SPOKEN
    list(kept.stream(source(), SPOKEN, whole_utterance))
    file = kept.path(source(), source().specs[0]).local_path
    data = bytearray(file.read_bytes())
    if damage == "cut":
        del data[-100:]
    elif damage == "flip":
        data[len(data) // 3] ^= 1
    file.write_bytes(data)
    with pytest.raises(DamagedCacheError):
        list(kept.stream(source(), spoken, whole_utterance))


def test_a_probe_with_kept_features_gives_the_same_result_and_recovers_from_damage(
    probed_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(probed_run, run, ignore=shutil.ignore_patterns("probes", FEATURES))
    heard = Recorded()
    options = ProbeOptions(task="phone", module=1, max_utterances=8)
    (plain,) = job.probe(str(run), options)
    assert not (run / FEATURES).exists()
    keeping = options.model_copy(update={"cache_features": True})
    (first,) = job.probe(str(run), keeping, heard)
    files = sorted((run / FEATURES).iterdir())
    assert len(files) == 3  # a split each
    computed: list[int] = []
    real = EncoderFeatures.__call__

    def counting(self: EncoderFeatures, clips: ClipBatch) -> list[torch.Tensor]:
        computed.append(1)
        return real(self, clips)

    monkeypatch.setattr(EncoderFeatures, "__call__", counting)
    (second,) = job.probe(str(run), keeping, heard)
    assert not computed
    assert plain.accuracy == first.accuracy == second.accuracy
    for file in files:
        file.write_bytes(file.read_bytes()[:-50])
    (third,) = job.probe(str(run), keeping, heard)
    assert computed
    assert third.accuracy == plain.accuracy
    assert sum("computed anew" in line for line in heard.messages) == 3
