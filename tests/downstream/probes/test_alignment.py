"""Frames of any hop meet labels of 10 ms, and both ends meet where their numbers differ."""

from __future__ import annotations

import pytest
import torch

from tests.downstream.cases import utterance
from vgim.downstream.probes.alignment import align, mean_per_label
from vgim.downstream.probes.phone import PhoneProbe
from vgim.downstream.probes.probe import mean_over_time
from vgim.errors import ConfigError


def frames(num: int) -> torch.Tensor:
    return torch.arange(num).float()[:, None]


def test_frames_of_ten_ms_stay_as_they_are() -> None:
    assert torch.equal(mean_per_label(frames(5), 160, 5), frames(5))
    assert torch.equal(mean_per_label(frames(6), 160, 5), frames(5))


@pytest.mark.parametrize(("hop", "ratio"), [(80, 2), (20, 8)])
def test_finer_frames_are_averaged_over_the_labels_ten_ms(hop: int, ratio: int) -> None:
    pooled = mean_per_label(frames(4 * ratio), hop, 4)
    assert pooled[:, 0].tolist() == [i * ratio + (ratio - 1) / 2 for i in range(4)]


def test_a_label_at_the_end_averages_the_frames_that_there_are() -> None:
    assert mean_per_label(frames(7), 80, 4)[:, 0].tolist() == [0.5, 2.5, 4.5, 6]
    assert mean_per_label(frames(9), 80, 4)[:, 0].tolist() == [
        0.5,
        2.5,
        4.5,
        6.5,
    ]  # the ninth is past the labels


def test_frames_that_fit_no_label_are_refused() -> None:
    with pytest.raises(ConfigError, match="frames of 320 samples do not fit labels of 160 samples"):
        mean_per_label(frames(4), 320, 2)
    with pytest.raises(ConfigError, match="frames of 60 samples"):
        mean_per_label(frames(4), 60, 2)


def test_surplus_frames_are_dropped_at_the_start_and_surplus_labels_at_the_end() -> None:
    labels = torch.arange(3)
    assert align(frames(5), labels)[0][:, 0].tolist() == [2, 3, 4]
    assert torch.equal(align(frames(5), labels)[1], labels)
    assert align(frames(2), labels)[0][:, 0].tolist() == [0, 1]
    assert align(frames(2), labels)[1].tolist() == [0, 1]


def test_the_phone_probe_pairs_every_label() -> None:
    probe = PhoneProbe.__new__(PhoneProbe)  # its manifest gives the classes' names alone
    spoken = utterance(1600, phones=list(range(9)))
    for hop, num in ((160, 10), (80, 21), (20, 79)):
        found = probe.examples(spoken, torch.randn(num, 3), hop)
        assert found is not None
        assert (found.x_NC.shape, found.y_N.tolist()) == ((9, 3), list(range(9)))
    assert probe.examples(utterance(1600), torch.randn(10, 3), 160) is None


def test_the_mean_over_time_is_one_example() -> None:
    found = mean_over_time(frames(5), 7)
    assert (found.x_NC.tolist(), found.y_N.tolist()) == ([[2.0]], [7])
