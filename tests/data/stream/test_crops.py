"""Crops are a function of (seed, epoch, utterance), on the 10 ms grid, inside the utterance."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vgim.config.schema import DataConfig
from vgim.data.pcm import HOP_SAMPLES
from vgim.data.stream.crops import crop_starts, usable, utterance_keys

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
    owner, start = crop_starts(lengths[keep], utterance_keys(names), chosen, seed, epoch)
    found: dict[str, list[int]] = {name: [] for name in names}
    for ordinal, sample in zip(owner.tolist(), start.tolist(), strict=True):
        found[names[ordinal]].append(sample)
    return found


def named(samples: list[int]) -> dict[str, int]:
    return {f"utterance-{number}": length for number, length in enumerate(samples)}


@given(lengths, seeds, epochs)
def test_random_starts_are_on_the_grid_past_the_first_hop_and_inside(
    samples: list[int], seed: int, epoch: int
) -> None:
    by_name = named(samples)
    found = crops(by_name, "random", seed=seed, epoch=epoch)
    assert found.keys() == {name for name, length in by_name.items() if length >= LENGTH + HOP_SAMPLES}
    for name, starts in found.items():
        assert len(starts) == 1
        assert starts[0] % HOP_SAMPLES == 0
        assert HOP_SAMPLES <= starts[0] <= by_name[name] - LENGTH


def test_every_place_that_fits_is_drawn_about_equally_often() -> None:
    places, draws = 7, 7_000
    samples = {f"u{number}": LENGTH + places * HOP_SAMPLES + 3 for number in range(draws)}
    starts = [start[0] for start in crops(samples, "random").values()]
    values, counts = np.unique(starts, return_counts=True)
    assert values.tolist() == [HOP_SAMPLES * place for place in range(1, places + 1)]
    assert np.abs(counts - draws / places).max() < 5 * np.sqrt(draws / places)


@given(lengths, st.sampled_from(["random", "tile", "first"]), seeds, st.randoms())
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


def test_crops_are_fresh_each_epoch_and_for_each_seed_and_repeatable() -> None:
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
                assert same < 0.3  # a crop has 12 phases: a twelfth of them meet by chance


@given(lengths, seeds, epochs)
def test_tiles_cover_the_utterance_with_whole_crops_from_a_phase_below_one_crop(
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


def test_an_utterance_of_just_one_crop_is_tiled_but_not_cropped_at_random() -> None:
    assert crops({"a": LENGTH}, "tile") == {"a": [0]}
    assert crops({"a": LENGTH + HOP_SAMPLES - 1}, "random") == {}
    assert crops({"a": LENGTH + HOP_SAMPLES}, "random") == {"a": [HOP_SAMPLES]}


@given(lengths, seeds)
def test_first_takes_every_utterance_that_has_audio_from_its_start(samples: list[int], seed: int) -> None:
    by_name = named(samples)
    assert crops(by_name, "first", seed=seed) == {name: [0] for name, n in by_name.items() if n}
