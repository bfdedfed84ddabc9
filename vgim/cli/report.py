"""`vgim report`."""

from __future__ import annotations

import click


@click.command()
@click.argument("run")
@click.option("--compare", multiple=True, metavar="RUN", help="Set another run beside it. Repeatable.")
@click.option("--out", metavar="FILE", help="File to write, by default RUN/report.html.")
@click.option(
    "--clips", type=click.IntRange(min=0), default=16, show_default=True, help="Sounds of each kind, at most."
)
@click.option(
    "--max-mb",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    help="Pictures and sounds together, at most.",
)
def report(run: str, compare: tuple[str, ...], out: str | None, clips: int, max_mb: float) -> None:
    """Write one self-contained HTML page about a run, and print where it is.

    RUN is a path, a URI, or the name of a run under $VGIM_HOME/runs. The page shows what lies in the run's folder:
    training, probes, latent analyses, decoded sounds. It needs no network.
    """
    from vgim.cluster.working_dir import refuse_job_folder
    from vgim.config.paths import resolve_path, resolve_run_path
    from vgim.config.schema import default_home

    root = resolve_path(f"{default_home()}/runs", "RUN")
    where = resolve_run_path(run, root, "RUN")
    others = [resolve_run_path(other, root, "--compare") for other in compare]
    file = resolve_path(out, "--out") if out is not None else None
    for key, path in (("RUN", where), ("--out", file)):
        if path is not None and "://" not in path:
            refuse_job_folder(key, path)

    from vgim.report.embed import Limits
    from vgim.report.page import write_report

    page = write_report(
        where,
        others,
        file,
        Limits(clips=clips, megabytes=max_mb),
        say=lambda line: click.echo(line, err=True),
    )
    click.echo(page.uri)
