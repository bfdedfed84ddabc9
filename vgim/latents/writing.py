"""An analysis's folder below its run: result.json, written last, beside pictures, CSV and TensorBoard events."""

from __future__ import annotations

import csv
import io
import math
import sys
from functools import partial
from typing import TYPE_CHECKING

from vgim.latents.analysis import Analysis, AnalysisInput, AnalysisOutput, CsvFile, Embedding, PictureFile
from vgim.latents.pictures.lines import overlay_picture
from vgim.latents.result import AnalysisPicture, AnalysisResult, Curve, Table
from vgim.plotting import picture_files
from vgim.runs.layout import LATENTS, RESULT
from vgim.runs.provenance import collect_provenance
from vgim.runs.record_file import read_record
from vgim.runs.result_folder import write_result_folder
from vgim.storage import Location

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

CURVES = "curves.csv"


def analysis_folder(run: Location, module: int, analysis: str) -> Location:
    """The folder of an analysis of a module."""
    return run.child(LATENTS, f"module{module}", analysis)


def make_result(
    name: str,
    analysis: Analysis,
    inputs: AnalysisInput,
    output: AnalysisOutput,
    others: dict[str, AnalysisOutput],
    weights: dict[str, str],
) -> AnalysisResult:
    """The record that is stored. Metrics that are not finite numbers are left out, and named in the notes.

    Args:
        name: The analysis's name in the registry.
        others: Outputs of the runs compared with, by run name.
        weights: SHA-256 of all weights that were read, by the checkpoint's URI.
    """
    trained = inputs.opened.encoder
    metrics, not_finite = _finite_metrics(output)
    tables = list(output.tables)
    compared = {run: _finite_metrics(other)[0] for run, other in others.items()}
    if compared:
        rows = tuple(
            (metric, value, *(other.get(metric) for other in compared.values()))
            for metric, value in metrics.items()
        )
        tables.append(
            Table(title="Compared with other runs", columns=("metric", "this run", *compared), rows=rows)
        )
    notes = [*output.notes, *(f"{metric} is left out: it is not a finite number." for metric in not_finite)]
    decoder = inputs.decoder_location if "decoder" in analysis.needs else None
    opened = inputs.opened
    return AnalysisResult(
        **dict(collect_provenance(trained.checkpoint, inputs.module, opened.shards, opened.manifest)),
        analysis=name,
        title=analysis.title,
        summary=tuple(output.summary),
        figures=metrics,
        headlines=tuple(name for name in output.headlines if name in metrics),
        pictures=tuple(AnalysisPicture(file=p.file, caption=p.caption) for p in output.pictures),
        tables=tuple(tables),
        curves=tuple(output.curves),
        data_files=(*output.csv_files, *([CURVES] if output.curves else [])),
        notes=tuple(notes),
        family=opened.config.model.family,
        decoder=None if decoder is None else decoder.uri,
        compared_with=compared,
        weights=weights,
        options=inputs.options,
        command=tuple(sys.argv),
    )


def overlays(this_run: str, output: AnalysisOutput, others: dict[str, AnalysisOutput]) -> list[PictureFile]:
    """Pictures of this run's curves, each with the curves of the same title of other runs."""
    pictures = []
    for number, curve in enumerate(output.curves):
        same_title = [
            (run, other_curve)
            for run, other in others.items()
            for other_curve in other.curves
            if other_curve.title == curve.title
        ]
        if same_title:
            pictures.append(
                PictureFile(
                    f"compare{number}.png",
                    f"{curve.title}: {this_run} and {', '.join(run for run, _ in same_title)}.",
                    partial(overlay_picture, [(this_run, curve), *same_title]),
                )
            )
    return pictures


def write(run: Location, result: AnalysisResult, output: AnalysisOutput, *, pdf: bool = False) -> Location:
    """Write an analysis's folder, replacing an earlier one, and return it.

    Args:
        pdf: Writes each picture as PDF too.
    """
    files = {name: _csv(file) for name, file in output.csv_files.items()}
    if output.curves:
        files[CURVES] = _csv(_curves_csv(output.curves))
    for picture in output.pictures:
        files |= picture_files(picture.file, picture.draw(), pdf=pdf)
    folder = analysis_folder(run, result.module, result.analysis)
    embedding = output.embedding
    events = None if embedding is None else partial(_write_projector, result.step, embedding)
    return write_result_folder(folder, result, files, events)


def read_result(path: Location) -> AnalysisResult:
    """The result in an analysis's folder.

    Raises:
        StorageError: The file is missing or damaged.
    """
    problem = "does not read as an analysis's result"
    return read_record(path.child(RESULT), AnalysisResult, problem=problem, fix="analyze again")


def _finite_metrics(output: AnalysisOutput) -> tuple[dict[str, float], list[str]]:
    """Metrics that are finite, and the names of the others."""
    finite = {name: float(value) for name, value in output.metrics.items() if math.isfinite(value)}
    return finite, [name for name in output.metrics if name not in finite]


def _csv(file: CsvFile) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(file.columns)
    writer.writerows(file.rows)
    return out.getvalue().encode()


def _curves_csv(curves: list[Curve]) -> CsvFile:
    rows = [
        (curve.title, x, y, *(ends[i] if ends else None for ends in (curve.low, curve.high)))
        for curve in curves
        for i, (x, y) in enumerate(zip(curve.x, curve.y, strict=True))
    ]
    return CsvFile(("curve", "x", "y", "low", "high"), list(rows))


def _write_projector(step: int, embedding: Embedding, writer: SummaryWriter) -> None:
    """Write points for TensorBoard's projector."""
    writer.add_embedding(
        embedding.points_NC,
        metadata=embedding.metadata,
        metadata_header=embedding.header,
        tag="latents",
        global_step=step,
    )
