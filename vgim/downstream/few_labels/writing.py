"""The folder of a study of few labels below RUN/probes."""

from __future__ import annotations

from vgim.downstream.few_labels.picture import labels_picture
from vgim.downstream.few_labels.result import FewLabelsResult, points_csv, study_folder_name
from vgim.plotting import can_draw, picture_files
from vgim.runs.layout import PROBES
from vgim.runs.result_folder import write_result_folder
from vgim.storage import Location

POINTS, PICTURE = "points.csv", "labels.png"


def write_study(run: Location, result: FewLabelsResult, *, pdf: bool = False) -> Location:
    """Write a study's result and its points as CSV, and as a picture if matplotlib is there.

    Args:
        run: The run's folder.
        pdf: Writes the picture as PDF too.

    Returns:
        The study's folder; an earlier study of the same name is replaced.
    """
    files = {POINTS: points_csv(result).encode()}
    if can_draw():
        files |= picture_files(PICTURE, labels_picture(result), pdf=pdf)
    return write_result_folder(run.child(PROBES, study_folder_name(result)), result, files)
