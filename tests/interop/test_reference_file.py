"""Files that hold no weights, or damaged ones, do not become runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.interop.cases import SIM, SIZES, save
from vgim.errors import CheckpointError
from vgim.interop.reference import import_reference


@pytest.mark.parametrize("name", [3, b"x", ("a", 1), "two\nlines"])
def test_what_is_no_name_of_a_tensor_is_refused_in_one_line(tmp_path: Path, name: Any) -> None:
    file = save({**SIM, name: torch.zeros(1)}, tmp_path / "m.ckpt")
    with pytest.raises(CheckpointError, match="holds more than tensors by name; save the state_dict"):
        import_reference(file, str(tmp_path / "run"), None, SIZES)


def test_a_bit_that_changed_in_a_weight_is_refused(tmp_path: Path) -> None:
    file = Path(save(SIM, tmp_path / "m.ckpt"))
    whole = file.read_bytes()
    weight = SIM["module.fullmodel.1.encoder.encoder.0.0.weight"].numpy().tobytes()
    damaged = bytearray(whole)
    damaged[whole.index(weight) + 5] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"is damaged: its part .*/data/\d+ differs from its checksum"):
        import_reference(str(file), str(tmp_path / "run"), None, SIZES)
    assert not (tmp_path / "run").exists()
    torch.save(torch.load(file), file, _use_new_zipfile_serialization=False)
    import_reference(str(file), str(tmp_path / "run"), None, SIZES)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            torch.Tensor.to_sparse,
            r"is no dense tensor of floating-point numbers \(torch\.float32, torch\.sparse_coo, cpu\)",
        ),
        (
            lambda x: x.to(torch.complex64),
            r"is no dense .* \(torch\.complex64, torch\.strided, cpu\)",
        ),
        (torch.Tensor.int, r"is no dense .* \(torch\.int32,"),
        (lambda x: x.to("meta"), r"is no dense .*, meta\)"),
        (
            lambda x: torch.full_like(x, float("nan")),
            r"hold values that are not finite numbers \(in greedy\.1\.layers\.conv0\.weight\)",
        ),
    ],
)
def test_tensors_that_are_no_weights_are_refused_in_one_line(
    tmp_path: Path, changed: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    name = "module.fullmodel.1.encoder.encoder.0.0.weight"
    file = save({**SIM, name: changed(SIM[name])}, tmp_path / "m.ckpt")
    with pytest.raises(CheckpointError, match=message) as refused:
        import_reference(file, str(tmp_path / "run"), None, SIZES)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()
