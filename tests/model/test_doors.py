"""A kind of negatives and a contrastive loss from this file: a line in a registry each, and configs, training and
reports know them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.model.cases import assert_agree, audio, expect, small_encoder
from vgim.config import load_config
from vgim.config.choices import CONTRASTIVE_LOSSES, NEGATIVES, Choice
from vgim.config.keys import config_keys
from vgim.config.schema import ObjectiveConfig
from vgim.errors import ConfigError
from vgim.model.draws import Draws
from vgim.model.losses import Chance, chance_of
from vgim.model.losses.base import ContrastiveLoss, ContrastiveResult
from vgim.model.negatives import Negatives, PassSizes, negatives_of
from vgim.model.randomness import DrawKey
from vgim.model.rank_group import ALONE
from vgim.model.stack import Encoder
from vgim.report.config_text import _objective
from vgim.training.passes import make_passes
from vgim.training.share import Share
from vgim.training.step import GreedyStep


class NextCropNegatives(Negatives):
    """Frames of the crop that follows in the batch, once for all steps."""

    def draw(self, sizes: PassSizes, generator: torch.Generator) -> Tensor:
        B, T = sizes.num_crops, sizes.num_frames
        shape = (1, B, sizes.num_window, sizes.num_negatives)
        frames = torch.randint(T, shape, generator=generator, device=generator.device)
        return frames + (torch.arange(B, device=generator.device)[:, None, None] + 1) % B * T


class HingeLoss(ContrastiveLoss):
    """How far the first step's positives fail to score 1 above their negatives."""

    title = "Hinge loss"

    def forward(self, c_BWC: Tensor, z_BTC: Tensor, pool_RC: Tensor, draws: Draws) -> ContrastiveResult:
        predictions_BWC = c_BWC[:, :-1] @ self.weight[0].T
        positives_BWC = draws.window(z_BTC)[:, 1:]
        negatives_BWNC = pool_RC[draws.negatives[0, :, :-1]]
        positive_BW = (predictions_BWC * positives_BWC).sum(-1)
        negative_BWN = (predictions_BWC[:, :, None] * negatives_BWNC).sum(-1)
        margin_BWN = positive_BW[..., None] - negative_BWN
        accuracy = (margin_BWN.detach() > 0).all(-1).to(margin_BWN.dtype).mean()
        return ContrastiveResult((1 - margin_BWN).clamp_min(0).mean(), accuracy)

    @classmethod
    def chance(cls, objective: ObjectiveConfig) -> Chance:
        return Chance(1.0, "the margin")


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both classes in their registries, by a line each."""
    monkeypatch.setitem(NEGATIVES, "next_crop", Choice("of the next crop", f"{__name__}:NextCropNegatives"))
    monkeypatch.setitem(CONTRASTIVE_LOSSES, "hinge", Choice("margin of 1", f"{__name__}:HingeLoss"))
    config_keys.cache_clear()
    yield
    config_keys.cache_clear()


def take_steps(encoder: Encoder, num_steps: int) -> list[list[float]]:
    """The contrastive loss of each module at each step, on one batch with one draw."""
    optimizer = torch.optim.Adam(encoder.parameters(), 1e-2)
    passes = make_passes(encoder, range(len(encoder)), ALONE, autocast=None)
    step = GreedyStep(
        encoder, passes, optimizer, seed=0, share=Share.of_each(ALONE), clip_norm=0.0, autocast=None
    )
    x = audio(4, 120)
    return [[float(metrics["nce"]) for metrics in step([x], 0, 0.0, measure=False)] for _ in range(num_steps)]


@pytest.mark.usefixtures("toys")
def test_a_new_kind_of_negatives_is_configured_and_trained() -> None:
    config = load_config("quickstart", ["objective.negatives=next_crop"]).config
    assert "negatives: next_crop" in _objective(config)
    with pytest.raises(ConfigError, match="must be one of batch, sequence, exact, global, next_crop"):
        load_config("quickstart", ["objective.negatives=previous_crop"])
    encoder = small_encoder(negatives="next_crop", prediction_steps=3, num_negatives=4)
    module, x = encoder.module(0), audio(4, 120)
    draws = module.draw(x, DrawKey(0, 0))
    num_frames = module.num_frames(120)
    crops = draws.negatives.div(num_frames, rounding_mode="floor")
    assert [crops[0, b].unique().tolist() for b in range(4)] == [[1], [2], [3], [0]]
    assert_agree(module, module(x, draws, 0.0), expect(module, x, draws, 0.0))
    before = {name: weight.clone() for name, weight in encoder.state_dict().items() if "nce" in name}
    take_steps(encoder, 1)
    assert not any(torch.equal(encoder.state_dict()[name], weight) for name, weight in before.items())


@pytest.mark.usefixtures("toys")
def test_a_new_contrastive_loss_is_configured_trained_and_reported() -> None:
    config = load_config("quickstart", ["objective.loss=hinge"]).config
    assert chance_of(config.objective) == (1.0, "the margin")
    assert _objective(config).startswith("Hinge loss of ")
    assert "chance is the margin = 1.000" in _objective(config)
    encoder = small_encoder(loss="hinge", predictor_init="zero")
    assert isinstance(encoder.module(0).nce, HingeLoss)
    losses = take_steps(encoder, 5)
    assert losses[0] == [1.0, 1.0, 1.0]  # all scores are equal
    assert all(last < first for first, last in zip(losses[0], losses[-1], strict=True))


@pytest.mark.parametrize(
    ("key", "allowed"), [("negatives", "one of batch, sequence, exact, global"), ("loss", "info_nce")]
)
def test_other_names_are_refused_with_those_that_are_known(key: str, allowed: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_config("quickstart", [f"objective.{key}=toy"])
    assert str(refusal.value) == (f"objective.{key}=toy is not allowed (from override); it must be {allowed}")


def test_a_registered_class_of_another_shape_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    choices: dict[str, Any] = {"toy": Choice("", f"{__name__}:HingeLoss")}
    monkeypatch.setattr("vgim.model.negatives.base.NEGATIVES", choices)
    with pytest.raises(TypeError, match=r"HingeLoss.*is no subclass of Negatives"):
        negatives_of("toy")
