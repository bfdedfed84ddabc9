"""Each kind of augmentation changes a crop as its key says, and the same crop always in the same way."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.stream.test_stream import StreamMaker, make_stream
from vgim.arrays import F32
from vgim.config import load_config
from vgim.config.schema import AugmentConfig
from vgim.data.stream import stream as stream_module
from vgim.data.stream.augment import augment, augment_crops, crop_draws, fast_length, samples_to_read
from vgim.data.stream.readers import read_in_process, read_in_threads
from vgim.errors import ConfigError

__all__ = ["make_stream"]

L = 4_000
DRAWS = range(40)
ALL = {
    "pitch_semitones": 3,
    "reverb_s": 0.3,
    "band_reject": 0.2,
    "noise_snr_db": 10,
    "gain_db": 6,
    "mask_s": 0.05,
}


def white(num_samples: int = L) -> F32:
    return 1000 * np.random.default_rng(0).standard_normal(num_samples, dtype=np.float32)


def tone(frequency_hz: float, num_samples: int) -> F32:
    return np.sin(2 * np.pi * frequency_hz / 16_000 * np.arange(num_samples)).astype(np.float32) * 1000


def augmented(x: F32, draw: int, **kinds: Any) -> F32:
    """A crop of 4,000 samples of `x`, which is all of its utterance from the crop's start on."""
    return augment(x, len(x), draw, L, AugmentConfig(**kinds))


def power(x: F32) -> float:
    return float(np.mean(np.square(x, dtype=np.float64)))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=10,
    deadline=None,
)
@given(st.data(), st.sampled_from(["random", "tile", "first"]), st.sampled_from([*ALL, "all"]))
def test_a_crop_is_the_same_on_any_rank_in_any_batch_by_any_reader_and_after_any_step(
    make_stream: StreamMaker, data: st.DataObject, crop: str, kind: str
) -> None:
    kinds = ALL if kind == "all" else {kind: ALL[kind]}
    options = {"crop": crop, "augment": kinds, "seed": data.draw(st.integers(0, 9))}
    epoch = data.draw(st.integers(0, 2))
    expected = {}
    for batch in make_stream(batch_size=1, **options).train_batches(epoch, 0, epochs=epoch + 1):
        expected[int(batch.utterance[0]), int(batch.start[0])] = batch.audio[0]
    world_size = data.draw(st.integers(1, 3))
    accumulate = data.draw(st.integers(1, 2))
    reader = data.draw(st.sampled_from([read_in_process, read_in_threads]))
    num_read = 0
    for rank in range(world_size):
        stream = make_stream(rank, world_size, accumulate=accumulate, reader=reader, **options)
        step = data.draw(st.integers(0, stream.num_steps(epoch) - 1))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stream_module, "WINDOWS_AT_ONCE", data.draw(st.sampled_from([1, 64])))
            batches = list(stream.train_batches(epoch, step, epochs=epoch + 1))
        for batch in batches:
            for samples, utterance, start in zip(batch.audio, batch.utterance, batch.start, strict=True):
                np.testing.assert_array_equal(samples, expected[int(utterance), int(start)])
                num_read += 1
    assert num_read


def test_crops_differ_between_epochs_seeds_and_neighbors_and_keep_their_statistics(
    make_stream: StreamMaker,
) -> None:
    changed = make_stream(crop="first", augment={"noise_snr_db": 10}, batch_size=40)
    plain = make_stream(crop="first", batch_size=40)
    first, second = changed.train_batches(0, 0, epochs=2)
    (before,) = plain.train_batches(0, 0, epochs=1)
    order = np.argsort(first.utterance)
    np.testing.assert_array_equal(first.utterance, before.utterance)
    np.testing.assert_array_equal(first.std, before.std)  # of the whole utterance as it was recorded
    assert (first.audio != before.audio).any(axis=1).all()
    assert (first.audio[order] != second.audio[np.argsort(second.utterance)]).any(axis=1).all()
    keys, starts = np.arange(2, dtype=np.uint64), np.array([0, 160])
    draws = [
        int(draw)
        for seed, epoch, shift in itertools.product(range(2), range(2), range(2))
        for draw in crop_draws(seed, epoch, keys, starts + shift)
    ]
    assert len(set(draws)) == 16


