"""Shards of the embedded corpus in other splits than those that come with it."""

from __future__ import annotations

from pathlib import Path

from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.corpora.synthetic import synthesize
from vgim.data.shards.prepare import prepare


def shards_of_train_alone(folder: Path, *, speakers: int, utterances: int) -> Path:
    """Shards whose utterances are all in train, in a folder of their own beside their corpus."""
    corpus, shards = folder / "corpus", folder / "train-alone"
    synthesize(corpus, speakers=speakers, utterances=utterances, seed=0)
    prepare(find_librispeech(corpus), shards, validation_fraction=0, test_fraction=0, workers=0)
    return shards
