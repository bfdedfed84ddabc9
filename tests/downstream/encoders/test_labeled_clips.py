"""Training clips of supervised encoders keep their labels, and each epoch holds every utterance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.downstream.cases import utterance
from vgim.config.schema import DataConfig
from vgim.downstream.encoders.labeled_clips import crops, labeled_crops, shuffled_batches


def data(**keys: object) -> DataConfig:
    return DataConfig.model_validate({"shards": "s", "crop_samples": 5120, **keys})


@given(
    num_samples=st.integers(5120, 40_000),
    missing=st.integers(-2, 3),
    seed=st.integers(0, 9),
    epoch=st.integers(0, 9),
)
def test_labels_stay_with_their_audio(num_samples: int, missing: int, seed: int, epoch: int) -> None:
    num_labels = num_samples // 160 - missing
    heard = utterance(num_samples, phones=list(range(num_labels)))
    for cell in range(num_samples // 160):  # each 10 ms of audio holds the number of its label
        heard.audio[cell * 160 : cell * 160 + 160] = cell - max(0, missing)
    found = labeled_crops(heard, data(), seed, epoch)
    if min(num_labels, num_samples // 160) >= 32:
        assert found
    for crop in found:
        assert len(crop.audio) == 5120
        assert crop.phones is not None
        assert (crop.audio.reshape(32, 160) == crop.phones[:, None]).all()
    first_labels = [int(crop.phones[0]) for crop in found]  # type: ignore[index]
    assert np.diff(first_labels).tolist() == [32] * (len(first_labels) - 1)


def test_crops_differ_between_epochs_and_not_within_one() -> None:
    heard = utterance(20_000, phones=[0] * 125)
    firsts = {tuple(labeled_crops(heard, data(), 0, epoch)[0].audio[:160]) for epoch in range(8)}
    assert len(firsts) > 4
    assert (labeled_crops(heard, data(), 0, 3)[0].audio == labeled_crops(heard, data(), 0, 3)[0].audio).all()


@pytest.mark.parametrize(
    ("crop", "num_samples", "num"), [("random", 5279, 0), ("random", 5280, 1), ("first", 700, 1)]
)
def test_crops_have_the_length_of_training(crop: str, num_samples: int, num: int) -> None:
    found = crops(utterance(num_samples), data(crop=crop), 0, 0)
    assert [len(clip.audio) for clip in found] == [5120] * num


@given(lengths=st.lists(st.integers(100, 400), max_size=40), size=st.integers(1, 9))
def test_batches_hold_every_clip_once_and_cut_little_from_it(lengths: list[int], size: int) -> None:
    clips = [utterance(n, name=str(i)) for i, n in enumerate(lengths)]
    batches = list(shuffled_batches(clips, size, np.random.default_rng(0)))
    names = [u.utterance_id for batch in batches for u in batch.utterances]
    assert sorted(names) == sorted(u.utterance_id for u in clips)
    sizes = [len(batch.utterances) for batch in batches]
    assert not sizes or (max(sizes) <= size and max(sizes) - min(sizes) <= 1)
    for batch in batches:
        assert batch.audio_BL.shape == (len(batch.utterances), min(len(u.audio) for u in batch.utterances))
