"""A probe's folder below its run: result.json, written last, beside the confusion matrix and TensorBoard events."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch.utils.tensorboard.writer import SummaryWriter

from vgim.data.stream.crops import I64
from vgim.downstream.pictures import can_draw, confusion_picture, epochs_picture, modules_picture
from vgim.downstream.result import ProbeResult, folder_name
from vgim.storage import Location

FOLDER, RESULT, CONFUSION, PICTURE, TENSORBOARD = (
    "probes",
    "result.json",
    "confusion.npz",
    "confusion.png",
    "tensorboard",
)


def write_result(run: Location, result: ProbeResult, confusion_KK: I64) -> Location:
    """Write a probe's folder, replacing an earlier one of the same name; returns where it is."""
    path = run.child(FOLDER, folder_name(result))
    path.delete()
    table = io.BytesIO()
    np.savez(table, confusion=confusion_KK, classes=np.array(list(result.per_class)))
    path.child(CONFUSION).write_bytes_atomic(table.getvalue())
    if can_draw():
        path.child(PICTURE).write_bytes_atomic(confusion_picture(confusion_KK, result))
    with tempfile.TemporaryDirectory(prefix="vgim-probe-") as staging:
        _write_events(Path(staging), result)
        path.child(TENSORBOARD).upload_dir(staging)
    path.child(RESULT).write_bytes_atomic((result.model_dump_json(indent=1) + "\n").encode())
    return path


def write_modules_picture(run: Location, results: Sequence[ProbeResult]) -> None:
    """The picture of accuracy against depth, by modules or by layers; needs matplotlib."""
    by = "modules" if all(result.layer is None for result in results) else "layers"
    run.child(FOLDER, f"{results[0].task}-{by}.png").write_bytes_atomic(modules_picture(results))


def write_epochs_picture(run: Location, results: Sequence[ProbeResult]) -> None:
    """The picture of accuracy against training; needs matplotlib."""
    run.child(FOLDER, f"{results[0].task}-epochs.png").write_bytes_atomic(epochs_picture(results))


def read_result(path: Location) -> ProbeResult:
    """The result in a probe's folder."""
    return ProbeResult.model_validate_json(path.child(RESULT).read_bytes())


def _write_events(folder: Path, result: ProbeResult) -> None:
    parts = ["probe", result.task, result.encoder]
    parts += [f"module{result.module}"] * (result.module is not None)
    parts += [f"layer{result.layer}"] * (result.layer is not None)
    prefix, step = "/".join(parts), result.step or 0
    with SummaryWriter(str(folder)) as board:
        board.add_scalar(f"{prefix}/accuracy", result.accuracy, step)
        board.add_scalar(f"{prefix}/accuracy_low", result.interval_over_utterances.low, step)
        board.add_scalar(f"{prefix}/accuracy_high", result.interval_over_utterances.high, step)
        board.add_scalar(f"{prefix}/majority", result.majority, step)
