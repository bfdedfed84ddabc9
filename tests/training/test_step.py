"""The greedy step: modules learn from their own losses alone, and a bad step is not taken."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.cases import (
    adam,
    assert_same,
    audio,
    copied_weights,
    data_parallel_modules,
    greedy_step,
    small_encoder,
)
from vgim.config.schema import ObjectiveConfig, OptimConfig
from vgim.model.draws import Draws
from vgim.model.module import GreedyModule
from vgim.model.module_output import ModuleOutput
from vgim.model.randomness import DrawKey
from vgim.model.rank_group import ALONE
from vgim.model.stack import Encoder
from vgim.training.errors import NotFiniteError
from vgim.training.passes import make_passes
from vgim.training.share import Share
from vgim.training.step import GreedyStep, kld_weight_at, learning_rate_at

Gradients = dict[str, Tensor]


class Recorder(torch.optim.Optimizer):
    """An optimizer that keeps the gradients and changes no weight."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder.parameters(), {})
        self.names = [name for name, _ in encoder.named_parameters()]
        self.given: list[Gradients] = []

    def step(self, closure: Any = None) -> None:
        parameters = self.param_groups[0]["params"]
        pairs = zip(self.names, parameters, strict=True)
        self.given.append({name: p.grad.clone() for name, p in pairs if p.grad is not None})


