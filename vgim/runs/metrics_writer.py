"""Writes a run's metrics while it trains, on rank 0: `metrics.jsonl` and TensorBoard events.

When a run continues from step s, records of later steps are dropped first, since training repeats these steps.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from vgim.data.pcm import SAMPLE_RATE_HZ
from vgim.errors import StorageError
from vgim.jsonl import split_lines
from vgim.runs.background import Background
from vgim.runs.event_board import EventBoard
from vgim.runs.histogram import Histogram
from vgim.runs.hparams import session_end, session_start
from vgim.runs.layout import METRICS, TENSORBOARD
from vgim.runs.metrics import MetricsRecord, finite_record, parse_record
from vgim.runs.scalar_layout import first_tag, scalar_layout
from vgim.storage import AppendedLines, Location, storage_errors
from vgim.storage.temporary import temporary_place
from vgim.text import plural

_logger = logging.getLogger(__name__)
SESSION_END = (
    ".session_end"  # suffix of the event file that says how a run ended; deleted when the run continues
)
SYNC_SECONDS = 30.0  # between two copies to storage that is not a file system

TOP_LEVEL = {
    "learning_rate": "optim/learning_rate",
    "kld_weight": "optim/kld_weight",
    "crops_per_s": "speed/crops_per_s",
    "steps_per_s": "speed/steps_per_s",
    "data_wait_s": "speed/data_wait_s",
    "compute_s": "speed/compute_s",
    "overhead_s": "speed/overhead_s",
    "epoch": "speed/epoch",
    "source_step": "source/step",
    "source_behind_steps": "source/behind_steps",
    "source_age_s": "source/age_s",
}

STAGE_METRICS = (
    "steps_per_s",
    "compute_s",
    "input_wait_s",
    "output_wait_s",
    "buffer_fill",
    "sent_mb_per_s",
)
"""Figures of a stage in a record, where stages have ranks of their own."""


class Event(NamedTuple):
    """Something that happened to a run: a sentence for readers, and values that code reads."""

    message: str
    inherited_steps: int | None = None
    """Optimizer steps that a shallower run took and this run continues from; None for every other event."""
    workers: int | None = None
    """Ranks that train from here on, where `cluster.workers` is a range; None for every other event."""
    workers_before: int | None = None
    """Ranks that trained before, if their number was another."""

    def as_record(self, step: int) -> MetricsRecord:
        """The event as a record of `metrics.jsonl`."""
        values = {name: value for name, value in self._asdict().items() if value is not None}
        return {"kind": "event", "step": step, **values}


class MetricsWriter:
    """Appends records and events. A local run is written in place; others are written to a temporary folder and copied.

    Copies are made in a thread, one at a time. An error of a copy is raised by the next `flush`, or by `close`.

    Args:
        run: The run's folder.
        from_step: Optimizer step that training starts at; later records are dropped.

    Raises:
        StorageError: `metrics.jsonl` cannot be written; every method that writes a record raises it. TensorBoard's
            files that cannot be written are an event instead.
    """

    def __init__(self, run: Location, from_step: int) -> None:
        self._run = run
        if run.is_local:
            self._folder = run.local_path
            self._staging: tempfile.TemporaryDirectory[str] | None = None
        else:
            with storage_errors("make a folder in", temporary_place()):
                self._staging = tempfile.TemporaryDirectory(
                    prefix="vgim-metrics-", ignore_cleanup_errors=True
                )
            self._folder = Path(self._staging.name)
            if run.child(METRICS).exists():
                Location(self._folder).child(METRICS).write_bytes_atomic(run.child(METRICS).read_bytes())
        self._path = self._folder / METRICS
        self._num_damaged = 0
        self._drop_after(from_step)
        self._drop_session_end()
        self._lines = AppendedLines(self._path)
        self._step = from_step
        self._failed = False
        purge = from_step + 1 if from_step else None
        self._board = EventBoard(self._folder / TENSORBOARD, self._board_lost, purge_step=purge)
        self._synced = time.monotonic()
        self._copy_is_due = False
        self._copies = Background("metrics")
        self._num_copied = 0
        self._upload_error = ""
        self._warned = False
        self._one_copy = threading.Lock()
        """Held while a copy is made: by this thread, the thread of `_copies`, or the thread of a checkpoint."""
        if self._num_damaged:
            lost = f"{plural(self._num_damaged, 'line')} of {METRICS} could not be read and had to be dropped"
            self.event(from_step, Event(lost))

    def train(self, record: MetricsRecord) -> None:
        """Write a `train` record, made in `vgim.training.loop`."""
        record = finite_record(record)
        self._append({"kind": "train", **record})
        step = record["step"]
        for key, tag in TOP_LEVEL.items():
            if key not in record:
                continue
            self._board.add_scalar(tag, record[key], step)
        for stage in record.get("stages", []):
            for key, value in stage.items():
                if key in STAGE_METRICS and value is not None:
                    self._board.add_scalar(f"stages/stage{stage['stage']}/{key}", value, step)
        self._modules("train", record["modules"], step)

    def validation(self, record: MetricsRecord) -> None:
        """Write a `validation` record, made in `vgim.training.loop`."""
        record = finite_record(record)
        self._append({"kind": "validation", **record})
        if record["loss"] is not None:
            self._board.add_scalar("validation/loss", record["loss"], record["step"])
        self._modules("validation", record["modules"], record["step"])

    def event(self, step: int, event: Event) -> None:
        """Write an `event` record, and its message to TensorBoard."""
        _logger.info("%s", event.message)
        self._append(event.as_record(step))
        self._board.add_text("events", event.message, step)

    def histogram(self, tag: str, histogram: Histogram, step: int) -> None:
        """Write a histogram to TensorBoard."""
        self._board.add_histogram_raw(tag, *histogram, step)

    def image(self, tag: str, image_HWC: NDArray[np.uint8], step: int) -> None:
        """Write an image of 8 bits per channel to TensorBoard."""
        self._board.add_image(tag, image_HWC, step, dataformats="HWC")

    def audio(self, tag: str, audio_L: torch.Tensor, step: int) -> None:
        """Write 16 kHz mono audio in [-1, 1] to TensorBoard."""
        self._board.add_audio(tag, audio_L.cpu(), step, sample_rate=SAMPLE_RATE_HZ)

    def hparams(self, values: Mapping[str, object], metrics: Iterable[str]) -> None:
        """Write hyperparameters for TensorBoard's HParams tab, with metrics to show, and a layout of charts."""
        tags = list(metrics)
        events = self._board._get_file_writer()
        for summary in session_start(values, tags):
            events.add_summary(summary)
        self._board.add_custom_scalars(scalar_layout(tags))

    def end_session(self, *, failed: bool) -> None:
        """Write how the run ended, for the HParams tab. Nothing is written for runs that were killed or interrupted.

        After a failure, no error of this writer is raised any more: it would hide the run's own.
        """
        self._failed = failed
        folder = self._folder / TENSORBOARD
        if not folder.exists():  # somebody has deleted the run
            return
        with EventBoard(folder, self._board_lost, filename_suffix=SESSION_END) as board:
            board._get_file_writer().add_summary(session_end(failed=failed))

    def replay(self, record: MetricsRecord) -> None:
        """Write a record of an earlier run that this run continues, with the record's time."""
        kind, rest = record["kind"], {key: value for key, value in record.items() if key != "kind"}
        if kind == "event":
            self._append(record)
        else:
            (self.train if kind == "train" else self.validation)(rest)

    def flush(self, *, force: bool = True) -> None:
        """Make written records visible to readers, soon; without `force`, at most every `SYNC_SECONDS`.

        A copy that is due while another is being made starts at the next call after that one.

        Raises:
            StorageError: an earlier copy could not be made.
        """
        self._copies.raise_error()
        self._warn_of_lost_upload()
        self._copy_is_due |= force or time.monotonic() - self._synced >= SYNC_SECONDS
        if not self._copy_is_due or self._copies.is_running:
            return
        self._board.flush()
        if self._staging is not None:
            self._copies.start(partial(self._copy, os.fstat(self._lines.fileno()).st_size))
        self._copy_is_due = False
        self._synced = time.monotonic()

    def keep_written(self) -> Callable[[], None]:
        """An action, for another thread, after which all records that are written now outlive this machine.

        A checkpoint is complete only after it: a run that continues from the checkpoint does not repeat these steps,
        so that nothing would write their records again.
        """
        self._board.flush()
        num_bytes = os.fstat(self._lines.fileno()).st_size
        return partial(self._copy, num_bytes) if self._staging is not None else self._sync

    def close(self) -> None:
        """Write what is not written yet, and close the files.

        Raises:
            StorageError: Records cannot be written, and the run has not failed already.
        """
        try:
            self._close()
        except StorageError as error:
            if not self._failed:
                raise
            _logger.warning("%s", error)

    def _close(self) -> None:
        self._lines.close()
        self._board.close()
        self._copies.wait()
        if self._staging is not None:
            self._copy()
            self._failed = True  # no more records: a warning is logged
            self._warn_of_lost_upload()
            self._staging.cleanup()
            self._staging = None

    def _copy(self, num_bytes: int | None = None) -> None:
        """Copy TensorBoard's files and the first bytes of `metrics.jsonl` to storage; None copies all of it."""
        with self._one_copy:
            if num_bytes is not None:  # a later copy may have come first
                num_bytes = self._num_copied = max(self._num_copied, num_bytes)
            with storage_errors("read", str(self._path)), self._path.open("rb") as written:
                lines = written.read(num_bytes)
            self._run.child(METRICS).write_bytes_atomic(lines)
            try:
                self._run.child(TENSORBOARD).upload_dir(self._folder / TENSORBOARD)
            except StorageError as error:
                self._upload_error = self._upload_error or str(error)

    def _warn_of_lost_upload(self) -> None:
        """Tell once, in the thread that writes records, that a thread could not copy TensorBoard's files."""
        if self._upload_error and not self._warned:
            self._warned = True
            self._board_lost(f"TensorBoard's events cannot be copied ({self._upload_error})")

    def _sync(self) -> None:
        with storage_errors("write", self._run.child(METRICS).uri):
            os.fsync(self._lines.fileno())

    def discard(self) -> None:
        """Close the files without a copy to storage: the run's folder is another process's now."""
        self._failed = True
        with suppress(StorageError):
            self._lines.close()
            self._board.close()
            self._copies.wait()
        if self._staging is not None:
            self._staging.cleanup()
            self._staging = None

    def _modules(self, prefix: str, modules: list[MetricsRecord], step: int) -> None:
        for metrics in modules:
            for name, value in metrics.items():
                if value is not None and name != "module":
                    self._board.add_scalar(f"{prefix}/module{metrics['module']}/{name}", value, step)
            if (first := first_tag(prefix, metrics)) is not None:
                self._board.add_scalar(*first, step)

    def _board_lost(self, failure: str) -> None:
        message = f"{failure}: the run goes on without them"
        if self._failed:
            _logger.warning("%s", message)
        else:
            self._append({"kind": "event", "step": self._step, "message": message})

    def _append(self, record: MetricsRecord) -> None:
        self._step = record["step"]
        self._lines.write(
            json.dumps({**record, "time": record.get("time", round(time.time(), 3))}, allow_nan=False) + "\n"
        )

    def _drop_session_end(self) -> None:
        for folder in {Location(self._folder), self._run}:
            for name in folder.child(TENSORBOARD).list():
                if name.endswith(SESSION_END):
                    folder.child(TENSORBOARD, name).delete()

    def _drop_after(self, step: int) -> None:
        if not self._path.exists():
            return
        path = Location(self._path)
        lines, rest = split_lines(path.read_bytes())
        kept = []
        for line in [*lines, rest]:  # a last record that lacks its line end alone is whole
            record = parse_record(line)
            if record is None:
                self._num_damaged += line is not rest
            elif record["step"] <= step and (step > 0 or record["kind"] == "event"):
                kept.append(line + b"\n")
        path.write_bytes_atomic(b"".join(kept))
