"""How far few labels go, and whether samples of the posterior stretch them: `vgim probe --labels-per-class`.

A linear classifier is trained on n labeled examples of each class: once on their μ, once on many samples z of
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
from vgim.downstream.features.encoders import feature_source
from vgim.downstream.features.examples import Gathered, check_memory
from vgim.downstream.features.features import View
from vgim.downstream.few_labels.fit import FewLabels, Moments, RowsOf, fit_subsets
from vgim.downstream.few_labels.result import LimitedOptions, LimitedPoint, LimitedResult, some_notes
from vgim.downstream.few_labels.subsets import common_rows
from vgim.downstream.few_labels.writing import write_limited
from vgim.downstream.job import gather_split
from vgim.downstream.leakage import count_seen
from vgim.downstream.pictures import WITHOUT_MATPLOTLIB, can_draw
from vgim.downstream.result import EncoderKind, Interval
from vgim.downstream.scores import of_mean, over_seeds
from vgim.errors import ConfigError, DataError
from vgim.runs.provenance import collect_provenance

KINDS = ("trained", "random", "mfcc")
"""Encoders that saw no label."""
ONE_RANDOM = (
    "the random encoder has one set of weights: the interval over seeds is over labeled subsets alone"
)
ONE_FIT = "all labels are one fit, without an interval"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Encoded:
    """Deterministic features of one encoder and view."""

    kind: EncoderKind
    view: View
    batch_norm_clips: int
    train: Gathered
    test: Gathered


class Common(NamedTuple):
    """The examples that all features have: rows of each `Encoded`, and what is known of them."""

    train: list[Tensor]
    test: list[Tensor]
    labels: FewLabels


def study(run: str, options: LimitedOptions, say: Say = lambda line: None) -> list[LimitedResult]:
    """Accuracy against labels per class, of μ, z and the baselines: a result and a folder for each module.

    Args:
        run: A run's folder or a checkpoint's, a path or a URI.
        say: Told notes and progress.

    Raises:
        VgimError: As a probe; ConfigError for encoders and options that the study has no use for.
    """
    _check(options)
    setting = open_probe_context(run, options)
    notes = list(setting.notes)
    has_posterior = setting.opened.config.model.family == "sim"
    if "trained" in options.encoders and not has_posterior:
        notes.append(f"only μ: model.family={setting.opened.config.model.family} has no posterior to sample")
    for note in notes:
        say(f"note: {note}")
    encoded = _encode(setting, options, say)
    common = _common(setting, options, encoded)
    points: list[list[LimitedPoint]] = []
    for one, rows, test_rows in zip(encoded, common.train, common.test, strict=True):
        say(f"{options.task} from {_name(one)}: {len(common.labels.subsets)} subsets")
        moments = Moments()
        moments.add(one.train.x_NC)
        points.append(
            _points(
                setting, options, common.labels, one, _at(one.train, rows), one.test.x_NC[test_rows], moments
            )
        )
    trained = [number for number, one in enumerate(encoded) if one.kind == "trained"]
    if trained and has_posterior:
        for number, found in zip(
            trained, _sampled(setting, options, encoded, common, trained, say), strict=True
        ):
            points[number] += found
    results = _results(setting, options, encoded, points, common, notes)
    for result in results:
        write_limited(setting.opened.folder, result)
    if not can_draw():
        say(f"note: {WITHOUT_MATPLOTLIB}")
    return results


def _check(options: LimitedOptions) -> None:
    if wrong := sorted(set(options.encoders) - set(KINDS)):
        raise ConfigError(
            f"--labels-per-class cannot study --encoder {wrong[0]}, which learns from labels itself; use "
            f"{', '.join(KINDS)}"
        )
    if options.solver != "lbfgs":
        raise ConfigError(f"--labels-per-class uses lbfgs, not --solver {options.solver}; leave --solver out")
    if options.layer is not None or options.all_layers:
        raise ConfigError("--labels-per-class studies outputs of modules; leave --layer and --all-layers out")
    if options.sampled:
        raise ConfigError("--labels-per-class studies both μ and samples; leave --sampled out")


def _encode(setting: ProbeContext, options: LimitedOptions, say: Say) -> list[Encoded]:
    """Train and test split of every encoder and view, each encoded once."""
    lengths = list(read_lengths(setting.opened.shards, "train").values())[: options.max_utterances or None]
    sources = [(kind, *feature_source(setting, kind, 0)) for kind in options.encoders]
    check_memory(setting.task, [view for _, source, _ in sources for view in source.views], lengths)
    found = []
    for kind, source, made in sources:
        say(f"encoding with {kind}")
        splits = zip(
            gather_split(setting, source, "train"), gather_split(setting, source, "test"), strict=True
        )
        found += [
            Encoded(kind, view, made.batch_norm_clips, *of_view)
            for view, of_view in zip(source.views, splits, strict=True)
        ]
    return found


def _common(setting: ProbeContext, options: LimitedOptions, encoded: list[Encoded]) -> Common:
    """Restrict all features to the same examples and draw the subsets."""
    train = common_rows([one.train for one in encoded])
    test = common_rows([one.test for one in encoded])
    first = encoded[0]
    if not len(train[0]) or not len(test[0]):
        raise DataError(
            "no utterance gives an example to every --encoder: crops or utterances are too short for one of them; "
            "give fewer --encoder"
        )
    labels = FewLabels.draw(
        first.train.y_N[train[0]],
        first.train.owner_N[train[0]],
        first.test.y_N[test[0]],
        len(setting.task.classes),
        options.labels_per_class,
        options.seeds,
    )
    return Common(train, test, labels)


def _at(gathered: Gathered, rows_N: Tensor) -> RowsOf:
    """The one draw of deterministic features."""
    return lambda chosen, draws: gathered.x_NC[rows_N[chosen]]


def _sampled(
    setting: ProbeContext,
    options: LimitedOptions,
    encoded: list[Encoded],
    common: Common,
    trained: list[int],
    say: Say,
) -> list[list[LimitedPoint]]:
    """The points of z in each of the trained encoder's views; each draw encodes the train split once."""
    sampling = replace(setting, options=options.model_copy(update={"sampled": True}))
    kept: list[list[tuple[Tensor, Tensor]]] = [[] for _ in trained]
    moments = [Moments() for _ in trained]
    for draw in range(options.draws):
        used_N = common.labels.rows_of_draw(draw, options.draws)
        if not len(used_N):
            break
        say(f"sampling, draw {draw + 1} of {options.draws}")
        source, _ = feature_source(sampling, "trained", draw)
        views = zip(trained, gather_split(sampling, source, "train"), kept, moments, strict=True)
        for number, gathered, of_view, of_moments in views:
            of_moments.add(gathered.x_NC)
            of_view.append((used_N, gathered.x_NC[common.train[number][used_N]]))
    found = []
    for number, of_view, of_moments in zip(trained, kept, moments, strict=True):

        def rows_of(chosen: Tensor, draws: int, of_view: list[tuple[Tensor, Tensor]] = of_view) -> Tensor:
            return torch.cat([x_NC[torch.searchsorted(used_N, chosen)] for used_N, x_NC in of_view[:draws]])

        one, test_SC = encoded[number], encoded[number].test.x_NC[common.test[number]]
        say(f"{options.task} from {_name(one)}, sampled: {len(common.labels.subsets)} subsets")
        found.append(
            _points(setting, options, common.labels, one, rows_of, test_SC, of_moments, draws=options.draws)
        )
    return found


