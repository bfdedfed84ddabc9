"""Batches ready on the device before the step asks for them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vgim.data.stream.stream import Batch


@dataclass(frozen=True)
class DeviceBatch:
    """A batch on the device. Audio stays int16 until the step, so that half as many bytes are sent as with fp32."""

    audio_BL: Tensor
    """Samples, int16."""
    mean_B: Tensor
    """Mean of each crop's utterance."""
    std_B: Tensor
    """Standard deviation of each crop's utterance."""


@dataclass(frozen=True)
class RankedBatch:
    """The input of a batch of validation, and the rank that it belongs to, which decides its random draws."""

    rank: int
    """Virtual rank."""
    number: int
    """Number among the batches of its rank, from 0."""
    input: Tensor
    """Normalized audio [B, L], or the latents [B, T, C] that a stage of the modules reads."""


class Prefetcher:
    """Iterates over batches that a thread reads from the stream and sends to the device.

    An error of the stream is raised in place of the batch. `close` ends the thread.

    Args:
        depth: batches that may be ready at once.
    """

    def __init__(self, batches: Iterator[Batch], *, depth: int, device: torch.device) -> None:
        self._batches, self._device = batches, device
        self._ready: queue.Queue[DeviceBatch | BaseException | None] = queue.Queue(maxsize=depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[DeviceBatch]:
        return self

    def __next__(self) -> DeviceBatch:
        item = self._ready.get()
        if item is None:
            raise StopIteration
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """End the thread and drop the batches that are ready."""
        self._closed.set()
        while self._thread.is_alive():
            try:  # the thread may be waiting for room in the queue
                self._ready.get(timeout=0.05)
            except queue.Empty:
                continue

    def _fill(self) -> None:
        try:
            for batch in self._batches:
                if not self._put(self._send(batch)):
                    return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, item: DeviceBatch | BaseException | None) -> bool:
        while not self._closed.is_set():
            try:
                self._ready.put(item, timeout=0.05)
            except queue.Full:
                continue
            return True
        return False

    def _send(self, batch: Batch) -> DeviceBatch:
        return DeviceBatch(*(self._tensor(column) for column in (batch.audio, batch.mean, batch.std)))

    def _tensor(self, column: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Tensor:
        tensor = torch.from_numpy(column)
        if self._device.type != "cuda":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)
