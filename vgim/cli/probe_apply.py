"""`vgim probe apply`."""

from __future__ import annotations

import click

from vgim.cli.live import show_progress
from vgim.cli.options import json_option, seed_type
from vgim.cli.results import echo_json


@click.command()
@click.argument("folder", metavar="RUN/probes/NAME")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--seed", type=seed_type, default=0, show_default=True, help="Seed of the classifier.")
@json_option
def apply(folder: str, files: tuple[str, ...], seed: int, as_json: bool) -> None:
    """Predict classes of sound files with a fitted classifier.

    Prints the class of each FILE with its probability, or for phones a line for each segment with its start and end in
    seconds. RUN is a path, a URI, or the name of a run under $VGIM_HOME/runs. FILE is of any format that libsndfile
    reads; other sample rates are resampled to 16 kHz.
    """
    from vgim.config.paths import resolve_path, resolve_run_path
    from vgim.errors import VgimError
    from vgim.progress import track

    place = resolve_run_path(folder, "RUN/probes/NAME")
    predictions, failed = [], []
    with show_progress(is_quiet=as_json) as progress:
        with progress.stage("loading torch"):
            from vgim.downstream.apply import open_applied

        applied = open_applied(place, seed, progress)
        for file in track(progress, files, "predicting", "file"):
            try:
                predictions.append((file, applied.predict(resolve_path(file, "FILE"), progress)))
            except VgimError as error:
                failed.append(error)
                if len(files) > 1:
                    progress.message(f"failed: {error}")
    if as_json:
        echo_json(found for _, found in predictions)
    for file, found in predictions if not as_json else []:
        if found.label is not None:
            click.echo(f"{file}  {found.label}  {found.probability:.1%}")
        for part in found.segments:
            click.echo(f"{file}  {part.start_s:.2f}  {part.end_s:.2f}  {part.label}  {part.probability:.1%}")
    if failed:
        if len(files) == 1:
            raise failed[0]
        raise type(failed[0])(f"{len(failed)} of {len(files)} files failed; the reasons are above")
