"""The classifier of a probe as a file: what is written is read, and anything else is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from vgim.downstream.classifier import (
    CLASSIFIER,
    Classifier,
    ClassifierInfo,
    _hash_tensors,
    read_classifier,
    to_safetensors,
)
from vgim.downstream.job import probe
from vgim.downstream.options import ProbeOptions
from vgim.errors import StorageError
from vgim.storage import Location


def classifier(num_seeds: int = 2) -> Classifier:
    weight_SKC = torch.arange(num_seeds * 12.0).reshape(num_seeds, 3, 4)
    bias_SK = torch.ones(num_seeds, 3)
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
        seeds=tuple(range(num_seeds)),
        features_sha256=("f",) * num_seeds,
        sha256=_hash_tensors(weight_SKC, bias_SK),
    )
    return Classifier(info, weight_SKC, bias_SK)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = classifier()
    (tmp_path / CLASSIFIER).write_bytes(to_safetensors(written))
    read = read_classifier(Location(tmp_path))
    assert read.info == written.info
    assert torch.equal(read.weight_SKC, written.weight_SKC)
    assert torch.equal(read.bias_SK, written.bias_SK)
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
    std_SC = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]])
    sha256 = _hash_tensors(old.weight_SKC, old.bias_SK, std_SC)
    new = Classifier(old.info.model_copy(update={"sha256": sha256}), old.weight_SKC, old.bias_SK, std_SC)
    for written in (old, new):
        (tmp_path / CLASSIFIER).write_bytes(to_safetensors(written))
        read = read_classifier(Location(tmp_path))
        if written.feature_std_SC is None:
            assert read.feature_std_SC is None
        else:
            assert read.feature_std_SC is not None
            assert torch.equal(read.feature_std_SC, std_SC)
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
    assert not torch.equal(read.feature_std_SC[0], read.feature_std_SC[1])  # each seed has another encoder
    assert len(set(read.info.features_sha256)) == 2  # each seed draws another encoder


def changed(**metadata: object) -> bytes:
    """A file whose metadata differ."""
    whole = classifier()
    fields = {name: json.dumps(v) for name, v in whole.info.model_dump(mode="json").items()}
    fields |= {name: json.dumps(value) for name, value in metadata.items()}
    tensors = safetensors.torch.load(to_safetensors(whole))
    return safetensors.torch.save(tensors, fields)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "deserializing"),
        (b"\xff" * 64, "header"),
        (to_safetensors(classifier())[:-8], "not fully covered"),
        (to_safetensors(classifier())[:-1] + b"\x00", "its SHA-256 is not the one in its metadata"),
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