def _points(
    setting: ProbeContext,
    options: LimitedOptions,
    labels: FewLabels,
    one: Encoded,
    rows_of: RowsOf,
    test_SC: Tensor,
    moments: Moments,
    *,
    draws: int | None = None,
) -> list[LimitedPoint]:
    """A point for each number of labels; `draws` for samples."""
    fits = fit_subsets(
        labels,
        rows_of,
        test_SC,
        moments,
        draws=draws or 1,
        bias=options.bias,
        logit_std=options.logit_std,
        device=setting.opened.device,
    )
    return [
        LimitedPoint(
            encoder=one.kind,
            features="mean" if draws is None else "sample",
            labels_per_class=size,
            num_labels=labels.num_labels(size),
            num_short_classes=labels.num_short(size),
            draws=labels.num_draws(size, draws or 1),
            accuracies=tuple(accuracies),
            accuracy=float(np.mean(accuracies)),
            interval=_interval(over_seeds(accuracies)),
        )
        for size, accuracies in fits
    ]


def _results(
    setting: ProbeContext,
    options: LimitedOptions,
    encoded: list[Encoded],
    points: list[list[LimitedPoint]],
    common: Common,
    notes: list[str],
) -> list[LimitedResult]:
    """A result for each module, every one of them with the features of no module."""
    modules: list[int | None] = []
    modules += dict.fromkeys(one.view.module for one in encoded if one.view.module is not None)
    modules = modules or [None]
    counts_K = torch.bincount(common.labels.y_N, minlength=common.labels.num_classes)
    truth_S = common.labels.truth_S
    checkpoint = setting.opened.encoder.checkpoint if "trained" in options.encoders else None
    seen: int | None = 0
    if checkpoint is not None:
        trained_on = checkpoint.state.data_fingerprint
        seen = count_seen(setting.opened.config, trained_on, setting.opened.shards, setting.opened.manifest)
    if None in options.labels_per_class:
        notes = [*notes, ONE_FIT]
    if "random" in options.encoders:
        notes = [*notes, ONE_RANDOM]
    results = []
    for module in modules:
        own = [n for n, one in enumerate(encoded) if one.view.module in (module, None)]
        of_module = _with_gains([point for n in own for point in points[n]])
        results.append(
            LimitedResult(
                **dict(
                    collect_provenance(checkpoint, module, setting.opened.shards, setting.opened.manifest)
                ),
                task=options.task,
                points=tuple(of_module),
                majority=float((truth_S == counts_K.argmax()).double().mean()),
                chance=1 / common.labels.num_classes,
                unit=setting.task.unit,
                num_train=len(common.labels.y_N),
                num_test=len(truth_S),
                num_train_utterances=_num_utterances(encoded[0].train, common.train[0]),
                num_test_utterances=_num_utterances(encoded[0].test, common.test[0]),
                test_utterances_seen=seen,
                batch_norm_clips=max(encoded[n].batch_norm_clips for n in own),
                notes=(*notes, *some_notes(of_module, common.labels.num_classes, options.draws)),
                options=setting.options,
                run_config=setting.opened.config,
            )
        )
    return results


def _with_gains(points: list[LimitedPoint]) -> list[LimitedPoint]:
    """The points with their difference from the trained encoder's μ, paired by seed."""
    base = {
        p.labels_per_class: p.accuracies for p in points if (p.encoder, p.features) == ("trained", "mean")
    }
    if not base:
        return points
    found = []
    for point in points:
        if (point.encoder, point.features) != ("trained", "mean"):
            gains = np.subtract(point.accuracies, base[point.labels_per_class]).tolist()
            update = {"gain": float(np.mean(gains)), "gain_interval": _interval(of_mean(gains))}
            point = point.model_copy(update=update)
        found.append(point)
    return found


def _num_utterances(gathered: Gathered, rows_N: Tensor) -> int:
    return int((torch.bincount(gathered.owner_N[rows_N]) > 0).sum())


def _name(one: Encoded) -> str:
    return one.kind if one.view.module is None else f"{one.kind} module {one.view.module}"


def _interval(ends: tuple[float, float] | None) -> Interval | None:
    return None if ends is None else Interval(low=ends[0], high=ends[1])
