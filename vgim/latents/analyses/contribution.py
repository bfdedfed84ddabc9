"""The interpolation contribution score: how few dimensions hold what makes two utterances differ.

For utterances A and B, a mixture has the n dimensions of B whose means over time differ most, and the other dimensions
of A. The error is the mean squared difference between the decoded mixture and B decoded. The score is the mean error
over pairs, divided by the mean error for n = 0 (A decoded against B decoded): 1 where the n dimensions hold nothing
of the difference, 0 where they hold all of it.

The public reference implementation of Smooth InfoMax defines the score on audio, for the most different dimensions.
Scores on log-mel frames and for n random dimensions are our additions. Random dimensions tell whether a low score
comes from these dimensions or from their number.

Shapes: P pairs, B clips, T frames, C channels, L samples, S sizes.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from vgim.arrays import F64
from vgim.latents.analysis import AnalysisInput, AnalysisOutput, CsvFile, Need, PictureFile
from vgim.latents.decoded_pairs import Pairs, decode, interval_over_pairs, log_mel, make_pairs
from vgim.latents.pictures.lines import CurveLine, lines_picture
from vgim.latents.result import Curve, Table
from vgim.model.randomness import mix, seeded_generator

DOMAINS = ("audio", "log-mel")
ORDERS = ("most different", "random")


class ContributionAnalysis:
    """The score for 2, 4, 8, … dimensions of pairs of utterances."""

    title: ClassVar[str] = "Interpolation contribution score"
    needs: ClassVar[frozenset[Need]] = frozenset({"decoder"})

    def run(self, inputs: AnalysisInput) -> AnalysisOutput:
        """Decode mixtures of pairs of crops."""
        assert inputs.decoder is not None
        pairs = make_pairs(inputs.opened, inputs.decoder, inputs.options)
        sizes = swap_sizes(pairs.latents_UTC.shape[2])
        errors_PODS = np.stack(
            [
                self._errors(inputs, pairs.latents_UTC[a], pairs.latents_UTC[b], pairs.num_samples, sizes, i)
                for i, (a, b) in enumerate(zip(pairs.first_P, pairs.second_P, strict=True))
            ]
        )
        return _output(inputs, pairs, errors_PODS, sizes)

    def _errors(
        self, inputs: AnalysisInput, a_TC: Tensor, b_TC: Tensor, num_samples: int, sizes: list[int], pair: int
    ) -> F64:
        """Mean squared errors of a pair, [order, domain, size]; size 0 is A unchanged."""
        assert inputs.decoder is not None
        generator = seeded_generator("cpu", mix("random dimensions", inputs.options.seed, pair))
        orders = [most_different(a_TC, b_TC), torch.randperm(a_TC.shape[1], generator=generator)]
        mixed = [swap(a_TC, b_TC, order_C[:n]) for order_C in orders for n in sizes]
        audio_BL = decode(inputs.decoder, torch.stack([*mixed, b_TC]), num_samples, inputs.opened.device)
        errors_D = [
            (x[:-1] - x[-1:]).double().square().flatten(1).mean(1).view(len(orders), -1).numpy()
            for x in (audio_BL, log_mel(audio_BL))
        ]
        return np.stack(errors_D, axis=1)


def swap_sizes(num_channels: int) -> list[int]:
    """Numbers of dimensions to swap: 0, 2, 4, 8, … and all."""
    powers = [2**k for k in range(1, num_channels.bit_length())]
    return [0, *sorted({*(n for n in powers if n < num_channels), num_channels})]


def most_different(a_TC: Tensor, b_TC: Tensor) -> Tensor:
    """Dimensions in order of the difference between their means over time, largest first, [C]."""
    return (a_TC.mean(0) - b_TC.mean(0)).square().argsort(descending=True, stable=True)


def swap(a_TC: Tensor, b_TC: Tensor, dimensions: Tensor) -> Tensor:
    """A with `dimensions` replaced by those of B, in all frames."""
    mixed_TC = a_TC.clone()
    mixed_TC[:, dimensions] = b_TC[:, dimensions]
    return mixed_TC


def relative_errors(errors_PS: F64, pairs: Pairs) -> tuple[F64, F64, F64]:
    """The score of each size, and the two ends of its 95 % interval over pairs, [S] each.

    A score is a ratio of two means; its interval is that of its first-order expansion.
    """
    base = max(float(errors_PS[:, 0].mean()), 1e-30)
    score_S = errors_PS.mean(0) / base
    parts_PS = score_S + (errors_PS - score_S * errors_PS[:, :1]) / base
    low_S, high_S = np.array([interval_over_pairs(part_P, pairs) for part_P in parts_PS.T]).T
    return score_S, np.maximum(0, low_S), high_S


def _output(inputs: AnalysisInput, pairs: Pairs, errors_PODS: F64, sizes: list[int]) -> AnalysisOutput:
    num = sizes[-1]
    output = AnalysisOutput(summary=[], metrics={})
    rows = []
    for d, domain in enumerate(DOMAINS):
        lines = []
        scores = {}
        for o, order in enumerate(ORDERS):
            score_S, low_S, high_S = relative_errors(errors_PODS[:, o, d], pairs)
            scores[order] = score_S
            lines.append(
                CurveLine(
                    f"{order} dimensions",
                    [float(n) for n in sizes],
                    score_S,
                    low_S,
                    high_S,
                    ("o-", "s--")[o],
                )
            )
            if o == 0:
                output.curves.append(
                    Curve(
                        title=f"Interpolation contribution score, {domain}",
                        x_label="dimensions swapped",
                        y_label="relative error",
                        x=tuple(float(n) for n in sizes),
                        y=tuple(score_S.tolist()),
                        low=tuple(low_S.tolist()),
                        high=tuple(high_S.tolist()),
                        log_x=True,
                    )
                )
            rows += [
                (domain, order, n, float(score_S[i]), float(low_S[i]), float(high_S[i]))
                for i, n in enumerate(sizes)
            ]
        own = scores["most different"]
        half = next(n for n, score in zip(sizes, own, strict=True) if score <= 0.5 or n == num)
        quarter = sizes.index(max(n for n in sizes if n <= max(2, num // 4)))
        output.summary.append(
            f"On {domain}, swapping the {sizes[quarter]} most different of {num} dimensions leaves "
            f"{own[quarter]:.0%} of the error to the other utterance; swapping {sizes[quarter]} random dimensions "
            f"leaves {scores['random'][quarter]:.0%}. Swapping {half} dimensions leaves at most half."
        )
        short = "mel" if d else "audio"
        output.metrics |= {
            f"{short}_dimensions_for_half": half,
            f"{short}_error_at_{sizes[quarter]}": float(own[quarter]),
            f"{short}_error_at_{sizes[quarter]}_random": float(scores["random"][quarter]),
        }
        output.pictures.append(
            PictureFile(
                f"{short}.png",
                f"Error to the other utterance on {domain} after dimensions are swapped, divided by the error "
                "before; bands are 95 % intervals over pairs.",
                partial(
                    lines_picture,
                    lines,
                    "dimensions swapped",
                    "relative error",
                    f"{domain}, module {inputs.module}",
                    x_scale="symlog",
                    x_threshold=sizes[1],
                ),
            )
        )
    columns = ("domain", "dimensions", "swapped", "relative error", "low", "high")
    output.csv_files["scores.csv"] = CsvFile(columns, list(rows))
    output.tables.append(
        Table(
            title="Relative error after the most different dimensions are swapped",
            columns=columns,
            rows=tuple(row for row in rows if row[1] == ORDERS[0]),
        )
    )
    output.metrics["num_pairs"] = len(errors_PODS)
    output.notes.append(
        "The score depends on the decoder too: if it ignores a dimension, what the dimension holds is not seen. "
        "A relative error above 1 means that swapping moved the audio away from the other utterance."
    )
    return output
