"""Probe results below a run's folder: RUN/probes/NAME for each result, and pictures that show several results."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vgim.arrays import I64
from vgim.downstream.classifier import CLASSIFIER, Classifier, to_safetensors
from vgim.downstream.pictures import confusion_picture, epochs_picture, modules_picture
from vgim.downstream.predictions import PREDICTIONS, Predictions, to_npz
from vgim.downstream.result import PICTURE, ProbeResult, folder_name
from vgim.plotting import Figure, can_draw, picture_files
from vgim.runs.layout import PROBES, RESULT
from vgim.runs.result_folder import write_result_folder
from vgim.storage import Location

CONFUSION = "confusion.npz"


class FittedFiles(NamedTuple):
    """What a fitted classifier leaves beside its result."""

    confusion_KK: I64
    """Test examples by true class (row) and predicted class (column)."""
    predictions: Predictions
    classifier: Classifier


def write_result(
    run: Location, result: ProbeResult, fitted: FittedFiles | None, *, pdf: bool = False
) -> Location:
    """Write a probe's result and, where a classifier was fitted, its confusion matrix, predictions and weights.

    With matplotlib there is a picture of the confusion matrix too.

    Args:
        run: The run's folder.
        fitted: None where no classifier was fitted.
        pdf: Writes the picture as PDF too.

    Returns:
        The probe's folder; an earlier result of the same name is replaced.
    """
    files: dict[str, bytes] = {}
    if fitted is not None:
        table = io.BytesIO()
        np.savez(table, confusion=fitted.confusion_KK, classes=np.array(list(result.per_class)))
        files = {
            CONFUSION: table.getvalue(),
            PREDICTIONS: to_npz(fitted.predictions),
            CLASSIFIER: to_safetensors(fitted.classifier),
        }
        if can_draw():
            files |= picture_files(PICTURE, confusion_picture(fitted.confusion_KK, result), pdf=pdf)
    return write_result_folder(run.child(PROBES, folder_name(result)), result, files)


def write_modules_picture(run: Location, results: Sequence[ProbeResult], *, pdf: bool = False) -> None:
    """Draw accuracy against depth, by modules or by layers; needs matplotlib."""
    _write_picture(run, modules_picture_name(results), modules_picture(results), pdf)


def modules_picture_name(results: Sequence[ProbeResult]) -> str:
    """Name of the file that `write_modules_picture` draws into."""
    modules, layers = depth_picture_names(results[0].task)
    return modules if all(result.layer is None for result in results) else layers


def depth_picture_names(task: str) -> tuple[str, str]:
    """Names of a task's pictures of accuracy against depth, by modules and by layers."""
    return f"{task}-modules.png", f"{task}-layers.png"


def write_epochs_picture(run: Location, results: Sequence[ProbeResult], *, pdf: bool = False) -> None:
    """Draw accuracy against optimizer steps; needs matplotlib."""
    _write_picture(run, f"{results[0].task}-epochs.png", epochs_picture(results), pdf)


def read_result(folder: Location) -> ProbeResult:
    """Read the result in a probe's folder."""
    return ProbeResult.model_validate_json(folder.child(RESULT).read_bytes())


def _write_picture(run: Location, file: str, figure: Figure, pdf: bool) -> None:
    for name, content in picture_files(file, figure, pdf=pdf).items():
        run.child(PROBES, name).write_bytes_atomic(content)
