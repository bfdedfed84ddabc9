"""Modules side by side: the mean of a faster module's frames over each frame of the slowest."""

from __future__ import annotations

import torch

from vgim.downstream.features.concatenation import concatenate, num_concatenated


def test_faster_frames_are_averaged_over_the_slow_frame_that_they_begin_in() -> None:
    fast = torch.tensor([[[1.0], [3.0], [5.0], [7.0], [11.0]]])
    slow = torch.tensor([[[10.0, 20.0], [30.0, 40.0], [50.0, 60.0]]])
    joined = concatenate([fast, slow], [2, 1], [[5], [3]])
    # Frames 0 and 1, frames 2 and 3, and frame 4 alone, which ends the clip.
    assert joined.tolist() == [[[2.0, 10.0, 20.0], [6.0, 30.0, 40.0], [11.0, 50.0, 60.0]]]


def test_frames_behind_a_clips_end_do_not_count() -> None:
    fast = torch.tensor([[[1.0], [3.0], [5.0], [7.0]], [[2.0], [4.0], [6.0], [1e9]]])
    slow = torch.zeros(2, 2, 1)
    joined = concatenate([fast, slow], [2, 1], [[4, 3], [2, 2]])
    assert joined[..., 0].tolist() == [[2.0, 6.0], [3.0, 6.0]]


def test_a_clip_has_the_frames_in_which_every_module_has_one() -> None:
    assert num_concatenated([8, 2, 1, 1], [1023, 257, 128, 128]) == 128
    assert num_concatenated([2, 1], [3, 4]) == 2
    fast, slow = torch.ones(1, 3, 1), torch.arange(4.0).view(1, 4, 1)
    assert concatenate([fast, slow], [2, 1], [[3], [4]]).tolist() == [[[1.0, 0.0], [1.0, 1.0]]]
