"""The warning of a precision that this machine computes slowly."""

from __future__ import annotations

import pytest
import torch

from vgim.model import precision
from vgim.model.precision import slowed_by

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def test_bf16_is_warned_of_on_a_cpu_that_cannot_multiply_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_cpu_multiplies_bf16", lambda: False)
    sentence = slowed_by("bf16", CPU)
    assert sentence is not None
    assert "train.precision=bf16" in sentence
    assert "use train.precision=fp32" in sentence
    assert slowed_by("fp32", CPU) is slowed_by("tf32", CPU) is slowed_by("bf16", GPU) is None


def test_bf16_is_not_warned_of_on_a_cpu_that_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_cpu_multiplies_bf16", lambda: True)
    assert slowed_by("bf16", CPU) is None


def test_it_is_known_whether_this_cpu_multiplies_bf16() -> None:
    assert isinstance(precision._cpu_multiplies_bf16(), bool)
