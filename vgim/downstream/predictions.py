"""Predicted classes of the test split's examples, by the classifier of every seed; `predictions.npz` of a probe.

Comparisons of encoders read them: encoders are tested on the same utterances, so their differences are paired.

Shapes: S seeds, U utterances, N examples.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vgim.arrays import I64
from vgim.storage import Location

if TYPE_CHECKING:
    from vgim.downstream.features.examples import SplitExamples
    from vgim.downstream.fit import SeedFit
    from vgim.downstream.probes.probe import Probe

T = TypeVar("T", bound=np.generic)

PREDICTIONS = "predictions.npz"


class Predictions(NamedTuple):
    """True and predicted classes; an utterance's examples follow each other."""

    classes: tuple[str, ...]
    """Name of each class."""
    utterance_ids: tuple[str, ...]
    count_U: I64
    """Examples of each utterance."""
    truth_N: I64
    """True class of each example."""
    predicted_SN: I64
    """Class that each seed's classifier predicts."""
    clusters: tuple[str, ...] | None = None
    """Cluster of each utterance, such as the speaker, where labels are alike within clusters."""


def collect_predictions(task: Probe, test: SplitExamples, fits: Sequence[SeedFit]) -> Predictions:
    """The predictions of all seeds' classifiers on the test split.

    Args:
        test: Examples of the test split; their labels and owners are the same for every seed.
    """
    return Predictions(
        task.classes,
        test.utterance_ids,
        fits[0].scores.count_U,
        test.y_N.numpy(),
        np.stack([fit.predicted_N.numpy() for fit in fits]),
        clusters_of(task, test.utterance_ids),
    )


def clusters_of(task: Probe, utterance_ids: Sequence[str]) -> tuple[str, ...] | None:
    """Cluster of each utterance; None where utterances count by themselves."""
    return None if task.cluster_of is None else tuple(task.cluster_of[name] for name in utterance_ids)


def sum_by(clusters: Sequence[str], values_U: NDArray[T]) -> NDArray[T]:
    """Sums of utterances' values over those of each cluster, in the order of the clusters' names."""
    _, cluster_U = np.unique(clusters, return_inverse=True)
    sums = np.zeros(cluster_U.max() + 1, values_U.dtype)
    np.add.at(sums, cluster_U, values_U)
    return sums


def to_npz(predictions: Predictions) -> bytes:
    """Predictions as a compressed npz file."""
    out = io.BytesIO()
    np.savez_compressed(
        out,
        classes=np.array(predictions.classes),
        utterance_ids=np.array(predictions.utterance_ids),
        count=predictions.count_U.astype(np.uint32),
        truth=predictions.truth_N.astype(np.uint16),
        predicted=predictions.predicted_SN.astype(np.uint16),
        clusters=np.array(predictions.clusters or (), dtype=str),
    )
    return out.getvalue()


def read_predictions(folder: Location) -> Predictions | None:
    """The predictions in a probe's folder; None for a probe that stored none, or whose file is damaged."""
    path = folder.child(PREDICTIONS)
    if not path.exists():
        return None
    data = path.read_bytes()
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return Predictions(
                tuple(stored["classes"].tolist()),
                tuple(stored["utterance_ids"].tolist()),
                stored["count"].astype(np.int64),
                stored["truth"].astype(np.int64),
                stored["predicted"].astype(np.int64),
                (tuple(stored["clusters"].tolist()) or None) if "clusters" in stored else None,
            )
    except (BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, TypeError, NotImplementedError):
        return None
