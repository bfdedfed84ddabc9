"""`vgim compare`."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

from vgim.cli.completion import complete_run
from vgim.cli.options import LazyChoice, check_picture_file, json_option, output_file, reads_only
from vgim.errors import ConfigError

if TYPE_CHECKING:
    from vgim.compare.comparison import Comparison, WeightScale
    from vgim.compare.grouped import GroupedComparison


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_run)
@click.option(
    "--csv", "csv_file", metavar="FILE", help="Write a row per run, with unrounded numbers, as CSV."
)
@click.option("--markdown", "markdown_file", metavar="FILE", help="Write the table as Markdown.")
@click.option(
    "--picture",
    "picture_file",
    metavar="FILE",
    help="Draw accuracy and InfoNCE by module, into a FILE that ends in .png or .pdf.",
)
@click.option(
    "--weights",
    "weights_file",
    metavar="FILE",
    help="Draw the density of the weights of each probe that all runs have, as --picture.",
)
@click.option(
    "--weight-scale",
    type=LazyChoice("vgim.compare.comparison:WeightScale"),
    default="standardized",
    show_default=True,
    help="--weights: on standardized features, over their root mean square; or raw, each class from -1 to 1.",
)
@click.option(
    "--group-seeds",
    is_flag=True,
    help="Average runs that differ in train.seed alone, with intervals over seeds and test utterances.",
)
@json_option
@reads_only
def compare(
    runs: tuple[str, ...],
    csv_file: str | None,
    markdown_file: str | None,
    picture_file: str | None,
    weights_file: str | None,
    weight_scale: WeightScale,
    group_seeds: bool,
    as_json: bool,
) -> None:
    """Compare runs in one table: config, training time, losses, and probes beside their baselines.

    RUN is a path, a URI, or the name of a run under $VGIM_HOME/runs. Only reads what training and `vgim probe`
    wrote. FILE is a path or a URI.
    """
    from functools import partial

    from vgim.compare.picture import comparison_picture
    from vgim.compare.read import compare as read
    from vgim.compare.table import as_csv, as_markdown, as_text, comparison_table
    from vgim.config.paths import resolve_run_path
    from vgim.plotting import render
    from vgim.storage import Location

    if picture_file:
        check_picture_file("--picture", picture_file)
    if weights_file:
        check_picture_file("--weights", weights_file)
        if group_seeds:
            raise ConfigError(f"--weights {weights_file} draws single runs; leave out --group-seeds")
    elif weight_scale != "standardized":
        raise ConfigError(f"--weight-scale {weight_scale} has no effect without --weights; give both")
    paths = [resolve_run_path(run, "RUN") for run in runs]
    comparison: Comparison | GroupedComparison
    if group_seeds:
        from vgim.compare.grouped_picture import grouped_picture
        from vgim.compare.grouped_table import grouped_csv, tables_as_markdown, tables_as_text
        from vgim.compare.read_groups import compare_groups
        from vgim.compare.seed_groups import group_by_seed

        grouped = comparison = compare_groups(group_by_seed(paths))
        csv_text, markdown = partial(grouped_csv, grouped), partial(tables_as_markdown, grouped)
        picture, text = partial(grouped_picture, grouped), partial(tables_as_text, grouped)
    else:
        alone = read(paths)
        if weights_file:
            from vgim.compare.weights import read_weights
            from vgim.compare.weights_picture import weights_picture

            probes, alone = read_weights(alone, f"--weights {weights_file}")
            content = render(weights_picture(probes, weight_scale), weights_file)
            Location(output_file("--weights", weights_file)).write_bytes_atomic(content)
        comparison = alone
        table = comparison_table(alone)
        csv_text, markdown = partial(as_csv, alone), partial(as_markdown, table)
        picture, text = partial(comparison_picture, alone), partial(as_text, table)
    if csv_file:
        Location(output_file("--csv", csv_file)).write_bytes_atomic(csv_text().encode())
    if markdown_file:
        Location(output_file("--markdown", markdown_file)).write_bytes_atomic(markdown().encode())
    if picture_file:
        Location(output_file("--picture", picture_file)).write_bytes_atomic(render(picture(), picture_file))
    if as_json:
        click.echo(comparison.model_dump_json(indent=2))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
        click.echo(text(width=width))
