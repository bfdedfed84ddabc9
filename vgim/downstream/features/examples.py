"""The examples of a split: frozen features of every view with their labels, in memory.

Shapes: N examples, C channels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vgim.data.pcm import HOP_SAMPLES, Pcm16
from vgim.data.shards.read import Utterance
from vgim.downstream.features.features import CutClip, FeatureSource, View, stream_features
from vgim.downstream.probes.probe import Examples, Probe
from vgim.errors import ConfigError, DataError

BYTES_PER_FEATURE = 4
COPIES = 2
"""Of the features: as they are, and standardized."""


Stream = Callable[[FeatureSource, Iterable[Utterance], CutClip], Iterator[tuple[Utterance, list[Tensor]]]]


class Gathered(NamedTuple):
    """A split's examples in one view."""

    x_NC: Tensor
    y_N: Tensor
    owner_N: Tensor
    """Utterance of each example, counted over those that gave any."""
    utterance_ids: tuple[str, ...]
    """Of the utterances that gave any."""
    num_left_out: int
    """Utterances that gave none: too short, or without a label."""

    @property
    def num_utterances(self) -> int:
        return len(self.utterance_ids)

    def examples(self, device: torch.device | str) -> Examples:
        """What a solver takes."""
        return Examples(self.x_NC.to(device), self.y_N.to(device))


def whole(utterance: Utterance) -> Pcm16:
    """The clip that is the whole utterance."""
    return utterance.audio


def gather(
    source: FeatureSource,
    probe: Probe,
    utterances: Iterable[Utterance],
    clip: CutClip,
    split: str,
    stream: Stream = stream_features,
) -> list[Gathered]:
    """Encode a split once and label its features: a `Gathered` for each of the source's views.

    Args:
        stream: Where the features come from, if they are kept somewhere.

    Raises:
        DataError: No utterance of it gave an example.
    """
    num_read = 0

    def counted() -> Iterator[Utterance]:
        nonlocal num_read
        for utterance in utterances:
            num_read += 1
            yield utterance

    found: list[list[Examples]] = [[] for _ in source.views]
    names: list[list[str]] = [[] for _ in source.views]
    for utterance, features in stream(source, counted(), clip):
        for number, (view, features_TC) in enumerate(zip(source.views, features, strict=True)):
            given = probe.examples(utterance, features_TC, view.hop_samples)
            if given is not None and len(given.y_N):
                found[number].append(given)
                names[number].append(utterance.utterance_id)
    if not all(found):
        raise DataError(
            f"none of the {num_read} utterances of the {split} split can be used for --task {probe.name}: each is "
            "too short or has no label; prepare other shards, or use --whole-utterances where crops are too long"
        )
    gathered = []
    for number in range(len(found)):
        examples, found[number] = found[number], []  # free each view's parts once they are joined
        owner_N = torch.cat([torch.full_like(e.y_N, i) for i, e in enumerate(examples)])
        gathered.append(
            Gathered(
                torch.cat([e.x_NC for e in examples]),
                torch.cat([e.y_N for e in examples]),
                owner_N,
                tuple(names[number]),
                num_read - len(examples),
            )
        )
    return gathered


def check_memory(probe: Probe, views: Iterable[View], num_samples: Iterable[int]) -> None:
    """Refuse a probe whose training features would take more than half of this machine's memory.

    Raises:
        ConfigError: With how many utterances would do.
    """
    lengths = list(num_samples)
    rows = sum(n // HOP_SAMPLES for n in lengths) if probe.unit == "frame" else len(lengths)
    needed = rows * sum(view.channels for view in views) * BYTES_PER_FEATURE * COPIES
    room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    if needed > room:
        raise ConfigError(
            f"the features of {len(lengths):,} utterances take {needed / 2**30:.0f} GiB, more than half of this "
            f"machine's memory; use --max-utterances {max(1, len(lengths) * room // needed)}, or one --module at a time"
        )
