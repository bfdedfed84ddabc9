"""Total correlation of chosen numbers of dimensions, by the published estimator and by two of ours.

Rows are single frames z, a few of each utterance, as published. Each estimate stands beside its value for the same
columns, each shuffled by itself, whose true value is 0.

Shapes: N rows, C channels, D dimensions of a draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from vgim.arrays import F32, F64, I64
from vgim.latents.analysis import AnalysisInput, AnalysisOutput, CsvFile, PictureFile
from vgim.latents.frame_sample import FrameSample
from vgim.latents.pictures.correlation import sizes_picture
from vgim.latents.result import Curve, LatentOptions, Table
from vgim.latents.total_correlation import (
    copula_total_correlation,
    lone_kernels,
    published_density,
    published_entropies,
    shuffle,
    split_half_total_correlation,
)
from vgim.model.randomness import mix

PUBLISHED_SIZES = (10, 50, 100, 512)
MOST_UTTERANCES = 1_000
"""Utterances that frames are drawn from, as published."""
FRAMES_OF_UTTERANCE = 5
"""Frames of an utterance, as published; more if there would be fewer than `density_frames` rows."""
DRAWS = 3
"""Random choices of dimensions for each size, as published; one if the choice is all of them."""
FEWEST_ROWS = 100


class SizeEstimates(NamedTuple):
    """Estimates for one choice of dimensions, in nats; None where there are too few rows."""

    size: int
    draw: int
    published: float
    published_shuffled: float
    lone_kernels: float
    """The published value if no row were near another."""
    own_kernel_share: float
    """Share of a row's published density that its own kernel gives."""
    split_half: float | None
    split_half_shuffled: float | None
    copula: float | None
    copula_shuffled: float | None


COLUMNS = SizeEstimates._fields


def add_sizes(output: AnalysisOutput, inputs: AnalysisInput, varying: I64) -> None:
    """Add what the estimators say at each size to the output of the analysis.

    Args:
        varying: Dimensions that are not constant.
    """
    rows_NC = choose_rows(inputs.frames, inputs.options)
    sizes = fitting_sizes(inputs.options.dims, len(varying))
    if left_out := sorted(set(inputs.options.dims) - set(sizes)):
        output.notes.append(
            f"{' and '.join(map(str, left_out))} dimensions are left out: only {len(varying)} of "
            f"{inputs.frames.num_channels} vary."
        )
    if not sizes or len(rows_NC) < FEWEST_ROWS:
        return
    estimates = estimate_sizes(rows_NC, sizes, varying, inputs.options.seed, inputs.opened.device)
    _write(output, estimates, sizes, len(rows_NC))


def choose_rows(frames: FrameSample, options: LatentOptions) -> F32:
    """z of a few random frames of each utterance, in random order, [N, C]."""
    rng = np.random.default_rng(mix("sizes", options.seed))
    utterances = rng.permutation(len(frames.utterance_ids))[:MOST_UTTERANCES]
    num = max(FRAMES_OF_UTTERANCE, math.ceil(options.density_frames / len(utterances)))
    rows = [
        rng.permutation(np.flatnonzero(frames.utterance_N == utterance))[:num] for utterance in utterances
    ]
    rows_NC: F32 = frames.z_NC[rng.permutation(np.concatenate(rows))]
    return rows_NC


def fitting_sizes(wanted: Sequence[int], num_varying: int) -> tuple[int, ...]:
    """The sizes that the dimensions allow; by default the published ones, and all dimensions."""
    sizes = wanted or (*(size for size in PUBLISHED_SIZES if size < num_varying), num_varying)
    return tuple(sorted({size for size in sizes if 2 <= size <= num_varying}))


def estimate_sizes(
    rows_NC: F32, sizes: Sequence[int], varying: I64, seed: int, device: torch.device
) -> list[SizeEstimates]:
    """Estimate TC of DRAWS random choices of dimensions for each size."""
    rng = np.random.default_rng(mix("dimensions", seed))
    entropies = dict(zip(varying.tolist(), published_entropies(rows_NC[:, varying], device), strict=True))
    estimates = []
    for size in sizes:
        for draw in range(DRAWS if size < len(varying) else 1):
            dimensions = rng.choice(varying, size=size, replace=False)
            x_ND = rows_NC[:, dimensions]
            shuffled_ND = shuffle(x_ND, rng)
            own = [
                entropies[dimension] for dimension in dimensions.tolist()
            ]  # shuffling changes no entropy of a column
            density, shuffled_density = (
                published_density(x_ND, device),
                published_density(shuffled_ND, device),
            )
            estimates.append(
                SizeEstimates(
                    size,
                    draw,
                    sum(own) - density.entropy,
                    sum(own) - shuffled_density.entropy,
                    lone_kernels(own, len(rows_NC)),
                    density.own_kernel_share,
                    _try(split_half_total_correlation, x_ND),
                    _try(split_half_total_correlation, shuffled_ND),
                    _try(copula_total_correlation, x_ND),
                    _try(copula_total_correlation, shuffled_ND),
                )
            )
    return estimates


