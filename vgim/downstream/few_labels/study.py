"""How far few labels go, and whether samples of the posterior stretch them: `vgim probe --labels-per-class`.

A linear classifier is trained on n labeled examples of each class: once on their μ, and once on many samples z of
their posteriors, so that the posterior's variance augments them. Both are tested on μ.

Shapes: N examples of the train split, S test examples, C features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vgim.data.shards.read import read_lengths
from vgim.downstream.context import ProbeContext, open_probe_context
from vgim.downstream.encoders.kinds import feature_source
from vgim.downstream.features.examples import SplitExamples, check_memory
from vgim.downstream.features.source import FeatureSpec
from vgim.downstream.few_labels.fit import LabeledSubsets, Moments, RowsOf, fit_subsets
from vgim.downstream.few_labels.result import FewLabelsOptions, FewLabelsPoint, FewLabelsResult
from vgim.downstream.few_labels.subsets import shared_rows
from vgim.downstream.few_labels.summarize import StudiedFeatures, interval_or_none, summarize_modules
from vgim.downstream.few_labels.writing import write_study
from vgim.downstream.intervals import interval_over_seeds
from vgim.downstream.options import EncoderKind
from vgim.downstream.split_examples import examples_of_split
from vgim.errors import ConfigError, DataError
from vgim.plotting import WITHOUT_MATPLOTLIB, can_draw
from vgim.runs.layout import PROBES
from vgim.runs.result_folder import refuse_unwritable

KINDS = ("trained", "random", "mfcc")
"""Encoders that saw no label."""

Log = Callable[[str], None]


@dataclass(frozen=True)
class EncodedSplits:
    """Deterministic features of one encoder and spec."""

    kind: EncoderKind
    spec: FeatureSpec
    batch_norm_clips: int
    train: SplitExamples
    test: SplitExamples

    def __str__(self) -> str:
        return self.kind if self.spec.module is None else f"{self.kind} module {self.spec.module}"


class SharedExamples(NamedTuple):
    """The examples that all features have."""

    train_rows: list[Tensor]
    """Rows of these examples in each `EncodedSplits`."""
    test_rows: list[Tensor]
    labels: LabeledSubsets


def study(
    run: str, options: FewLabelsOptions, log: Log = lambda line: None, *, pdf: bool = False
) -> list[FewLabelsResult]:
    """Measure accuracy against labels per class, of μ, z and the baselines; write a folder for each module.

    Args:
        run: Folder of a run or of a checkpoint, a path or a URI.
        log: Called with each line of notes and progress.
        pdf: Writes each picture as PDF too.

    Returns:
        A result for each module.

    Raises:
        VgimError: As by a probe; ConfigError for encoders and options that a study does not take.
    """
    _check(options)
    context = open_probe_context(run, options)
    if not context.task.is_fitted:
        raise ConfigError(
            f"--labels-per-class has no effect on --task {options.task}, which fits no classifier"
        )
    family = context.opened.config.model.family
    notes = list(context.notes)
    if "trained" in options.encoders and family != "sim":
        notes.append(f"only μ: model.family={family} has no posterior to sample")
    for note in notes:
        log(f"note: {note}")
    refuse_unwritable(context.opened.folder.child(PROBES))
    encoded = _encode(context, options, log)
    shared = _share_examples(context, options, encoded)
    points = [_points_of_mean(context, options, shared, index, e, log) for index, e in enumerate(encoded)]
    if family == "sim":
        for index, of_samples in _points_of_samples(context, options, encoded, shared, log).items():
            points[index] += of_samples
    studied = [
        StudiedFeatures(
            e.spec.module,
            e.batch_norm_clips,
            points[index],
            _num_utterances(e.train, shared.train_rows[index]),
            _num_utterances(e.test, shared.test_rows[index]),
        )
        for index, e in enumerate(encoded)
    ]
    results = summarize_modules(context, options, studied, shared.labels, notes)
    for result in results:
        write_study(context.opened.folder, result, pdf=pdf)
    if not can_draw():
        log(f"note: {WITHOUT_MATPLOTLIB}")
    return results


def _check(options: FewLabelsOptions) -> None:
    if wrong := sorted(set(options.encoders) - set(KINDS)):
        raise ConfigError(
            f"--labels-per-class cannot study --encoder {wrong[0]}, which learns from labels itself; use "
            f"{', '.join(KINDS)}"
        )
    if options.protocol != "ours":
        raise ConfigError(
            f"--labels-per-class uses lbfgs, not --protocol {options.protocol}; leave --protocol out"
        )
    if options.solver != "lbfgs":
        raise ConfigError(f"--labels-per-class uses lbfgs, not --solver {options.solver}; leave --solver out")
    if options.layer is not None or options.all_layers:
        raise ConfigError("--labels-per-class studies outputs of modules; leave --layer and --all-layers out")
    if options.concat:
        raise ConfigError("--labels-per-class studies one module at a time; leave --concat out")
    if options.sampled:
        raise ConfigError("--labels-per-class studies both μ and samples; leave --sampled out")


def _encode(context: ProbeContext, options: FewLabelsOptions, log: Log) -> list[EncodedSplits]:
    """Encode the train and the test split with every encoder, once each."""
    lengths = list(read_lengths(context.opened.shards, "train").values())[: options.max_utterances or None]
    sources = [(kind, *feature_source(context, kind, 0)) for kind in options.encoders]
    check_memory(context.task, [spec for _, source, _ in sources for spec in source.specs], lengths)
    encoded = []
    for kind, source, preparation in sources:
        log(f"encoding with {kind}")
        train, test = (
            examples_of_split(context, source, split, validates=False) for split in ("train", "test")
        )
        encoded += [
            EncodedSplits(kind, spec, preparation.batch_norm_clips, *splits)
            for spec, splits in zip(source.specs, zip(train, test, strict=True), strict=True)
        ]
    return encoded


def _share_examples(
    context: ProbeContext, options: FewLabelsOptions, encoded: list[EncodedSplits]
) -> SharedExamples:
    """Restrict all features to the same examples, and draw the labeled subsets."""
    train_rows = shared_rows([e.train for e in encoded])
    test_rows = shared_rows([e.test for e in encoded])
    first = encoded[0]
    if not len(train_rows[0]) or not len(test_rows[0]):
        raise DataError(
            "no utterance gives an example to every --encoder: crops or utterances are too short for one of them; "
            "give fewer --encoder"
        )
    labels = LabeledSubsets.draw(
        first.train.y_N[train_rows[0]],
        first.train.owner_N[train_rows[0]],
        first.test.y_N[test_rows[0]],
        len(context.task.classes),
        options.labels_per_class,
        options.seeds,
    )
    return SharedExamples(train_rows, test_rows, labels)


def _points_of_mean(
    context: ProbeContext,
    options: FewLabelsOptions,
    shared: SharedExamples,
    index: int,
    encoded: EncodedSplits,
    log: Log,
) -> list[FewLabelsPoint]:
    """The points of deterministic features: μ, or features without a posterior."""
    log(f"{options.task} from {encoded}: {len(shared.labels.subsets)} subsets")
    moments = Moments()
    moments.add(encoded.train.x_NC)
    rows_N, test_SC = shared.train_rows[index], encoded.test.x_NC[shared.test_rows[index]]

    def rows_of(chosen: Tensor, num_draws: int) -> Tensor:
        return encoded.train.x_NC[rows_N[chosen]]

    return _points(context, options, shared.labels, encoded.kind, rows_of, test_SC, moments)


def _points_of_samples(
    context: ProbeContext,
    options: FewLabelsOptions,
    encoded: list[EncodedSplits],
    shared: SharedExamples,
    log: Log,
) -> dict[int, list[FewLabelsPoint]]:
    """The points of z by the index of the trained encoder's μ in `encoded`; a draw encodes the train split once."""
    trained = [index for index, e in enumerate(encoded) if e.kind == "trained"]
    if not trained:
        return {}
    sampling = replace(context, options=options.model_copy(update={"sampled": True}))
    samples: dict[int, list[tuple[Tensor, Tensor]]] = {index: [] for index in trained}
    moments = {index: Moments() for index in trained}
    for draw in range(options.draws):
        used_N = shared.labels.rows_of_draw(draw, options.draws)
        if not len(used_N):
            break
        log(f"sampling, draw {draw + 1} of {options.draws}")
        source, _ = feature_source(sampling, "trained", draw)
        encoded_draw = examples_of_split(sampling, source, "train", validates=False)
        for index, train in zip(trained, encoded_draw, strict=True):
            moments[index].add(train.x_NC)
            samples[index].append((used_N, train.x_NC[shared.train_rows[index][used_N]]))
    points = {}
    for index in trained:

        def rows_of(
            chosen: Tensor, num_draws: int, draws: list[tuple[Tensor, Tensor]] = samples[index]
        ) -> Tensor:
            return torch.cat([x[torch.searchsorted(used, chosen)] for used, x in draws[:num_draws]])

        test_SC = encoded[index].test.x_NC[shared.test_rows[index]]
        log(f"{options.task} from {encoded[index]}, sampled: {len(shared.labels.subsets)} subsets")
        points[index] = _points(
            context,
            options,
            shared.labels,
            "trained",
            rows_of,
            test_SC,
            moments[index],
            max_draws=options.draws,
        )
    return points


