"""Shards as a torch dataset: any index, any DataLoader, and the utterances that the shards hold."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

import vgim
from vgim.data.pcm import PCM16_SCALE
from vgim.data.shards.dataset import GROUPS_IN_MEMORY, NO_LABEL, ShardDataset
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.read import read_utterances
from vgim.errors import DataError
from vgim.storage import Location


def same(item: object, other: object) -> bool:
    return all(
        torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]  # type: ignore[index]
        for name, value in item.items()  # type: ignore[attr-defined]
    )


def test_items_are_the_utterances_of_the_split(tiny_shards: Path) -> None:
    dataset = vgim.open_shards(tiny_shards, "train")
    manifest = read_manifest(tiny_shards)
    expected = list(read_utterances(Location(tiny_shards), manifest, "train"))
    assert len(dataset) == len(expected) == len(dataset.utterance_ids)
    assert repr(dataset) == f"<{len(dataset)} utterances of the train split of {manifest.corpus}>"
    order = list(range(len(dataset)))
    random.Random(0).shuffle(order)
    for index in order:
        item, utterance = dataset[index], expected[index]
        assert item["audio"].dtype == torch.float32
        assert torch.equal(item["audio"] * PCM16_SCALE, torch.from_numpy(utterance.audio).float())
        assert (item["utterance_id"], item["transcript"]) == (utterance.utterance_id, utterance.transcript)
        assert dataset.speakers[item["speaker"]] == item["speaker_id"] == utterance.speaker_id
        assert utterance.phones is not None
        assert item["phones"].tolist() == utterance.phones.tolist()
        assert dataset.num_samples[index] == len(item["audio"])
    assert len(dataset._groups) <= GROUPS_IN_MEMORY
    assert same(dataset[-1], dataset[len(dataset) - 1])


def test_a_pickled_dataset_is_the_same_without_the_audio_in_memory(tiny_shards: Path) -> None:
    dataset = vgim.open_shards(str(tiny_shards), "test")
    assert len(pickle.dumps(dataset)) == len(pickle.dumps(dataset)) < 100_000
    first = dataset[0]
    again: ShardDataset = pickle.loads(pickle.dumps(dataset))
    assert not again._groups
    assert same(again[0], first)


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_shuffle_pad_and_read_in_workers(tiny_shards: Path, workers: int) -> None:
    dataset = vgim.open_shards(bytes(tiny_shards), "validation")
    loader = DataLoader(
        dataset,
        batch_size=3,
        shuffle=True,
        num_workers=workers,
        collate_fn=dataset.collate,
        generator=torch.Generator().manual_seed(0),
    )
    seen = []
    for batch in loader:
        B, L = batch["audio"].shape
        assert batch["lengths"].max() == L
        assert batch["phones"].shape[0] == batch["speaker"].shape[0] == B
        for row, name in enumerate(batch["utterance_id"]):
            item = dataset[dataset.utterance_ids.index(name)]
            length = int(batch["lengths"][row])
            assert torch.equal(batch["audio"][row, :length], item["audio"])
            assert not batch["audio"][row, length:].any()
            assert torch.equal(batch["phones"][row, : len(item["phones"])], item["phones"])
            assert (batch["phones"][row, len(item["phones"]) :] == NO_LABEL).all()
        seen += batch["utterance_id"]
    assert sorted(seen) == sorted(dataset.utterance_ids)


def test_what_cannot_be_read_is_told(tiny_shards: Path, tmp_path: Path) -> None:
    dataset = vgim.open_shards(tiny_shards, "test")
    for index in (len(dataset), -len(dataset) - 1):
        with pytest.raises(IndexError, match="but the test split has"):
            dataset[index]
    with pytest.raises(TypeError, match="index 'a' is of the type str; give one whole number"):
        dataset["a"]  # type: ignore[index]
    with pytest.raises(DataError, match="there is no split 'dev'; the manifest has train, validation, test"):
        vgim.open_shards(tiny_shards, "dev")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="split=3 is of the type int"):
        vgim.open_shards(tiny_shards, 3)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="there is no shard folder"):
        vgim.open_shards(tmp_path / "nothing")


def test_a_batch_of_no_utterances_is_refused() -> None:
    with pytest.raises(ValueError, match="a batch of no utterances cannot be padded"):
        ShardDataset.collate([])
