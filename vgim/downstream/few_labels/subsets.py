"""Which examples have a label when only some do: nested random subsets, the same for all features.

Shapes: N examples, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vgim.downstream.features.examples import Gathered
from vgim.model.randomness import mix


def label_order(y_N: Tensor, owner_N: Tensor, num_classes: int, seed: int) -> list[Tensor]:
    """For each class its examples, in the random order in which they get their label.

    One example of each utterance, utterances in random order, comes before a second of any: neighboring frames
    tell nearly the same. So n labels of a class come from n utterances, as long as there are so many.

    Args:
        owner_N: Utterance of each example.

    Returns:
        Rows of the examples of each class. The first n of each are the subset of n labels per class, which is
        therefore within that of any larger n.
    """
    draw = np.random.default_rng(mix("labels", seed))
    y, owner = y_N.numpy(), owner_N.numpy()
    grouped = np.lexsort((draw.permutation(len(y)), owner, y))
    starts = np.flatnonzero(np.diff(y[grouped], prepend=-1) | np.diff(owner[grouped], prepend=-1))
    turn = np.empty(len(y), np.int64)  # how many of its utterance and class come before it
    turn[grouped] = np.arange(len(y)) - np.repeat(starts, np.diff(starts, append=len(y)))
    ordered = np.lexsort((draw.permutation(len(y)), turn, y))
    counts = np.bincount(y, minlength=num_classes)
    return [torch.from_numpy(part) for part in np.split(ordered, np.cumsum(counts)[:-1])]


def labeled(order: Sequence[Tensor], per_class: int | None) -> Tensor:
    """Rows with a label, ascending: `per_class` of each class, or all there are where it has fewer; None for all."""
    return torch.cat([rows[:per_class] for rows in order]).sort().values


def common_rows(gathered: Sequence[Gathered]) -> list[Tensor]:
    """For each features of the same split the rows of the examples that all of them have, in the same order.

    Sources differ by a frame at an utterance's end, and in the shortest utterance that they take. The n-th
    example of an utterance has the same label in each.
    """
    counts = [dict(zip(g.utterance_ids, _counts(g).tolist(), strict=True)) for g in gathered]
    shared = {
        name: min(count[name] for count in counts)
        for name in gathered[0].utterance_ids
        if all(name in count for count in counts)
    }
    return [_first_rows(g, shared) for g in gathered]


def _first_rows(gathered: Gathered, shared: dict[str, int]) -> Tensor:
    """Rows of the first examples of each utterance, as many as `shared` says."""
    counts_U = _counts(gathered)
    starts_U = counts_U.cumsum(0) - counts_U
    keep_U = torch.tensor([shared.get(name, 0) for name in gathered.utterance_ids])
    position_N = torch.arange(len(gathered.y_N)) - starts_U[gathered.owner_N]
    return (position_N < keep_U[gathered.owner_N]).nonzero()[:, 0]


def _counts(gathered: Gathered) -> Tensor:
    return torch.bincount(gathered.owner_N, minlength=gathered.num_utterances)
