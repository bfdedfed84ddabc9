"""A probe tells signal from noise, and uses each split for what it is for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from vgim.data.pcm import Pcm16
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.read import Utterance, read_lengths, read_utterances
from vgim.downstream import context, fit, job, split_examples
from vgim.downstream.encoders import kinds
from vgim.downstream.encoders.kinds import EncoderPreparation
from vgim.downstream.features.examples import check_memory
from vgim.downstream.features.source import ClipBatch, FeatureSpec
from vgim.downstream.job import probe
from vgim.downstream.options import ProbeOptions
from vgim.downstream.probes.phone import PhoneProbe
from vgim.downstream.result import ProbeResult
from vgim.errors import ConfigError
from vgim.storage import Location

pytestmark = pytest.mark.usefixtures("without_confusion_pictures")

CHANNELS = 16


class Fake:
    """Features that either hold the label or are noise, drawn afresh for every utterance."""

    clips_at_once = 1
    padded_samples = 0
    specs = (FeatureSpec(0, 160, CHANNELS),)

    def __init__(self, *, hold_label: bool) -> None:
        self.hold_label = hold_label
        self.seen: list[list[str]] = []
        self.phones: dict[str, list[int]] = {}

    def min_samples(self) -> int:
        return 160

    def identity(self) -> dict[str, object]:
        return {"features": "fake", "hold_label": self.hold_label}

    def __call__(self, clips: ClipBatch) -> list[torch.Tensor]:
        (heard,) = clips.utterances
        num_frames = clips.audio_BL.shape[1] // 160
        rng = np.random.default_rng(list(heard.utterance_id.encode()))
        features_TC = torch.from_numpy(rng.normal(size=(num_frames, CHANNELS))).float()
        if self.hold_label:
            assert heard.phones is not None
            features_TC[:, 0] = int(heard.speaker_id)
            labels = torch.from_numpy(heard.phones).float()
            num = min(num_frames, len(labels))
            features_TC[num_frames - num :, 1] = torch.sin(labels[:num])
            features_TC[num_frames - num :, 2] = torch.cos(labels[:num])
            features_TC[:, 3:] = torch.nn.functional.one_hot(
                torch.tensor(int(heard.speaker_id) % 13), 13
            ).float()
        return [features_TC[None]]


def run_with(fake: Fake, run: Path, monkeypatch: pytest.MonkeyPatch, **options: object) -> ProbeResult:
    monkeypatch.setattr(job, "feature_source", lambda *_: (fake, EncoderPreparation()))
    (result,) = probe(
        str(run), ProbeOptions.model_validate({"encoders": ("random",), "module": 0, **options})
    )
    return result


def test_features_that_hold_the_speaker_give_perfect_accuracy(
    probed_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run_with(Fake(hold_label=True), probed_run, monkeypatch, task="speaker")
    assert result.accuracy == 1.0
    assert result.interval_over_utterances.high == pytest.approx(1)
    assert set(result.per_class.values()) == {1.0}


@pytest.mark.parametrize("task", ["speaker", "phone"])
def test_the_interval_of_noise_holds_chance(
    probed_run: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    result = run_with(Fake(hold_label=False), probed_run, monkeypatch, task=task)
    interval = result.interval_over_utterances
    level = result.chance if task == "speaker" else result.majority
    assert interval.low <= level <= interval.high


def test_probes_fit_on_train_choose_on_validation_and_read_test_once(
    probed_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def spy(*args: object) -> Iterator[Utterance]:
        asked.append(str(args[2]))
        return read_utterances(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(split_examples, "read_utterances", spy)
    fits: list[int] = []
    solve = fit.fit_lbfgs

    def spy_on_fit(*args: object, **options: object) -> object:
        fits.extend(len(e.y_N) for e in args[:2])  # type: ignore[attr-defined]
        return solve(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(fit, "fit_lbfgs", spy_on_fit)
    (result,) = probe(str(probed_run), ProbeOptions(task="speaker", encoders=("mfcc",)))
    splits = read_manifest(result.data).splits
    assert asked == ["train", "validation", "test"]
    assert fits == [splits["train"].utterances, splits["validation"].utterances]  # test is not among them
    assert result.num_test == splits["test"].utterances
    ids = [set(read_lengths(Location(result.data), split)) for split in splits]
    assert sum(map(len, ids)) == len(set.union(*ids))
    assert result.test_utterances_seen == 0


@pytest.mark.parametrize("task", ["syllable", "vowel"])
def test_syllables_and_vowels_of_tones_are_classified_with_and_without_bias(
    probed_run: Path, syllables: Path, task: str
) -> None:
    for bias in (True, False):
        options = {"task": task, "encoders": ("mfcc",), "shards": str(syllables), "bias": bias}
        (result,) = probe(str(probed_run), ProbeOptions.model_validate(options))
        assert result.accuracy > 0.9
        assert len(result.per_class) == (9 if task == "syllable" else 3)
        assert result.num_test == 18


def test_features_beyond_memory_are_refused_with_a_number_that_fits(tiny_shards: Path) -> None:
    task = PhoneProbe(read_manifest(tiny_shards))
    specs = [FeatureSpec(0, 160, 512)]
    check_memory(task, specs, [16_000] * 100)
    with pytest.raises(ConfigError, match=r"use --max-utterances \d+, or one --module"):
        check_memory(task, specs, [10**9] * 100_000)


def test_utterances_too_short_for_a_crop_are_counted(
    probed_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []

    def crop(audio: Pcm16, _: object) -> Pcm16 | None:
        lengths.append(len(audio))
        return None if len(lengths) % 10 == 0 else audio[:5120]

    monkeypatch.setattr(context, "first_crop", crop)
    (result,) = probe(str(probed_run), ProbeOptions(task="speaker", encoders=("mfcc",)))
    assert result.num_left_out == len(lengths) // 10
    assert result.num_train + result.num_validation + result.num_test + result.num_left_out == 48


def test_batch_norm_clips_come_from_the_train_split_alone(
    probed_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def spy(*args: object) -> Iterable[Utterance]:
        asked.append(str(args[2]))
        return read_utterances(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(kinds, "read_utterances", spy)
    probe(str(probed_run), ProbeOptions(task="speaker", module=0, encoders=("random",)))
    assert asked == ["train"]