def test_validation_changes_its_crops_as_training_does_and_alike_at_each_call(
    make_stream: StreamMaker,
) -> None:
    noisy = make_stream(split="validation", crop="first", augment={"noise_snr_db": 10})
    plain = make_stream(split="validation", crop="first")
    calls = [list(stream.validation_batches()) for stream in (noisy, noisy, plain)]
    for first, second, clean in zip(*calls, strict=True):
        np.testing.assert_array_equal(first.audio, second.audio)
        np.testing.assert_array_equal(first.utterance, clean.utterance)
        assert (first.audio != clean.audio).any(axis=1).all()


def test_noise_has_a_ratio_in_its_range_and_is_white_or_pink() -> None:
    x = np.tile(tone(1000, 400), 10)
    ratios, is_pink = [], set()
    for draw in DRAWS:
        y = augmented(x, draw, noise_snr_db=5)
        scale = np.dot(x, y) / np.dot(x, x)
        noise = y / scale - x
        ratios.append(10 * np.log10(power(x) / power(noise)))
        spectrum = np.abs(np.fft.rfft(noise)) ** 2
        octaves = np.array([spectrum[125 * 2**i : 250 * 2**i].sum() for i in range(4)])
        growth = np.log2(octaves[3] / octaves[0])  # three octaves: 3 for white, 0 for pink
        is_pink.add(bool(growth < 1.5))
        assert min(abs(growth), abs(growth - 3)) < 1
    assert 4.8 < min(ratios) < 9
    assert 21 < max(ratios) < 25.2
    assert is_pink == {True, False}


def test_a_stop_band_takes_one_band_out_and_leaves_the_rest() -> None:
    x = white()
    before = np.fft.rfft(x)
    widths = []
    for draw in DRAWS:
        y = augmented(x, draw, band_reject=0.3)
        ratio = np.abs(np.fft.rfft(y) / before)
        stopped = np.flatnonzero(ratio < 1e-3)
        assert len(stopped) == 0 or stopped[-1] - stopped[0] == len(stopped) - 1
        np.testing.assert_allclose(
            np.delete(ratio, stopped), np.sqrt(power(x) / _kept(before, stopped)), rtol=0.01
        )
        low, high = (
            (2595 * np.log10(1 + (stopped[i] * 4) / 700) / 2840 for i in (0, -1)) if len(stopped) else (0, 0)
        )
        widths.append(high - low)
    assert 0.2 < max(widths) <= 0.3
    assert min(widths) < 0.1


def _kept(spectrum: np.ndarray, stopped: np.ndarray) -> float:
    kept = spectrum.copy()
    kept[stopped] = 0
    return power(np.fft.irfft(kept, L))


def test_reverberation_is_a_direct_sound_with_a_tail_that_falls_by_60_db_in_its_time() -> None:
    click = np.zeros(L, np.float32)
    click[100] = 10_000
    x = white()
    longest = 0
    for draw in DRAWS:
        response = augmented(click, draw, reverb_s=0.2)
        assert not np.abs(response[:100]).max() > 1
        response = response[100:] / response[100]
        audible = np.flatnonzero(np.abs(response) > 1e-4)
        longest = max(longest, int(audible[-1]))
        slow = np.convolve(x, response)[:L]
        np.testing.assert_allclose(
            augmented(x, draw, reverb_s=0.2), slow * np.sqrt(power(x) / power(slow)), atol=3
        )
    assert 0.7 * 3_200 < longest <= 3_200


def test_pitch_goes_up_and_down_by_at_most_the_given_semitones_with_the_level_as_it_was() -> None:
    config = AugmentConfig(pitch_semitones=4)
    num_read = samples_to_read(L, config)
    assert num_read == int(np.ceil(L * 2 ** (4 / 12)))
    x = tone(1000, num_read)
    steps = []
    for draw in DRAWS:
        y = augment(x, len(x), draw, L, config)
        assert power(y) == pytest.approx(power(x[:L]), rel=1e-4)
        peak = np.argmax(np.abs(np.fft.rfft(y[1000:3000] * np.hanning(2000), 64_000)))
        steps.append(12 * np.log2(peak / 4 / 1000))
    assert -4.3 < min(steps) < -2
    assert 2 < max(steps) < 4.1


