"""Other runs beside the page's run: the table of `vgim compare`, and the differences of their configs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vgim.compare.read import compare, compared_config
from vgim.compare.table import ComparisonTable, comparison_table
from vgim.config import RunConfig
from vgim.config.difference import config_difference
from vgim.errors import VgimError
from vgim.report.notes import Notes
from vgim.storage import Location


@dataclass(frozen=True)
class ComparedRuns:
    """The page's run and other runs, ready to show."""

    table: ComparisonTable
    differences: tuple[tuple[str, tuple[str, ...]], ...]
    """Name of each other run, and the differences of its config from this run's config."""


def compare_with(run: Location, others: Sequence[Location], notes: Notes) -> ComparedRuns | None:
    """Compare the page's run, which comes first, with others; None if none is a run.

    A folder that is no run is left out and noted.
    """
    configs: dict[Location, RunConfig] = {}
    for path in (run, *others):
        try:
            configs[path] = compared_config(path)
        except VgimError as error:
            notes.damage(path, str(error))
    if not configs:
        return None
    table = comparison_table(compare([path.uri for path in configs]))
    differences = [
        (name, _differences(configs[run], config))
        for name, (path, config) in zip(table.names, configs.items(), strict=True)
        if run in configs and path != run
    ]
    return ComparedRuns(table, tuple(differences))


def _differences(this: RunConfig, other: RunConfig) -> tuple[str, ...]:
    """The differences except the run's location and name."""
    return tuple(line for line in config_difference(this, other) if not line.startswith("storage."))
