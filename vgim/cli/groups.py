"""Help of a command whose options are listed in groups, each under a heading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import click

OTHERS = "Other options"


class GroupedCommand(click.Command):
    """A command whose help lists its options in groups; options of no group follow under `Other options`."""

    groups: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Names of the options' parameters by heading, in the order of the help."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group."""
        records = {
            param.name: record
            for param in self.get_params(ctx)
            if (record := param.get_help_record(ctx)) is not None
        }
        for heading, names in self.groups.items():
            with formatter.section(heading):
                formatter.write_dl([records.pop(name) for name in names])
        with formatter.section(OTHERS):
            formatter.write_dl(list(records.values()))
