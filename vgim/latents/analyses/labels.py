"""Dimensions that carry a label, by the weights of a linear probe without bias and by mutual information.

Shapes: N examples, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import ClassVar, NamedTuple, cast

import numpy as np
import torch

from vgim.arrays import F32, F64, I64
from vgim.downstream.context import ProbeContext
from vgim.downstream.probes.probe import Examples
from vgim.downstream.solvers import Fitted, fit_lbfgs
from vgim.latents.analysis import AnalysisInput, AnalysisOutput, CsvFile, Need, PictureFile
from vgim.latents.pictures.labels import concentration_picture, ranking_picture, weights_picture
from vgim.latents.probe_examples import encoder_features, examples_of, probe_contexts
from vgim.latents.result import Cell, Curve, Table
from vgim.model.randomness import mix

TOP = 10
"""Dimensions in the table."""


class DimensionScores(NamedTuple):
    """How much of one label each dimension carries, and how good the probe is."""

    weight_KC: F64
    """Weights of the probe on features in units of their standard deviations."""
    mass_C: F64
    """Sum of |weight| over the classes."""
    information_C: F64
    """Mutual information with the label, nats."""
    chance_information: float
    """Largest mutual information of a dimension with shuffled labels, nats."""
    accuracy: float
    """Accuracy of the probe on the test split."""
    majority: float
    """Accuracy on the test split of always guessing the most frequent class of the train split."""
    num_train: int


class LabelsAnalysis:
    """Weights of a linear probe, and mutual information of each dimension with each label."""

    title: ClassVar[str] = "Dimensions that carry labels"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})

    def run(self, inputs: AnalysisInput) -> AnalysisOutput:
        """Score the dimensions on the examples of `vgim probe`: frames for phones, else means over time."""
        output = AnalysisOutput(summary=[], metrics={})
        for context in probe_contexts(inputs):
            _add(output, context, score_dimensions(inputs, context))
        output.notes.append(
            "A weight says how much the probe uses a dimension together with all others; mutual information says how "
            "much the dimension tells by itself. Correlated dimensions share weight, but not information."
        )
        return output


def score_dimensions(inputs: AnalysisInput, context: ProbeContext) -> DimensionScores:
    """Fit a probe of one label, and estimate the mutual information of each dimension with the label."""
    source = encoder_features(inputs)
    train, validation, test = (
        examples_of(inputs, context, source, split) for split in ("train", "validation", "test")
    )
    fitted = fit_lbfgs(train, validation, len(context.task.classes), bias=False)
    predicted_N = fitted.predict(test.x_NC)
    majority = int(torch.bincount(train.y_N).argmax())
    weight_KC = standardized(fitted, train)
    rows = np.random.default_rng(mix("information", inputs.options.seed)).permutation(len(train.y_N))
    rows = rows[: inputs.options.information_frames]
    x_NC, y_N = train.x_NC.numpy()[rows], train.y_N.numpy()[rows]
    shuffled_N = np.random.default_rng(mix("shuffled", inputs.options.seed)).permutation(y_N)
    return DimensionScores(
        weight_KC,
        np.abs(weight_KC).sum(0),
        information(x_NC, y_N, inputs.options.seed),
        float(information(x_NC, shuffled_N, inputs.options.seed).max()),
        float((predicted_N == test.y_N).double().mean()),
        float((test.y_N == majority).double().mean()),
        len(train.y_N),
    )


def standardized(fitted: Fitted, train: Examples) -> F64:
    """The probe's weights times the standard deviations of its features, [K, C].

    The fit penalizes these weights. A feature's mean moves all examples alike and does not count.
    """
    weight: F64 = (fitted.weight_KC.double() * train.x_NC.std(0, correction=0).double()).numpy()
    return weight


def information(x_NC: F32, y_N: I64, seed: int) -> F64:
    """Mutual information of each dimension with the label in nats, by nearest neighbors (Ross 2014), [C]."""
    from sklearn.feature_selection import mutual_info_classif

    return np.asarray(mutual_info_classif(x_NC, y_N, random_state=mix("noise", seed) % 2**32), np.float64)


def num_dimensions_for(share: float, mass_C: F64) -> int:
    """The smallest number of dimensions that hold `share` of the mass; all dimensions if the mass is 0."""
    total = float(mass_C.sum())
    if total <= 0:
        return len(mass_C)
    cumulative = np.cumsum(np.sort(mass_C)[::-1]) / total
    return min(len(mass_C), int(np.searchsorted(cumulative, share - 1e-12)) + 1)


def cumulative_share(mass_C: F64) -> F64:
    """Share of the mass in the n heaviest dimensions, for n = 1 … C, [C]."""
    return np.asarray(np.cumsum(np.sort(mass_C)[::-1]) / max(float(mass_C.sum()), 1e-12))


def _add(output: AnalysisOutput, context: ProbeContext, scores: DimensionScores) -> None:
    """Add what was found of one label."""
    task, classes, num = context.task.name, context.task.classes, len(scores.mass_C)
    by_weight, by_information = np.argsort(-scores.mass_C), np.argsort(-scores.information_C)
    half = num_dimensions_for(0.5, scores.mass_C), num_dimensions_for(0.5, scores.information_C)
    above = int((scores.information_C > scores.chance_information).sum())
    output.summary += [
        f"{task}: {half[0]} of {num} dimensions hold half of the probe's weight (an even spread needs "
        f"{-(-num // 2)}). The probe without bias classifies {scores.accuracy:.1%} correctly; always guessing the "
        f"most frequent class gets {scores.majority:.1%}.",
        f"{task}: dimension {by_information[0]} tells most by itself, {scores.information_C[by_information[0]]:.3f} "
        f"nats. {above} dimensions tell more than {scores.chance_information:.3f} nats, the most that a dimension "
        "tells of shuffled labels.",
    ]
    output.headlines.append(f"{task}_dimensions_for_half_of_weight")
    output.metrics |= {
        f"{task}_dimensions_for_half_of_weight": half[0],
        f"{task}_most_information_nats": float(scores.information_C.max()),
        f"{task}_accuracy": scores.accuracy,
        f"{task}_majority": scores.majority,
        f"{task}_dimensions_for_90_percent_of_weight": num_dimensions_for(0.9, scores.mass_C),
        f"{task}_weight_share_of_top_{min(TOP, num)}": float(
            cumulative_share(scores.mass_C)[min(TOP, num) - 1]
        ),
        f"{task}_dimensions_for_half_of_information": half[1],
        f"{task}_dimensions_above_chance": above,
        f"{task}_chance_information_nats": scores.chance_information,
        f"{task}_num_examples": scores.num_train,
    }
    output.pictures += [
        PictureFile(
            f"{task}-weights.png",
            f"Weights of the {task} probe times the standard deviations of the latents, heaviest dimension (largest "
            "Σ |weight|) first.",
            partial(weights_picture, scores.weight_KC[:, by_weight], by_weight, classes, task),
        ),
        PictureFile(
            f"{task}-ranking.png",
            f"Weight (top) and mutual information (bottom) of each dimension for {task}, each largest first; the "
            "dashed line is the largest information with shuffled labels.",
            partial(
                ranking_picture,
                scores.mass_C,
                scores.information_C,
                by_weight,
                by_information,
                scores.chance_information,
                task,
            ),
        ),
        PictureFile(
            f"{task}-concentration.png",
            f"Share of the weight and of the mutual information for {task} in the n heaviest dimensions; the "
            "diagonal is an even spread.",
            partial(
                concentration_picture,
                cumulative_share(scores.mass_C),
                cumulative_share(scores.information_C),
                task,
            ),
        ),
    ]
    output.tables.append(
        Table(
            title=f"Dimensions that carry {task}",
            columns=("rank", "dimension by weight", "Σ |weight|", "dimension by information", "nats"),
            rows=tuple(
                (
                    rank + 1,
                    int(by_weight[rank]),
                    float(scores.mass_C[by_weight[rank]]),
                    int(by_information[rank]),
                    float(scores.information_C[by_information[rank]]),
                )
                for rank in range(min(TOP, num))
            ),
        )
    )
    output.curves.append(
        Curve(
            title=f"Share of the {task} probe's weight in the heaviest dimensions",
            x_label="share of dimensions",
            y_label="share of weight",
            x=tuple((np.arange(1, num + 1) / num).tolist()),
            y=tuple(cumulative_share(scores.mass_C).tolist()),
        )
    )
    output.csv_files[f"{task}.csv"] = CsvFile(
        ("dimension", "weight", "information_nats", *(f"weight_{name}" for name in classes)),
        list(_rows(scores)),
    )


def _rows(scores: DimensionScores) -> Iterator[tuple[Cell, ...]]:
    for c, weights_K in enumerate(scores.weight_KC.T.tolist()):
        yield c, float(scores.mass_C[c]), float(scores.information_C[c]), *cast("list[Cell]", weights_K)
