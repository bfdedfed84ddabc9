"""The sample of a module's latents that analyses read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.latents.cases import SMALL
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
