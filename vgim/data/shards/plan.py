"""Which utterances each shard holds, in which order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vgim.data.corpora.corpus import SourceUtterance
from vgim.data.corpora.phone_labels import Phones
from vgim.data.shards.manifest import SPLITS
from vgim.data.shards.splits import hash_order
from vgim.data.source import Source

TARGET_SHARD_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True)
class ShardPlan:
    """Everything that a worker on any machine needs to write one shard."""

    split: str
    number: int
    corpus_root: Source
    utterances: tuple[SourceUtterance, ...]
    phones: Mapping[str, Phones]
    """Utterance id → phone labels."""
    digest: str
    """Hash of all that shapes the shard. A finished shard with this digest is not written again."""

    def sources(self) -> str:
        """Hash of the stamps of all its files: that of a shard whose files have changed is another."""
        digest = hashlib.sha256()
        for item in self.utterances:
            digest.update(f"{self.corpus_root.child(item.path).stamp()}\n".encode())
        return digest.hexdigest()

    @property
    def path(self) -> str:
        """Path of the shard, relative to the shard folder."""
        return f"{self.split}/{self.number:05d}.parquet"


def plan_shards(
    utterances: Sequence[SourceUtterance],
    split_of: Mapping[str, str],
    *,
    corpus_root: Source,
    phones: Mapping[str, Phones],
    bytes_per_file_byte: float,
    target_shard_bytes: int,
    seed: int,
    options_digest: str,
) -> list[ShardPlan]:
    """Order the utterances of each split by hash and cut them into shards of about the target size.

    Args:
        utterances: All utterances of the corpus.
        split_of: Utterance id → split. Utterances without a split are in no shard.
        corpus_root: Folder that the utterances' paths start from.
        phones: Utterance id → phone labels; empty without labels.
        bytes_per_file_byte: Bytes of PCM16 per byte of the files, roughly.
        target_shard_bytes: Bytes of audio in a shard.
        seed: Seed of the order.
        options_digest: Hash of the options that shape the shards; part of each plan's digest.
    """
    plans = []
    for split in SPLITS:
        chosen = [item for item in utterances if split_of.get(item.utterance_id) == split]
        chosen.sort(key=lambda item: (hash_order(item.utterance_id, seed), item.utterance_id))
        groups = _cut_evenly(chosen, bytes_per_file_byte, target_shard_bytes)
        for number, group in enumerate(groups):
            labels = {
                item.utterance_id: phones[item.utterance_id] for item in group if item.utterance_id in phones
            }
            plans.append(
                ShardPlan(
                    split=split,
                    number=number,
                    corpus_root=corpus_root,
                    utterances=tuple(group),
                    phones=labels,
                    digest=_digest(options_digest, split, number, group, labels),
                )
            )
    return plans


def _cut_evenly(
    utterances: Sequence[SourceUtterance], bytes_per_file_byte: float, target_shard_bytes: int
) -> list[list[SourceUtterance]]:
    """Cut the utterances into contiguous groups of about equally many bytes, none of them empty."""
    sizes = [item.estimated_bytes(bytes_per_file_byte) for item in utterances]
    total_bytes = sum(sizes) * bytes_per_file_byte
    num_groups = min(len(utterances), max(1, round(total_bytes / target_shard_bytes))) if utterances else 0
    groups: list[list[SourceUtterance]] = [[] for _ in range(num_groups)]
    bytes_before = 0.0
    for item, size in zip(utterances, sizes, strict=True):
        # By the middle of each utterance: its start would make every group a little too large.
        middle = bytes_before + size * bytes_per_file_byte / 2
        groups[min(num_groups - 1, int(middle / max(total_bytes, 1) * num_groups))].append(item)
        bytes_before += size * bytes_per_file_byte
    return [group for group in groups if group]


def _digest(
    options_digest: str,
    split: str,
    number: int,
    group: Sequence[SourceUtterance],
    labels: Mapping[str, Phones],
) -> str:
    digest = hashlib.sha256(f"{options_digest} {split} {number}\n".encode())
    for item in group:
        facts = [
            item.utterance_id,
            item.speaker_id,
            item.chapter_id,
            item.path,
            item.size_bytes,
            item.transcript,
            *([item.segment_s] if item.segment_s is not None else []),
        ]
        digest.update(json.dumps(facts).encode())
        if item.utterance_id in labels:
            digest.update(labels[item.utterance_id].tobytes())
    return digest.hexdigest()
