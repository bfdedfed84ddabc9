"""The validation examples of probes on shards that have no validation split: a share of the train split.

Whole recordings are held out, chosen by a hash within each speaker. So every probe of the shards holds out the same
utterances.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

from vgim.data.shards.index import of_split, read_index, recordings_of
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.read import Utterance, read_utterances
from vgim.data.shards.splits import hash_split
from vgim.errors import DataError
from vgim.pretrained.opened_run import OpenedRun
from vgim.storage import Location

SHARE = 0.1
"""Share of the train split's recordings that is held out."""
_SEED = 0x70726F6265
"""Seed of the hash. Shards are in the order of another seed, so that the first train utterances are no others."""

NOT_HELD_OUT = (
    "the shards have no validation split, and the published protocol trains on all of train: the validation loss is of "
    "a tenth of it"
)


def holds_out(opened: OpenedRun) -> bool:
    """Whether probes hold out train utterances: the shards have a train split, but no validation split."""
    splits = opened.manifest.splits
    return bool(splits["train"].utterances) and not splits["validation"].utterances


def held_out_ids(opened: OpenedRun) -> frozenset[str]:
    """Train utterances that probes validate on; empty if the shards have a validation split.

    Raises:
        DataError: The train split has one recording, so that none can be held out.
    """
    if not holds_out(opened):
        return frozenset()
    return _choose(opened.shards.uri, opened.manifest.fingerprint)


@lru_cache(maxsize=8)
def _choose(shards: str, fingerprint: str) -> frozenset[str]:
    manifest = read_manifest(shards)
    index = of_split(read_index(Location(shards), manifest), "train")
    columns = (index[name].to_pylist() for name in ("utterance_id", "speaker_id"))
    speaker_of = dict(zip(*columns, strict=True))
    recording_of = recordings_of(index, manifest)
    # Where each speaker has one recording only, none could be held out within speakers.
    for speakers in (speaker_of, dict.fromkeys(speaker_of, "")):
        split_of = hash_split(
            speakers, validation_fraction=SHARE, test_fraction=0.0, seed=_SEED, recording_of=recording_of
        )
        held_out = frozenset(name for name, split in split_of.items() if split == "validation")
        if held_out:
            return held_out
    raise DataError(
        f"{shards} has no validation split, and its train split is one recording, of which none can be held out; "
        "prepare more audio"
    )


def held_out_note(opened: OpenedRun, *, chooses: bool = True) -> str | None:
    """A sentence for results and logs; None if the shards have a validation split.

    Args:
        opened: The run with its shards.
        chooses: Whether something is chosen by validation loss; otherwise all of train is trained on.
    """
    if not holds_out(opened):
        return None
    if not chooses:
        return NOT_HELD_OUT
    num_held_out, num_train = len(held_out_ids(opened)), opened.manifest.split("train").utterances
    return (
        f"the shards have no validation split: {num_held_out:,} of the {num_train:,} train utterances, "
        f"{SHARE:.0%} of the recordings, are validated on instead of trained on"
    )


def read_probe_utterances(opened: OpenedRun, split: str, limit: int = 0) -> Iterator[Utterance]:
    """Read the utterances that a probe trains, validates or tests on, in shard order.

    Args:
        split: `train`, `validation` or `test`.
        limit: Utterances to read; 0 reads all.

    Raises:
        DataError: There are none, or a shard is missing or damaged.
    """
    held_out = held_out_ids(opened) if split != "test" else frozenset()
    if not held_out:
        return read_utterances(opened.shards, opened.manifest, split, limit)
    chosen = (
        utterance
        for utterance in read_utterances(opened.shards, opened.manifest, "train")
        if (utterance.utterance_id in held_out) == (split == "validation")
    )
    return islice(chosen, limit or None)
