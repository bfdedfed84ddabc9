"""Choose utterances that last some hours together: of each speaker in turn, and few hours a part of more."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

from vgim.data.pcm import SAMPLE_RATE_HZ
from vgim.data.shards.splits import hash_order
from vgim.errors import ConfigError

SAMPLES_PER_HOUR = SAMPLE_RATE_HZ * 3600


def check_max_hours(max_hours: float) -> None:
    """Check a number of hours.

    Raises:
        ConfigError: It is not positive and finite.
    """
    if not (math.isfinite(max_hours) and max_hours > 0):
        raise ConfigError(f"max_hours={max_hours} must be above 0")


def turn_order(speaker_of: Mapping[str, str], seed: int) -> list[str]:
    """Order utterances so that each speaker has one after the other in turn, each by the hash of the id.

    The first utterances are the same whatever comes later, so that few are a part of more.

    Args:
        speaker_of: Utterance id → speaker id.
        seed: Seed of the hash.
    """
    by_speaker: dict[str, list[tuple[bytes, str]]] = defaultdict(list)
    for utterance_id, speaker_id in speaker_of.items():
        by_speaker[speaker_id].append((hash_order(utterance_id, seed), utterance_id))
    turns = [
        (turn, key, utterance_id)
        for items in by_speaker.values()
        for turn, (key, utterance_id) in enumerate(sorted(items))
    ]
    return [utterance_id for _, _, utterance_id in sorted(turns)]


def take_until(lengths: Iterable[tuple[str, int]], max_samples: float) -> list[str]:
    """The first utterances that last at most `max_samples` together.

    Args:
        lengths: Utterance ids and their samples, in order; read only as far as needed.
        max_samples: Samples at 16 kHz.
    """
    taken, total = [], 0
    for utterance_id, num_samples in lengths:
        total += num_samples
        if total > max_samples:
            break
        taken.append(utterance_id)
    return taken