def _points(
    context: ProbeContext,
    options: FewLabelsOptions,
    labels: LabeledSubsets,
    kind: EncoderKind,
    rows_of: RowsOf,
    test_SC: Tensor,
    moments: Moments,
    *,
    max_draws: int | None = None,
) -> list[FewLabelsPoint]:
    """Fit all subsets; a point for each number of labels.

    Args:
        max_draws: Most samples of each labeled example; None for deterministic features.
    """
    fits = fit_subsets(
        labels,
        rows_of,
        test_SC,
        moments,
        max_draws=max_draws or 1,
        bias=options.bias,
        logit_std=options.logit_std,
        device=context.opened.device,
    )
    return [
        FewLabelsPoint(
            encoder=kind,
            features="mean" if max_draws is None else "sample",
            labels_per_class=size,
            num_labels=labels.num_labels(size),
            num_short_classes=labels.num_short_classes(size),
            draws=labels.num_draws(size, max_draws or 1),
            accuracies=tuple(accuracies),
            accuracy=float(np.mean(accuracies)),
            interval=interval_or_none(interval_over_seeds(accuracies)),
        )
        for size, accuracies in fits
    ]


def _num_utterances(examples: SplitExamples, rows_N: Tensor) -> int:
    return int((torch.bincount(examples.owner_N[rows_N]) > 0).sum())
