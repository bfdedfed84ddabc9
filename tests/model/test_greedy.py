"""Training is greedy: no gradient crosses from module to module, and later modules change nothing in earlier ones."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.model.cases import audio, small_encoder
from vgim.errors import ConfigError
from vgim.model.module import active_units
from vgim.model.randomness import DrawKey
from vgim.model.stack import Encoder

KEY = DrawKey(seed=1, step=5)


def run_through(encoder: Encoder, x: torch.Tensor) -> list[torch.Tensor]:
    losses = []
    for index in range(len(encoder)):
        module = encoder.module(index)
        out = module(x, module.draw(x, KEY), 0.01)
        losses.append(out.loss)
        x = out.latents
    return losses


@pytest.mark.parametrize("family", ["sim", "gim"])
def test_a_loss_reaches_its_own_module_only(family: str) -> None:
    encoder = small_encoder(model={"family": family})
    losses = run_through(encoder, audio(2, 80))
    for index, loss in enumerate(losses):
        encoder.zero_grad(set_to_none=True)
        loss.backward()
        for other in range(len(encoder)):
            grads = [p.grad is not None for p in encoder.module(other).parameters()]
            assert all(grads) if other == index else not any(grads)


def test_only_the_loss_has_a_graph() -> None:
    module = small_encoder().module(0)
    x = audio(2, 80)
    out = module(x, module.draw(x, KEY), 0.01, measure=True)
    assert [name for name, value in out._asdict().items() if value.requires_grad] == ["loss"]


def test_cpc_trains_its_convolutions_through_the_gru() -> None:
    encoder = small_encoder(model={"family": "cpc"})
    assert len(encoder) == 1
    (loss,) = run_through(encoder, audio(2, 80))
    loss.backward()
    assert encoder.module(0).get_parameter("layers.conv0.weight").grad.abs().sum() > 0


@pytest.mark.parametrize("first_half", [True, False])
def test_each_half_of_a_bidirectional_output_hears_one_side(first_half: bool) -> None:
    module = small_encoder(model={"gru_bidirectional": True}).eval().module(2)
    z_BTC = audio(1, 9 * module.spec.channels).view(1, 9, -1)
    heard_BTC = z_BTC.clone()
    heard_BTC[:, 4] += 1
    units = module.spec.gru_units
    half = slice(units) if first_half else slice(units, None)
    changed_T = (module.represent(heard_BTC) != module.represent(z_BTC))[0, :, half].any(-1)
    assert changed_T.tolist() == [t >= 4 if first_half else t <= 4 for t in range(9)]


def test_depth_changes_neither_weights_nor_losses_before_it() -> None:
    deep, shallow = small_encoder(seed=4), small_encoder(seed=4, model={"depth": 1})
    assert (len(deep), len(shallow)) == (3, 1)
    for name, weight in shallow.state_dict().items():
        assert torch.equal(weight, deep.state_dict()[name])
    x = audio(2, 80)
    assert torch.equal(run_through(shallow, x)[0], run_through(deep, x)[0])


def test_another_seed_gives_other_weights() -> None:
    one, two = small_encoder(seed=1), small_encoder(seed=2)
    assert not torch.equal(one.module(0).nce.weight, two.module(0).nce.weight)
    assert not torch.equal(one.module(0).nce.weight[:, :, :4], one.module(2).nce.weight)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    encoder = small_encoder()
    run_through(encoder, audio(2, 80))
    encoder.eval().encode(audio(2, 80))
    assert torch.equal(before, torch.random.get_rng_state())


def test_contexts_and_targets_are_two_samples() -> None:
    module = small_encoder().module(0)
    draws = module.draw(audio(2, 80), KEY)
    in_window = draws.eps_z[:, draws.window_start :][:, : draws.eps_c.shape[1]]
    assert draws.eps_c.shape == in_window.shape
    assert not torch.isclose(in_window, draws.eps_c).any()


def test_deterministic_latents_are_the_means() -> None:
    encoder = small_encoder().eval()
    module = encoder.module(0)
    x = audio(2, 80)
    out = module(x, module.draw(x, KEY, deterministic=True))
    assert torch.equal(out.latents, encoder.encode(x, module=0))


def test_a_loss_of_equal_scores_is_chance() -> None:
    module = small_encoder(num_negatives=10).module(0)
    with torch.no_grad():
        module.nce.weight.zero_()
    x = audio(4, 80)
    out = module(x, module.draw(x, KEY))
    assert float(out.nce) == pytest.approx(math.log(11))
    assert float(out.accuracy) == 0  # ties do not count


def test_a_fixed_batch_is_learned_far_below_chance() -> None:
    encoder = small_encoder(model={"channels": 32, "gru_units": 0, "depth": 1}, prediction_steps=3).float()
    module = encoder.module(0)
    time = torch.arange(600) / 40
    x = torch.stack([torch.sin(time * rate) * (1 + torch.cos(time / 7)) for rate in (1.0, 2.3, 3.1, 5.0)])
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    for step in range(150):
        out = module(x, module.draw(x, DrawKey(0, step)), 1e-4)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
    assert float(out.nce) < 0.6 * math.log(11)
    assert float(out.accuracy) > 0.6


def test_kld_weight_of_zero_leaves_an_infinite_kl_out_of_the_loss() -> None:
    module = small_encoder().module(0)
    with torch.no_grad():
        module.posterior.bias[0] = 1e200  # μ² overflows
    x = audio(2, 80)
    out = module(x, module.draw(x, KEY, deterministic=True), 0.0)
    assert torch.isinf(out.kl)
    assert not torch.isinf(out.loss)


def test_active_units_are_those_whose_mean_varies() -> None:
    mean = torch.zeros(2, 50, 4)
    mean[..., 1] = torch.linspace(-1, 1, 50)
    mean[..., 2] = 7.0
    mean[..., 3] = 0.05 * torch.linspace(-1, 1, 50)
    assert float(active_units(mean)) == 0.25
    module = small_encoder().module(0)
    x = audio(2, 80)
    assert module(x, module.draw(x, KEY)).active_units is None
    assert 0 <= float(module(x, module.draw(x, KEY), measure=True).active_units) <= 1


def test_a_crop_too_short_is_refused_with_the_shortest_that_works() -> None:
    encoder = small_encoder()
    with pytest.raises(
        ConfigError, match=r"crop_samples=12 .*module 1 .*frames=1.*at least (\d+)"
    ) as refusal:
        encoder.check_crop(12)
    shortest = int(str(refusal.value).split()[-1])
    encoder.check_crop(shortest)
    with pytest.raises(ConfigError):
        encoder.check_crop(shortest - 1)
    run_through(encoder, audio(3, shortest))
    with pytest.raises(ConfigError, match=f"crop_samples.*frames=1.*at least {shortest} samples"):
        run_through(encoder, audio(3, shortest - 1))


@pytest.mark.parametrize("negatives", ["batch", "exact"])
def test_a_module_with_its_own_steps_is_the_module_of_an_encoder_with_this_one_number(negatives: str) -> None:
    listed = small_encoder(prediction_steps=(7, 2, 4), negatives=negatives)
    for index, steps in enumerate((7, 2, 4)):
        module, alone = (
            listed.module(index),
            small_encoder(prediction_steps=steps, negatives=negatives).module(index),
        )
        x = audio(3, 120) if index == 0 else torch.rand(3, 40, 5, dtype=torch.float64)
        ours, theirs = (one(x, one.draw(x, KEY), 0.01) for one in (module, alone))
        assert module.nce.weight.shape[0] == steps
        assert torch.equal(ours.loss, theirs.loss)


def test_steps_of_a_list_beyond_a_modules_frames_are_refused_and_one_number_is_not() -> None:
    listed = small_encoder(prediction_steps=(20, 8, 10))
    assert listed.module_frames(120) == [20, 10, 10]
    with pytest.raises(
        ConfigError, match=r"=\[20, 8, 10\] predicts 20 frames ahead in module 0, of which a crop gives 20"
    ):
        listed.check_crop(120)
    with pytest.raises(ConfigError, match=r"predicts 10 frames ahead in module 2, .* use at most 9 there"):
        small_encoder(prediction_steps=(19, 8, 10)).check_crop(120)
    with pytest.raises(ConfigError, match=r"objective.window_frames=8\); use at most 7 there"):
        small_encoder(prediction_steps=(7, 8, 4), window_frames=8).check_crop(120)
    small_encoder(prediction_steps=(19, 9, 9)).check_crop(120)
    small_encoder(prediction_steps=12).check_crop(120)


def test_a_window_of_one_frame_is_refused() -> None:
    module = small_encoder(window_frames=1).module(0)
    with pytest.raises(ConfigError, match="window_frames=1"):
        module.draw(audio(2, 80), KEY)


@pytest.mark.parametrize(
    "model",
    [{}, {"posterior_norm": "local"}, {"family": "gim", "head": "linear", "relus": (False, True, True)}],
)
def test_torch_compile_gives_the_same_loss(model: dict[str, Any]) -> None:
    module = small_encoder(model=model).module(0)
    compiled = torch.compile(
        module, backend="eager", fullgraph=True
    )  # tests/training/test_step.py compiles backward
    for step in (1, 2):
        x = audio(2, 80)
        draws = module.draw(x, DrawKey(0, step))
        # Tensors, as training passes them: a number that changes would compile the module anew.
        weight = torch.tensor(0.01 * step)
        in_tensors = draws._replace(window_start=draws.start_on_device())
        torch.testing.assert_close(compiled(x, in_tensors, weight).loss, module(x, draws, 0.01 * step).loss)
