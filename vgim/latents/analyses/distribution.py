"""How each dimension is distributed, against the N(0, 1) that the KL term pulls it to.

Shapes: N frames, C channels.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from vgim.latents.analysis import AnalysisInput, AnalysisOutput, CsvFile, Need, PictureFile
from vgim.latents.frame_sample import F32, FrameSample
from vgim.latents.pictures.distribution import density_picture, histograms_picture, kl_picture
from vgim.latents.result import Curve, Table
from vgim.model.collapse import FEWEST_ACTIVE
from vgim.model.module import ACTIVE_VARIANCE
from vgim.model.posterior import gaussian_kl

NO_INFORMATION = 0.01
"""Nats per frame below which a dimension that is not active counts as collapsed onto its prior."""
SHOWN_ROWS = 8

F64 = NDArray[np.float64]


class Moments(NamedTuple):
    """Of each dimension, [C]."""

    mean_C: F64
    std_C: F64
    skewness_C: F64
    excess_kurtosis_C: F64


class DistributionAnalysis:
    """Moments, distance from N(0, 1), KL and activity of each dimension."""

    title: ClassVar[str] = "Distribution of each dimension"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def run(self, inputs: AnalysisInput) -> AnalysisOutput:
        """With a posterior: against N(0, 1). Without one: moments, activity and zeros, as nothing pulls it there."""
        frames = inputs.frames
        return _gaussian(frames) if frames.posteriors is not None else _plain(frames)


def kl_per_dimension(mu_NC: F32, std_NC: F32) -> F64:
    """KL(N(μ, σ²) ‖ N(0, 1)) of each dimension in nats, the mean over frames, [C]."""
    logvar_NC = 2 * torch.from_numpy(std_NC).double().log()
    found: F64 = gaussian_kl(torch.from_numpy(mu_NC).double(), logvar_NC).mean(0).numpy()
    return found


def active(mean_NC: F32) -> NDArray[np.bool_]:
    """Which dimensions' means vary by more than ACTIVE_VARIANCE over the frames (Burda et al. 2015), [C]."""
    return np.asarray(mean_NC.var(0, ddof=1) > ACTIVE_VARIANCE)


def ks_against_normal(z_NC: F32) -> F64:
    """The Kolmogorov-Smirnov statistic of each dimension: the largest gap between its CDF and N(0, 1)'s, [C]."""
    num = len(z_NC)
    normal_NC: F64 = torch.special.ndtr(torch.from_numpy(np.sort(z_NC.astype(np.float64), axis=0))).numpy()
    above_N1 = np.arange(1, num + 1)[:, None] / num
    gaps: F64 = np.maximum(above_N1 - normal_NC, normal_NC - (above_N1 - 1 / num)).max(0)
    return gaps


def moments(z_NC: F32) -> Moments:
    """Mean, deviation, skewness and excess kurtosis; 0 for the last two where a dimension is constant."""
    z = z_NC.astype(np.float64)
    mean_C, std_C = z.mean(0), z.std(0)
    normed = (z - mean_C) / np.where(std_C > 0, std_C, 1.0)
    varies = std_C > 0
    return Moments(
        mean_C, std_C, (normed**3).mean(0) * varies, np.where(varies, (normed**4).mean(0) - 3, 0.0)
    )


