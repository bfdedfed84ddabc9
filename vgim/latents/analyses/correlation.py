"""Total correlation by kernel density: how far dimensions, and moments, are from being independent.

TC = E[log q(z) - Σ_d log q(z_d)] (Watanabe 1960), 0 exactly where the parts are independent. Densities are Gaussian
kernel estimates with Scott's (1992) bandwidth, fitted on one half of the frames and read on the other. They fail in
many dimensions, so that small random subsets are looked at; and they are biased, so that the same is done with each
part shuffled on its own, whose TC is 0.

Shapes: V windows, W frames of a window, C channels, D parts.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vgim.latents.analysis import AnalysisInput, AnalysisOutput, CsvFile, Need, PictureFile
from vgim.latents.frame_sample import F32, WINDOW
from vgim.latents.pictures.correlation import subsets_picture
from vgim.latents.result import Table
from vgim.model.randomness import mix

F64 = NDArray[np.float64]
SIZES = (2, 4)
"""Parts of a subset; for time, frames in a row, so at most WINDOW."""
SMALLEST_STD = 1e-4
"""Dimensions that vary less are dead, and left out."""
T_95_WIDE = 1.96


class CorrelationAnalysis:
    """Total correlation over random dimensions of a frame, and over frames in a row of random dimensions."""

    title: ClassVar[str] = "Total correlation"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def run(self, inputs: AnalysisInput) -> AnalysisOutput:
        """Looks at samples z of the posterior, or at the output of a module without one."""
        windows_VWC, options = inputs.frames.windows_VWC, inputs.options
        rng = np.random.default_rng(mix("subsets", options.seed))
        windows_VWC = windows_VWC[rng.permutation(len(windows_VWC))[: options.density_frames]]
        alive = np.flatnonzero(windows_VWC.reshape(-1, windows_VWC.shape[2]).std(0) > SMALLEST_STD)
        if len(alive) < max(SIZES) or len(windows_VWC) < 100:
            return AnalysisOutput(
                [f"Too little to inputs at: {len(alive)} dimensions vary, over {len(windows_VWC)} windows."],
                {},
            )
        rows: list[tuple[str, int, int, float, float]] = []
        notes = [
            "Estimates are biased by the smoothing of the kernels; read them against the shuffled ones (truth: 0).",
            "Intervals are over random subsets, not over other utterances.",
        ]
        num_failed = 0
        for kind in ("dimensions", "time"):
            for size in SIZES:
                for number in range(options.subsets):
                    chosen = rng.choice(alive, size=size if kind == "dimensions" else 1, replace=False)
                    x_VD = (
                        windows_VWC[:, 0, chosen]
                        if kind == "dimensions"
                        else windows_VWC[:, :size, chosen[0]]
                    )
                    try:
                        found = total_correlation(x_VD)
                        shuffled = total_correlation(shuffle(x_VD, rng))
                    except np.linalg.LinAlgError:
                        num_failed += 1
                        continue
                    rows.append((kind, size, number, found, shuffled))
        if num_failed:
            notes.append(f"{num_failed} subsets were left out: their parts are copies of one another.")
        zeros = float((windows_VWC == 0).mean())
        if zeros > 0.01:
            notes.append(
                f"{zeros:.0%} of the values are exactly 0, where there is no density; estimates are rough."
            )
        return _output(inputs, rows, notes)


def total_correlation(x_VD: F32 | F64) -> float:
    """TC of the columns in nats; densities of the first half of the rows, read on the second.

    Rows must be in random order.

    Raises:
        numpy.linalg.LinAlgError: A column is a linear function of the others.
    """
    from scipy.stats import gaussian_kde

    half = len(x_VD) // 2
    fit_DV, read_DV = x_VD[:half].T.astype(np.float64), x_VD[half:].T.astype(np.float64)
    joint_V = gaussian_kde(fit_DV).logpdf(read_DV)
    parts_V = sum(gaussian_kde(fit).logpdf(read) for fit, read in zip(fit_DV, read_DV, strict=True))
    both = np.isfinite(joint_V) & np.isfinite(parts_V)  # far from every kernel a density is 0 in float64
    return float((joint_V - parts_V)[both].mean()) if both.any() else 0.0


def shuffle(x_VD: F32 | F64, rng: np.random.Generator) -> F32 | F64:
    """Each column in an order of its own, so that the columns are independent."""
    return rng.permuted(x_VD, axis=0)


def mean_interval(values: F64) -> tuple[float, float, float]:
    """Mean and 95 % interval over subsets."""
    half = T_95_WIDE * float(values.std(ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    mean = float(values.mean())
    return mean, mean - half, mean + half


def _output(
    inputs: AnalysisInput, rows: list[tuple[str, int, int, float, float]], notes: list[str]
) -> AnalysisOutput:
    output = AnalysisOutput(summary=[], metrics={}, notes=notes)
    hop_ms = inputs.frames.hop_samples / 16
    table, boxes = [], []
    for kind in ("dimensions", "time"):
        for size in SIZES:
            own = [row for row in rows if row[:2] == (kind, size)]
            if not own:
                continue
            found, shuffled = np.array([row[3] for row in own]), np.array([row[4] for row in own])
            mean, low, high = mean_interval(found)
            excess, excess_low, excess_high = mean_interval(found - shuffled)
            label = f"{size} {'dimensions' if kind == 'dimensions' else 'frames'}"
            table.append((label, mean, low, high, float(shuffled.mean()), excess, excess_low, excess_high))
            boxes.append((label, found, shuffled))
            output.metrics[f"{kind}_{size}_excess_nats"] = excess
            what = (
                f"{size} dimensions of a frame"
                if kind == "dimensions"
                else f"{size} frames in a row ({hop_ms:g} ms apart) of a dimension"
            )
            output.summary.append(
                f"{what}: {mean:.3f} nats, shuffled {shuffled.mean():.3f}; the difference is {excess:.3f} (95 % "
                f"{excess_low:.3f} to {excess_high:.3f} over {len(own)} subsets)."
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
    if boxes:
        output.pictures.append(
            PictureFile(
                "subsets.png",
                "Total correlation of each random subset, and of the same with every part shuffled (truth: 0).",
                partial(subsets_picture, boxes),
            )
        )
    output.tables.append(
        Table(
            title="Total correlation in nats, mean over subsets",
            columns=("subset", "TC", "low", "high", "shuffled", "difference", "low ", "high "),
            rows=tuple(table),
        )
    )
    output.csv_files["subsets.csv"] = CsvFile(("kind", "size", "subset", "nats", "shuffled_nats"), list(rows))
    return output


assert max(SIZES) <= WINDOW
