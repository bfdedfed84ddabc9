"""Accuracy of the frozen encoder with a linear probe under FGSM attacks (Goodfellow et al. 2015).

The attack is x' = x + ε · sign(∇ₓ cross-entropy). On audio, ε is in units of full scale 1, and x' is clipped to
[-1, 1]. On latents, ε is in units of each dimension's root mean square; this attacks the probe alone. For comparison,
random signs of the same ε tell an adversary from noise, and an untrained encoder with its own probe is attacked too.

Shapes: N examples, L samples, T frames, C channels, K classes, U utterances, E values of ε.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vgim.arrays import F64
from vgim.data.shards.read import Utterance, read_utterances
from vgim.downstream.context import ProbeContext
from vgim.downstream.encoders.kinds import feature_source
from vgim.downstream.features.encoder_features import EncoderFeatures
from vgim.downstream.features.source import statistics_of
from vgim.downstream.intervals import interval_over_utterances
from vgim.downstream.probes.probe import Examples
from vgim.downstream.solvers import Fitted, fit_lbfgs
from vgim.latents.analysis import AnalysisInput, AnalysisOutput, CsvFile, Need, PictureFile
from vgim.latents.pictures.lines import CurveLine, lines_picture
from vgim.latents.probe_examples import encoder_features, examples_of, probe_contexts
from vgim.latents.result import Curve, Table
from vgim.model.audio import to_float
from vgim.model.randomness import mix, seeded_generator

ATTACKED_UTTERANCES = 24
"""Most utterances attacked: each costs a backward pass through the encoder, and a forward pass for every ε."""
LATENT_EPSILONS = (0.0, 0.03, 0.1, 0.3, 1.0)


class CorrectCounts(NamedTuple):
    """Examples of one utterance, and how many of them are classified correctly."""

    num_correct: list[int]
    """For each ε."""
    num_examples: int


class ProbedEncoder(NamedTuple):
    """An encoder and a linear probe of its features."""

    source: EncoderFeatures
    fitted: Fitted


class SensitivityAnalysis:
    """Accuracy against ε of the probe with the finest labels: phones if there are any, else syllables."""

    title: ClassVar[str] = "Adversarial sensitivity of the probe"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})

    def run(self, inputs: AnalysisInput) -> AnalysisOutput:
        """Fit a probe on the trained and on an untrained encoder, and attack both."""
        context = min(probe_contexts(inputs), key=_coarseness)
        trained = _fit_probe(inputs, context, encoder_features(inputs))
        untrained_source, _ = feature_source(context, "random", inputs.options.seed)
        assert isinstance(untrained_source, EncoderFeatures)
        untrained = _fit_probe(inputs, context, untrained_source)
        utterances = list(
            read_utterances(
                context.opened.shards,
                context.opened.manifest,
                inputs.options.split,
                min(ATTACKED_UTTERANCES, inputs.options.max_utterances),
            )
        )
        epsilons = inputs.options.epsilons
        curves = {
            "trained, FGSM": attack(trained, context, utterances, epsilons, inputs.module),
            "trained, random signs": attack(
                trained, context, utterances, epsilons, inputs.module, noise_seed=inputs.options.seed
            ),
            "untrained, FGSM": attack(untrained, context, utterances, epsilons, inputs.module),
        }
        test = examples_of(inputs, context, trained.source, inputs.options.split)
        majority = float((test.y_N == test.y_N.bincount().argmax()).double().mean())
        return _output(inputs, context, curves, attack_latents(trained.fitted, test), majority)


def _coarseness(context: ProbeContext) -> tuple[bool, bool]:
    """Sorts labels of frames before those of utterances, and these before labels that hold for any crop."""
    return context.task.unit != "frame", context.task.uses_crops


def attack(
    target: ProbedEncoder,
    context: ProbeContext,
    utterances: list[Utterance],
    epsilons: tuple[float, ...],
    module: int,
    noise_seed: int | None = None,
) -> list[CorrectCounts]:
    """Count the examples that are classified correctly, for each utterance and every ε.

    Args:
        utterances: Utterances without an example are left out.
        module: Module that the probe reads.
        noise_seed: Seed of random signs, which replace the signs of the gradient; None for FGSM.
    """
    encoder = target.source.encoder
    hop, shortest = encoder.hop_samples(module), encoder.min_samples(module)
    device = next(encoder.parameters()).device
    weight_KC, bias_K = target.fitted.weight_KC.to(device), target.fitted.bias_K.to(device)

    def logits(x_BL: Tensor, utterance: Utterance) -> tuple[Tensor, Tensor] | None:
        x = target.source.normalizer(x_BL, statistics_of([utterance]))
        for index in range(module + 1):
            x = encoder.module(index).represent(x)
        examples = context.task.examples(utterance, x[0], hop)
        if examples is None or not len(examples.y_N):
            return None
        return examples.x_NC @ weight_KC.T + bias_K, examples.y_N.to(device)

    counts = []
    for utterance in utterances:
        clip = context.clip(utterance)
        if clip is None or len(clip) < shortest:
            continue
        x_BL = to_float(torch.from_numpy(clip)[None]).to(device).requires_grad_()
        clean = logits(x_BL, utterance)
        if clean is None:
            continue
        if noise_seed is None:
            (gradient_BL,) = torch.autograd.grad(F.cross_entropy(*clean), x_BL)
            sign_BL = gradient_BL.sign()
        else:
            generator = seeded_generator("cpu", mix("signs", noise_seed, utterance.utterance_id))
            sign_BL = (torch.randint(2, x_BL.shape, generator=generator) * 2.0 - 1).to(device)
        num_correct = []
        for epsilon in epsilons:
            with torch.no_grad():
                moved_BL = (x_BL + epsilon * sign_BL).clamp(-1, 1)
                attacked = logits(moved_BL, utterance)
            assert attacked is not None
            num_correct.append(int((attacked[0].argmax(1) == attacked[1]).sum()))
        counts.append(CorrectCounts(num_correct, len(clean[1])))
    return counts


def attack_latents(fitted: Fitted, test: Examples) -> list[float]:
    """Accuracy of the probe under FGSM on its features, for each of LATENT_EPSILONS."""
    x_NC = test.x_NC.clone().requires_grad_()
    logits_NK = x_NC @ fitted.weight_KC.T + fitted.bias_K
    (gradient_NC,) = torch.autograd.grad(F.cross_entropy(logits_NK, test.y_N), x_NC)
    step_NC = gradient_NC.sign() * test.x_NC.square().mean(0).sqrt()
    return [
        float((fitted.predict(test.x_NC + epsilon * step_NC) == test.y_N).double().mean())
        for epsilon in LATENT_EPSILONS
    ]


def _fit_probe(inputs: AnalysisInput, context: ProbeContext, source: EncoderFeatures) -> ProbedEncoder:
    train, validation = (examples_of(inputs, context, source, split) for split in ("train", "validation"))
    return ProbedEncoder(source, fit_lbfgs(train, validation, len(context.task.classes)))


def _accuracies(counts: list[CorrectCounts]) -> tuple[F64, F64, F64]:
    """Accuracy for each ε, and the two ends of its 95 % interval over utterances, [E] each."""
    correct_UE = np.array([count.num_correct for count in counts], dtype=np.float64)
    num_U = np.array([count.num_examples for count in counts])
    ends_E2 = np.array([interval_over_utterances(correct_U, num_U) for correct_U in correct_UE.T])
    return correct_UE.sum(0) / num_U.sum(), ends_E2[:, 0], ends_E2[:, 1]


def _output(
    inputs: AnalysisInput,
    context: ProbeContext,
    curves: dict[str, list[CorrectCounts]],
    latent_accuracies: list[float],
    majority: float,
) -> AnalysisOutput:
    epsilons, task = inputs.options.epsilons, context.task.name
    scores = {name: _accuracies(counts) for name, counts in curves.items()}
    styles = ("o-", "^:", "s--")
    positive = [epsilon for epsilon in epsilons if epsilon > 0]
    picture = partial(
        lines_picture,
        [
            CurveLine(name, epsilons, *score, style)
            for (name, score), style in zip(scores.items(), styles, strict=True)
        ],
        "ε (full scale of the audio is 1)",
        "accuracy",
        f"{task} probe of module {inputs.module} under attack",
        x_scale="symlog",
        x_threshold=min(positive, default=1.0),
        level=("most frequent class", majority),
    )
    rows = [
        (name, epsilon, float(score[0][i]), float(score[1][i]), float(score[2][i]))
        for name, score in scores.items()
        for i, epsilon in enumerate(epsilons)
    ]
    latent_rows = [
        ("latents, FGSM", epsilon, accuracy, None, None)
        for epsilon, accuracy in zip(LATENT_EPSILONS, latent_accuracies, strict=True)
    ]
    fgsm, noise, untrained = (score[0] for score in scores.values())
    halved = next((e for e, a in zip(epsilons, fgsm, strict=True) if a <= fgsm[0] / 2), None)
    last = len(epsilons) - 1
    metrics = {"clean_accuracy": float(fgsm[0])}
    for i, epsilon in reversed(list(enumerate(epsilons))):
        if epsilon > 0:
            metrics[f"accuracy_at_{epsilon:g}"] = float(fgsm[i])
            metrics[f"noise_accuracy_at_{epsilon:g}"] = float(noise[i])
            metrics[f"untrained_accuracy_at_{epsilon:g}"] = float(untrained[i])
    metrics |= {
        "untrained_clean_accuracy": float(untrained[0]),
        "majority": majority,
        "num_utterances": len(curves["trained, FGSM"]),
    }
    for epsilon, accuracy in zip(LATENT_EPSILONS[1:], latent_accuracies[1:], strict=True):
        metrics[f"latent_accuracy_at_{epsilon:g}"] = accuracy
    score = scores["trained, FGSM"]
    return AnalysisOutput(
        summary=[
            f"The {task} probe classifies {fgsm[0]:.1%} of the clean examples correctly, and {fgsm[last]:.1%} under "
            f"FGSM with ε = {epsilons[last]:g} on the audio; random signs of the same size leave {noise[last]:.1%}.",
            f"The probe of an untrained encoder falls from {untrained[0]:.1%} to {untrained[last]:.1%}.",
            f"The smallest ε tried that halves the accuracy is {halved:g} (full scale of the audio is 1)."
            if halved is not None
            else f"No ε up to {max(epsilons):g} halves the accuracy (full scale of the audio is 1).",
        ],
        metrics=metrics,
        pictures=[
            PictureFile(
                "attack.png",
                "Accuracy against the size ε of the attack on the audio; bands are 95 % intervals over utterances.",
                picture,
            )
        ],
        tables=[
            Table(
                title=f"Accuracy of the {task} probe",
                columns=("encoder and attack", "ε", "accuracy", "low", "high"),
                rows=(*rows, *latent_rows),
            )
        ],
        curves=[
            Curve(
                title=f"Accuracy of the {task} probe under FGSM on the audio",
                x_label="ε (full scale of the audio is 1)",
                y_label="accuracy",
                x=tuple(epsilons),
                y=tuple(score[0].tolist()),
                low=tuple(score[1].tolist()),
                high=tuple(score[2].tolist()),
                log_x=True,
            )
        ],
        csv_files={
            "accuracy.csv": CsvFile(("attack", "epsilon", "accuracy", "low", "high"), [*rows, *latent_rows])
        },
        notes=[
            "FGSM is a single gradient step; a stronger adversary would leave a lower accuracy.",
            "In attacks on latents, ε is in units of each dimension's root mean square.",
        ],
    )