def _try(estimator: Callable[[F32 | F64], float], x_ND: F32 | F64) -> float | None:
    try:
        return estimator(x_ND)
    except np.linalg.LinAlgError:
        return None


class SizeMeans(NamedTuple):
    """Means over the draws of a size."""

    size: int
    published: float
    published_shuffled: float
    lone_kernels: float
    own_kernel_share: float
    split_half_excess: float | None
    """Above the shuffled value, which is the estimator's bias."""
    copula_excess: float | None


def mean_estimates(estimates: Sequence[SizeEstimates], size: int) -> SizeMeans:
    """Average the draws of a size; an estimate that failed in a draw is left out of the mean."""
    draws = [estimate for estimate in estimates if estimate.size == size]

    def mean(values: Sequence[float]) -> float:
        return float(np.mean(values))

    def excess(pairs: Sequence[tuple[float | None, float | None]]) -> float | None:
        known = [value - shuffled for value, shuffled in pairs if value is not None and shuffled is not None]
        return mean(known) if known else None

    return SizeMeans(
        size,
        mean([draw.published for draw in draws]),
        mean([draw.published_shuffled for draw in draws]),
        mean([draw.lone_kernels for draw in draws]),
        mean([draw.own_kernel_share for draw in draws]),
        excess([(draw.split_half, draw.split_half_shuffled) for draw in draws]),
        excess([(draw.copula, draw.copula_shuffled) for draw in draws]),
    )


def _write(
    output: AnalysisOutput, estimates: Sequence[SizeEstimates], sizes: Sequence[int], num_rows: int
) -> None:
    means = [mean_estimates(estimates, size) for size in sizes]
    for mean in means:
        d = mean.size
        for name, value in (
            ("split-halves", mean.split_half_excess),
            ("Gaussian-copula", mean.copula_excess),
        ):
            if value is None:
                output.notes.append(
                    f"No {name} value for {d} dimensions: {num_rows} frames are too few, or a dimension is a linear "
                    "function of the others."
                )
        ours = "unknown" if mean.copula_excess is None else f"{mean.copula_excess:.2f} nats"
        output.summary.append(
            f"Total correlation of {d} dimensions of a frame: {ours} by the Gaussian copula, above shuffled. "
            f"The published estimator says {mean.published:.1f} nats, and {mean.published_shuffled:.1f} nats when "
            f"shuffled (truth: 0); a frame's own kernel gives {mean.own_kernel_share:.1%} of its density."
        )
        metrics = {
            f"published_{d}_nats": mean.published,
            f"published_{d}_shuffled_nats": mean.published_shuffled,
            f"published_{d}_lone_kernels_nats": mean.lone_kernels,
            f"published_{d}_own_kernel_share": mean.own_kernel_share,
            f"split_half_{d}_excess_nats": mean.split_half_excess,
            f"copula_{d}_excess_nats": mean.copula_excess,
        }
        output.metrics |= {name: value for name, value in metrics.items() if value is not None}
    output.metrics["num_rows"] = num_rows
    output.headlines += [name for name in output.metrics if name.startswith("copula_")]
    output.headlines += [f"published_{size}_nats" for size in sizes]
    output.tables.append(
        Table(
            title=f"Total correlation at chosen numbers of dimensions in nats, {num_rows} frames",
            columns=(
                "dimensions",
                "Gaussian copula, above shuffled",
                "split halves, above shuffled",
                "published",
                "published, shuffled (truth: 0)",
                "published, if each kernel were alone",
                "own kernel's share",
            ),
            rows=tuple(
                (
                    mean.size,
                    mean.copula_excess,
                    mean.split_half_excess,
                    mean.published,
                    mean.published_shuffled,
                    mean.lone_kernels,
                    mean.own_kernel_share,
                )
                for mean in means
            ),
        )
    )
    output.csv_files["sizes.csv"] = CsvFile(COLUMNS, [tuple(estimate) for estimate in estimates])
    output.pictures.append(
        PictureFile(
            "sizes.png",
            "Total correlation by number of dimensions: ours above its value when shuffled (left), and the published "
            "estimator beside its value for shuffled dimensions and for kernels that are alone (right).",
            partial(sizes_picture, means),
        )
    )
    known = [mean for mean in means if mean.copula_excess is not None]
    if known:
        output.curves.append(
            Curve(
                title="Total correlation by number of dimensions (Gaussian copula, above shuffled)",
                x_label="dimensions",
                y_label="nats",
                x=tuple(float(mean.size) for mean in known),
                y=tuple(mean.copula_excess or 0.0 for mean in known),
                log_x=True,
            )
        )
