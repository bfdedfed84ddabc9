"""ABX against slow versions written from its definition, and on tokens whose answers are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vgim.downstream.abx.discriminate import AbxScores, discriminate
from vgim.downstream.abx.distance import distances
from vgim.downstream.abx.tokens import LONGEST_FRAMES, Tokens, find_tokens

UNIT = torch.nn.functional.normalize


def slow_distance(x_SC: torch.Tensor, y_TC: torch.Tensor) -> float:
    """The cheapest of all paths, by trying each."""
    angle = torch.acos((x_SC @ y_TC.T).clamp(-1, 1)) / math.pi
    last = (len(x_SC) - 1, len(y_TC) - 1)

    def paths(s: int, t: int) -> list[list[tuple[int, int]]]:
        if (s, t) == last:
            return [[(s, t)]]
        steps = [(s + 1, t + 1), (s + 1, t), (s, t + 1)]
        return [[(s, t), *rest] for a, b in steps if a <= last[0] and b <= last[1] for rest in paths(a, b)]

    costs = [(sum(float(angle[cell]) for cell in path), len(path)) for path in paths(0, 0)]
    cost, length = min(costs)
    return cost / length


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 4))
def test_distances_are_those_of_the_best_of_all_paths(seed: int, longest_x: int, longest_y: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def some(longest: int) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = torch.randint(1, longest + 1, (3,), generator=generator)
        return UNIT(torch.randn(3, longest, 5, generator=generator), dim=-1), lengths

    (x_ASC, length_A), (y_BTC, length_B) = some(longest_x), some(longest_y)
    found_AB = distances(x_ASC, length_A, y_BTC, length_B)
    for a, b in itertools.product(range(3), range(3)):
        expected = slow_distance(x_ASC[a, : length_A[a]], y_BTC[b, : length_B[b]])
        assert float(found_AB[a, b]) == pytest.approx(expected, abs=1e-5)


def test_distances_do_not_depend_on_how_many_are_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = UNIT(torch.randn(7, 4, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    lengths = torch.tensor([4, 3, 2, 1, 4, 2, 3])
    at_once = distances(x, lengths, x, lengths)
    monkeypatch.setattr("vgim.downstream.abx.distance.ROWS_AT_ONCE", 2)
    monkeypatch.setattr("vgim.downstream.abx.distance.COLUMNS_AT_ONCE", 3)
    # Of equal directions the angle is the root of a rounding error.
    torch.testing.assert_close(distances(x, lengths, x, lengths), at_once, atol=1e-3, rtol=0)


def random_tokens(num: int, num_phones: int, num_speakers: int, seed: int) -> tuple[Tokens, torch.Tensor]:
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.integers(num_phones, size=num), rng.integers(num_speakers, size=num)))
    speaker, phone = (
        np.sort(rng.integers(num_speakers, size=num)),
        rng.integers(num_phones, size=num)[order],
    )
    length = rng.integers(1, 4, size=num)
    first = np.cumsum(length) - length
    x = torch.from_numpy(rng.normal(size=(int(length.sum()), 4))).float()
    return Tokens(first, length, phone, speaker), x


@pytest.mark.parametrize("across", [False, True])
def test_scores_are_those_of_deciding_every_triple(across: bool) -> None:
    tokens, x_NC = random_tokens(24, 3, 3, seed=1)
    found = discriminate(tokens, x_NC, 3, across=across, most_across=100)
    x_MTC, length_M = tokens.features(x_NC)
    d_MM = distances(x_MTC, length_M, x_MTC, length_M)
    right: dict[tuple[int, int, int], list[float]] = {}
    for a, b, x in itertools.product(range(24), repeat=3):
        (phone_a, phone_b, phone_x), (s_a, s_b, s_x) = (
            tokens.phone_M[[a, b, x]].tolist(),
            tokens.speaker_M[[a, b, x]].tolist(),
        )
        if phone_a != phone_x or phone_a == phone_b or s_a != s_b or a == x or (s_x == s_a) == across:
            continue
        to_a, to_b = float(d_MM[x, a]), float(d_MM[x, b])
        right.setdefault((s_a, phone_a, phone_b), []).append(1.0 if to_a < to_b else 0.5 * (to_a == to_b))
    assert found.num_triples == sum(map(len, right.values()))
    for (speaker, phone_a, phone_b), decisions in right.items():
        assert found.right_SKK[speaker, phone_a, phone_b] == pytest.approx(np.mean(decisions))
    assert np.isnan(found.right_SKK).sum() == 27 - len(right)
    by_pair: dict[tuple[int, int], list[float]] = {}
    for (_, *pair), decisions in right.items():
        by_pair.setdefault((pair[0], pair[1]), []).append(float(np.mean(decisions)))
    assert found.accuracy == pytest.approx(np.mean([np.mean(shares) for shares in by_pair.values()]))
    low, high = found.interval()
    assert 0 <= low <= high <= 1


@pytest.mark.parametrize(("num", "across"), [(0, False), (0, True), (9, True)])
def test_without_tokens_or_another_speaker_there_is_nothing_to_decide(num: int, across: bool) -> None:
    tokens, x_NC = random_tokens(9, 3, 1, seed=0)
    tokens = Tokens(tokens.first_M[:num], tokens.length_M[:num], tokens.phone_M[:num], tokens.speaker_M[:num])
    assert discriminate(tokens, x_NC, 3, across=across, most_across=5).num_triples == 0


def test_speakers_without_a_pair_leave_the_interval_of_the_others() -> None:
    right_SKK = np.full((12, 2, 2), np.nan)
    right_SKK[0, 0, 1], right_SKK[1, 0, 1] = 0.6, 0.8
    found = AbxScores(right_SKK, 900)
    assert found.num_speakers == 2
    assert found.interval() == AbxScores(right_SKK[:2], 900).interval()


@pytest.mark.parametrize("num", [2, 3, 5, 9])
def test_the_interval_holds_the_truth_however_few_the_speakers_are(num: int) -> None:
    truth, rng, num_held = 0.8, np.random.default_rng(0), 0
    for _ in range(300):
        right_SKK = rng.normal(
            rng.beta(48, 12, (num, 1, 1)), 0.02, (num, 5, 5)
        )  # speakers differ by 5 points
        right_SKK[:, range(5), range(5)] = np.nan
        low, high = AbxScores(right_SKK.clip(max=1), 100_000).interval()
        num_held += low <= truth <= high
    assert num_held / 300 > 0.92  # of nominal 0.95; resampling speakers held it in 0.53 to 0.92


def test_a_single_speaker_with_a_pair_bounds_nothing() -> None:
    right_SKK = np.full((3, 2, 2), np.nan)
    right_SKK[1, 0, 1] = 0.6
    assert AbxScores(right_SKK, 9).interval() == (0, 1)


@pytest.mark.parametrize("across", [False, True])
def test_phones_in_different_directions_are_told_apart_and_equal_ones_half_of_the_time(across: bool) -> None:
    tokens, _ = random_tokens(30, 3, 2, seed=0)
    num_frames = int(tokens.length_M.sum())
    phone_N = np.repeat(tokens.phone_M, tokens.length_M)
    apart = torch.nn.functional.one_hot(torch.from_numpy(phone_N), 3).float()
    assert discriminate(tokens, apart, 3, across=across, most_across=5).accuracy == 1.0
    same = torch.ones(num_frames, 3)
    assert discriminate(tokens, same, 3, across=across, most_across=5).accuracy == 0.5


def test_tokens_are_whole_phones_between_others() -> None:
    silence, long = [0] * 5, [4] * (LONGEST_FRAMES + 1)
    first = [1, 1, 2, 2, 2, *silence, 3, *long, 1, 1]
    second = [2, 2, 1, 3]
    y = np.array([*first, *second])
    owner = np.array([0] * len(first) + [1] * len(second))
    tokens = find_tokens(y, owner, np.array([7, 7]), ("a", "b"), {0}, most=9)
    at_3 = 5 + len(silence)
    expected = [(len(first) + 2, 1, 1), (2, 3, 2), (at_3, 1, 3)]
    found = list(zip(tokens.first_M.tolist(), tokens.length_M.tolist(), tokens.phone_M.tolist(), strict=True))
    assert found == expected
    assert set(tokens.speaker_M) == {7}


def test_which_tokens_are_kept_does_not_depend_on_the_order_of_the_utterances() -> None:
    y_of = {name: np.random.default_rng(number).integers(1, 4, 60) for number, name in enumerate("abcd")}

    def kept(names: str) -> set[tuple[str, int]]:
        y = np.concatenate([y_of[name] for name in names])
        owner = np.repeat(np.arange(len(names)), 60)
        tokens = find_tokens(y, owner, np.zeros(len(names), np.int64), tuple(names), set(), most=3)
        assert np.bincount(tokens.phone_M).max() == 3
        return {(names[owner[first]], int(first) % 60) for first in tokens.first_M}

    assert kept("abcd") == kept("dbca")
