"""`vgim features`."""

from __future__ import annotations

import click

from vgim.cli.completion import complete_run
from vgim.cli.options import (
    Count,
    LazyChoice,
    address_option,
    checkpoint_option,
    device_option,
    hide_bars_of_the_hub,
    seed_type,
)
from vgim.errors import ConfigError


@click.command()
@click.argument("run", metavar="RUN|CHECKPOINT|FOLDER|hf://OWNER/NAME", shell_complete=complete_run)
@click.argument("corpus")
@click.option("--out", required=True, metavar="DIR", help="Folder or URI for the features.")
@click.option(
    "--module",
    "modules",
    type=int,
    multiple=True,
    help="Index of the module, counted from the input; -1 is the last. Repeatable [-1].",
)
@click.option("--all-modules", is_flag=True, help="Features of every module.")
@click.option(
    "--kind",
    type=LazyChoice("vgim.export.features.options:Kind"),
    default="mu",
    show_default=True,
    help="mu: the posterior's mean, latents without one, or the GRU's context; z: a sample of the posterior; std: its "
    "standard deviation.",
)
@click.option(
    "--format",
    "form",
    type=LazyChoice("vgim.export.features.options:FileForm"),
    default="npy",
    show_default=True,
    help="npy: a file for each utterance; parquet: a row for each utterance.",
)
@click.option(
    "--split",
    "splits",
    type=click.Choice(["train", "validation", "test"]),
    multiple=True,
    help="Split of a shard folder. Repeatable [all].",
)
@checkpoint_option
@click.option("--seed", type=seed_type, default=0, show_default=True, help="--kind z: seed of the samples.")
@device_option
@click.option(
    "--workers",
    type=Count(0, 65_536),
    default=0,
    show_default=True,
    help="Parts of the corpus that Ray encodes at the same time; 0 encodes one after the other, without Ray.",
)
@address_option
@click.option(
    "--overwrite", is_flag=True, help="Delete features that DIR holds, if they are others or damaged."
)
def features(
    run: str,
    corpus: str,
    out: str,
    modules: tuple[int, ...],
    all_modules: bool,
    checkpoint: str,
    device: str,
    workers: int,
    address: str | None,
    overwrite: bool,
    **options: object,
) -> None:
    """Write the features of every utterance of a corpus.

    RUN is a path, a URI, or the name of a run under $VGIM_HOME/runs. CORPUS is a shard folder, a folder of sound files,
    a sound file, or a text file with the path of a sound file in each line. An interrupted call goes on where it
    stopped.
    """
    from vgim.cli.live import show_progress
    from vgim.cluster.working_dir import refuse_job_folder
    from vgim.config.paths import resolve_path, resolve_run_path
    from vgim.export.features.options import FeatureOptions

    if all_modules and modules:
        raise ConfigError(f"--module {modules[0]} and --all-modules exclude each other; give one")
    if address is not None and not workers:
        raise ConfigError(f"--address {address} has no effect without Ray; give --workers too")
    where, corpus, out = (
        resolve_run_path(run, "RUN"),
        resolve_path(corpus, "CORPUS"),
        resolve_path(out, "--out"),
    )
    for option, path in (("RUN", where), ("CORPUS", corpus), ("--out", out)):
        refuse_job_folder(option, path)

    hide_bars_of_the_hub()

    chosen = FeatureOptions.model_validate({**options, "modules": () if all_modules else modules or (-1,)})
    with show_progress() as progress:
        with progress.stage("loading torch"):
            from vgim.export.features.job import write_features

        record = write_features(
            where,
            corpus,
            out,
            chosen,
            which=checkpoint,
            device=device,
            workers=workers,
            address=address,
            overwrite=overwrite,
            progress=progress,
        )
    frames = ", ".join(f"module {module}: {count:,} frames" for module, count in record.num_frames.items())
    left_out = f", {len(record.skipped):,} skipped" if record.skipped else ""
    noun = "utterance" if record.num_utterances == 1 else "utterances"
    click.echo(f"{out}: {record.num_utterances:,} {noun}{left_out}; {frames}")
