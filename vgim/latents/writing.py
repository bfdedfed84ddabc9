"""An analysis's folder below its run: result.json, written last, beside pictures, CSV and TensorBoard events."""

from __future__ import annotations

import csv
import io
import math
import sys
from functools import partial
from typing import TYPE_CHECKING

from vgim.latents.analysis import Analysis, AnalysisInput, PictureFile, AnalysisOutput, CsvFile
from vgim.latents.pictures.lines import overlay_picture
from vgim.latents.result import AnalysisPicture, AnalysisResult, Curve, Table
from vgim.runs.provenance import collect_provenance
from vgim.runs.result_folder import RESULT, write_result_folder
from vgim.storage import Location

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

FOLDER, CURVES = "latents", "curves.csv"


def folder_of(run: Location, module: int, analysis: str) -> Location:
    """Where an analysis of a module is."""
    return run.child(FOLDER, f"module{module}", analysis)


def record(
    inputs: AnalysisInput, analysis: Analysis, output: AnalysisOutput, others: dict[str, AnalysisOutput]
) -> AnalysisResult:
    """The output as it is stored. Figures that are no finite numbers become notes."""
    trained = inputs.subject.trained
    assert trained is not None
    figures, infinite = _finite(output)
    tables = list(output.tables)
    compared = {name: _finite(other)[0] for name, other in others.items()}
    if compared:
        rows = tuple(
            (figure, value, *(of.get(figure) for of in compared.values()))
            for figure, value in figures.items()
        )
        tables.append(Table(title="Beside other runs", columns=("figure", "this run", *compared), rows=rows))
    notes = [*output.notes, *(f"{name} is left out: it is not finite" for name in infinite)]
    decoder = inputs.decoder_at if "decoder" in analysis.needs else None
    subject = inputs.subject
    return AnalysisResult(
        **dict(collect_provenance(trained.checkpoint, inputs.module, subject.shards, subject.manifest)),
        analysis=analysis.name,
        title=analysis.title,
        summary=tuple(output.summary),
        figures=figures,
        pictures=tuple(AnalysisPicture(file=p.file, caption=p.caption) for p in output.pictures),
        tables=tuple(tables),
        curves=tuple(output.curves),
        data_files=(*output.csv_files, *([CURVES] if output.curves else [])),
        notes=tuple(notes),
        family=inputs.subject.config.model.family,
        decoder=None if decoder is None else decoder.uri,
        compared_with=compared,
        options=inputs.options,
        command=tuple(sys.argv),
    )


def overlays(this: str, output: AnalysisOutput, others: dict[str, AnalysisOutput]) -> list[PictureFile]:
    """This run's curves over those of the same name of other runs."""
    drawn = []
    for number, curve in enumerate(output.curves):
        found = [
            (name, other_curve)
            for name, other in others.items()
            for other_curve in other.curves
            if other_curve.title == curve.title
        ]
        if found:
            drawn.append(
                PictureFile(
                    f"compare{number}.png",
                    f"{curve.title}: {this} beside {', '.join(n for n, _ in found)}.",
                    partial(overlay_picture, [(this, curve), *found]),
                )
            )
    return drawn


def write(run: Location, result: AnalysisResult, output: AnalysisOutput) -> Location:
    """Write an analysis's folder, replacing an earlier one; returns where it is."""
    files = {file: _csv(sheet) for file, sheet in output.csv_files.items()}
    if output.curves:
        files[CURVES] = _csv(_curves_csv(output.curves))
    files |= {picture.file: picture.draw() for picture in output.pictures}
    folder = folder_of(run, result.module, result.analysis)
    return write_result_folder(folder, result, files, partial(_write_events, result, output))


def read_result(path: Location) -> AnalysisResult:
    """The result in an analysis's folder."""
    return AnalysisResult.model_validate_json(path.child(RESULT).read_bytes())


def _finite(output: AnalysisOutput) -> tuple[dict[str, float], list[str]]:
    finite = {name: float(value) for name, value in output.figures.items() if math.isfinite(value)}
    return finite, [name for name in output.figures if name not in finite]


def _csv(sheet: CsvFile) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(sheet.columns)
    writer.writerows(sheet.rows)
    return out.getvalue().encode()


def _curves_csv(curves: list[Curve]) -> CsvFile:
    rows = [
        (curve.title, x, y, *(ends[i] if ends else None for ends in (curve.low, curve.high)))
        for curve in curves
        for i, (x, y) in enumerate(zip(curve.x, curve.y, strict=True))
    ]
    return CsvFile(("curve", "x", "y", "low", "high"), list(rows))


def _write_events(result: AnalysisResult, output: AnalysisOutput, writer: SummaryWriter) -> None:
    prefix = f"latents/module{result.module}/{result.analysis}"
    for name, value in result.figures.items():
        writer.add_scalar(f"{prefix}/{name}", value, result.step)
    if (embedding := output.embedding) is not None:
        writer.add_embedding(
            embedding.points_NC,
            metadata=embedding.metadata,
            metadata_header=embedding.header,
            tag="latents",
            global_step=result.step,
        )
