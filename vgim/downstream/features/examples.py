"""Labeled examples of a split: frozen features for every spec of a source, in memory.

Shapes: N examples, C channels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vgim.data.pcm import HOP_SAMPLES
from vgim.data.shards.read import Utterance
from vgim.downstream.features.source import CutClip, FeatureSource, FeatureSpec, stream_features
from vgim.downstream.probes.probe import Examples, Probe
from vgim.errors import ConfigError, DataError

BYTES_PER_FEATURE = 4
COPIES = 2
"""Copies of the features in memory: raw and standardized."""

FeatureStream = Callable[
    [FeatureSource, Iterable[Utterance], CutClip], Iterator[tuple[Utterance, list[Tensor]]]
]
"""`stream_features`, or a cache's `stream`."""


class SplitExamples(NamedTuple):
    """The examples of a split, for one spec."""

    x_NC: Tensor
    y_N: Tensor
    """Class of each example."""
    owner_N: Tensor
    """Index of each example's utterance in `utterance_ids`."""
    utterance_ids: tuple[str, ...]
    """Utterances that gave examples."""
    num_left_out: int
    """Utterances without an example: too short, or without a label."""

    @property
    def num_utterances(self) -> int:
        return len(self.utterance_ids)

    def examples(self, device: torch.device | str) -> Examples:
        """The solver's input, on a device."""
        return Examples(self.x_NC.to(device), self.y_N.to(device))


def collect_examples(
    source: FeatureSource,
    probe: Probe,
    utterances: Iterable[Utterance],
    cut: CutClip,
    split: str,
    stream: FeatureStream = stream_features,
) -> list[SplitExamples]:
    """Encode a split once and label its features.

    Args:
        cut: Cuts the clip to encode from each utterance.
        split: Name of the split, for messages.
        stream: Encodes the utterances, or reads kept features.

    Returns:
        The examples for each of the source's specs.

    Raises:
        DataError: No utterance gave an example.
    """
    num_read = 0

    def counted() -> Iterator[Utterance]:
        nonlocal num_read
        for utterance in utterances:
            num_read += 1
            if stream is not stream_features or probe.is_labeled(utterance):  # a cache holds whole splits
                yield utterance

    examples: list[list[Examples]] = [[] for _ in source.specs]
    names: list[list[str]] = [[] for _ in source.specs]
    for utterance, features in stream(source, counted(), cut):
        for index, (spec, features_TC) in enumerate(zip(source.specs, features, strict=True)):
            labeled = probe.examples(utterance, features_TC, spec.hop_samples)
            if labeled is not None and len(labeled.y_N):
                examples[index].append(labeled)
                names[index].append(utterance.utterance_id)
    if not all(examples):
        why, fix = "has no label", "label some of them, or give other --shards"
        if probe.uses_crops:
            why, fix = f"is too short or {why}", "prepare other shards, or use --whole-utterances"
        raise DataError(
            f"none of the {num_read} utterances of the {split} split can be used for --task {probe.name}: each {why}; "
            f"{fix}"
        )
    joined = []
    for index in range(len(examples)):
        parts, examples[index] = examples[index], []  # frees each spec's parts once they are joined
        joined.append(
            SplitExamples(
                torch.cat([e.x_NC for e in parts]),
                torch.cat([e.y_N for e in parts]),
                torch.cat([torch.full_like(e.y_N, owner) for owner, e in enumerate(parts)]),
                tuple(names[index]),
                num_read - len(parts),
            )
        )
    return joined


def check_memory(probe: Probe, specs: Iterable[FeatureSpec], num_samples: Iterable[int]) -> None:
    """Refuse a probe whose training features would take more than half of this machine's memory.

    Args:
        num_samples: Length of each training utterance.

    Raises:
        ConfigError: The features are too large; the message says how many utterances fit.
    """
    lengths = list(num_samples)
    num_rows = sum(n // HOP_SAMPLES for n in lengths) if probe.unit == "frame" else len(lengths)
    needed_bytes = num_rows * sum(spec.channels for spec in specs) * BYTES_PER_FEATURE * COPIES
    room_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    if needed_bytes > room_bytes:
        raise ConfigError(
            f"the features of {len(lengths):,} utterances take {needed_bytes / 2**30:.0f} GiB, more than half of this "
            f"machine's memory; use --max-utterances {max(1, len(lengths) * room_bytes // needed_bytes)}, or one "
            "--module at a time"
        )