def _gaussian(frames: FrameSample) -> AnalysisOutput:
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
        f"The posterior holds {kl_C.sum():.2f} nats per frame over {num} dimensions "
        f"({kl_C.mean():.3f} per dimension); {half} dimensions hold half of it.",
        f"{int(active_C.sum())} of {num} dimensions are active: their mean varies by more than {ACTIVE_VARIANCE} "
        f"over the frames; {int(collapsed_C.sum())} have collapsed onto N(0, 1).",
        f"The aggregate posterior has mean {of_z.mean_C.mean():+.2f} and deviation {of_z.std_C.mean():.2f} on "
        f"average; its CDF differs from N(0, 1)'s by {ks_C.mean():.3f} on average, {ks_C.max():.3f} at most.",
    ]
    if share < FEWEST_ACTIVE:
        summary.insert(
            0,
            f"The posterior of this module has collapsed: only {share:.1%} of its dimensions depend on the input.",
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
                "KL from N(0, 1) of each dimension, largest first, with the parts of the variance of z that the "
                "mean and the posterior's own width give.",
                partial(kl_picture, kl_C[order_C], mu_NC.var(0)[order_C], (std_NC**2).mean(0)[order_C]),
            ),
            PictureFile(
                "histograms.png",
                "Histograms of z for dimensions from the most to the least KL; the line is N(0, 1).",
                partial(histograms_picture, frames.z_NC, order_C, [f"KL {kl_C[c]:.3f}" for c in order_C]),
            ),
            PictureFile(
                "dimensions.png",
                "Density of z in every dimension, a column each, in order of KL; the margin shows N(0, 1).",
                partial(density_picture, frames.z_NC[:, order_C]),
            ),
        ],
        tables=[
            Table(
                title="Dimensions with the most KL",
                columns=("dimension", "KL (nats)", "variance of μ", "mean σ", "KS from N(0, 1)"),
                rows=tuple(rows),
            )
        ],
        curves=[
            _sorted_curve("KL per dimension, largest first", "KL (nats per frame)", kl_C[order_C]),
            _deviations(frames),
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
            "μ and σ are those of training: each module reads a sample of the one before it.",
            "Neighboring frames are no independent draws, so there is no p-value for the KS statistic.",
        ],
    )


def _plain(frames: FrameSample) -> AnalysisOutput:
    x_NC = frames.mean_NC
    of_x, active_C = moments(x_NC), active(x_NC)
    zeros_C = (x_NC == 0).mean(0)
    order_C = np.argsort(-of_x.std_C, kind="stable")
    labels = [f"deviation {of_x.std_C[c]:.3f}" for c in order_C]
    return AnalysisOutput(
        summary=[
            f"This module has no posterior: its {x_NC.shape[1]} outputs are numbers, which nothing pulls to N(0, 1).",
            f"{int(active_C.sum())} of {len(active_C)} dimensions are active (variance above {ACTIVE_VARIANCE}); "
            f"{zeros_C.mean():.1%} of all values are exactly 0.",
            f"Deviations of the dimensions range from {of_x.std_C.min():.3f} to {of_x.std_C.max():.3f}; their excess "
            f"kurtosis is {of_x.excess_kurtosis_C.mean():.1f} on average (0 for a Gaussian).",
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
                "Histograms of the output for dimensions from the most to the least deviation.",
                partial(histograms_picture, x_NC, order_C, labels, with_normal=False),
            ),
            PictureFile(
                "dimensions.png",
                "Density of every dimension, a column each, in order of deviation.",
                partial(density_picture, x_NC[:, order_C], with_normal=False),
            ),
        ],
        curves=[_deviations(frames)],
        csv_files={"dimensions.csv": _csv_file(of_x, zero_share=zeros_C, active=active_C)},
        notes=["KL and the distance from N(0, 1) have no meaning without a posterior, and are left out."],
    )


def _deviations(frames: FrameSample) -> Curve:
    """Of μ or the output, which all families have."""
    std_C = np.sort(moments(frames.mean_NC).std_C)[::-1]
    return _sorted_curve("Deviation per dimension, largest first", "deviation", std_C)


def _sorted_curve(title: str, y_label: str, y_C: F64) -> Curve:
    return Curve(
        title=title,
        x_label="dimensions, sorted",
        y_label=y_label,
        x=tuple(float(i) for i in range(1, len(y_C) + 1)),
        y=tuple(y_C.tolist()),
    )


def _csv_file(of: Moments, **more_C: NDArray[np.generic]) -> CsvFile:
    columns = {
        "mean": of.mean_C,
        "std": of.std_C,
        "skewness": of.skewness_C,
        "excess_kurtosis": of.excess_kurtosis_C,
        **more_C,
    }
    rows = list(zip(range(len(of.mean_C)), *(column.tolist() for column in columns.values()), strict=True))
    return CsvFile(("dimension", *columns), rows)
