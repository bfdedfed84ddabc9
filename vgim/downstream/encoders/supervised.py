"""Baselines that saw the labels: the run's architecture, trained on the probe's own task (Löwe et al. 2019).

`supervised` trains end to end from one label loss on the last module. `greedy-supervised` gives every module a label
loss of its own, and no gradient passes between modules. A label loss is the cross-entropy of a linear classifier on
the probe's examples. Modules with a posterior pass on μ, without noise and KL term. Everything else is the run's:
Adam, its learning rate and decay, gradient clipping, the batch of one rank; in fp32. The initial weights are those of
the untrained encoder of the same seed.

Shapes: B clips, L samples, T frames, C channels, N examples, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vgim.downstream.context import ProbeContext
from vgim.downstream.encoders.labeled_clips import training_batches
from vgim.downstream.encoders.untrained import untrained_encoder
from vgim.downstream.features.encoder_features import EncoderFeatures, EncoderOutput
from vgim.downstream.features.source import ClipBatch, stream_features
from vgim.downstream.held_out import read_probe_utterances
from vgim.downstream.options import SupervisedKind
from vgim.downstream.probes.probe import Examples
from vgim.errors import DataError, TrainingError
from vgim.model.optimizers import Adam
from vgim.model.randomness import mix, seeded_generator
from vgim.model.stack import Encoder
from vgim.training.step import learning_rate_at

PATIENCE = 5
"""Epochs without a lower validation loss after which training ends."""


class LabelLoss(NamedTuple):
    """One label loss: the modules that it trains, and its classifier."""

    modules: tuple[int, ...]
    classifier: nn.Linear
    """Linear classifier of examples of the last of these modules."""

    def parameters(self, encoder: Encoder) -> list[nn.Parameter]:
        """Parameters of the modules and of the classifier."""
        of_modules = [p for m in self.modules for p in encoder.module(m).parameters()]
        return [*of_modules, *self.classifier.parameters()]


class SupervisedEncoder(NamedTuple):
    """An encoder that was trained on labels."""

    encoder: Encoder
    epochs: int
    """Epochs of training behind the weights, which have the lowest validation loss."""
    validation_loss: float
    """Mean cross-entropy in nats, mean over the label losses."""


def train_on_labels(
    context: ProbeContext,
    kind: SupervisedKind,
    seed: int,
    log: Callable[[str], None] = lambda line: None,
) -> SupervisedEncoder:
    """Train an encoder on the labels of the train split, and keep the epoch of the lowest validation loss.

    Deterministic on a CPU, given the seed.

    Args:
        log: Called with the losses of each epoch.

    Raises:
        DataError: The train or the validation split has no example.
        TrainingError: The loss is not finite.
    """
    config = context.opened.config
    encoder = untrained_encoder(config, seed).to(context.opened.device)
    label_losses = _make_label_losses(encoder, context, kind, seed)
    parameters = [p for label_loss in label_losses for p in label_loss.parameters(encoder)]
    optimizer = Adam(parameters, lr=config.optim.learning_rate)
    best: SupervisedEncoder | None = None
    best_weights: dict[str, Tensor] = {}
    for epoch in range(1, context.options.supervised_epochs + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(config.optim, epoch - 1)
        loss = _train_epoch(context, encoder, label_losses, optimizer, seed, epoch)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the label loss of --encoder {kind} is not finite in epoch {epoch}; leave it out, or probe a run "
                f"with a lower optim.learning_rate than {config.optim.learning_rate:g}"
            )
        validation_loss = _validate(context, encoder, label_losses)
        log(f"{kind}, seed {seed}, epoch {epoch}: label loss {loss:.3f}, on validation {validation_loss:.3f}")
        if best is None or validation_loss < best.validation_loss:
            best = SupervisedEncoder(encoder, epoch, validation_loss)
            best_weights = {name: value.clone() for name, value in encoder.state_dict().items()}
        elif epoch - best.epochs >= PATIENCE:
            break
    assert best is not None
    encoder.load_state_dict(best_weights)
    return best


def _make_label_losses(
    encoder: Encoder, context: ProbeContext, kind: SupervisedKind, seed: int
) -> list[LabelLoss]:
    """One label loss for all modules, or one for each, with classifiers drawn from the seed."""
    all_modules = tuple(range(len(encoder)))
    label_losses = []
    for modules in [all_modules] if kind == "supervised" else [(m,) for m in all_modules]:
        num_in, num_classes = encoder.channels(modules[-1]), len(context.task.classes)
        classifier = nn.Linear(num_in, num_classes, device="meta").to_empty(device=context.opened.device)
        train_seed = context.opened.config.train.seed
        generator = seeded_generator("cpu", mix("label head", train_seed, seed, modules[-1]))
        with torch.no_grad():
            for parameter in classifier.parameters():  # torch's default distribution
                bound = num_in**-0.5
                parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator))
        label_losses.append(LabelLoss(modules, classifier))
    return label_losses


def _train_epoch(
    context: ProbeContext,
    encoder: Encoder,
    label_losses: list[LabelLoss],
    optimizer: torch.optim.Optimizer,
    seed: int,
    epoch: int,
) -> float:
    """Pass once over the train split; returns the mean over label losses of their mean over steps."""
    opened, clip_norm = context.opened, context.opened.config.optim.clip_norm
    encoder.train()
    total, num_steps = torch.zeros((), device=opened.device), 0
    for clips in training_batches(context, min_samples=encoder.min_samples(-1), seed=seed, epoch=epoch):
        x = clips.normalized(opened.normalizer, opened.device)
        losses = []
        for label_loss in label_losses:
            for m in label_loss.modules:
                x = encoder.module(m).represent(x)
            examples = _batch_examples(context, clips, x, encoder.hop_samples(label_loss.modules[-1]))
            if examples is None:
                break
            loss = F.cross_entropy(label_loss.classifier(examples.x_NC), examples.y_N)
            loss.backward()  # type: ignore[no-untyped-call]
            if clip_norm:
                nn.utils.clip_grad_norm_(label_loss.parameters(encoder), clip_norm)
            losses.append(loss.detach())
            x = x.detach()
        if losses:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            total += torch.stack(losses).mean()
            num_steps += 1
    if not num_steps:
        raise DataError(
            f"the train split of {opened.shards.uri} gives no labeled clip for --task {context.task.name}: its "
            f"utterances are shorter than data.crop_samples={opened.config.data.crop_samples}, or have no label; "
            "leave the supervised encoders out"
        )
    return float(total) / num_steps


def _batch_examples(
    context: ProbeContext, clips: ClipBatch, x_BTC: Tensor, hop_samples: int
) -> Examples | None:
    """The probe's examples of all clips, with their gradient; None if no clip has a label."""
    of_clips = [
        context.task.examples(utterance, x_TC, hop_samples)
        for utterance, x_TC in zip(clips.utterances, x_BTC, strict=True)
    ]
    labeled = [examples for examples in of_clips if examples is not None]
    if not labeled:
        return None
    y_N = torch.cat([examples.y_N for examples in labeled])
    return Examples(torch.cat([examples.x_NC for examples in labeled]), y_N.to(x_BTC.device))


