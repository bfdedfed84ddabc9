"""The bytes of a safetensors file, kept in memory and filled again for each checkpoint.

Tensors are copied to the places that they have in the file. So the copy is all the work that training waits for: a
thread can write the bytes as they are, while the tensors change.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

import safetensors.torch
import torch
from torch import Tensor

_LENGTH = struct.Struct("<Q")  # a safetensors file starts with the length of its JSON header

Layout = tuple[tuple[str, torch.dtype, torch.Size], ...]


class TensorBuffer:
    """A safetensors file in memory.

    It is allocated at the first `fill`, and again if names, types or shapes of the tensors have changed.
    """

    def __init__(self) -> None:
        self._layout: Layout | None = None
        self._bytes = torch.empty(0, dtype=torch.uint8)
        self._views: dict[str, Tensor] = {}

    @torch.no_grad()
    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy tensors into the file.

        Tensors of a GPU are copied to pinned memory in the order of the current stream: the copies may still be under
        way on return, and later work on this stream cannot change what they read. Wait for an event on the stream
        before reading `content`.
        """
        layout = tuple((name, tensor.dtype, tensor.shape) for name, tensor in tensors.items())
        if layout != self._layout:
            self._allocate(tensors)
            self._layout = layout
        for name, tensor in tensors.items():
            self._views[name].copy_(tensor, non_blocking=True)

    @property
    def content(self) -> memoryview:
        """The file's bytes. The next `fill` overwrites them."""
        return self._bytes.numpy().data

    def _allocate(self, tensors: Mapping[str, Tensor]) -> None:
        """Allocate the file. Its header and the places of its tensors are safetensors' own."""
        self._views, self._bytes = {}, torch.empty(0, dtype=torch.uint8)  # freed before more is allocated
        blank = {name: torch.empty_like(tensor, device="cpu") for name, tensor in tensors.items()}
        file = safetensors.torch.save({name: tensor.contiguous() for name, tensor in blank.items()})
        start = _LENGTH.size + _LENGTH.unpack_from(file)[0]
        header = json.loads(file[_LENGTH.size : start])
        pinned = any(tensor.device.type == "cuda" for tensor in tensors.values())
        self._bytes = torch.empty(len(file), dtype=torch.uint8, pin_memory=pinned)
        self._bytes[:start] = torch.frombuffer(bytearray(file[:start]), dtype=torch.uint8)
        for name, tensor in tensors.items():
            begin, end = header[name]["data_offsets"]
            place = self._bytes[start + begin : start + end]
            self._views[name] = place.view(tensor.dtype).view(tensor.shape)
