"""The classifier of a probe as a file: what is written is read, and anything else is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from vgim.config.schema import DataConfig, ModelConfig, ObjectiveConfig
from vgim.downstream.classifier import (
    CLASSIFIER,
    Classifier,
    ClassifierInfo,
    hash_features,
    read_classifier,
    to_safetensors,
)
from vgim.downstream.features.encoder_features import EncoderFeatures, EncoderOutput
from vgim.downstream.job import probe
from vgim.downstream.options import ProbeOptions
from vgim.errors import StorageError
from vgim.model.audio import Normalizer
from vgim.model.stack import build_encoder
from vgim.storage import Location


def classifier(num_seeds: int = 2) -> Classifier:
    weight_SKC = np.arange(num_seeds * 12.0, dtype=np.float32).reshape(num_seeds, 3, 4)
    bias_SK = np.ones((num_seeds, 3), np.float32)
    info = ClassifierInfo(
        task="vowel",
        classes=("a", "i", "ü"),
        unit="utterance",
        encoder="trained",
        module=1,
        layer=None,
        run="runs/sim",
        checkpoint="runs/sim/checkpoints/step-00000020",
        step=20,
        options=ProbeOptions(task="vowel"),
        corpus="artificial-speech",
        data_fingerprint="d",
        seeds=tuple(range(num_seeds)),
        features_sha256=("f",) * num_seeds,
    )
    return Classifier(info, weight_SKC, bias_SK)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = classifier()
    (tmp_path / CLASSIFIER).write_bytes(to_safetensors(written))
    read = read_classifier(Location(tmp_path))
    assert read.info == written.info
    assert np.array_equal(read.weight_SKC, written.weight_SKC)
    assert np.array_equal(read.bias_SK, written.bias_SK)
    tensors = safetensors.torch.load_file(tmp_path / CLASSIFIER)
    assert {name: list(t.shape) for name, t in tensors.items()} == {
        "weight": [3, 4],
        "bias": [3],
        "weight.1": [3, 4],
        "bias.1": [3],
    }
    x_NC = torch.ones(1, 4)
    assert read.log_probabilities(x_NC, 1)[0].argmax() == 2
    assert read.log_probabilities(x_NC, 1).exp().sum() == pytest.approx(1)


def test_the_scale_of_features_is_kept_and_older_files_without_it_are_read(tmp_path: Path) -> None:
    old = classifier()
    std_SC = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
    new = old._replace(feature_std_SC=std_SC)
    for written in (old, new):
        (tmp_path / CLASSIFIER).write_bytes(to_safetensors(written))
        read = read_classifier(Location(tmp_path))
        if written.feature_std_SC is None:
            assert read.feature_std_SC is None
        else:
            assert read.feature_std_SC is not None
            assert np.array_equal(read.feature_std_SC, std_SC)
    cut = new._replace(feature_std_SC=std_SC[:, :3])
    (tmp_path / CLASSIFIER).write_bytes(to_safetensors(cut))
    with pytest.raises(StorageError, match="is not a probe's classifier"):
        read_classifier(Location(tmp_path))


def test_a_probe_keeps_its_classifier(probed_run: Path) -> None:
    (result,) = probe(str(probed_run), ProbeOptions(task="speaker", module=1, encoders=("random",), seeds=2))
    read = read_classifier(Location(probed_run / "probes" / "speaker-random-module1"))
    assert (read.info.task, read.info.encoder, read.info.module) == ("speaker", "random", 1)
    assert read.info.classes == tuple(result.per_class)
    assert read.weight_SKC.shape == (2, len(result.per_class), result.num_features)
    assert read.feature_std_SC is not None
    assert read.feature_std_SC.shape == (2, result.num_features)
    assert (read.feature_std_SC >= 0).all()
    assert not np.array_equal(read.feature_std_SC[0], read.feature_std_SC[1])  # each seed has another encoder
    assert len(set(read.info.features_sha256)) == 2  # each seed draws another encoder


def test_the_hash_of_features_covers_all_that_makes_them() -> None:
    def made(weights: int = 0, sample: int | None = None, module: int = 1, layer: int | None = None) -> str:
        encoder = build_encoder(ModelConfig(channels=8, gru_units=8), ObjectiveConfig(), weights).eval()
        source = EncoderFeatures(encoder, normalizer, (EncoderOutput(module, layer),), sample)
        return hash_features(source, source.specs[0], crop)

    normalizer, crop = Normalizer(), None
    hashes = [made(), made(weights=1), made(sample=0), made(module=2), made(layer=0)]
    normalizer = Normalizer("utterance")
    hashes.append(made())
    for num_samples in (20_480, 10_240):
        crop = DataConfig(shards="s", crop_samples=num_samples)
        hashes.append(made())
    assert len(set(hashes)) == len(hashes)


def changed(**metadata: object) -> bytes:
    """A file whose metadata differ."""
    whole = classifier()
    data = to_safetensors(whole)
    fields = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    fields |= {name: json.dumps(value) for name, value in metadata.items()}
    return safetensors.torch.save(safetensors.torch.load(data), fields)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "deserializing"),
        (b"\xff" * 64, "header"),
        (to_safetensors(classifier())[:-8], "not fully covered"),
        (to_safetensors(classifier())[:-1] + b"\x00", "its SHA-256 is not the one in its metadata"),
        (changed(classes=["ü", "i", "a"]), "its SHA-256 is not the one in its metadata"),
        (safetensors.torch.save({"weight": torch.zeros(3, 4)}), "Field required"),
        (changed(classes=["a", "i"]), "a weight has the shape [3, 4], and there are 2 classes"),
        (changed(seeds=[0]), "it holds the tensors bias, bias.1, weight, weight.1"),
        (changed(seeds=["x", 1]), "integer"),
        (changed(schema_version=2), "Input should be 1"),
        (changed(task="gender"), "is not a probe"),
    ],
)
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / CLASSIFIER).write_bytes(content)
    with pytest.raises(StorageError) as caught:
        read_classifier(Location(tmp_path))
    message = str(caught.value)
    assert reason in message
    assert "is not a probe's classifier" in message
    assert "\n" not in message


def test_a_folder_without_a_classifier_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"holds no classifier.safetensors; name a folder RUN/probes/NAME"):
        read_classifier(Location(tmp_path))
