"""Audio in every usual form is accepted; anything else gets one message with what came and what is expected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vgim.pretrained.audio_input import as_batch

PCM = torch.arange(-6, 6, dtype=torch.int16).reshape(2, 6)


@pytest.mark.parametrize(
    "audio",
    [
        PCM,
        PCM[:, None],
        PCM.numpy(),
        PCM.numpy().astype(">i2"),
        np.asfortranarray(PCM.numpy()),
        PCM.numpy()[::-1][::-1],
    ],
    ids=["tensor", "channel", "array", "big-endian", "fortran", "negative-stride"],
)
def test_the_same_samples_come_out_as_rows(audio: Any) -> None:
    assert torch.equal(as_batch(audio), PCM)


def test_one_utterance_is_a_batch_of_one() -> None:
    assert torch.equal(as_batch(PCM[0]), PCM[:1])
    assert torch.equal(as_batch(PCM[0].numpy()), PCM[:1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floating_point_of_any_width_is_accepted(dtype: torch.dtype) -> None:
    x = (PCM / 8).to(dtype)
    assert torch.equal(as_batch(x), x)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (PCM.int(), "dtype int32; expected 16 kHz mono"),
        (PCM.bool(), "dtype bool"),
        (PCM.float().to(torch.float8_e4m3fn), "dtype float8_e4m3fn"),
        (PCM.cfloat(), "dtype complex64"),
        (PCM.numpy().astype(np.int32), "dtype int32"),
        (PCM.numpy().astype(np.uint16), "dtype uint16"),
        (PCM.numpy().astype(np.longdouble), "dtype float128"),
        (PCM.float().to_sparse(), "sparse, nested or meta tensor"),
        (torch.zeros(2, 6, device="meta"), "sparse, nested or meta tensor"),
        (PCM.numpy().astype(object), "dtype object"),
        (PCM.numpy().astype("U4"), "dtype <U4"),
        (PCM[0, 0], r"shape \[\]"),
        (PCM[None, None], r"shape \[1, 1, 2, 6\]"),
        (torch.zeros(3, 2, 5), r"shape \[3, 2, 5\]"),
        (torch.zeros(9, 1), r"shape \[9, 1\], which looks like \[samples, channels\]"),
        (torch.zeros(9, 2), r"shape \[9, 2\], which looks like \[samples, channels\]"),
        (torch.zeros(0, 5), r"shape \[0, 5\] and no samples"),
        (torch.zeros(2, 0), r"shape \[2, 0\] and no samples"),
        (PCM.float() * 1_000, "reaches 6000; .*divide int16 PCM by 32768"),
        (torch.full((1, 4), float("nan")), "reaches nan"),
        (torch.full((1, 4), float("inf")), "reaches inf"),
    ],
)
def test_anything_else_is_refused_with_what_came_and_what_is_expected(audio: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        as_batch(audio)
    assert "expected 16 kHz mono audio, int16 PCM or float in [-1, 1]" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_array_is_refused() -> None:
    with pytest.raises(TypeError, match="the audio is a list; expected a tensor or a NumPy array"):
        as_batch([0.0, 0.1])
    with pytest.raises(TypeError, match="the audio is a str"):
        as_batch("speech.wav")
