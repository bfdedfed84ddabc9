"""`vgim report`."""

from __future__ import annotations

import click

from vgim.cli.live import show_progress
from vgim.cli.options import Count, FiniteRange, output_file, reads_only, run_argument


@click.command()
@run_argument
@click.option("--compare", multiple=True, metavar="RUN", help="Another run to compare with. Repeatable.")
@click.option("--out", metavar="FILE", help="File to write [RUN/report.html].")
@click.option("--clips", type=Count(0), default=16, show_default=True, help="Most sounds of each kind.")
@click.option(
    "--max-mb",
    type=FiniteRange(min=0),
    default=24.0,
    show_default=True,
    help="Most megabytes of pictures and sounds together.",
)
@reads_only
def report(run: str, compare: tuple[str, ...], out: str | None, clips: int, max_mb: float) -> None:
    """Write one self-contained HTML page about a run, and print its path.

    RUN is a path, a URI, or the name of a run under $VGIM_HOME/runs. The page shows what the run's folder holds:
    training, probes, latent analyses, decoded sounds. It needs no network.
    """
    from vgim.cluster.working_dir import refuse_job_folder
    from vgim.config.paths import resolve_run_path

    folder = resolve_run_path(run, "RUN")
    others = [resolve_run_path(other, "--compare") for other in compare]
    file = output_file("--out", out) if out is not None else None
    for key, path in (("RUN", folder), ("--out", file)):
        if path is not None and "://" not in path:
            refuse_job_folder(key, path)

    from vgim.report.embed import Limits
    from vgim.report.page import write_report

    with show_progress() as progress:
        page = write_report(folder, others, file, Limits(clips=clips, megabytes=max_mb), progress)
    click.echo(page.uri)
