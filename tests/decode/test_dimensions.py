"""The dimensions that differ most, and moving only some."""

from __future__ import annotations

import torch

from vgim.decode.dimensions import interpolate_dimensions, most_different

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
