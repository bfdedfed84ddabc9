"""Latents for a decoder: arrays are converted, and what cannot be latents is refused in one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vgim.pretrained.latent_input import as_latents, as_num_samples


@pytest.mark.parametrize(
    "latents",
    [
        np.ones((1, 5, 4), np.float32),
        np.ones((5, 4), np.float64),
        np.ones((1, 4, 5), np.float32).transpose(0, 2, 1),
        np.ones((5, 4), ">f4"),
        torch.ones(5, 4, dtype=torch.bfloat16),
    ],
    ids=["float32", "one utterance", "strided", "big endian", "bfloat16"],
)
def test_arrays_and_tensors_become_a_batch(latents: Any) -> None:
    batch = as_latents(latents, 4)
    assert batch.shape == (1, 5, 4)
    assert bool((batch == 1).all())


def test_a_tensor_keeps_its_graph() -> None:
    latents = torch.ones(5, 4, requires_grad=True)
    as_latents(latents, 4).sum().backward()
    assert latents.grad is not None


@pytest.mark.parametrize(
    ("latents", "kind", "message"),
    [
        ([[1.0]], TypeError, r"the latents are a list; expected a tensor or a NumPy array"),
        (np.ones((5, 4), int), ValueError, r"dtype int64; expected floating-point latents"),
        (torch.ones(5, 4, dtype=torch.int32), ValueError, r"dtype int32; expected floating-point latents"),
        (np.ones((1, 4, 5)), ValueError, r"shape \[1, 4, 5\]; expected .* \[B, T, 4\] or \[T, 4\]"),
        (np.ones((2, 1, 5, 4)), ValueError, r"shape \[2, 1, 5, 4\]"),
        (np.ones(4), ValueError, r"shape \[4\]"),
        (torch.ones(5, 4) / 0, ValueError, r"values that are not finite numbers; expected"),
        (np.full((5, 4), np.nan), ValueError, r"values that are not finite numbers; expected"),
        (torch.ones(0, 5, 4), ValueError, r"shape \[0, 5, 4\] and no frames; expected"),
        (torch.ones(2, 0, 4), ValueError, r"shape \[2, 0, 4\] and no frames; expected"),
        (torch.ones(5, 4, device="meta"), ValueError, r"a sparse, nested or meta tensor"),
    ],
)
def test_other_input_gets_one_message(latents: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        as_latents(latents, 4)
    assert "\n" not in str(caught.value)


def test_a_number_of_samples_is_a_whole_number() -> None:
    assert as_num_samples(None) is None
    assert as_num_samples(np.int64(7)) == 7
    for value in ("7", 7.0, [7]):
        with pytest.raises(TypeError, match=r"num_samples=.* is of the type .*; give a whole number"):
            as_num_samples(value)
