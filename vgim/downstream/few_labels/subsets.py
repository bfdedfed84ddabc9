"""Random subsets of labeled examples: nested, and the same for all features.

Shapes: N examples, U utterances, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vgim.downstream.features.examples import SplitExamples
from vgim.model.randomness import mix


def label_order(y_N: Tensor, owner_N: Tensor, num_classes: int, seed: int) -> list[Tensor]:
    """Order the examples of each class at random; the first n of each class are the subset of n labels per class.

    One example of each utterance, with utterances in random order, comes before the second example of any utterance,
    because neighboring frames are nearly the same. So n labels of a class come from n utterances if there are so many.

    Args:
        owner_N: Index of each example's utterance.

    Returns:
        Rows of the examples, for each class.
    """
    rng = np.random.default_rng(mix("labels", seed))
    y, owner = y_N.numpy(), owner_N.numpy()
    grouped = np.lexsort((rng.permutation(len(y)), owner, y))
    starts = np.flatnonzero(np.diff(y[grouped], prepend=-1) | np.diff(owner[grouped], prepend=-1))
    rank = np.empty(len(y), np.int64)  # number of examples before it of the same utterance and class
    rank[grouped] = np.arange(len(y)) - np.repeat(starts, np.diff(starts, append=len(y)))
    ordered = np.lexsort((rng.permutation(len(y)), rank, y))
    counts = np.bincount(y, minlength=num_classes)
    return [torch.from_numpy(part) for part in np.split(ordered, np.cumsum(counts)[:-1])]


def labeled(order: Sequence[Tensor], per_class: int | None) -> Tensor:
    """Rows of a subset's examples, ascending.

    Args:
        order: Rows of each class, as by `label_order`.
        per_class: Labels per class, of which a class may have fewer; None for all.
    """
    return torch.cat([rows[:per_class] for rows in order]).sort().values


def shared_rows(features: Sequence[SplitExamples]) -> list[Tensor]:
    """Find the examples of one split that all features have.

    Features differ by a frame at an utterance's end, and in the shortest utterance that has a frame. The n-th example
    of an utterance has the same label in all of them.

    Returns:
        Rows of these examples in each of `features`, in the same order.
    """
    counts = [dict(zip(f.utterance_ids, _num_examples(f).tolist(), strict=True)) for f in features]
    num_shared = {
        name: min(count[name] for count in counts)
        for name in features[0].utterance_ids
        if all(name in count for count in counts)
    }
    return [_first_rows(f, num_shared) for f in features]


def _first_rows(examples: SplitExamples, num_shared: dict[str, int]) -> Tensor:
    """Rows of the first `num_shared` examples of each utterance."""
    counts_U = _num_examples(examples)
    starts_U = counts_U.cumsum(0) - counts_U
    keep_U = torch.tensor([num_shared.get(name, 0) for name in examples.utterance_ids])
    position_N = torch.arange(len(examples.y_N)) - starts_U[examples.owner_N]
    return (position_N < keep_U[examples.owner_N]).nonzero()[:, 0]


def _num_examples(examples: SplitExamples) -> Tensor:
    """Number of examples of each utterance, [U]."""
    return torch.bincount(examples.owner_N, minlength=examples.num_utterances)
