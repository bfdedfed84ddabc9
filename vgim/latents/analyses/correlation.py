"""Total correlation: how far dimensions, and moments, are from being independent.

TC = E[log q(z) - Σ_d log q(z_d)] (Watanabe 1960) is 0 exactly where the parts d are independent. Parts are dimensions
of one frame, or frames in a row of one dimension. Densities are Gaussian kernel estimates with Scott's (1992)
bandwidth, fitted on one half of the windows and evaluated on the other. Kernel estimates fail in many dimensions, so
TC is estimated for small random subsets of parts. They are biased, so TC is estimated again with each part shuffled
by itself, where the truth is 0. `correlation_by_size` has the many dimensions of the publication.

Shapes: V windows, W frames of a window, C channels, D parts.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np

from vgim.arrays import F64
from vgim.data.pcm import SAMPLE_RATE_HZ
from vgim.downstream.intervals import interval_of_mean
from vgim.latents.analysis import AnalysisInput, AnalysisOutput, CsvFile, Need, PictureFile
from vgim.latents.correlation_by_size import add_sizes
from vgim.latents.frame_sample import WINDOW
from vgim.latents.pictures.correlation import subsets_picture
from vgim.latents.result import Table
from vgim.latents.total_correlation import shuffle, split_half_total_correlation
from vgim.model.randomness import mix

SIZES = (2, 4)
"""Numbers of parts in a subset: dimensions, or frames in a row, of which a window has WINDOW."""
FEWEST_WINDOWS = 100
SMALLEST_STD = 1e-4
"""Standard deviation below which a dimension is constant, and left out."""


class CorrelationAnalysis:
    """Total correlation of random dimensions of a frame, few and many, and of frames in a row of a random dimension."""

    title: ClassVar[str] = "Total correlation"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def run(self, inputs: AnalysisInput) -> AnalysisOutput:
        """Estimate TC of samples z of the posterior, or of the output of a module without a posterior."""
        windows_VWC, options = inputs.frames.windows_VWC, inputs.options
        rng = np.random.default_rng(mix("subsets", options.seed))
        windows_VWC = windows_VWC[rng.permutation(len(windows_VWC))[: options.density_frames]]
        varying = np.flatnonzero(windows_VWC.reshape(-1, windows_VWC.shape[2]).std(0) > SMALLEST_STD)
        if len(varying) < max(SIZES) or len(windows_VWC) < FEWEST_WINDOWS:
            return AnalysisOutput(
                [
                    f"Too little data for total correlation: {len(varying)} dimensions vary, over {len(windows_VWC)} "
                    f"windows; it needs {max(SIZES)} dimensions and {FEWEST_WINDOWS} windows."
                ],
                {},
            )
        rows: list[tuple[str, int, int, float, float]] = []
        notes = [
            "Kernels smooth, which biases the estimates; compare them with those of shuffled parts (truth: 0).",
            "Intervals are over random subsets of the same frames; they say nothing about other utterances.",
        ]
        num_failed = 0
        for kind in ("dimensions", "time"):
            for size in SIZES:
                for number in range(options.subsets):
                    dimensions = rng.choice(varying, size=size if kind == "dimensions" else 1, replace=False)
                    x_VD = (
                        windows_VWC[:, 0, dimensions]
                        if kind == "dimensions"
                        else windows_VWC[:, :size, dimensions[0]]
                    )
                    try:
                        nats = split_half_total_correlation(x_VD)
                        shuffled_nats = split_half_total_correlation(shuffle(x_VD, rng))
                    except np.linalg.LinAlgError:
                        num_failed += 1
                        continue
                    rows.append((kind, size, number, nats, shuffled_nats))
        if num_failed:
            notes.append(
                f"{num_failed} subsets were left out, because one part is a linear function of the others."
            )
        zeros = float((windows_VWC == 0).mean())
        if zeros > 0.01:
            notes.append(
                f"{zeros:.0%} of the values are exactly 0, where the latents have no density; the estimates are rough."
            )
        output = _output(inputs, rows, notes)
        add_sizes(output, inputs, varying)
        return output


def mean_interval(values: F64) -> tuple[float, float, float]:
    """The mean, and the two ends of its 95 % interval over subsets, by Student's t; one subset has none."""
    mean = float(values.mean())
    return (mean, *(interval_of_mean(values.tolist()) or (mean, mean)))


def _output(
    inputs: AnalysisInput, rows: list[tuple[str, int, int, float, float]], notes: list[str]
) -> AnalysisOutput:
    output = AnalysisOutput(summary=[], metrics={}, notes=notes)
    hop_ms = 1_000 * inputs.frames.hop_samples / SAMPLE_RATE_HZ
    table, groups = [], []
    for kind in ("dimensions", "time"):
        for size in SIZES:
            subsets = [row for row in rows if row[:2] == (kind, size)]
            if not subsets:
                continue
            nats, shuffled = np.array([row[3] for row in subsets]), np.array([row[4] for row in subsets])
            mean, low, high = mean_interval(nats)
            excess, excess_low, excess_high = mean_interval(nats - shuffled)
            label = f"{size} {'dimensions' if kind == 'dimensions' else 'frames'}"
            table.append((label, mean, low, high, float(shuffled.mean()), excess, excess_low, excess_high))
            groups.append((label, nats, shuffled))
            output.metrics[f"{kind}_{size}_excess_nats"] = excess
            if size == SIZES[0]:
                output.headlines.append(f"{kind}_{size}_excess_nats")
            parts = (
                f"{size} random dimensions of a frame"
                if kind == "dimensions"
                else f"{size} frames in a row, {hop_ms:g} ms apart, of a random dimension"
            )
            output.summary.append(
                f"Total correlation of {parts}: {mean:.3f} nats, against {shuffled.mean():.3f} nats when shuffled; "
                f"the difference is {excess:.3f} nats (95 % interval {excess_low:.3f} to {excess_high:.3f} over "
                f"{len(subsets)} subsets)."
            )
    for label, mean, low, high, shuffled_mean, *_ in table:
        key = label.replace(" ", "_")
        output.metrics |= {
            f"{key}_nats": mean,
            f"{key}_low": low,
            f"{key}_high": high,
            f"{key}_shuffled_nats": shuffled_mean,
        }
    output.metrics["num_frames"] = len(inputs.frames.windows_VWC[: inputs.options.density_frames])
    if groups:
        output.pictures.append(
            PictureFile(
                "subsets.png",
                "Total correlation of each random subset, beside the same subset with every part shuffled (truth: 0).",
                partial(subsets_picture, groups),
            )
        )
    output.tables.append(
        Table(
            title="Total correlation in nats, mean over subsets",
            columns=(
                "subset",
                "TC",
                "TC low",
                "TC high",
                "TC when shuffled",
                "difference",
                "difference low",
                "difference high",
            ),
            rows=tuple(table),
        )
    )
    output.csv_files["subsets.csv"] = CsvFile(("kind", "size", "subset", "nats", "shuffled_nats"), list(rows))
    return output


assert max(SIZES) <= WINDOW
