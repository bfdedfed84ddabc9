"""The right answers of every column in every row of a comparison, read from the probes' predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vgim.compare.columns import Column, baseline_identity
from vgim.compare.crossed import Hits, SeedHits
from vgim.compare.depth import Stage, outputs_by_stage
from vgim.compare.hits import hits_of, parts_of
from vgim.config import RunConfig
from vgim.downstream.predictions import read_predictions
from vgim.downstream.result import ProbeResult, folder_name
from vgim.downstream.stored import newest_results, read_results, variant
from vgim.runs.layout import PROBES
from vgim.storage import Location

Row = tuple[str, str, str, int | None]
"""Task, variant, part and depth of an accuracy."""


class Cell(NamedTuple):
    """The accuracy of a column in a row, before it is averaged."""

    hits: Hits
    result: ProbeResult
    """The first seed's result."""


def read_cells(
    groups: Mapping[str, Sequence[Location]],
    configs: Mapping[str, Sequence[RunConfig]],
    stages: Sequence[Stage],
    notes: list[str],
) -> tuple[dict[Row, dict[Column, Cell]], list[tuple[int, ...]]]:
    """The right answers of every column in every row; of a baseline that several runs hold, the first is read.

    Returns:
        The cells, and the sets of modules that were read side by side, whose depths follow those of the stages.
    """
    several: list[tuple[int, ...]] = []
    found: dict[Row, dict[Column, dict[int | None, tuple[SeedHits, ProbeResult]]]] = {}
    for name, runs in groups.items():
        for run, config in zip(runs, configs[name], strict=True):
            outputs = outputs_by_stage(config.model, stages)
            for result in newest_results(read_results(run, run.name, notes)):
                depth = None
                if result.concat:
                    if result.concat not in several:
                        several.append(result.concat)
                    depth = len(stages) + several.index(result.concat)
                elif result.module is not None:
                    if (result.module, result.layer) not in outputs:
                        continue
                    depth = outputs[result.module, result.layer]
                identity = name
                if result.encoder != "trained":
                    identity = baseline_identity(result.encoder, config, result.options.shards)
                column = Column(result.encoder, identity)
                seed = None if result.encoder == "mfcc" else config.train.seed
                predictions = None
                # Epochs on labels are an option of the supervised encoder, not of the probe that all columns share.
                words = variant(result.model_copy(update={"label_epochs": ()}))
                for part, part_of_class in parts_of(result.task).items():
                    row = (result.task, words, part, depth)
                    of_seeds = found.setdefault(row, {}).setdefault(column, {})
                    if seed in of_seeds:
                        continue
                    folder = run.child(PROBES, folder_name(result))
                    predictions = predictions or read_predictions(folder)
                    if predictions is None:
                        notes.append(
                            f"{run.name}: probes/{folder.name} is left out, it has no predictions that read; probe "
                            "it again"
                        )
                        break
                    of_seeds[seed] = hits_of(predictions, part_of_class), result
    cells: dict[Row, dict[Column, Cell]] = {}
    for row, columns in found.items():
        for column, of_seeds in columns.items():
            same = _same_test_only(of_seeds, f"{row[0]} {column.encoder}", notes)
            if same:
                hits = Hits({seed: hits for seed, (hits, _) in same.items()})
                cells.setdefault(row, {})[column] = Cell(hits, next(iter(same.values()))[1])
    return cells, several


def _same_test_only(
    of_seeds: Mapping[int | None, tuple[SeedHits, ProbeResult]], name: str, notes: list[str]
) -> dict[int | None, tuple[SeedHits, ProbeResult]]:
    """Leave out seeds that were tested on other utterances than the first."""
    kept: dict[int | None, tuple[SeedHits, ProbeResult]] = {}
    for seed, (hits, result) in of_seeds.items():
        if kept and next(iter(kept.values()))[0].utterance_ids != hits.utterance_ids:
            notes.append(
                f"{name}, seed {seed}: left out, it was tested on other utterances than seed "
                f"{next(iter(kept))}"
            )
            continue
        kept[seed] = (hits, result)
    return kept


def row_order(row: Row) -> tuple[str, str, str, int]:
    task, words, part, depth = row
    return task, words, part, -1 if depth is None else depth