def test_raised_pitch_ends_where_its_utterance_does_unless_the_crop_is_padded() -> None:
    config = AugmentConfig(pitch_semitones=12)
    read = np.pad(white(), (0, L))
    for draw in DRAWS:
        assert power(augment(read, L, draw, L, config)[-100:]) > 1e5  # nothing of the padding
    short = np.pad(white(1000), (0, 2 * L - 1000))
    ends = [np.flatnonzero(np.abs(augment(short, 1000, draw, L, config)) > 300)[-1] for draw in DRAWS]
    assert min(ends) < 600
    assert max(ends) > 1500


def test_gain_multiplies_and_a_mask_silences_one_stretch() -> None:
    x = white()
    gains = [20 * np.log10(np.median(augmented(x, draw, gain_db=6) / x)) for draw in DRAWS]
    assert -6 <= min(gains) < -3 < 3 < max(gains) <= 6
    lengths = []
    for draw in DRAWS:
        y = augmented(x, draw, mask_s=0.1)
        silent = np.flatnonzero(y == 0)
        assert len(silent) == 0 or silent[-1] - silent[0] == len(silent) - 1
        np.testing.assert_array_equal(np.delete(y, silent), np.delete(x, silent))
        lengths.append(len(silent))
    assert 1_200 < max(lengths) <= 1_600
    assert not augmented(x, 0, mask_s=60).all()  # longer than the crop


def test_a_kind_draws_the_same_whatever_other_kinds_are_on() -> None:
    x = white()
    for draw in DRAWS:
        alone = augmented(x, draw, noise_snr_db=10)
        louder = augmented(x, draw, noise_snr_db=10, gain_db=6)
        np.testing.assert_allclose(louder / louder[0], alone / alone[0], rtol=1e-3)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 3_000),
    st.sampled_from([*ALL, "all"]),
    st.integers(0, 2**64 - 1),
    st.sampled_from([0, 1, 32_767]),
)
def test_any_length_and_level_gives_samples_that_do_not_wrap(
    num_samples: int, kind: str, draw: int, level: int
) -> None:
    config = AugmentConfig(**(ALL | {"gain_db": 40} if kind == "all" else {kind: ALL[kind]}))
    num_read = samples_to_read(num_samples, config)
    read = np.full((1, num_read), level, np.int16)
    (crop,) = augment_crops(read, np.array([num_samples]), np.array([draw], np.uint64), num_samples, config)
    assert crop.shape == (num_samples,)
    if kind == "gain_db":
        assert (crop >= 0).all()
    if level == 0:
        assert not crop.any()  # silence stays silence


def test_fast_lengths_hold_their_samples() -> None:
    for num_samples in (1, 2, 3, 999, 10_240, 20_480, 57_600_000):
        length = fast_length(num_samples)
        assert num_samples <= length <= max(4, 1.25 * num_samples)
    assert fast_length(20_480) == 20_480


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "data.augment=noise",
            "data.augment is a section, not the value noise .*data.augment.pitch_semitones",
        ),
        ("data.augment.noise_snr_db=loud", "data.augment.noise_snr_db=loud is not allowed .*or none"),
        ("data.augment.noise=3", "data.augment.noise is not a config key"),
        ("data.augment.band_reject=1", "data.augment.band_reject=1 is not allowed .*at most 0.9"),
    ],
)
def test_a_wrong_strength_is_refused_in_one_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as e:
        load_config("quickstart", [override])
    assert "\n" not in str(e.value)


def test_what_a_stop_band_leaves_of_a_tone_is_not_raised_to_its_level() -> None:
    x = 8 * tone(1_000, L)
    changed = [augmented(x, draw, band_reject=0.3) for draw in range(100)]
    loud = [y for y in changed if power(y) > 0.5 * power(x)]
    assert len(loud) < len(changed)
    for y in loud:
        assert np.corrcoef(x, y)[0, 1] > 0.5