@torch.no_grad()
def _validate(context: ProbeContext, encoder: Encoder, label_losses: list[LabelLoss]) -> float:
    """Cross-entropy on the probe's own examples of the validation split, mean over the label losses."""
    opened = context.opened
    encoder.eval()
    outputs = tuple(EncoderOutput(label_loss.modules[-1]) for label_loss in label_losses)
    source = EncoderFeatures(encoder, opened.normalizer, outputs)
    utterances = read_probe_utterances(opened, "validation")
    totals, counts = [0.0] * len(label_losses), [0] * len(label_losses)
    for utterance, features in stream_features(source, utterances, context.clip):
        for i, (label_loss, spec, x_TC) in enumerate(zip(label_losses, source.specs, features, strict=True)):
            examples = context.task.examples(utterance, x_TC, spec.hop_samples)
            if examples is not None:
                x_NC, y_N = examples.x_NC.to(opened.device), examples.y_N.to(opened.device)
                totals[i] += float(F.cross_entropy(label_loss.classifier(x_NC), y_N, reduction="sum"))
                counts[i] += len(y_N)
    if not all(counts):
        raise DataError(
            f"no utterance of the validation split can be used for --task {context.task.name}: each is too short or "
            "has no label; prepare other shards, or leave the supervised encoders out"
        )
    return sum(total / count for total, count in zip(totals, counts, strict=True)) / len(label_losses)
