"""The distribution of each dimension, compared with N(0, 1), to which the KL term pulls a posterior.

Shapes: N frames, C channels.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from vgim.arrays import F32, F64
from vgim.latents.analysis import AnalysisInput, AnalysisOutput, CsvFile, Need, PictureFile
from vgim.latents.frame_sample import FrameSample
from vgim.latents.pictures.distribution import density_picture, histograms_picture, kl_picture
from vgim.latents.result import Curve, Table
from vgim.model.collapse import FEWEST_ACTIVE
from vgim.model.module_output import ACTIVE_VARIANCE
from vgim.model.posterior import gaussian_kl

NO_INFORMATION = 0.01
"""KL in nats per frame below which a dimension that is not active counts as collapsed onto N(0, 1)."""
SHOWN_ROWS = 8
"""Rows of the table of dimensions with the most KL."""


class Moments(NamedTuple):
    """Moments of each dimension, [C]."""

    mean_C: F64
    std_C: F64
    skewness_C: F64
    excess_kurtosis_C: F64


class DistributionAnalysis:
    """Moments, distance from N(0, 1), KL and activity of each dimension."""

    title: ClassVar[str] = "Distribution of each dimension"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def run(self, inputs: AnalysisInput) -> AnalysisOutput:
        """Compare a posterior with N(0, 1); of a module without one, measure moments, activity and exact zeros."""
        frames = inputs.frames
        return _of_posterior(frames) if frames.posteriors is not None else _of_output(frames)


def kl_per_dimension(mu_NC: F32, std_NC: F32) -> F64:
    """KL(N(μ, σ²) ‖ N(0, 1)) of each dimension in nats, the mean over frames, [C]."""
    logvar_NC = 2 * torch.from_numpy(std_NC).double().log()
    kl_C: F64 = gaussian_kl(torch.from_numpy(mu_NC).double(), logvar_NC).mean(0).numpy()
    return kl_C


def active(mean_NC: F32) -> NDArray[np.bool_]:
    """Whether the mean of each dimension varies by more than ACTIVE_VARIANCE over frames (Burda et al. 2015), [C]."""
    return np.asarray(mean_NC.var(0, ddof=1) > ACTIVE_VARIANCE)


def ks_against_normal(z_NC: F32) -> F64:
    """The Kolmogorov-Smirnov statistic of each dimension: the largest gap between its CDF and N(0, 1)'s, [C]."""
    num = len(z_NC)
    normal_NC: F64 = torch.special.ndtr(torch.from_numpy(np.sort(z_NC.astype(np.float64), axis=0))).numpy()
    above_N1 = np.arange(1, num + 1)[:, None] / num
    gaps: F64 = np.maximum(above_N1 - normal_NC, normal_NC - (above_N1 - 1 / num)).max(0)
    return gaps


def moments(z_NC: F32) -> Moments:
    """Mean, standard deviation, skewness and excess kurtosis; skewness and kurtosis of a constant dimension are 0."""
    z = z_NC.astype(np.float64)
    mean_C, std_C = z.mean(0), z.std(0)
    standardized_NC = (z - mean_C) / np.where(std_C > 0, std_C, 1.0)
    varies = std_C > 0
    return Moments(
        mean_C,
        std_C,
        (standardized_NC**3).mean(0) * varies,
        np.where(varies, (standardized_NC**4).mean(0) - 3, 0.0),
    )


