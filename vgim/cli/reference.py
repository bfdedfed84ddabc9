"""`vgim import-reference`, `vgim export-reference` and `vgim from-reference`."""

from __future__ import annotations

from typing import Literal

import click

from vgim.cli.completion import complete_run
from vgim.cli.options import output_file, overrides_argument


@click.command("import-reference")
@click.argument("file")
@overrides_argument
@click.option("--out", required=True, metavar="RUN", help="Folder of the run to write.")
@click.option(
    "--config",
    "preset",
    metavar="PRESET",
    help="Config of strides, paddings and all else that FILE does not hold [librispeech-FAMILY].",
)
@click.option(
    "--family",
    type=click.Choice(["sim", "gim"]),
    help="How to read a FILE with heads: latents are samples (sim), or μ (gim) [as its heads of log σ² tell].",
)
def import_reference(
    file: str,
    overrides: tuple[str, ...],
    out: str,
    preset: str | None,
    family: Literal["sim", "gim"] | None,
) -> None:
    """Convert a checkpoint of the public reference implementation to a run.

    FILE is the reference's model_*.ckpt. Only weights are read, and nothing in FILE is executed. Keys that FILE does
    not tell come from PRESET and KEY=VALUE, but what the reference has in all its runs (no normalization of audio or
    posteriors, augmentation, pre-emphasis, second direction or target rate) only from KEY=VALUE; all others must agree
    with FILE.
    """
    from vgim.config.paths import resolve_path
    from vgim.interop.reference import import_reference as make_run

    made = make_run(resolve_path(file, "FILE"), resolve_path(out, "--out"), preset, overrides, family)
    for note in made.notes:
        click.echo(note)
    click.echo(f"run folder: {made.run}")


@click.command("export-reference")
@click.argument("run", metavar="RUN|CHECKPOINT", shell_complete=complete_run)
@click.option("--out", required=True, metavar="FILE.ckpt", help="File to write.")
def export_reference(run: str, out: str) -> None:
    """Convert a checkpoint, by default a run's last one, to a file of the public reference implementation.

    RUN is a path, a URI, or the name of a run under $VGIM_HOME/runs.
    """
    from vgim.config.paths import resolve_run_path
    from vgim.interop.reference import export_reference as write_file

    where = resolve_run_path(run, "RUN")
    made = write_file(where, output_file("--out", out))
    for note in made.notes:
        click.echo(note)
    click.echo(f"wrote {made.uri}")


@click.command("from-reference")
@click.argument("command")
def from_reference(command: str) -> None:
    """Print the vgim command that does what a command of the public reference does.

    COMMAND is the reference's, in quotes, with or without `python -m PROGRAM` and the experiment in front of the config
    file; or several commands, as lines of a shell; or - to read them from stdin. Comments say what has no counterpart
    or means something else here.
    """
    import sys

    from vgim.interop.reference_translation import translate

    click.echo(translate(sys.stdin.read() if command == "-" else command))
