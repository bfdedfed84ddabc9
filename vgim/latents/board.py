"""All analyses of a run as text in its TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator

from vgim.errors import StorageError
from vgim.latents.figure_names import figure_name, figure_text
from vgim.latents.registry import ANALYSES
from vgim.latents.result import AnalysisResult
from vgim.latents.writing import read_result
from vgim.runs.layout import LATENTS, RESULT
from vgim.runs.text_board import BoardText, markdown_table, write_text_board
from vgim.storage import Location


def write_board(run: Location) -> None:
    """Write RUN/tensorboard/latents from the results below RUN/latents; results that cannot be read are left out.

    Raises:
        StorageError: The events cannot be written.
    """
    texts = {
        f"module{result.module}/{result.analysis}": BoardText(_markdown(result), result.step)
        for result in _results(run.child(LATENTS))
    }
    write_text_board(run, LATENTS, texts)


def _results(folder: Location) -> Iterator[AnalysisResult]:
    for module in folder.list():
        for name in ANALYSES:
            try:
                if folder.child(module, name, RESULT).exists():
                    yield read_result(folder.child(module, name))
            except StorageError:
                continue


def _markdown(result: AnalysisResult) -> str:
    rows = [(figure_name(key), figure_text(key, value)) for key, value in result.figures.items()]
    title = f"## {result.title}, module {result.module}, step {result.step:,}"
    return "\n\n".join([title, *result.summary, markdown_table(("figure", "value"), rows), *result.notes])
