"""Two small preparations of different speakers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.shards.manifest import Manifest, read_manifest
from vgim.data.shards.prepare import prepare
from vgim.data.shards.read import Utterance, read_utterances
from vgim.storage import Location

SMALL = 300_000  # bytes per shard: about six utterances

Preparer = Callable[..., Path]


@pytest.fixture
def prepared(make_corpus: Callable[..., Path], tmp_path: Path) -> Preparer:
    """Prepares a corpus of some speakers, ten utterances each."""

    def make(name: str, *, first: int = 1, last: int = 3, labels: bool = False, **options: object) -> Path:
        root = make_corpus(f"corpus-{name}", speakers=last, labels=labels)
        for speaker in range(1, first):
            shutil.rmtree(root / "some-clean" / str(speaker))
        prepare(find_librispeech(root), tmp_path / name, **{"target_shard_bytes": SMALL, **options})  # type: ignore[arg-type]
        return tmp_path / name

    return make


def utterances_of(shards: Path, split: str | None = None) -> dict[str, Utterance]:
    """All utterances of a folder, or of one split, by id."""
    manifest, folder = read_manifest(shards), Location(shards)
    return {
        utterance.utterance_id: utterance
        for name, summary in manifest.splits.items()
        if summary.utterances and split in (None, name)
        for utterance in read_utterances(folder, manifest, name)
    }


def same_shards(one: Manifest, other: Manifest) -> bool:
    """Whether two folders hold the same bytes in the same places, so that training on either is the same."""
    return (one.fingerprint, one.splits, one.index, one.speakers, one.corpus_mean, one.corpus_std) == (
        other.fingerprint,
        other.splits,
        other.index,
        other.speakers,
        other.corpus_mean,
        other.corpus_std,
    )
