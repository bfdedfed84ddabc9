"""Results of commands as JSON, for `--json`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:  # commands that print no result do without
    from pydantic import BaseModel


def echo_json(results: Iterable[BaseModel]) -> None:
    """Print a list of results."""
    click.echo("[" + ",\n".join(result.model_dump_json(indent=2) for result in results) + "]")
