"""How evenly decoded audio changes along a straight line between the latents of two utterances.

On S equal steps from A to B each point is decoded; d_s is the distance of log-mel frames between neighbors. The path
ratio Σ d_s / d(A, B) is 1 on a straight line and grows with detours; the largest step's share max d_s / Σ d_s is 1 / S
where all change alike, 1 where it jumps. Neither depends on how loud or how spread the decoded audio is.

Shapes: P pairs, S steps, T frames, C channels, M mel bands.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgim.latents.analysis import AnalysisInput, AnalysisOutput, CsvFile, Need, PictureFile
from vgim.latents.decoded_pairs import decode, interval, log_mel, make_pairs
from vgim.latents.pictures.lines import CurveLine, lines_picture
from vgim.latents.result import Curve, Table

F64 = NDArray[np.float64]


class Path(NamedTuple):
    """A path through decoded audio."""

    steps_S: F64
    """Root mean square difference of log-mel between neighbors, nats."""
    end_to_end: float

    @property
    def ratio(self) -> float:
        return float(self.steps_S.sum() / max(self.end_to_end, 1e-12))

    @property
    def largest_share(self) -> float:
        return float(self.steps_S.max() / max(float(self.steps_S.sum()), 1e-12))


class SmoothnessAnalysis:
    """Path ratio and largest step of interpolations."""

    title: ClassVar[str] = "Smoothness along interpolations"
    needs: ClassVar[frozenset[Need]] = frozenset({"decoder"})

    def run(self, inputs: AnalysisInput) -> AnalysisOutput:
        """Decodes interpolations between some pairs of the split's crops."""
        assert inputs.decoder is not None
        pairs = make_pairs(inputs.opened, inputs.decoder, inputs.options)
        share = torch.linspace(0, 1, inputs.options.steps + 1)[:, None, None]
        paths = []
        for a, b in zip(pairs.first_P, pairs.second_P, strict=True):
            line_STC = torch.lerp(pairs.latents_UTC[a][None], pairs.latents_UTC[b][None], share)
            audio = decode(inputs.decoder, line_STC, pairs.num_samples, inputs.opened.device)
            paths.append(path_of(log_mel(audio)))
        return _output(inputs, paths)


def path_of(points_STM: Tensor) -> Path:
    """The steps between points in a row, and from the first to the last."""

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).double().square().mean((-2, -1)).sqrt()

    steps_S = distance(points_STM[1:], points_STM[:-1]).numpy()
    return Path(steps_S, float(distance(points_STM[-1], points_STM[0])))


def _output(inputs: AnalysisInput, paths: list[Path]) -> AnalysisOutput:
    num_steps, seed = inputs.options.steps, inputs.options.seed
    ratio_P = np.array([path.ratio for path in paths])
    largest_P = np.array([path.largest_share for path in paths])
    shares_PS = np.stack([path.steps_S / max(float(path.steps_S.sum()), 1e-12) for path in paths])
    ratio, largest = interval(ratio_P, seed), interval(largest_P, seed)
    at = tuple(((np.arange(num_steps) + 0.5) / num_steps).tolist())
    mean_S = shares_PS.mean(0)
    ends = [interval(shares_PS[:, s], seed) for s in range(num_steps)]
    curve = Curve(
        title="Share of the decoded path that each step covers",
        x_label="place between the two utterances",
        y_label="share of the path",
        x=at,
        y=tuple(mean_S.tolist()),
        low=tuple(low for low, _ in ends),
        high=tuple(high for _, high in ends),
    )
    return AnalysisOutput(
        summary=[
            f"Between two utterances the decoded path is {ratio_P.mean():.2f} times the straight distance (95 % "
            f"{ratio[0]:.2f} to {ratio[1]:.2f} over {len(paths)} pairs; 1 is a straight line).",
            f"The largest of {num_steps} steps covers {largest_P.mean():.1%} of the path (95 % {largest[0]:.1%} to "
            f"{largest[1]:.1%}); even steps would cover {1 / num_steps:.1%}.",
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
                    ("path / distance", float(ratio_P.mean()), *ratio),
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
            "Distances are between log-mel frames of decoded audio, so they speak of encoder and decoder together; "
            "compare runs whose decoders were trained alike."
        ],
    )
