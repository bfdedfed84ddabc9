"""Baselines that saw the labels: the run's architecture trained on the probe's own task (Löwe et al. 2019).

`supervised` trains end to end from one label loss on the last module; `greedy-supervised` gives every module a label
loss of its own, and no gradient passes between modules. The label loss is the probe's: a linear classifier of its
examples. Posterior modules pass on μ, without noise and KL term. Everything else is the run's: Adam, its learning
rate and decay, clipping, the batch of one worker; fp32. The weights begin as the untrained encoder's of that seed.

Shapes: B clips, L samples, T frames, C channels, N examples, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vgim.data.pcm import Pcm16
from vgim.data.shards.read import Utterance, read_utterances
from vgim.data.stream.crops import first_crop
from vgim.downstream.context import ProbeContext
from vgim.downstream.features.baselines import untrained_encoder
from vgim.downstream.features.examples import whole
from vgim.downstream.features.features import (
    Clips,
    CutClip,
    EncoderFeatures,
    Reading,
    stream_features,
)
from vgim.downstream.features.labeled_clips import training_batches
from vgim.downstream.probes.probe import Examples
from vgim.downstream.result import SupervisedKind
from vgim.errors import DataError, TrainingError
from vgim.model.randomness import mix, seeded_generator
from vgim.model.stack import Encoder
from vgim.train.step import learning_rate_at

PATIENCE = 5
"""Epochs without a lower validation loss after which it ends."""

Say = Callable[[str], None]


class Part(NamedTuple):
    """Modules that one label loss trains."""

    modules: tuple[int, ...]
    head: nn.Linear
    """Linear classifier of the last one's examples."""

    def parameters(self, encoder: Encoder) -> list[nn.Parameter]:
        return [p for m in self.modules for p in encoder.module(m).parameters()] + [*self.head.parameters()]


class Taught(NamedTuple):
    """An encoder that was trained on labels."""

    encoder: Encoder
    epochs: int
    """Those behind its weights: the ones of the lowest validation loss."""
    validation_loss: float
    """Mean cross-entropy in nats, mean over the label losses."""


def teach(setting: ProbeContext, kind: SupervisedKind, seed: int, say: Say = lambda line: None) -> Taught:
    """Train an encoder on the labels of the train split; the validation split ends it and chooses the epoch.

    Deterministic on a CPU, given the seed.

    Raises:
        DataError: The train or the validation split gives nothing to learn from.
        TrainingError: The loss is not finite.
    """
    config = setting.opened.config
    encoder = untrained_encoder(config, seed).to(setting.opened.device)
    parts = _parts(encoder, setting, kind, seed)
    parameters = [p for part in parts for p in part.parameters(encoder)]
    optimizer = torch.optim.Adam(parameters, lr=config.optim.learning_rate)
    best: Taught | None = None
    kept: dict[str, Tensor] = {}
    for epoch in range(1, setting.options.supervised_epochs + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(config.optim, epoch - 1)
        loss = _train_epoch(setting, encoder, parts, optimizer, seed, epoch)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the label loss of --encoder {kind} is not finite in epoch {epoch}; leave it out, or probe a run "
                f"with a lower optim.learning_rate than {config.optim.learning_rate:g}"
            )
        validation_loss = _validate(setting, encoder, parts)
        say(f"{kind}, seed {seed}, epoch {epoch}: label loss {loss:.3f}, on validation {validation_loss:.3f}")
        if best is None or validation_loss < best.validation_loss:
            best = Taught(encoder, epoch, validation_loss)
            kept = {name: value.clone() for name, value in encoder.state_dict().items()}
        elif epoch - best.epochs >= PATIENCE:
            break
    assert best is not None
    encoder.load_state_dict(kept)
    return best


def _parts(encoder: Encoder, setting: ProbeContext, kind: SupervisedKind, seed: int) -> list[Part]:
    every = tuple(range(len(encoder)))
    groups = [every] if kind == "supervised" else [(m,) for m in every]
    parts = []
    for modules in groups:
        num_in, num_classes = encoder.channels(modules[-1]), len(setting.task.classes)
        head = nn.Linear(num_in, num_classes, device="meta").to_empty(device=setting.opened.device)
        draw = seeded_generator("cpu", mix("label head", setting.opened.config.train.seed, seed, modules[-1]))
        with torch.no_grad():
            for parameter in head.parameters():  # torch's default distribution
                bound = num_in**-0.5
                parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=draw))
        parts.append(Part(modules, head))
    return parts


