"""The dimensions that differ most, and moving only some."""

from __future__ import annotations

import torch

from vgim.decode.dimensions import interpolate_dimensions, most_different, set_dimensions

A = torch.zeros(1, 4, 3)
B = torch.tensor([[[1.0, 3.0, 0.0]] * 4])


def test_dimensions_are_ordered_by_their_difference() -> None:
    assert most_different(A[0], B[0]).tolist() == [1, 0, 2]


def test_only_the_chosen_dimensions_move() -> None:
    assert interpolate_dimensions(A, B, 0.5, [1])[0, 0].tolist() == [0, 1.5, 0]
    assert interpolate_dimensions(A, B, 1.0, [1, 0])[0, 0].tolist() == [1, 3, 0]
    assert interpolate_dimensions(A, B, 0.25, None)[0, 0].tolist() == [0.25, 0.75, 0]
    for share in (0.0, 0.3, 1.0):
        assert torch.equal(
            interpolate_dimensions(A, B, share, [2, 0, 1]), interpolate_dimensions(A, B, share, None)
        )


def test_dimensions_are_set_or_added_to_in_all_frames_and_the_rest_stays() -> None:
    latents = torch.randn(2, 5, 4)
    before = latents.clone()
    placed = set_dimensions(latents, {1: 2.0, 3: -1.0})
    moved = set_dimensions(latents, {1: 2.0, 3: -1.0}, add=True)
    assert (placed[..., 1] == 2).all()
    assert (placed[..., 3] == -1).all()
    torch.testing.assert_close(moved[..., [1, 3]], before[..., [1, 3]] + torch.tensor([2.0, -1.0]))
    for changed in (placed, moved):
        torch.testing.assert_close(changed[..., [0, 2]], before[..., [0, 2]])
    torch.testing.assert_close(latents, before)
