"""torch's optimizers without the import of torch's compiler, which takes more than a second of a core.

An optimizer of torch imports the compiler as soon as it is made, to keep torch.compile from tracing its methods.
Nothing here compiles an optimizer's step, so that the same methods can be called as they are.
"""

from __future__ import annotations

from inspect import unwrap
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer


def _as_written(method: Any) -> Any:
    """A method of torch's without its decorators; a method that has none as it is."""
    return unwrap(method)


class _NotForTheCompiler(Optimizer):
    if not TYPE_CHECKING:
        add_param_group = _as_written(Optimizer.add_param_group)
        zero_grad = _as_written(Optimizer.zero_grad)
        state_dict = _as_written(Optimizer.state_dict)
        load_state_dict = _as_written(Optimizer.load_state_dict)


class Adam(_NotForTheCompiler, torch.optim.Adam):
    """torch's Adam: the same steps and state, bit by bit. It cannot be differentiated through (`differentiable`)."""

    if not TYPE_CHECKING:
        step = torch.no_grad()(_as_written(torch.optim.Adam.step))


class LBFGS(_NotForTheCompiler, torch.optim.LBFGS):
    """torch's LBFGS: the same steps and state, bit by bit."""
