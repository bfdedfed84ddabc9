"""All probes of a run as text in its TensorBoard, and as curves where several checkpoints were probed."""

from __future__ import annotations

from collections.abc import Iterable

from vgim.downstream.result import ProbeResult
from vgim.downstream.result_table import in_percent
from vgim.downstream.stored import read_results, variant
from vgim.runs.layout import PROBES
from vgim.runs.text_board import BoardText, markdown_table, write_text_board
from vgim.storage import Location

COLUMNS = (
    "encoder",
    "of",
    "accuracy",
    "95 % over utterances",
    "step",
    "most frequent class",
    "test examples",
    "options",
)


def write_board(run: Location) -> None:
    """Write RUN/tensorboard/probes from the results below RUN/probes; results that cannot be read are left out.

    Raises:
        StorageError: The results cannot be listed, or the events cannot be written.
    """
    by_task: dict[str, list[ProbeResult]] = {}
    for result in read_results(run, run.name, []):
        by_task.setdefault(result.task, []).append(result)
    texts = {task: BoardText(_table(results), _newest(results)) for task, results in by_task.items()}
    curves: dict[str, dict[int, float]] = {}
    for task, results in by_task.items():
        for result in results:
            if result.step is not None:
                parts = (task, result.encoder, result.output.name, variant(result))
                curves.setdefault("/".join(filter(None, parts)), {})[result.step] = result.accuracy
    write_text_board(run, PROBES, texts, curves)


def _newest(results: Iterable[ProbeResult]) -> int:
    return max((result.step or 0 for result in results), default=0)


def _table(results: Iterable[ProbeResult]) -> str:
    rows = [
        (
            result.encoder,
            result.output.name,
            f"{result.accuracy:.1%}",
            in_percent(result.interval_over_utterances),
            "" if result.step is None else f"{result.step:,}",
            f"{result.majority:.1%}",
            f"{result.num_test:,}",
            variant(result),
        )
        for result in results
    ]
    return markdown_table(COLUMNS, rows)
