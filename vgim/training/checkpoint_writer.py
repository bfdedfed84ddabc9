"""Writes checkpoints beside the training, on the rank that saves.

Training waits only while weights and optimizer state are copied. A thread hashes and writes the copy and prunes older
checkpoints, while the next steps are taken.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial

import torch

from vgim.config import AnyConfig, to_yaml
from vgim.runs.background import Background
from vgim.runs.checkpoint import WRITING
from vgim.runs.keep import prune_checkpoints
from vgim.runs.layout import CONFIG
from vgim.runs.tensor_buffer import TensorBuffer
from vgim.runs.training_state import TrainingState
from vgim.runs.weights import write_new_checkpoint
from vgim.storage import Bytes, Location


class CheckpointWriter:
    """Writes a run's checkpoints, at most one at a time. The memory of its copy is used again for each.

    Args:
        run: the run's folder.
        device: the device that the network is trained on.
        config: the run's config, of which `train.keep_last`, `train.keep_best` and `train.keep_every_epochs` say which
            checkpoints stay.
        keep_step: step of a checkpoint that stays besides these.
    """

    def __init__(
        self,
        run: Location,
        device: torch.device,
        config: AnyConfig,
        *,
        keep_step: int | None = None,
    ) -> None:
        self._run, self._device, self._config = run, device, config
        self._keep_step = keep_step
        self._buffers: dict[str, TensorBuffer] = defaultdict(TensorBuffer)
        self._background = Background(WRITING)
        self.written_step = 0
        """Step of the newest checkpoint that this writer has written; 0 before the first."""

    def write(
        self,
        state: TrainingState,
        tensors_by_file: Mapping[str, Mapping[str, torch.Tensor]],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> float:
        """Copy weights and optimizer state, and start to write them. Waits for the checkpoint before to be written.

        Args:
            tensors_by_file: the tensors of `checkpoint_tensors`, and STATISTICS if the checkpoint has them.
            meanwhile: called in a thread; the checkpoint is complete only after it.

        Returns:
            Seconds that the checkpoint before was waited for.

        Raises:
            StorageError: the checkpoint before could not be written; this one is not started.
        """
        began = time.perf_counter()
        self._background.wait()
        waited_s = time.perf_counter() - began
        for name, tensors in tensors_by_file.items():
            self._buffers[name].fill(tensors)
        copied = _event_on(self._device)
        contents: dict[str, Bytes] = {name: self._buffers[name].content for name in tensors_by_file}
        contents[CONFIG] = to_yaml(self._config).encode()
        self._background.start(partial(self._write, state, meanwhile, contents, copied))
        return waited_s

    def raise_error(self) -> None:
        """Raise the error of a checkpoint that could not be written; never waits.

        Raises:
            StorageError: the storage cannot be written; earlier checkpoints are untouched.
        """
        self._background.raise_error()

    def wait(self) -> None:
        """Wait until the last checkpoint is written.

        Raises:
            StorageError: the storage cannot be written; earlier checkpoints are untouched.
        """
        self._background.wait()

    def _write(
        self,
        state: TrainingState,
        meanwhile: Callable[[], None],
        contents: Mapping[str, Bytes],
        copied: torch.cuda.Event | None,
    ) -> None:
        if copied is not None:
            copied.synchronize()
        write_new_checkpoint(self._run, state, contents, meanwhile=meanwhile)
        train = self._config.train
        prune_checkpoints(
            self._run,
            keep_last=train.keep_last,
            keep_best=train.keep_best,
            keep_every_epochs=train.keep_every_epochs,
            keep_step=self._keep_step,
        )
        self.written_step = state.step


def _event_on(device: torch.device) -> torch.cuda.Event | None:
    """An event after all that the current stream was given so far; None on a CPU, which has done it already."""
    if device.type != "cuda":
        return None
    event: torch.cuda.Event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event
