"""`vgim compare`."""

from __future__ import annotations

import shutil
import sys

import click

from vgim.cli.options import json_option, refuse_without_matplotlib


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--csv", "csv_file", metavar="FILE", help="Write a row per run, with unrounded numbers, as CSV."
)
@click.option("--markdown", "markdown_file", metavar="FILE", help="Write the table as Markdown.")
@click.option(
    "--picture",
    "picture_file",
    metavar="FILE",
    help="Draw accuracy and InfoNCE by module, as PDF if FILE ends in .pdf, otherwise as PNG.",
)
@json_option
def compare(
    runs: tuple[str, ...],
    csv_file: str | None,
    markdown_file: str | None,
    picture_file: str | None,
    as_json: bool,
) -> None:
    """Compare runs in one table: config, training time, losses, and probes beside their baselines.

    RUN is a path, a URI, or the name of a run under $VGIM_HOME/runs. Only reads what training and `vgim probe`
    wrote. FILE is a path or a URI.
    """
    from vgim.compare.picture import comparison_picture
    from vgim.compare.read import compare as read
    from vgim.compare.table import as_csv, as_markdown, as_text, comparison_table
    from vgim.config.paths import resolve_path, resolve_run_path
    from vgim.plotting import render
    from vgim.storage import Location

    if picture_file:
        refuse_without_matplotlib(f"--picture {picture_file}")
    comparison = read([resolve_run_path(run, "RUN") for run in runs])
    table = comparison_table(comparison)
    if csv_file:
        Location(resolve_path(csv_file, "--csv")).write_bytes_atomic(as_csv(comparison).encode())
    if markdown_file:
        Location(resolve_path(markdown_file, "--markdown")).write_bytes_atomic(as_markdown(table).encode())
    if picture_file:
        picture = render(comparison_picture(comparison), picture_file)
        Location(resolve_path(picture_file, "--picture")).write_bytes_atomic(picture)
    if as_json:
        click.echo(comparison.model_dump_json(indent=2))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
        click.echo(as_text(table, width))
