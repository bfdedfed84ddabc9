"""The CPU's GRU is torch's, value and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.model.cases import audio, small_encoder
from vgim.model.kernels import gru


@settings(max_examples=40, deadline=None)
@given(
    num_crops=st.integers(1, 3),
    num_frames=st.integers(1, 6),
    channels=st.integers(1, 4),
    units=st.integers(1, 5),
    bidirectional=st.booleans(),
    reads_gradient=st.booleans(),
)
def test_any_gru(
    num_crops: int, num_frames: int, channels: int, units: int, bidirectional: bool, reads_gradient: bool
) -> None:
    torch.manual_seed(0)
    layer = nn.GRU(channels, units, batch_first=True, bidirectional=bidirectional).double()
    x = torch.randn(num_crops, num_frames, channels, dtype=torch.float64, requires_grad=reads_gradient)
    assert gru.applies(layer, x)
    got, expected = gru.run(layer, x), layer(x)[0]
    torch.testing.assert_close(got, expected)
    inputs = [*layer.parameters(), *([x] if reads_gradient else [])]
    upstream = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(got, inputs, upstream), torch.autograd.grad(expected, inputs, upstream)
    )


def test_a_module_trains_by_it_and_is_read_by_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = small_encoder(model={"gru_units": 6, "gru_bidirectional": True})
    module, z_BTC = encoder.module(len(encoder) - 1), torch.randn(2, 9, encoder.model.channels)
    trained = module._run_gru(z_BTC)
    assert trained.grad_fn is not None
    monkeypatch.setattr(gru, "run", None)  # torch's own needs it not
    with torch.no_grad():
        torch.testing.assert_close(module._run_gru(z_BTC), trained.detach())


@pytest.mark.parametrize("options", [{"num_layers": 2}, {"bias": False}])
def test_other_grus_are_left_to_torch(options: dict[str, int]) -> None:
    assert not gru.applies(
        nn.GRU(3, 4, batch_first=True, **options), audio(1, 12)[..., None].expand(1, 12, 3)
    )
