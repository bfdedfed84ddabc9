"""`vgim config`: presets and config keys."""

from __future__ import annotations

import click

from vgim.cli.completion import complete_preset_or_run
from vgim.cli.options import json_option, overrides_argument, preset_argument


@click.group()
def config() -> None:
    """Show presets and config keys."""


@config.command()
@preset_argument
@overrides_argument
@json_option
def show(preset: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print the config of a preset with overrides, and where each value comes from."""
    from vgim.config import load_config
    from vgim.config import show as shown

    resolved = load_config(preset, overrides)
    click.echo(shown.as_json(resolved) if as_json else shown.annotated(resolved))


@config.command()
@click.argument("first", metavar="A", shell_complete=complete_preset_or_run)
@click.argument("second", metavar="B", shell_complete=complete_preset_or_run)
@overrides_argument
@json_option
def diff(first: str, second: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print the keys in which two presets or runs differ, with both values.

    A and B are presets, by name or path, or runs, by folder or by name under $VGIM_HOME/runs. A name that a preset
    and a run have is the preset's; write ./NAME or the folder's path for the run. KEY=VALUE applies to both.
    """
    from vgim.config.preset_difference import preset_difference

    difference = preset_difference(first, second, overrides)
    click.echo(difference.as_json() if as_json else difference.as_text())


@config.command("list")
def list_presets() -> None:
    """List the presets, with a line about each."""
    from vgim.config.show import preset_list

    click.echo(preset_list())


@config.command()
def keys() -> None:
    """List all config keys: type, bounds, default, meaning."""
    from vgim.config.show import key_list

    click.echo(key_list())