def _of_posterior(frames: FrameSample) -> AnalysisOutput:
    assert frames.posteriors is not None
    mu_NC, std_NC = frames.posteriors
    kl_C = kl_per_dimension(mu_NC, std_NC)
    active_C = active(mu_NC)
    collapsed_C = ~active_C & (kl_C < NO_INFORMATION)
    ks_C, of_z = ks_against_normal(frames.z_NC), moments(frames.z_NC)
    num, share = len(kl_C), float(active_C.mean())
    order_C = np.argsort(-kl_C, kind="stable")
    cumulative_C = np.cumsum(kl_C[order_C]) / max(float(kl_C.sum()), 1e-12)
    half = int(np.searchsorted(cumulative_C, 0.5)) + 1
    summary = [
        f"The KL from N(0, 1) is {kl_C.sum():.2f} nats per frame over {num} dimensions ({kl_C.mean():.3f} nats per "
        f"dimension); {half} dimensions hold half of it.",
        f"{int(active_C.sum())} of {num} dimensions are active: the variance of μ over frames is above "
        f"{ACTIVE_VARIANCE}. {int(collapsed_C.sum())} dimensions have collapsed onto N(0, 1).",
        f"Over all frames, a dimension of z has mean {of_z.mean_C.mean():+.2f} and standard deviation "
        f"{of_z.std_C.mean():.2f} on average. The largest gap between its CDF and that of N(0, 1) is "
        f"{ks_C.mean():.3f} on average and {ks_C.max():.3f} at most.",
    ]
    if share < FEWEST_ACTIVE:
        summary.insert(
            0,
            f"The posterior of this module has collapsed: only {share:.1%} of its dimensions depend on the audio.",
        )
    rows = [
        (int(c), float(kl_C[c]), float(mu_NC[:, c].var(ddof=1)), float(std_NC[:, c].mean()), float(ks_C[c]))
        for c in order_C[:SHOWN_ROWS]
    ]
    return AnalysisOutput(
        summary=summary,
        metrics={
            "kl_nats_per_frame": float(kl_C.sum()),
            "active_share": share,
            "mean_ks": float(ks_C.mean()),
            "collapsed_share": float(collapsed_C.mean()),
            "kl_nats_per_dimension": float(kl_C.mean()),
            "dimensions_for_half_of_kl": half,
            "max_ks": float(ks_C.max()),
            "mean_abs_mean": float(np.abs(of_z.mean_C).mean()),
            "mean_std": float(of_z.std_C.mean()),
            "mean_posterior_std": float(std_NC.mean()),
            "mean_abs_skewness": float(np.abs(of_z.skewness_C).mean()),
            "mean_excess_kurtosis": float(of_z.excess_kurtosis_C.mean()),
            "num_frames": len(mu_NC),
        },
        pictures=[
            PictureFile(
                "kl.png",
                "KL from N(0, 1) of each dimension, largest first, above the two parts of the variance of z: the "
                "variance of μ over frames, and the mean of σ².",
                partial(kl_picture, kl_C[order_C], mu_NC.var(0)[order_C], (std_NC**2).mean(0)[order_C]),
            ),
            PictureFile(
                "histograms.png",
                "Histograms of z in dimensions from the largest to the smallest KL; the line is N(0, 1).",
                partial(histograms_picture, frames.z_NC, order_C, [f"KL {kl_C[c]:.3f}" for c in order_C]),
            ),
            PictureFile(
                "dimensions.png",
                "Density of z, one column per dimension, largest KL first; the column at the left edge is N(0, 1).",
                partial(density_picture, frames.z_NC[:, order_C]),
            ),
        ],
        tables=[
            Table(
                title="Dimensions with the most KL",
                columns=(
                    "dimension",
                    "KL (nats per frame)",
                    "variance of μ",
                    "mean σ",
                    "largest gap to N(0, 1)'s CDF",
                ),
                rows=tuple(rows),
            )
        ],
        curves=[
            _sorted_curve("KL per dimension, largest first", "KL (nats per frame)", kl_C[order_C]),
            _std_curve(frames),
        ],
        csv_files={
            "dimensions.csv": _csv_file(
                of_z,
                kl_nats=kl_C,
                variance_of_mean=mu_NC.var(0, ddof=1),
                mean_posterior_std=std_NC.mean(0),
                ks=ks_C,
                active=active_C,
                collapsed=collapsed_C,
            )
        },
        notes=[
            "μ and σ are computed as in training: each module reads a sample of the module before it.",
            "Neighboring frames depend on each other, so the gap (the Kolmogorov-Smirnov statistic) has no p-value.",
        ],
    )


def _of_output(frames: FrameSample) -> AnalysisOutput:
    x_NC = frames.mean_NC
    of_x, active_C = moments(x_NC), active(x_NC)
    zeros_C = (x_NC == 0).mean(0)
    order_C = np.argsort(-of_x.std_C, kind="stable")
    labels = [f"std {of_x.std_C[c]:.3f}" for c in order_C]
    return AnalysisOutput(
        summary=[
            f"This module has no posterior, so nothing pulls its {x_NC.shape[1]} outputs to N(0, 1).",
            f"{int(active_C.sum())} of {len(active_C)} dimensions are active (variance over frames above "
            f"{ACTIVE_VARIANCE}); "
            f"{zeros_C.mean():.1%} of all values are exactly 0.",
            f"Standard deviations of the dimensions range from {of_x.std_C.min():.3f} to {of_x.std_C.max():.3f}. The "
            f"excess kurtosis is {of_x.excess_kurtosis_C.mean():.1f} on average (a Gaussian has 0).",
        ],
        metrics={
            "active_share": float(active_C.mean()),
            "zero_share": float(zeros_C.mean()),
            "mean_std": float(of_x.std_C.mean()),
            "mean_abs_mean": float(np.abs(of_x.mean_C).mean()),
            "mean_abs_skewness": float(np.abs(of_x.skewness_C).mean()),
            "mean_excess_kurtosis": float(of_x.excess_kurtosis_C.mean()),
            "num_frames": len(x_NC),
        },
        pictures=[
            PictureFile(
                "histograms.png",
                "Histograms of the output in dimensions from the largest to the smallest standard deviation.",
                partial(histograms_picture, x_NC, order_C, labels, with_normal=False),
            ),
            PictureFile(
                "dimensions.png",
                "Density of the output, one column per dimension, largest standard deviation first.",
                partial(density_picture, x_NC[:, order_C], with_normal=False),
            ),
        ],
        curves=[_std_curve(frames)],
        csv_files={"dimensions.csv": _csv_file(of_x, zero_share=zeros_C, active=active_C)},
        notes=["KL and the distance from N(0, 1) mean nothing without a posterior, and are left out."],
    )


def _std_curve(frames: FrameSample) -> Curve:
    """Standard deviation of μ, or of the output: a curve that encoders of all families have."""
    std_C = np.sort(moments(frames.mean_NC).std_C)[::-1]
    return _sorted_curve("Standard deviation per dimension, largest first", "standard deviation", std_C)


def _sorted_curve(title: str, y_label: str, y_C: F64) -> Curve:
    return Curve(
        title=title,
        x_label="dimensions, largest first",
        y_label=y_label,
        x=tuple(float(i) for i in range(1, len(y_C) + 1)),
        y=tuple(y_C.tolist()),
    )


def _csv_file(moments_C: Moments, **more_C: NDArray[np.generic]) -> CsvFile:
    columns = {
        "mean": moments_C.mean_C,
        "std": moments_C.std_C,
        "skewness": moments_C.skewness_C,
        "excess_kurtosis": moments_C.excess_kurtosis_C,
        **more_C,
    }
    rows = list(
        zip(range(len(moments_C.mean_C)), *(column.tolist() for column in columns.values()), strict=True)
    )
    return CsvFile(("dimension", *columns), rows)
