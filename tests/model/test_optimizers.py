"""Optimizers that take torch's steps, bit by bit, and leave torch's compiler out of the process."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from vgim.model.optimizers import LBFGS, Adam

ADAM = {"lr": 1e-2, "fused": True}


def trained(kind: type[torch.optim.Optimizer], options: dict[str, float]) -> tuple[list[nn.Parameter], dict]:
    """Parameters after twenty steps of an optimizer, the last ten from its own state dict, and its state."""
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(5, 3)), nn.Parameter(torch.randn(7))]
    optimizer = kind([parameters[0]], **options)
    if kind in (Adam, torch.optim.Adam):  # LBFGS has one group
        optimizer.add_param_group({"params": [parameters[1]], "lr": 3e-2})

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = sum((p.sin().square() * 2).sum() for p in parameters)
        assert isinstance(value, Tensor)
        value.backward()
        return value

    for _ in range(10):
        optimizer.step(loss)
    optimizer.load_state_dict(optimizer.state_dict())
    for _ in range(10):
        optimizer.step(loss)
    return parameters, optimizer.state_dict()


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [(Adam, torch.optim.Adam, ADAM), (LBFGS, torch.optim.LBFGS, {"lr": 0.1, "max_iter": 3})],
)
def test_steps_and_state_are_those_of_torch(ours: type, theirs: type, options: dict[str, float]) -> None:
    (found, state), (expected, expected_state) = trained(ours, options), trained(theirs, options)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(state, expected_state, rtol=0, atol=0)


def test_no_optimizer_imports_the_compiler() -> None:
    code = """
import sys, torch
from vgim.model.optimizers import LBFGS, Adam
for kind in (Adam, LBFGS):
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = kind([parameter])
    def loss():
        optimizer.zero_grad()
        value = parameter.square().sum()
        value.backward()
        return value
    optimizer.step(loss)
    optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
