"""Scores of the ABX task: how often X, a token of phone A, is nearer to another token of A than to one of B.

Schatz et al. (2013), "Evaluating speech features with the Minimal-Pair ABX task". Shapes: M tokens, X tokens that are
compared with them, T frames, C channels, S speakers, K phones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vgim.arrays import F64, I64
from vgim.downstream.abx.distance import distances
from vgim.downstream.abx.tokens import Tokens
from vgim.downstream.intervals import interval_over_clusters


class AbxScores(NamedTuple):
    """Shares of right decisions."""

    right_SKK: F64
    """By speaker of A and B, phone A and phone B; NaN where a speaker has too few tokens."""
    num_triples: int

    @property
    def of_pairs(self) -> F64:
        """By phone A and phone B, [K, K], mean over the speakers that have both; NaN where none has."""
        return _mean_over_first(self.right_SKK, np.ones(len(self.right_SKK)))

    @property
    def accuracy(self) -> float:
        """Mean over ordered pairs of phones. The ABX error is one minus it."""
        return float(np.nanmean(self.of_pairs))

    @property
    def num_speakers(self) -> int:
        """Speakers that have a pair of phones."""
        return int(np.count_nonzero(self._has_pair))

    @property
    def _has_pair(self) -> npt.NDArray[np.bool_]:
        return np.asarray(~np.isnan(self.right_SKK).all(axis=(1, 2)))

    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy on other speakers, from the accuracies without each speaker.

        A single speaker says nothing of others: the interval is all of 0 to 1.
        """
        right_SKK = self.right_SKK[self._has_pair]
        if len(right_SKK) == 1:
            return 0.0, 1.0
        weights_SS = 1.0 - np.eye(len(right_SKK))
        without_S = [np.nanmean(_mean_over_first(right_SKK, weight_S)) for weight_S in weights_SS]
        return interval_over_clusters(self.accuracy, np.array(without_S), self.num_triples)


def discriminate(
    tokens: Tokens,
    x_NC: Tensor,
    num_phones: int,
    *,
    across: bool,
    most_across: int,
    advance: Callable[[], None] = lambda: None,
) -> AbxScores:
    """Decide all triples of the tokens.

    Args:
        x_NC: Frames of all utterances, on the device that computes.
        across: Takes X from other speakers than A and B; else all three are of one speaker.
        most_across: Tokens of a phone by other speakers at most that are X for a speaker.
        advance: Called after each speaker.
    """
    speakers = np.unique(tokens.speaker_M)
    right_SKK = np.full((len(speakers), num_phones, num_phones), np.nan)
    num_triples = 0
    if len(speakers) < (2 if across else 1):
        return AbxScores(right_SKK, num_triples)
    x_MTC, length_M = tokens.features(x_NC)
    for row, speaker in enumerate(speakers):
        own = np.flatnonzero(tokens.speaker_M == speaker)
        others = _x_of_other_speakers(tokens, speaker, most_across) if across else own
        d_XM = distances(x_MTC[others], length_M[others], x_MTC[own], length_M[own])
        right_SKK[row], num = _decide(
            d_XM.cpu(), tokens.phone_M[others], tokens.phone_M[own], num_phones, across
        )
        num_triples += num
        advance()
    return AbxScores(right_SKK, num_triples)


def _x_of_other_speakers(tokens: Tokens, speaker: int, most: int) -> I64:
    """Tokens of each phone by other speakers, evenly spaced over them in the order of speakers."""
    kept = []
    for phone in np.unique(tokens.phone_M):
        found = np.flatnonzero((tokens.phone_M == phone) & (tokens.speaker_M != speaker))
        num = min(most, len(found))
        kept.append(found[np.arange(num) * len(found) // max(num, 1)])
    return np.concatenate(kept) if kept else np.empty(0, np.int64)


def _decide(
    d_XM: Tensor, phone_X: I64, phone_M: I64, num_phones: int, across: bool
) -> tuple[npt.NDArray[np.float64], int]:
    """Shares of right decisions of one speaker's A and B, [K, K], and the number of triples.

    Ties are half right.
    """
    right_KK = np.full((num_phones, num_phones), np.nan)
    phone_of_M = torch.from_numpy(phone_M)
    is_of_MK = torch.nn.functional.one_hot(phone_of_M, num_phones).double()
    count_K = is_of_MK.sum(0)
    num_triples = 0
    for phone in np.unique(phone_M):
        rows, columns = np.flatnonzero(phone_X == phone), np.flatnonzero(phone_M == phone)
        num_pairs = len(rows) * len(columns) - (0 if across else len(columns))
        if not num_pairs:
            continue
        d_RM = d_XM[rows]
        d_RA = d_RM[:, columns]
        less_RAM = (d_RA[..., None] < d_RM[:, None, :]).double() + 0.5 * (d_RA[..., None] == d_RM[:, None, :])
        if not across:  # rows and columns are the same tokens
            less_RAM[range(len(rows)), range(len(rows))] = 0
        share_K = (less_RAM.sum((0, 1)) @ is_of_MK) / num_pairs / count_K
        share_K[phone] = torch.nan
        right_KK[phone] = share_K.numpy()
        num_triples += num_pairs * (len(phone_M) - len(columns))
    return right_KK, num_triples


def _mean_over_first(values_SKK: F64, weight_S: npt.NDArray[np.floating | np.integer]) -> F64:
    """Weighted mean over the speakers that have a value; NaN where none has."""
    known_SKK = ~np.isnan(values_SKK)
    total_KK = np.tensordot(weight_S, known_SKK, 1)
    sum_KK = np.tensordot(weight_S, np.where(known_SKK, values_SKK, 0), 1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(total_KK > 0, sum_KK / np.maximum(total_KK, 1e-12), np.nan))
