"""Attacks on audio and on latents, whose effect is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from tests.latents.cases import SMALL, input_of, input_of_run, labeled
from vgim.data.shards.read import Utterance, read_utterances
from vgim.downstream.features.encoder_features import EncoderFeatures, EncoderOutput
from vgim.downstream.features.source import whole_utterance
from vgim.downstream.probes.probe import Examples
from vgim.downstream.solvers import fit_lbfgs
from vgim.latents.analyses import sensitivity
from vgim.latents.analyses.sensitivity import (
    LATENT_EPSILONS,
    ProbedEncoder,
    SensitivityAnalysis,
    attack,
    attack_latents,
)
from vgim.latents.probe_examples import encoder_features, examples_of, probe_contexts
from vgim.model.audio import Normalizer


def test_an_attack_on_latents_starts_clean_and_ends_wrong() -> None:
    train, test = labeled(400, 0), labeled(300, 2)
    fitted = fit_lbfgs(train, labeled(100, 1), 2)
    found = attack_latents(fitted, test)
    assert found[0] == float((fitted.predict(test.x_NC) == test.y_N).double().mean())
    assert found == sorted(found, reverse=True)
    assert LATENT_EPSILONS[-1] == 1
    assert found[-1] < 0.7 < 0.95 < found[0]


class Samples(torch.nn.Module):
    """An encoder whose latents are the samples themselves, [B, L, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def module(self, index: int) -> Samples:
        return self

    def represent(self, x_BL: torch.Tensor) -> torch.Tensor:
        return x_BL[..., None]

    def hop_samples(self, module: int) -> int:
        return 1

    def min_samples(self, module: int) -> int:
        return 1


class SignTask:
    """A task whose label is the sign of each sample."""

    name, classes = "phone", ("negative", "positive")
    unit, uses_crops = "frame", False

    def examples(self, utterance: Utterance, features_TC: torch.Tensor, hop_samples: int) -> Examples:
        return Examples(features_TC, torch.from_numpy((utterance.audio > 0).astype(np.int64)))


def test_an_attack_turns_all_samples_once_it_is_larger_than_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples are ±0.1 of full scale, so that the probe is right up to ε = 0.1 and wrong beyond."""
    sign_N = np.where(np.arange(400) % 3 > 0, 1, -1)
    x_N1 = torch.from_numpy(0.1 * sign_N).float()[:, None]
    examples = Examples(x_N1, torch.from_numpy((sign_N > 0).astype(np.int64)))
    audio = (0.1 * 32_768 * sign_N).round().astype(np.int16)
    utterance = Utterance("u", "s", "", audio, None, 0.0, 1.0)
    source = EncoderFeatures(cast("Any", Samples()), Normalizer(), (EncoderOutput(0),))
    opened = SimpleNamespace(shards=None, manifest=None)
    context = SimpleNamespace(task=SignTask(), opened=opened, clip=whole_utterance)
    fixed: dict[str, Callable[..., Any]] = {
        "probe_contexts": lambda inputs: [context],
        "encoder_features": lambda inputs: source,
        "feature_source": lambda *_: (source, ()),
        "examples_of": lambda *_: examples,
        "read_utterances": lambda *_: [utterance] * 2,
    }
    for name, function in fixed.items():
        monkeypatch.setattr(sensitivity, name, function)
    options = SMALL.model_copy(update={"epsilons": (0.0, 0.05, 0.2)})
    metrics = SensitivityAnalysis().run(input_of(options=options)).metrics
    assert (metrics["clean_accuracy"], metrics["accuracy_at_0.05"], metrics["accuracy_at_0.2"]) == (1, 1, 0)
    assert metrics["noise_accuracy_at_0.05"] == 1
    assert 0.25 < metrics["noise_accuracy_at_0.2"] < 0.75  # about half of the random signs, of a fixed seed
    assert metrics["untrained_accuracy_at_0.2"] == 0
    assert metrics["latent_accuracy_at_0.3"] == 1  # latents are ±0.1, whose root mean square is 0.1
    assert metrics["majority"] == 266 / 400
    assert metrics["num_utterances"] == 2


def test_fgsm_with_epsilon_zero_changes_nothing_and_else_beats_noise(plain_run: Path) -> None:
    inputs = input_of_run(plain_run)
    context = next(one for one in probe_contexts(inputs) if one.task.name == "phone")
    utterances = list(read_utterances(context.opened.shards, context.opened.manifest, "test", 4))
    source = encoder_features(inputs)
    train, validation = (examples_of(inputs, context, source, split) for split in ("train", "validation"))
    probed = ProbedEncoder(source, fit_lbfgs(train, validation, len(context.task.classes)))
    epsilons = (0.0, 0.02)
    fgsm = attack(probed, context, utterances, epsilons, 0)
    noise = attack(probed, context, utterances, epsilons, 0, noise_seed=0)
    assert [counts.num_correct[0] for counts in fgsm] == [counts.num_correct[0] for counts in noise]
    assert sum(counts.num_correct[1] for counts in fgsm) < sum(counts.num_correct[1] for counts in noise)
    assert all(0 <= right <= counts.num_examples for counts in fgsm for right in counts.num_correct)


def test_audio_has_a_gradient_through_the_encoder(plain_run: Path) -> None:
    encoder = input_of_run(plain_run).opened.encoder.encoder.double()
    generator = torch.Generator().manual_seed(0)
    x_BL = torch.randn(1, 4_000, generator=generator, dtype=torch.float64, requires_grad=True)
    direction_BL = torch.randn(1, 4_000, generator=generator, dtype=torch.float64)

    def energy(x: torch.Tensor) -> torch.Tensor:
        for index in range(2):
            x = encoder.module(index).represent(x)
        return x.square().mean()

    (gradient_BL,) = torch.autograd.grad(energy(x_BL), x_BL)
    step = 1e-6 * direction_BL
    with torch.no_grad():
        slope = float(energy(x_BL + step) - energy(x_BL - step)) / 2e-6
    encoder.float()
    assert float((gradient_BL * direction_BL).sum()) == pytest.approx(slope, rel=1e-4)
