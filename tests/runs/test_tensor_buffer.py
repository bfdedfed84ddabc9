"""A buffer's bytes are the bytes of the file that safetensors would write."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch

from vgim.runs.tensor_buffer import TensorBuffer

Tensors = dict[str, torch.Tensor]


def tensors(seed: int, *, width: int = 3) -> Tensors:
    """Tensors of every kind that a checkpoint has: of several types, not contiguous, scalar, empty."""
    draws = torch.Generator().manual_seed(seed)
    return {
        "weight": torch.randn(5, width, generator=draws),
        "b/exp_avg": torch.randn(width, 4, generator=draws).mT,
        "b/step": torch.tensor(float(seed)),
        "num_batches_tracked": torch.tensor(seed),
        "half": torch.randn(7, generator=draws).bfloat16(),
        "mask": torch.rand(3, generator=draws) > 0.5,
        "double": torch.randn(2, generator=draws).double(),
        "none": torch.empty(0, 2),
    }


def file_of(found: Tensors) -> bytes:
    contiguous = {name: tensor.contiguous() for name, tensor in found.items()}
    saved: bytes = safetensors.torch.save(contiguous)
    return saved


def test_the_bytes_are_safetensors_own_at_every_fill() -> None:
    buffer = TensorBuffer()
    for seed in range(3):
        buffer.fill(tensors(seed))
        assert bytes(buffer.content) == file_of(tensors(seed))


@pytest.mark.parametrize("change", ["wider", "fewer", "more"])
def test_other_tensors_than_before_get_a_file_of_their_own(change: str) -> None:
    buffer = TensorBuffer()
    buffer.fill(tensors(0))
    others = tensors(1, width=6 if change == "wider" else 3)
    if change == "fewer":
        del others["half"]
    if change == "more":
        others["further"] = torch.arange(4)
    buffer.fill(others)
    assert bytes(buffer.content) == file_of(others)


def test_an_optimizer_without_state_is_a_file_without_tensors() -> None:
    buffer = TensorBuffer()
    buffer.fill({})
    assert bytes(buffer.content) == file_of({})


def test_the_bytes_stay_when_the_tensors_change() -> None:
    buffer, found = TensorBuffer(), tensors(0)
    buffer.fill(found)
    before = file_of(found)
    found["weight"] += 1
    assert bytes(buffer.content) == before


def test_the_memory_is_used_again() -> None:
    buffer = TensorBuffer()
    buffer.fill(tensors(0))
    address = buffer._bytes.data_ptr()
    for seed in range(5):
        buffer.fill(tensors(seed))
    assert buffer._bytes.data_ptr() == address


@pytest.mark.gpu
def test_a_gpus_tensors_are_copied_to_pinned_memory_before_they_change() -> None:
    buffer = TensorBuffer()
    on_cpu = tensors(0) | {"large": torch.randn(2**24, generator=torch.Generator().manual_seed(0))}
    on_gpu = {name: tensor.cuda() for name, tensor in on_cpu.items()}
    for _ in range(2):
        buffer.fill(on_gpu)
        for tensor in on_gpu.values():  # queued behind the copies
            tensor.zero_()
        done = torch.cuda.Event()
        done.record()
        done.synchronize()
        assert buffer._bytes.is_pinned()
        assert bytes(buffer.content) == file_of(on_cpu)
        for name, tensor in on_gpu.items():
            tensor.copy_(on_cpu[name])
