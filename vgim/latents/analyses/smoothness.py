"""How evenly decoded audio changes along a straight line between the latents of two utterances.

The line from A to B has S equal steps; each point is decoded. d_s is the root mean square difference between the
log-mel frames of neighboring points. The path ratio Σ d_s / d(A, B) is 1 on a straight path and grows with detours.
The largest step's share max d_s / Σ d_s is 1 / S if all steps are alike, and 1 if the audio jumps once. Scaling all
distances changes neither.

Shapes: P pairs, S steps, T frames, C channels, M mel bands.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vgim.arrays import F64
from vgim.latents.analysis import AnalysisInput, AnalysisOutput, CsvFile, Need, PictureFile
from vgim.latents.decoded_pairs import Pairs, decode, interval_over_pairs, log_mel, make_pairs
from vgim.latents.pictures.lines import CurveLine, lines_picture
from vgim.latents.result import Curve, Table


class Path(NamedTuple):
    """Distances along a path of decoded audio, in nats of log-mel power."""

    steps_S: F64
    """Distance of each step."""
    end_to_end: float
    """Distance from the first point to the last."""

    @property
    def ratio(self) -> float:
        """Length of the path over the distance of its ends."""
        return float(self.steps_S.sum() / max(self.end_to_end, 1e-12))

    @property
    def largest_share(self) -> float:
        """Share of the path in its largest step."""
        return float(self.steps_S.max() / max(float(self.steps_S.sum()), 1e-12))


class SmoothnessAnalysis:
    """Path ratio and largest step of decoded interpolations."""

    title: ClassVar[str] = "Smoothness along interpolations"
    needs: ClassVar[frozenset[Need]] = frozenset({"decoder"})

    def run(self, inputs: AnalysisInput) -> AnalysisOutput:
        """Decode interpolations between pairs of crops."""
        assert inputs.decoder is not None
        pairs = make_pairs(inputs.opened, inputs.decoder, inputs.options)
        share = torch.linspace(0, 1, inputs.options.steps + 1)[:, None, None]
        paths = []
        for a, b in zip(pairs.first_P, pairs.second_P, strict=True):
            line_STC = torch.lerp(pairs.latents_UTC[a][None], pairs.latents_UTC[b][None], share)
            audio = decode(inputs.decoder, line_STC, pairs.num_samples, inputs.opened.device)
            paths.append(measure_path(log_mel(audio)))
        return _output(inputs, pairs, paths)


def measure_path(points_STM: Tensor) -> Path:
    """Distances between neighboring points, and from the first point to the last."""

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).double().square().mean((-2, -1)).sqrt()

    steps_S = distance(points_STM[1:], points_STM[:-1]).numpy()
    return Path(steps_S, float(distance(points_STM[-1], points_STM[0])))


def _of_shares(shares_P: F64, pairs: Pairs) -> tuple[float, float]:
    """The interval over pairs of a mean share, which is in 0 to 1."""
    low, high = interval_over_pairs(shares_P, pairs)
    return max(0.0, low), min(1.0, high)


def _output(inputs: AnalysisInput, pairs: Pairs, paths: list[Path]) -> AnalysisOutput:
    num_steps = inputs.options.steps
    ratio_P = np.array([path.ratio for path in paths])
    largest_P = np.array([path.largest_share for path in paths])
    shares_PS = np.stack([path.steps_S / max(float(path.steps_S.sum()), 1e-12) for path in paths])
    ratio, largest = interval_over_pairs(ratio_P, pairs), _of_shares(largest_P, pairs)
    at = tuple(((np.arange(num_steps) + 0.5) / num_steps).tolist())
    mean_S = shares_PS.mean(0)
    ends = [_of_shares(shares_PS[:, s], pairs) for s in range(num_steps)]
    curve = Curve(
        title="Share of the decoded path that each step covers",
        x_label="position between the two utterances",
        y_label="share of the path",
        x=at,
        y=tuple(mean_S.tolist()),
        low=tuple(low for low, _ in ends),
        high=tuple(high for _, high in ends),
    )
    return AnalysisOutput(
        summary=[
            f"The decoded path between two utterances is {ratio_P.mean():.2f} times as long as the straight distance "
            f"(95 % interval {ratio[0]:.2f} to {ratio[1]:.2f} over {len(paths)} pairs; a straight path has 1).",
            f"The largest of {num_steps} steps covers {largest_P.mean():.1%} of the path (95 % interval "
            f"{largest[0]:.1%} to {largest[1]:.1%}); even steps cover {1 / num_steps:.1%} each.",
        ],
        metrics={
            "path_ratio": float(ratio_P.mean()),
            "largest_step_share": float(largest_P.mean()),
            "end_to_end_log_mel": float(np.mean([path.end_to_end for path in paths])),
            "path_ratio_low": ratio[0],
            "path_ratio_high": ratio[1],
            "largest_step_share_low": largest[0],
            "largest_step_share_high": largest[1],
            "even_step_share": 1 / num_steps,
            "num_pairs": len(paths),
        },
        pictures=[
            PictureFile(
                "steps.png",
                "Share of the decoded path that each step of the interpolation covers; the band is 95 % over pairs.",
                partial(
                    lines_picture,
                    [CurveLine("mean over pairs", curve.x, curve.y, curve.low, curve.high, "o-")],
                    curve.x_label,
                    curve.y_label,
                    f"interpolations, module {inputs.module}",
                    level=("even steps", 1 / num_steps),
                ),
            )
        ],
        tables=[
            Table(
                title="Decoded paths",
                columns=("", "mean", "low", "high"),
                rows=(
                    ("path / straight distance", float(ratio_P.mean()), *ratio),
                    ("largest step's share", float(largest_P.mean()), *largest),
                ),
            )
        ],
        curves=[curve],
        csv_files={
            "paths.csv": CsvFile(
                ("pair", "path_ratio", "largest_step_share", "end_to_end"),
                [(i, path.ratio, path.largest_share, path.end_to_end) for i, path in enumerate(paths)],
            )
        },
        notes=[
            "Distances are between log-mel frames of decoded audio, so they depend on encoder and decoder; compare "
            "runs whose decoders were trained alike."
        ],
    )
