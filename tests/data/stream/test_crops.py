"""Crops are a function of (seed, epoch, utterance), on the 10 ms grid, inside the utterance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from vgim.config.schema import DataConfig
from vgim.data.pcm import HOP_SAMPLES
from vgim.data.stream.crops import crop_starts, first_crop, usable, utterance_keys

LENGTH = 2_000  # no multiple of the hop, on purpose

lengths = st.lists(st.integers(0, 12 * LENGTH), min_size=1, max_size=30)
seeds = st.integers(0, 2**40)
epochs = st.integers(0, 10_000)


def config(crop: str, crop_samples: int = LENGTH) -> DataConfig:
    return DataConfig(**{"shards": "none", "crop": crop, "crop_samples": crop_samples})


def crops(
    samples: dict[str, int], crop: str, *, seed: int = 0, epoch: int = 0, **more: Any
) -> dict[str, list[int]]:
    """Starts by utterance, of the utterances that are long enough."""
    chosen = config(crop, **more)
    lengths = np.array(list(samples.values()), np.int64)
    keep = usable(lengths, chosen)
    names = [name for name, kept in zip(samples, keep, strict=True) if kept]
    owner, start = crop_starts(lengths[keep], utterance_keys(pa.chunked_array([names])), chosen, seed, epoch)
    found: dict[str, list[int]] = {name: [] for name in names}
    for ordinal, sample in zip(owner.tolist(), start.tolist(), strict=True):
        found[names[ordinal]].append(sample)
    return found


def named(samples: list[int]) -> dict[str, int]:
    return {f"utterance-{number}": length for number, length in enumerate(samples)}


@given(lengths, seeds, epochs)
def test_random_crops_start_on_the_10_ms_grid_after_the_first_hop_and_end_inside(
    samples: list[int], seed: int, epoch: int
) -> None:
    by_name = named(samples)
    found = crops(by_name, "random", seed=seed, epoch=epoch)
    assert found.keys() == {name for name, length in by_name.items() if length >= LENGTH + HOP_SAMPLES}
    for name, starts in found.items():
        assert len(starts) == 1
        assert starts[0] % HOP_SAMPLES == 0
        assert HOP_SAMPLES <= starts[0] <= by_name[name] - LENGTH


def test_every_possible_start_is_drawn_about_equally_often() -> None:
    # A start is a hash of the fixed ids and the seed: these counts are the same in every run.
    num_starts, num_draws = 7, 7_000
    samples = {f"u{number}": LENGTH + num_starts * HOP_SAMPLES + 3 for number in range(num_draws)}
    starts = [start[0] for start in crops(samples, "random").values()]
    values, counts = np.unique(starts, return_counts=True)
    assert values.tolist() == [HOP_SAMPLES * number for number in range(1, num_starts + 1)]
    assert np.abs(counts - num_draws / num_starts).max() < 5 * np.sqrt(num_draws / num_starts)


@given(lengths, st.sampled_from(["random", "tile", "first"]), seeds, st.randoms(use_true_random=False))
def test_crops_do_not_depend_on_the_other_utterances(
    samples: list[int], crop: str, seed: int, random: Any
) -> None:
    by_name = named(samples)
    whole = crops(by_name, crop, seed=seed)
    mixed = list(by_name.items())
    random.shuffle(mixed)
    some = mixed[: len(mixed) // 2 + 1]
    assert crops(dict(some), crop, seed=seed) == {
        name: starts for name, starts in whole.items() if name in dict(some)
    }


def test_crops_differ_between_epochs_and_seeds_and_are_repeatable() -> None:
    samples = {f"u{number}": 100 * LENGTH for number in range(200)}
    for crop in ("random", "tile"):
        draws = {
            (seed, epoch): crops(samples, crop, seed=seed, epoch=epoch)
            for seed in range(3)
            for epoch in range(3)
        }
        assert draws[1, 2] == crops(samples, crop, seed=1, epoch=2)
        firsts = [tuple(starts[0] for starts in draw.values()) for draw in draws.values()]
        for number, one in enumerate(firsts):
            for other in firsts[number + 1 :]:
                same = np.mean(np.array(one) == np.array(other))
                assert (
                    same < 0.3
                )  # of 12 phases a twelfth agree by chance; ids and seeds are fixed, so always as many


@given(lengths, seeds, epochs)
def test_tiles_are_contiguous_whole_crops_from_a_phase_below_one_crop(
    samples: list[int], seed: int, epoch: int
) -> None:
    by_name = named(samples)
    found = crops(by_name, "tile", seed=seed, epoch=epoch)
    assert found.keys() == {name for name, length in by_name.items() if length >= LENGTH}
    for name, starts in found.items():
        assert starts, name
        assert starts[0] % HOP_SAMPLES == 0
        assert starts[0] < LENGTH
        assert np.diff(starts).tolist() == [LENGTH] * (len(starts) - 1)
        assert starts[-1] + LENGTH <= by_name[name] < starts[-1] + 2 * LENGTH


def test_an_utterance_as_long_as_a_crop_gives_a_tile_but_no_random_crop() -> None:
    assert crops({"a": LENGTH}, "tile") == {"a": [0]}
    assert crops({"a": LENGTH + HOP_SAMPLES - 1}, "random") == {}
    assert crops({"a": LENGTH + HOP_SAMPLES}, "random") == {"a": [HOP_SAMPLES]}


@given(lengths, seeds)
def test_first_crops_every_utterance_with_audio_at_its_start(samples: list[int], seed: int) -> None:
    by_name = named(samples)
    assert crops(by_name, "first", seed=seed) == {name: [0] for name, n in by_name.items() if n}


def test_the_first_crop_is_the_earliest_that_training_could_cut() -> None:
    audio = np.arange(1, 1001, dtype=np.int16)
    random = DataConfig(shards="s", crop_samples=840)
    crop = first_crop(audio, random)
    assert crop is not None
    assert (crop[0], len(crop)) == (161, 840)
    assert first_crop(audio[:999], random) is None
    tile = first_crop(audio, DataConfig(shards="s", crop="tile", crop_samples=1000))
    assert tile is not None
    assert np.array_equal(tile, audio)
    padded = first_crop(audio, DataConfig(shards="s", crop="first", crop_samples=1200))
    assert padded is not None
    assert (len(padded), padded[999], padded[1000:].any()) == (1200, 1000, False)
