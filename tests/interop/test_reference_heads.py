"""Heads tell whether training moved them."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vgim.interop.reference_heads import as_drawn, family_of, has_effect, no_head


def heads_as_torch_draws_them(channels: int, seed: int) -> list[dict[str, Tensor]]:
    """The heads of three modules."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        modules = []
        for _ in range(3):
            mu, var = nn.Conv1d(channels, channels, 1), nn.Conv1d(channels, channels, 1)
            named = [
                (f"{name}.{part}", p)
                for name, head in (("mu", mu), ("var", var))
                for part, p in head.named_parameters()
            ]
            modules.append({key: p.detach() for key, p in named})
    return modules


@settings(max_examples=30, deadline=None)
@given(
    channels=st.sampled_from([4, 32, 64]),
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
def test_heads_that_were_never_trained_are_found(channels: int, seed: int, dtype: torch.dtype) -> None:
    modules = [
        {key: tensor.to(dtype) for key, tensor in heads.items()}
        for heads in heads_as_torch_draws_them(channels, seed)
    ]
    assert family_of(modules).family is None
    for heads in modules:
        heads["mu.weight"] = heads["mu.weight"] + 1
    assert family_of(modules).family == "gim"


@settings(max_examples=30, deadline=None)
@given(channels=st.sampled_from([32, 64]), seed=st.integers(0, 10**6), share=st.floats(0.02, 2))
def test_a_step_of_adam_is_found(channels: int, seed: int, share: float) -> None:
    """A step by 0.02 of the bounds takes 0.8 % of 3,168 values out of them; the chance that it takes none is 9e-12."""
    modules = heads_as_torch_draws_them(channels, seed)
    directions = torch.Generator().manual_seed(seed + 1)
    for heads in modules:
        for key in ("var.weight", "var.bias"):
            signs = torch.randint(2, heads[key].shape, generator=directions) * 2 - 1
            heads[key] = heads[key] + signs * share * channels**-0.5
    assert family_of(modules).family == "sim"


def test_heads_that_shrank_inside_their_bounds_are_found() -> None:
    modules = heads_as_torch_draws_them(32, 0)
    for heads in modules:
        heads |= {key: 0.8 * heads[key] for key in ("var.weight", "var.bias")}
    assert family_of(modules).family == "sim"
    assert not as_drawn([heads["var.weight"] for heads in modules])


def test_one_trained_module_is_enough() -> None:
    """A sim that was trained module by module, and stopped after the first one."""
    modules = heads_as_torch_draws_them(32, 0)
    modules[0]["var.weight"] = 3 * modules[0]["var.weight"]
    assert family_of(modules).family == "sim"


def test_an_identity_has_no_effect() -> None:
    assert not has_effect({})
    assert not has_effect(no_head(5))
    assert not has_effect({**no_head(5), "mu.weight": torch.eye(5)[..., None]})
    assert has_effect({**no_head(5), "mu.bias": torch.ones(5)})
    assert has_effect({key: value for key, value in no_head(5).items() if key != "var.bias"})
