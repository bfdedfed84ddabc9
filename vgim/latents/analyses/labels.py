"""Which dimensions carry a label: weights of a linear probe without bias, and mutual information.

Shapes: N examples, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import ClassVar, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from vgim.arrays import I64
from vgim.downstream.context import ProbeContext
from vgim.downstream.probes.probe import Examples
from vgim.downstream.solvers import Fitted, fit_lbfgs
from vgim.latents.analysis import AnalysisInput, AnalysisOutput, CsvFile, Need, PictureFile
from vgim.latents.pictures.labels import concentration_picture, ranking_picture, weights_picture
from vgim.latents.probe_examples import encoder_features, examples_of, probe_contexts
from vgim.latents.result import Cell, Curve, Table
from vgim.model.randomness import mix

F64 = NDArray[np.float64]
TOP = 10
HALF, MOST = 0.5, 0.9


class DimensionScores(NamedTuple):
    """How much of a label each dimension carries."""

    weight_KC: F64
    """Of standardized features."""
    mass_C: F64
    """Σ |weight| over the classes."""
    information_C: F64
    """Nats."""
    by_chance: float
    """The largest estimate over the dimensions where labels are shuffled, in nats."""
    accuracy: float
    majority: float
    num_train: int


class LabelsAnalysis:
    """A linear probe's weights and the mutual information of every dimension with each label."""

    title: ClassVar[str] = "Dimensions that carry labels"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})

    def run(self, inputs: AnalysisInput) -> AnalysisOutput:
        """Uses the examples of `vgim probe`: frames for phones, means over time for the other labels."""
        output = AnalysisOutput(summary=[], metrics={})
        for context in probe_contexts(inputs):
            _add(output, context, score_dimensions(inputs, context))
        output.notes.append(
            "A weight says what the probe uses beside all other dimensions, mutual information what a dimension tells "
            "by itself; correlated dimensions share weights but not information."
        )
        return output


def score_dimensions(inputs: AnalysisInput, context: ProbeContext) -> DimensionScores:
    """Fit the probe and estimate the information of one label."""
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
    """The weights of features that are divided by their root mean square, as the solver does without a bias."""
    weight: F64 = (fitted.weight_KC * train.x_NC.square().mean(0).sqrt()).double().numpy()
    return weight


def information(x_NC: NDArray[np.float32], y_N: I64, seed: int) -> F64:
    """Mutual information of each dimension with the label in nats, from nearest neighbors (Ross 2014), [C]."""
    from sklearn.feature_selection import mutual_info_classif

    return np.asarray(mutual_info_classif(x_NC, y_N, random_state=mix("noise", seed) % 2**32), np.float64)


def dimensions_for(share: float, mass_C: F64) -> int:
    """How many of the heaviest dimensions hold this share of the mass; all where there is none."""
    total = float(mass_C.sum())
    if total <= 0:
        return len(mass_C)
    cumulative = np.cumsum(np.sort(mass_C)[::-1]) / total
    return min(len(mass_C), int(np.searchsorted(cumulative, share - 1e-12)) + 1)


def cumulative_share(mass_C: F64) -> F64:
    """Share of the mass in the n heaviest dimensions for n = 1 … C."""
    return np.asarray(np.cumsum(np.sort(mass_C)[::-1]) / max(float(mass_C.sum()), 1e-12))


def _add(output: AnalysisOutput, context: ProbeContext, found: DimensionScores) -> None:
    task, classes, num = context.task.name, context.task.classes, len(found.mass_C)
    by_weight, by_information = np.argsort(-found.mass_C), np.argsort(-found.information_C)
    half = dimensions_for(HALF, found.mass_C), dimensions_for(HALF, found.information_C)
    above = int((found.information_C > found.by_chance).sum())
    output.summary += [
        f"{task}: {half[0]} of {num} dimensions hold half of the probe's weight (were all alike, it would be "
        f"{-(-num // 2)}); the probe without bias is right in {found.accuracy:.1%} (majority {found.majority:.1%}).",
        f"{task}: dimension {by_information[0]} tells most by itself, {found.information_C[by_information[0]]:.3f} "
        f"nats; {above} dimensions tell more than the {found.by_chance:.3f} nats that shuffled labels give at most.",
    ]
    output.metrics |= {
        f"{task}_dimensions_for_half_of_weight": half[0],
        f"{task}_most_information_nats": float(found.information_C.max()),
        f"{task}_accuracy": found.accuracy,
        f"{task}_majority": found.majority,
        f"{task}_dimensions_for_90_percent_of_weight": dimensions_for(MOST, found.mass_C),
        f"{task}_weight_share_of_top_{min(TOP, num)}": float(
            cumulative_share(found.mass_C)[min(TOP, num) - 1]
        ),
        f"{task}_dimensions_for_half_of_information": half[1],
        f"{task}_dimensions_above_chance": above,
        f"{task}_chance_information_nats": found.by_chance,
        f"{task}_num_examples": found.num_train,
    }
    output.pictures += [
        PictureFile(
            f"{task}-weights.png",
            f"Weights of the {task} probe on standardized latents; dimensions from the heaviest.",
            partial(weights_picture, found.weight_KC[:, by_weight], by_weight, classes, task),
        ),
        PictureFile(
            f"{task}-ranking.png",
            f"Weight and mutual information of each dimension for {task}, each in its own order; the line is the "
            "largest information that shuffled labels give.",
            partial(
                ranking_picture,
                found.mass_C,
                found.information_C,
                by_weight,
                by_information,
                found.by_chance,
                task,
            ),
        ),
        PictureFile(
            f"{task}-concentration.png",
            f"Share of {task}'s weight and information in the n heaviest dimensions; the diagonal is an even spread.",
            partial(
                concentration_picture,
                cumulative_share(found.mass_C),
                cumulative_share(found.information_C),
                task,
            ),
        ),
    ]
    output.tables.append(
        Table(
            title=f"Dimensions that carry {task}",
            columns=("rank", "by weight", "weight", "by information", "nats"),
            rows=tuple(
                (
                    rank + 1,
                    int(by_weight[rank]),
                    float(found.mass_C[by_weight[rank]]),
                    int(by_information[rank]),
                    float(found.information_C[by_information[rank]]),
                )
                for rank in range(min(TOP, num))
            ),
        )
    )
    output.curves.append(
        Curve(
            title=f"Share of {task}'s weight in the heaviest dimensions",
            x_label="share of dimensions",
            y_label="share of weight",
            x=tuple((np.arange(1, num + 1) / num).tolist()),
            y=tuple(cumulative_share(found.mass_C).tolist()),
        )
    )
    output.csv_files[f"{task}.csv"] = CsvFile(
        ("dimension", "weight", "information_nats", *(f"weight_{name}" for name in classes)),
        list(_rows(found)),
    )


def _rows(found: DimensionScores) -> Iterator[tuple[Cell, ...]]:
    for c, weights_K in enumerate(found.weight_KC.T.tolist()):
        yield c, float(found.mass_C[c]), float(found.information_C[c]), *cast("list[Cell]", weights_K)
