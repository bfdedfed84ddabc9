"""The encoder in the shape of an s3prl upstream: a list of waveforms in, a dict of padded features out."""

from __future__ import annotations

import pytest
import torch

from tests.export.cases import FAMILIES, make_run
from vgim.export.job import export_run
from vgim.export.vgim_encoder import UpstreamExpert

LENGTHS = (16_000, 9_001, 4_444)


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> UpstreamExpert:
    root = tmp_path_factory.mktemp("upstream")
    export_run(str(make_run(root, "sim", *FAMILIES["sim"])), "folder", str(root / "export"))
    return UpstreamExpert(ckpt=str(root / "export"), model_config=None, refresh=False)


def waves() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(length, generator=generator) * 0.1 for length in LENGTHS]


def test_it_returns_what_s3prl_reads(upstream: UpstreamExpert) -> None:
    features = upstream(waves())
    assert isinstance(features, dict)
    hidden = features["hidden_states"]
    assert torch.equal(features["last_hidden_state"], hidden[-1])
    assert torch.equal(features["hidden_state_1"], hidden[1])
    assert [tuple(states.shape) for states in hidden] == [(3, 799, 6), (3, 201, 6), (3, 100, 6), (3, 100, 10)]
    for key, states in features.items():
        if key != "hidden_states":
            assert _cut(waves(), states, upstream.get_downsample_rates(key))
    assert upstream.get_downsample_rates("hidden_states") == [20, 80, 160, 160]
    assert upstream.get_downsample_rates("last_hidden_state") == 160
    with pytest.raises(KeyError, match="no features 'x'; use hidden_states"):
        upstream.get_downsample_rates("x")


def _cut(wavs: list[torch.Tensor], states: torch.Tensor, rate: object) -> bool:
    """What s3prl's featurizer asks of features: as many frames as samples over the rate, within 5."""
    assert isinstance(rate, int)
    longest = round(max(len(wav) for wav in wavs) / rate)
    return abs(states.shape[1] - longest) < 5


def test_features_of_each_waveform_are_those_of_it_alone(upstream: UpstreamExpert) -> None:
    together = upstream(waves())
    for row, wav in enumerate(waves()):
        for states, alone in zip(together["hidden_states"], upstream([wav])["hidden_states"], strict=True):
            torch.testing.assert_close(states[row, : alone.shape[1]], alone[0], rtol=1e-4, atol=1e-6)
            assert not states[row, alone.shape[1] :].any()


def test_it_may_be_trained_further_with_its_statistics_fixed(upstream: UpstreamExpert) -> None:
    upstream.train()
    assert not any(module.training for module in upstream.encoder.modules())
    upstream.requires_grad_(True)
    upstream(waves())["last_hidden_state"].sum().backward()
    assert upstream.encoder.greedy[0].layers[0].conv.weight.grad.abs().sum() > 0  # type: ignore[union-attr,index]
