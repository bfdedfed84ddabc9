"""Results as text in a run's TensorBoard, where a chart would have a single dot.

RUN/tensorboard/NAME is one run of TensorBoard for all results of a kind. It is small, and rewritten as a whole, since
event files cannot be changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vgim.runs.layout import TENSORBOARD
from vgim.storage import Location, replace_by, temporary_folder


class BoardText(NamedTuple):
    """A text in Markdown, and the optimizer steps that it is about."""

    markdown: str
    step: int


def write_text_board(
    run: Location,
    name: str,
    texts: Mapping[str, BoardText],
    curves: Mapping[str, Mapping[int, float]] = {},
) -> None:
    """Write RUN/tensorboard/NAME; without any text, delete it.

    Args:
        run: The run's folder.
        name: Kind of results, such as `latents`.
        texts: Texts by their tags.
        curves: Values by step, by their tags; a curve of one value is left out.

    Raises:
        StorageError: The events cannot be written.
    """
    from vgim.runs.event_board import strict_board  # imports torch

    folder = run.child(TENSORBOARD, name)
    if not texts:
        folder.delete()
        return
    with temporary_folder("vgim-board-") as staging:
        with strict_board(staging) as board:
            for tag, text in texts.items():
                board.add_text(tag, text.markdown, text.step)
            for tag, values in curves.items():
                for step, value in sorted(values.items()):
                    if len(values) > 1:
                        board.add_scalar(tag, value, step)
        replace_by(staging, folder)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
