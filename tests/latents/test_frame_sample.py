"""The sample of a module's latents that analyses read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.latents.cases import SMALL
from vgim.latents.frame_labels import NO_LABEL, shared_label
from vgim.latents.frame_sample import sample_frames
from vgim.pretrained.opened_run import open_run


def test_frames_depend_on_the_seed_alone(plain_run: Path) -> None:
    opened = open_run(str(plain_run), device="cpu")
    first, again = sample_frames(opened, 1, SMALL), sample_frames(opened, 1, SMALL)
    other = sample_frames(opened, 1, SMALL.model_copy(update={"seed": 1}))
    assert np.array_equal(first.z_NC, again.z_NC)
    assert not np.array_equal(first.z_NC[:50], other.z_NC[:50])
    assert first.posteriors is not None
    scaled = (first.z_NC - first.posteriors.mu_NC) / first.posteriors.std_NC
    assert scaled.std() == pytest.approx(1, abs=0.05)
    assert not np.array_equal(first.mean_NC, first.posteriors.mu_NC)  # module 0 is sampled before the latter


def test_an_utterance_has_the_mean_of_all_its_frames_and_their_common_label(plain_run: Path) -> None:
    opened = open_run(str(plain_run), device="cpu")
    every = sample_frames(opened, 0, SMALL.model_copy(update={"max_frames": 1_000_000}))
    some = sample_frames(opened, 0, SMALL)
    assert len(some.mean_NC) < len(every.mean_NC)
    first = every.mean_NC[every.utterance_N == 0].mean(0)
    assert some.utterance_mean_UC[0] == pytest.approx(first, abs=1e-5)
    assert np.array_equal(some.utterance_labels["speaker"], every.labels["speaker"][every.frame_N == 0])
    assert (some.utterance_labels["phone"] == NO_LABEL).all()


def test_a_label_is_shared_if_no_labeled_frame_differs() -> None:
    assert shared_label(np.array([2, NO_LABEL, 2])) == 2
    assert shared_label(np.array([2, 1])) == NO_LABEL
    assert shared_label(np.full(3, NO_LABEL)) == NO_LABEL
