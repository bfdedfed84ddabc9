"""Reads the tensors of a reference checkpoint's file, which nobody has vouched for."""

from __future__ import annotations

import io
import re
import zipfile

import torch
from torch import Tensor

from vgim.errors import CheckpointError
from vgim.text import shorten

_FORBIDDEN = re.compile(r"GLOBAL (\S+)")


def read_state_dict(data: bytes) -> dict[str, Tensor]:
    """Read the tensors of a file that `torch.save` wrote, by name, without executing anything in it.

    Raises:
        CheckpointError: The file is damaged or none of these, or holds something else than dense tensors of numbers.
    """
    _refuse_damage(data)
    try:
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is no checkpoint makes the unpickler raise anything
        forbidden = _FORBIDDEN.search(str(error))
        raise CheckpointError(
            f"it holds the Python object {forbidden[1].rstrip('.')}, and loading that would run code; save the "
            "state_dict() alone, with tensors in it and nothing else"
            if forbidden
            else "it does not read as weights that torch.save wrote; it is damaged, or another kind of file"
        ) from error
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(
        isinstance(name, str) and name.isprintable() and isinstance(value, Tensor)
        for name, value in loaded.items()
    ):
        raise CheckpointError("it holds more than tensors by name; save the state_dict() alone")
    for name, tensor in loaded.items():
        is_dense = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        is_count = tensor.dim() == 0 and tensor.dtype == torch.int64  # of batches, by BatchNorm
        if not is_dense or not (tensor.is_floating_point() or is_count):
            raise CheckpointError(
                f"{shorten(name)} is no dense tensor of floating-point numbers ({tensor.dtype}, {tensor.layout}, "
                f"{tensor.device}); save the state_dict() of the model itself, in float32"
            )
    return loaded


def _refuse_damage(data: bytes) -> None:
    """Refuse a file whose parts differ from their checksums, which torch does not read."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as parts:
            is_stored = all(part.compress_type == zipfile.ZIP_STORED for part in parts.infolist())
            damaged = parts.testzip() if is_stored else None
    except Exception:  # torch's older format, or none: torch.load tells
        return
    if damaged is not None:
        raise CheckpointError(
            f"it is damaged: its part {shorten(damaged)} differs from its checksum; copy the file again, or, if it was "
            "written without checksums, load and save it with torch"
        )
