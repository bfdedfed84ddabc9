"""`vgim export`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vgim.cli.completion import complete_run
from vgim.cli.options import checkpoint_option, hide_bars_of_the_hub
from vgim.errors import ConfigError

if TYPE_CHECKING:
    from vgim.export.job import Form

FORMS = ("folder", "onnx", "torchscript", "torch-export", "hub")


@click.command()
@click.argument("run", metavar="RUN|CHECKPOINT|FOLDER|hf://OWNER/NAME", shell_complete=complete_run)
@click.option(
    "--to",
    type=click.Choice(FORMS),
    required=True,
    help="folder: weights, config, model card and the module that loads them; onnx: a graph for onnxruntime; "
    "torchscript: for torch in Python and C++; torch-export: its successor; hub: the folder, pushed to a hub.",
)
@click.option("--out", metavar="PATH", help="Folder or file to write, a path or a URI [RUN/export/...].")
@click.option("--repo", metavar="OWNER/NAME", help="--to hub: the repository; it is made if it is not there.")
@click.option("--private", is_flag=True, help="--to hub: make the repository private.")
@click.option(
    "--license", "license_id", metavar="ID", help="License of the weights for the card, such as mit."
)
@checkpoint_option
@click.option("--overwrite", is_flag=True, help="Replace an export that is there.")
def export(
    run: str,
    to: Form,
    out: str | None,
    repo: str | None,
    private: bool,
    license_id: str | None,
    checkpoint: str,
    overwrite: bool,
) -> None:
    """Export an encoder for use without vgim's training code.

    RUN is a path, a URI, or the name of a run under $VGIM_HOME/runs. The export is run beside the encoder before
    it gets its name. The token of a hub is read from HF_TOKEN or from `hf auth login`.
    """
    from vgim.cli.live import show_progress
    from vgim.cli.options import output_file
    from vgim.cluster.working_dir import refuse_job_folder
    from vgim.config.paths import resolve_run_path

    if to == "hub":
        if out is not None:
            raise ConfigError(f"--out {out} has no effect with --to hub; give --repo OWNER/NAME alone")
        if repo is None:
            raise ConfigError("--to hub needs --repo OWNER/NAME")
    else:
        for option, given in (("--repo", repo), ("--private", private)):
            if given:
                raise ConfigError(f"{option} is for --to hub alone; leave it out, or give --to hub")
    where = resolve_run_path(run, "RUN")
    target = None if out is None else output_file("--out", out)
    for option, path in (("RUN", where), ("--out", target)):
        if path is not None:
            refuse_job_folder(option, path)

    hide_bars_of_the_hub()
    with show_progress() as progress:
        with progress.stage("loading torch"):
            from vgim.export.job import export_run

        written = export_run(
            where,
            to,
            target,
            which=checkpoint,
            repo=repo or "",
            private=private,
            license_id=license_id or "",
            overwrite=overwrite,
            progress=progress,
        )
    click.echo(
        f"wrote {written.where} ({written.num_bytes:,} bytes; differs from the encoder by at most "
        f"{written.largest_difference:.1e} of its largest value)"
    )