class Altered(nn.Module):
    """A module whose loss is changed by a function."""

    def __init__(self, module: nn.Module, alter: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.module, self.alter = module, alter

    def forward(self, *args: Any) -> ModuleOutput:
        out: ModuleOutput = self.module(*args)
        return out._replace(loss=self.alter(out.loss))


def gradients(encoder: Encoder, alter: dict[int, Callable[[Tensor], Tensor]], **options: Any) -> Gradients:
    """Gradients of one step as the optimizer gets them, with the losses of some modules altered."""
    recorder, data_parallel = Recorder(encoder), data_parallel_modules(encoder)
    for m, function in alter.items():
        data_parallel.modules[m] = Altered(data_parallel.modules[m], function)
    greedy_step(encoder, recorder, data_parallel=data_parallel, **options)([audio(4)], 0, 0.01, measure=False)
    return recorder.given[0]


def of_module(found: Gradients, m: int) -> Gradients:
    return {name: grad for name, grad in found.items() if name.startswith(f"greedy.{m}.")}


@pytest.mark.parametrize(("family", "head"), [("sim", "none"), ("gim", "none"), ("gim", "linear")])
def test_a_modules_loss_gives_no_other_module_a_gradient(family: str, head: str) -> None:
    plain = gradients(small_encoder(family=family, head=head), {})
    for m in range(4):
        louder = gradients(small_encoder(family=family, head=head), {m: lambda loss: 64 * loss})
        for other in range(4):
            if other == m:
                own = of_module(plain, m)
                assert_same(of_module(louder, m), {name: 64 * grad for name, grad in own.items()})
                assert any(grad.any() for grad in own.values())
            else:
                assert_same(of_module(louder, other), of_module(plain, other))


def test_later_losses_of_zero_leave_the_gradients_of_earlier_modules_unchanged() -> None:
    silent = {m: (lambda loss: 0 * loss) for m in (1, 2, 3)}
    found, plain = gradients(small_encoder(), silent), gradients(small_encoder(), {})
    assert_same(of_module(found, 0), of_module(plain, 0))
    assert not any(grad.any() for m in (1, 2, 3) for grad in of_module(found, m).values())


def test_earlier_modules_train_the_same_at_any_depth() -> None:
    whole = small_encoder()
    step_modules = greedy_step(whole, adam(whole))
    for step in range(3):
        step_modules([audio(4, step)], step, 0.01, measure=False)
    for depth in (1, 2, 3):
        shallow = small_encoder(depth=depth)
        step_modules = greedy_step(shallow, adam(shallow))
        for step in range(3):
            step_modules([audio(4, step)], step, 0.01, measure=False)
        mine = copied_weights(shallow)
        assert_same(mine, {name: tensor for name, tensor in copied_weights(whole).items() if name in mine})


def test_every_parameter_gets_a_gradient_and_the_step_clears_it() -> None:
    for family, head in (
        ("sim", "none"),
        ("gim", "none"),
        ("cpc", "none"),
        ("gim", "linear"),
        ("cpc", "linear"),
    ):
        encoder = small_encoder(family=family, head=head)
        recorder = Recorder(encoder)
        greedy_step(encoder, recorder)([audio(4)], 0, 0.0, measure=False)
        assert recorder.given[0].keys() == set(recorder.names), family
        assert all(p.grad is None for p in encoder.parameters())


def test_metrics_belong_to_the_step() -> None:
    encoder = small_encoder()
    metrics = greedy_step(encoder, Recorder(encoder))([audio(4), audio(4, 1)], 5, 0.1, measure=True)
    assert len(metrics) == 4
    plain = gradients(small_encoder(), {})
    encoder = small_encoder()
    alone = greedy_step(encoder, Recorder(encoder))([audio(4)], 0, 0.01, measure=True)
    for m, one in enumerate(alone):
        torch.testing.assert_close(one["loss"], one["nce"] + 0.01 * one["kl"])
        norm = torch.cat([grad.flatten() for grad in of_module(plain, m).values()]).norm()
        torch.testing.assert_close(one["grad_norm"], norm)
        assert 0 <= one["accuracy"] <= 1
        assert 0 <= one["active_units"] <= 1
    assert [float(one["kl"]) > 0 for one in metrics] == [True, True, True, False]  # the GRU has no posterior


def test_two_small_batches_make_the_gradient_of_one_large_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def accumulated(micro_batches: list[Tensor]) -> Gradients:
        encoder = small_encoder(batch_norm="none", objective={"negatives": "sequence"})
        recorder = Recorder(encoder)
        greedy_step(encoder, recorder)(micro_batches, 2, 0.01, measure=False)
        return recorder.given[0]

    batch = audio(8)
    large = accumulated([batch])
    draw = GreedyModule.draw

    def part_of_the_large_draw(self: GreedyModule, x: Tensor, key: DrawKey) -> Draws:
        whole = draw(self, torch.cat([x, x]), key._replace(micro_batch=0))
        mine = slice(4 * key.micro_batch, 4 * key.micro_batch + 4)
        first_row = 4 * key.micro_batch * self.num_frames(x.shape[1])
        return whole._replace(
            negatives=whole.negatives[:, mine] - first_row,
            eps_z=None if whole.eps_z is None else whole.eps_z[mine],
            eps_c=None if whole.eps_c is None else whole.eps_c[mine],
        )

    monkeypatch.setattr(GreedyModule, "draw", part_of_the_large_draw)
    small = accumulated([batch[:4], batch[4:]])
    assert small.keys() == large.keys()
    for name, grad in large.items():
        torch.testing.assert_close(small[name], grad, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_every_micro_batch_and_every_step_has_its_own_draws() -> None:
    def loss(step: int, num: int) -> list[float]:
        encoder = small_encoder(batch_norm="none")
        metrics = greedy_step(encoder, Recorder(encoder))([audio(4)] * num, step, 0.0, measure=False)
        return [float(f["loss"]) for f in metrics]

    assert loss(0, 1) == loss(0, 1)
    assert loss(0, 1) != loss(1, 1)
    assert loss(0, 1) != loss(0, 2)  # the same crops twice, with other noise


def test_clipping_scales_gradients_above_the_norm_and_leaves_smaller_ones() -> None:
    def norms(found: Gradients) -> list[float]:
        return [
            float(torch.cat([g.flatten() for g in of_module(found, m).values()]).norm()) for m in range(4)
        ]

    plain = gradients(small_encoder(), {})
    limit = sorted(norms(plain))[1] * 1.001  # two modules lie below it, two above
    clipped = gradients(small_encoder(), {}, clip_norm=limit)
    for m, (before, after) in enumerate(zip(norms(plain), norms(clipped), strict=True)):
        assert after == pytest.approx(min(before, limit), rel=1e-4)
        if before > limit:
            scale = limit / before
            for name, grad in of_module(plain, m).items():
                torch.testing.assert_close(clipped[name], grad * scale, rtol=1e-4, atol=1e-7)
    assert sum(norm > limit for norm in norms(plain)) == 2


@pytest.mark.parametrize("m", [0, 2, 3])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_is_not_taken_and_names_module_and_step(m: int, bad: float) -> None:
    encoder = small_encoder()
    optimizer = adam(encoder)
    greedy_step(encoder, optimizer)([audio(4)], 0, 0.01, measure=False)
    before = {name: p.clone() for name, p in encoder.named_parameters()}
    state_before = {
        f"{number}/{kind}": value.clone()
        for number, kinds in optimizer.state_dict()["state"].items()
        for kind, value in kinds.items()
    }
    data_parallel = data_parallel_modules(encoder)
    data_parallel.modules[m] = Altered(data_parallel.modules[m], lambda loss: bad * loss)
    with pytest.raises(NotFiniteError) as e:
        greedy_step(encoder, optimizer, data_parallel=data_parallel)([audio(4, 1)], 17, 0.01, measure=False)
    assert f"the gradient of module {m} is not finite at step 17" in str(e.value)
    assert "\n" not in str(e.value)
    assert "lower optim.learning_rate" in str(e.value)
    assert_same({name: p.detach() for name, p in encoder.named_parameters()}, before)
    state_after = {
        f"{number}/{kind}": value
        for number, kinds in optimizer.state_dict()["state"].items()
        for kind, value in kinds.items()
    }
    assert_same(state_after, state_before)


def test_a_weight_that_is_not_a_number_is_found_in_the_first_module_that_sees_it() -> None:
    encoder = small_encoder()
    nn.init.constant_(encoder.module(1).layers.get_parameter("conv0.weight"), float("nan"))
    with pytest.raises(NotFiniteError, match="module 1 is not finite at step 4"):
        greedy_step(encoder, adam(encoder))([audio(4)], 4, 0.0, measure=False)
    assert_same(
        {name: p.detach() for name, p in encoder.module(0).named_parameters()},
        {name: p.detach() for name, p in small_encoder().module(0).named_parameters()},
    )


def test_the_kl_weight_rises_linearly_over_the_warm_up_and_stays() -> None:
    objective = ObjectiveConfig(kld_weight=0.004, kld_warmup_steps=8)
    weights = [kld_weight_at(objective, step) for step in (0, 2, 4, 8, 100)]
    assert weights == pytest.approx([0.0, 0.001, 0.002, 0.004, 0.004])
    assert kld_weight_at(ObjectiveConfig(kld_weight=0.004), 0) == 0.004  # no warm-up: as published


def test_the_learning_rate_decays_by_epoch() -> None:
    optim = OptimConfig(learning_rate=1e-3, decay_per_epoch=0.5)
    assert [learning_rate_at(optim, epoch) for epoch in range(3)] == pytest.approx([1e-3, 5e-4, 2.5e-4])
    assert learning_rate_at(OptimConfig(learning_rate=1e-3), 50) == 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("gru_bidirectional", [False, True])
def test_compiled_passes_equal_plain_ones_and_are_compiled_once(
    gru_bidirectional: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step has another window and, in the warm-up, another KL weight."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    # One convolution a module: compiling takes most of the time. The first reads audio, the second latents, and the
    # third is a GRU.
    layers = {"kernels": (10, 8), "strides": (5, 4), "paddings": (2, 2), "layers_per_module": (1, 1)}
    weights = []
    for compiled in (True, False):
        objective = {"window_frames": 16, "kld_weight": 0.01}
        encoder = small_encoder(objective=objective, gru_bidirectional=gru_bidirectional, **layers)
        passes = make_passes(encoder, range(len(encoder)), ALONE, autocast=None, compile_modules=compiled)
        step = GreedyStep(
            encoder, passes, adam(encoder), seed=3, share=Share.of_each(ALONE), clip_norm=0.0, autocast=None
        )
        step([audio(2)], 0, 0.0, measure=False)
        with torch._dynamo.config.patch(error_on_recompile=True):
            for number in (1, 2, 3):
                step([audio(2, number)], number, 0.002 * number, measure=number == 2)
        weights.append(copied_weights(encoder))
    torch.testing.assert_close(weights[0], weights[1])
