"""MFCC lie on the labels' grid and do not depend on their batch."""

from __future__ import annotations

import pytest
import torch

from tests.downstream.cases import utterance
from vgim.downstream.features.mfcc import Mfcc
from vgim.downstream.features.source import stream_features, whole_utterance


@pytest.mark.parametrize("num_samples", [160, 319, 320, 20_480, 5_133])
def test_mfcc_has_39_features_for_every_whole_10_ms(num_samples: int) -> None:
    ((_, (features_TC,)),) = stream_features(Mfcc(), [utterance(num_samples)], whole_utterance)
    assert features_TC.shape == (num_samples // 160, 39)
    assert torch.isfinite(features_TC).all()


def test_mfcc_frames_are_centered_on_their_label() -> None:
    click = utterance(3200)
    click.audio[:] = 0
    click.audio[160 * 7 + 60 : 160 * 7 + 100] = 20_000  # in the middle of the eighth label
    ((_, (features_TC,)),) = stream_features(Mfcc(), [click], whole_utterance)
    assert int(features_TC[:, 0].argmax()) == 7


def test_mfcc_of_a_clip_does_not_depend_on_its_batch() -> None:
    loud, quiet = utterance(3200, name="loud"), utterance(3200, name="quiet")
    quiet.audio[:] = quiet.audio // 1000
    together = [f for _, (f,) in stream_features(Mfcc(), [loud, quiet], whole_utterance)]
    ((_, (alone,)),) = stream_features(Mfcc(), [quiet], whole_utterance)
    torch.testing.assert_close(together[1], alone)
