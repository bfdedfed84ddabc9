"""How far an adversary gets: accuracy of the frozen encoder and a linear probe under FGSM (Goodfellow et al. 2015).

x' = x + ε · sign(∇ₓ cross-entropy). On audio, ε is in units of its full scale 1, and x' is clipped to [-1, 1]; on
latents, in units of each dimension's root mean square, where the probe is all that is attacked. Beside it stand
random signs of the same ε, which tell the adversary from mere noise, and an untrained encoder with its own probe.

Shapes: N examples, L samples, T frames, C channels, K classes.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vgim.data.shards.read import Utterance, read_utterances
from vgim.downstream.context import ProbeContext
from vgim.downstream.features.encoders import feature_source
from vgim.downstream.features.features import EncoderFeatures, statistics_of
from vgim.downstream.probes.probe import Examples
from vgim.downstream.scores import over_utterances
from vgim.downstream.solvers import Fitted, fit_lbfgs
from vgim.latents.analysis import AnalysisInput, AnalysisOutput, CsvFile, Need, PictureFile
from vgim.latents.pictures.lines import CurveLine, lines_picture
from vgim.latents.probe_examples import clip_of, encoder_features, examples_of, probe_contexts
from vgim.latents.result import Curve, Table
from vgim.model.audio import to_float
from vgim.model.randomness import mix, seeded_generator

ATTACKED_UTTERANCES = 24
"""Of the split, at most: each takes a pass backward through the encoder and one forward for every ε."""
LATENT_EPSILONS = (0.0, 0.03, 0.1, 0.3, 1.0)
F64 = NDArray[np.float64]


class CorrectCounts(NamedTuple):
    """Right and all examples of an utterance."""

    right: list[int]
    """For each ε."""
    num: int


class ProbedEncoder(NamedTuple):
    """An encoder with a linear probe on it."""

    source: EncoderFeatures
    fitted: Fitted


class SensitivityAnalysis:
    """Accuracy against ε of the probe whose labels are finest: phones where there are any."""

    title: ClassVar[str] = "Adversarial sensitivity of the probe"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})

    def run(self, inputs: AnalysisInput) -> AnalysisOutput:
        """Fits a probe on the trained and on an untrained encoder, and attacks both."""
        context = min(probe_contexts(inputs), key=_coarseness)
        trained = _fit(inputs, context, encoder_features(inputs))
        untrained_source, _ = feature_source(context, "random", inputs.options.seed)
        assert isinstance(untrained_source, EncoderFeatures)
        untrained = _fit(inputs, context, untrained_source)
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
    probed: ProbedEncoder,
    context: ProbeContext,
    utterances: list[Utterance],
    epsilons: tuple[float, ...],
    module: int,
    noise_seed: int | None = None,
) -> list[CorrectCounts]:
    """Right examples of each utterance for every ε.

    Args:
        noise_seed: Takes random signs of this seed instead of the gradient's.
    """
    encoder = probed.source.encoder
    hop, shortest = encoder.hop_samples(module), encoder.min_samples(module)
    device = next(encoder.parameters()).device
    weight_KC, bias_K = probed.fitted.weight_KC.to(device), probed.fitted.bias_K.to(device)

    def logits(x_BL: Tensor, utterance: Utterance) -> tuple[Tensor, Tensor] | None:
        x = probed.source.normalizer(x_BL, statistics_of([utterance]))
        for index in range(module + 1):
            x = encoder.module(index).represent(x)
        examples = context.task.examples(utterance, x[0], hop)
        if examples is None or not len(examples.y_N):
            return None
        return examples.x_NC @ weight_KC.T + bias_K, examples.y_N.to(device)

    found = []
    for utterance in utterances:
        clip = clip_of(context, utterance)
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
        right = []
        for epsilon in epsilons:
            with torch.no_grad():
                moved_BL = (x_BL + epsilon * sign_BL).clamp(-1, 1)
                after = logits(moved_BL, utterance)
            assert after is not None
            right.append(int((after[0].argmax(1) == after[1]).sum()))
        found.append(CorrectCounts(right, len(clean[1])))
    return found


def attack_latents(fitted: Fitted, test: Examples) -> list[float]:
    """Accuracy under FGSM on the probe's own input, for each of LATENT_EPSILONS."""
    x_NC = test.x_NC.clone().requires_grad_()
    logits_NK = x_NC @ fitted.weight_KC.T + fitted.bias_K
    (gradient_NC,) = torch.autograd.grad(F.cross_entropy(logits_NK, test.y_N), x_NC)
    step_NC = gradient_NC.sign() * test.x_NC.square().mean(0).sqrt()
    return [
        float((fitted.predict(test.x_NC + epsilon * step_NC) == test.y_N).double().mean())
        for epsilon in LATENT_EPSILONS
    ]


def _fit(inputs: AnalysisInput, context: ProbeContext, source: EncoderFeatures) -> ProbedEncoder:
    train, validation = (examples_of(inputs, context, source, split) for split in ("train", "validation"))
    return ProbedEncoder(source, fit_lbfgs(train, validation, len(context.task.classes)))


def _accuracies(counts: list[CorrectCounts]) -> tuple[F64, F64, F64]:
    """Accuracy and its 95 % interval over utterances for each ε."""
    right_UE = np.array([count.right for count in counts], dtype=np.float64)
    num_U = np.array([count.num for count in counts])
    ends = np.array([over_utterances(right_U, num_U) for right_U in right_UE.T])
    return right_UE.sum(0) / num_U.sum(), ends[:, 0], ends[:, 1]


def _output(
    inputs: AnalysisInput,
    context: ProbeContext,
    curves: dict[str, list[CorrectCounts]],
    of_latents: list[float],
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
        "ε (full scale is 1)",
        "accuracy",
        f"{task} probe on module {inputs.module} under attack",
        x_scale="symlog",
        x_threshold=min(positive, default=1.0),
        level=("majority", majority),
    )
    rows = [
        (name, epsilon, float(score[0][i]), float(score[1][i]), float(score[2][i]))
        for name, score in scores.items()
        for i, epsilon in enumerate(epsilons)
    ]
    latent_rows = [
        ("latents, FGSM", epsilon, accuracy, None, None)
        for epsilon, accuracy in zip(LATENT_EPSILONS, of_latents, strict=True)
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
    for epsilon, accuracy in zip(LATENT_EPSILONS[1:], of_latents[1:], strict=True):
        metrics[f"latent_accuracy_at_{epsilon:g}"] = accuracy
    score = scores["trained, FGSM"]
    return AnalysisOutput(
        summary=[
            f"The {task} probe is right in {fgsm[0]:.1%} of clean examples and in {fgsm[last]:.1%} under FGSM with "
            f"ε = {epsilons[last]:g} on the audio; random signs of that size leave {noise[last]:.1%}.",
            f"On an untrained encoder it falls from {untrained[0]:.1%} to {untrained[last]:.1%}.",
            f"The attack halves accuracy at ε = {halved:g}."
            if halved is not None
            else f"No ε up to {max(epsilons):g} halves accuracy.",
        ],
        metrics=metrics,
        pictures=[
            PictureFile(
                "attack.png",
                "Accuracy against the size of the attack on the audio; bands are 95 % over utterances.",
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
                x_label="ε (full scale is 1)",
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
            "FGSM is one step of the gradient: a lower bound of what an adversary can do.",
            "ε on latents is in units of each dimension's root mean square.",
        ],
    )
