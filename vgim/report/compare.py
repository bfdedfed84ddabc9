"""Other runs beside this one: the table of `vgim compare`, and what differs in their configs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vgim.compare.comparison import compare, compared_config
from vgim.compare.table import ComparisonTable, comparison_table
from vgim.config import RunConfig
from vgim.config.difference import config_difference
from vgim.errors import VgimError
from vgim.report.notes import Notes
from vgim.storage import Location


@dataclass(frozen=True)
class Comparison:
    """Runs beside each other."""

    table: ComparisonTable
    differences: tuple[tuple[str, tuple[str, ...]], ...]
    """For each other run, the keys of its config that differ from this run's."""


def comparison(run: Location, others: Sequence[Location], notes: Notes) -> Comparison | None:
    """This run and the others, this one first; one that is no run is noted. None where all are."""
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
    return Comparison(table, tuple(differences))


def _differences(this: RunConfig, other: RunConfig) -> tuple[str, ...]:
    """Where a run lies and what it is called is no difference."""
    return tuple(line for line in config_difference(this, other) if not line.startswith("storage."))