def _train_epoch(
    setting: ProbeContext,
    encoder: Encoder,
    parts: list[Part],
    optimizer: torch.optim.Optimizer,
    seed: int,
    epoch: int,
) -> float:
    """One pass over the train split: the mean label loss of its steps, mean over the parts."""
    encoder.train()
    total, steps = torch.zeros((), device=setting.opened.device), 0
    shortest = encoder.min_samples(-1)
    for clips in training_batches(setting, min_samples=shortest, seed=seed, epoch=epoch):
        x = clips.normalized(setting.opened.normalizer, setting.opened.device)
        losses = []
        for part in parts:
            for m in part.modules:
                x = encoder.module(m).represent(x)
            examples = _examples(setting, clips, x, encoder.hop_samples(part.modules[-1]))
            if examples is None:
                break
            loss = F.cross_entropy(part.head(examples.x_NC), examples.y_N)
            loss.backward()  # type: ignore[no-untyped-call]
            if setting.opened.config.optim.clip_norm:
                nn.utils.clip_grad_norm_(part.parameters(encoder), setting.opened.config.optim.clip_norm)
            losses.append(loss.detach())
            x = x.detach()
        if losses:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            total += torch.stack(losses).mean()
            steps += 1
    if not steps:
        raise DataError(
            f"the train split of {setting.opened.shards.uri} gives no labeled clip for --task {setting.task.name}: its "
            "utterances are shorter than data.crop_samples="
            f"{setting.opened.config.data.crop_samples}, or have no label; leave the supervised encoders out"
        )
    return float(total) / steps


def _examples(setting: ProbeContext, clips: Clips, x_BTC: Tensor, hop_samples: int) -> Examples | None:
    """The probe's examples of all clips, with their gradient; None where no clip gives one."""
    given = [
        setting.task.examples(utterance, x_TC, hop_samples)
        for utterance, x_TC in zip(clips.utterances, x_BTC, strict=True)
    ]
    found = [examples for examples in given if examples is not None]
    if not found:
        return None
    y_N = torch.cat([examples.y_N for examples in found])
    return Examples(torch.cat([examples.x_NC for examples in found]), y_N.to(x_BTC.device))


@torch.no_grad()
def _validate(setting: ProbeContext, encoder: Encoder, parts: list[Part]) -> float:
    """Cross-entropy on the probe's own examples of the validation split, mean over the parts."""
    encoder.eval()
    readings = tuple(Reading(part.modules[-1]) for part in parts)
    source = EncoderFeatures(encoder, setting.opened.normalizer, readings)
    utterances = read_utterances(setting.opened.shards, setting.opened.manifest, "validation")
    totals, counts = [0.0] * len(parts), [0] * len(parts)
    for utterance, features in stream_features(source, utterances, _clip(setting)):
        for i, (part, view, x_TC) in enumerate(zip(parts, source.views, features, strict=True)):
            given = setting.task.examples(utterance, x_TC, view.hop_samples)
            if given is not None:
                x_NC, y_N = given.x_NC.to(setting.opened.device), given.y_N.to(setting.opened.device)
                totals[i] += float(F.cross_entropy(part.head(x_NC), y_N, reduction="sum"))
                counts[i] += len(y_N)
    if not all(counts):
        raise DataError(
            f"no utterance of the validation split can be used for --task {setting.task.name}: each is too short or "
            "has no label; prepare other shards, or leave the supervised encoders out"
        )
    return sum(total / count for total, count in zip(totals, counts, strict=True)) / len(parts)


def _clip(setting: ProbeContext) -> CutClip:
    """What the probe encodes of an utterance."""
    if setting.task.uses_crops and not setting.options.whole_utterances:

        def crop(utterance: Utterance) -> Pcm16 | None:
            return first_crop(utterance.audio, setting.opened.config.data)

        return crop
    return whole
