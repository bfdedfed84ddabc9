"""`vgim decode ...`: train decoders and listen to latents."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from vgim.cli.color import echo_table, table_width
from vgim.cli.completion import complete_decoder_override
from vgim.cli.live import show_progress
from vgim.cli.options import (
    Count,
    LazyChoice,
    address_option,
    checkpoint_option,
    decoder_option,
    output_file,
    reads_only,
    run_argument,
    seed_type,
    verbose_option,
)
from vgim.errors import ConfigError

if TYPE_CHECKING:
    from vgim.decode.session import DecoderSession
    from vgim.progress import Progress

out_option = click.option("--out", help="Folder for the files, instead of the decoder's own.")
mask_option = click.option(
    "--mask",
    metavar="keep:DIMS|zero:DIMS",
    help="Keep only these dimensions of the latents, or set these to 0, the prior's mean: keep:0-31,40 or zero:3,17.",
)


@click.group()
def decode() -> None:
    """Train decoders, and listen to latents: reconstructions, draws, interpolations, traversals."""


@decode.command()
@run_argument
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_decoder_override)
@click.option(
    "--module",
    type=int,
    default=-1,
    show_default=True,
    help="Index of the module, counted from the input; -1 is the last.",
)
@click.option(
    "--layer",
    type=int,
    help="Decode the output of this convolution of the module, from 0, instead of the module's latents.",
)
@click.option(
    "--loss",
    type=LazyChoice("vgim.config.choices:DECODER_LOSSES"),
    help="Distance from the audio.  [default: mse; mse+mel with --protocol published]",
)
@click.option(
    "--sampled/--no-sampled",
    default=None,
    help="Decode samples of the posterior, or its mean.  [default: the mean; samples with --protocol published]",
)
@click.option(
    "--protocol",
    type=click.Choice(["ours", "published"]),
    default="ours",
    show_default=True,
    help="published: network, loss, latents, epochs and batches of the public reference. KEY=VALUE overrides it.",
)
@click.option("--name", help="Suffix of the decoder's folder, for another decoder of the same kind.")
@address_option
@verbose_option
@click.pass_context
def train(
    ctx: click.Context,
    /,
    run: str,
    overrides: tuple[str, ...],
    address: str | None,
    verbose: bool,
    **options: Any,
) -> None:
    """Train a decoder of RUN's latents. The same command again continues an interrupted training.

    RUN is a path, a URI, or the name of a run under $VGIM_HOME/runs, or one of its checkpoints. KEY=VALUE changes the
    decoder's config, for example decoder.channels=128 or train.epochs=50.
    """
    where = _run_path(run, "RUN")
    with show_progress(sys.stdout) as progress:
        with progress.stage("loading torch"):
            from vgim.decode.train import DecoderOptions, train_decoder

        code = train_decoder(
            where, DecoderOptions(**options), overrides, address=address, verbose=verbose, progress=progress
        )
    ctx.exit(code)


@decode.command("list")
@run_argument
@reads_only
def list_(run: str) -> None:
    """List the decoders of RUN: state, step, best validation loss."""
    where = _run_path(run, "RUN")
    from vgim.runs.folder import no_run
    from vgim.runs.layout import CONFIG, DECODERS
    from vgim.runs.listing import format_decoders, list_runs
    from vgim.storage import Location

    folder = Location(where)
    decoders = folder.child(DECODERS)
    if decoders.exists():
        echo_table(format_decoders(list_runs(decoders.uri), table_width()))
    elif folder.child(CONFIG).exists():
        click.echo(f"{where} has no decoders")
    else:
        raise no_run(folder)


@decode.command("file")
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT.wav")
@click.option("--run", required=True, help="The encoder's run, or a decoder's folder.")
@decoder_option
@checkpoint_option
@mask_option
def file(source: str, target: str, run: str, decoder: str | None, checkpoint: str, mask: str | None) -> None:
    """Send a sound file through encoder and decoder.

    IN is of any format that libsndfile reads. Other sample rates are resampled to 16 kHz, channels are averaged.
    """
    from vgim.config.paths import resolve_path
    from vgim.data.sound_file import read_sound
    from vgim.storage import Location

    heard = resolve_path(source, "IN")
    out = output_file("OUT.wav", target, heard)
    with _opened(run, decoder, checkpoint, mask, option="--run") as (session, progress):
        from vgim.decode.sound_files import write_wav

        write_wav(Location(out), session.reconstruct(read_sound(heard, progress.message)))


@decode.command()
@run_argument
@click.option("--count", type=Count(1, 10_000), default=8, show_default=True)
@click.option("--seed", type=seed_type, default=0, show_default=True)
@decoder_option
@checkpoint_option
@mask_option
@out_option
def sample(run: str, count: int, seed: int, **which: Any) -> None:
    """Decode draws from N(0, I)."""
    with _opened(run, **which) as (session, progress):
        from vgim.decode import sounds

        files = sounds.sample(session, count, seed, progress)
    _print_paths(files)


@decode.command()
@run_argument
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option(
    "--steps",
    type=Count(2, 1_000),
    default=9,
    show_default=True,
    help="Number of sounds, A and B included.",
)
@click.option(
    "--dims",
    type=int,
    metavar="N",
    help="Move only the N dimensions in which A and B differ most; the others stay A's.  [default: all]",
)
@decoder_option
@checkpoint_option
@mask_option
@out_option
def interpolate(run: str, first: str, second: str, steps: int, dims: int | None, **which: Any) -> None:
    """Decode the line from the latents of file A to the latents of file B, in all dimensions or in a few."""
    from vgim.config.paths import resolve_path

    ends = resolve_path(first, "A"), resolve_path(second, "B")
    with _opened(run, **which) as (session, progress):
        from vgim.decode import sounds

        files = sounds.interpolate(session, *ends, steps, dims, progress)
    _print_paths(files)


@decode.command()
@run_argument
@click.argument("source", metavar="FILE")
@click.option("--dims", required=True, help="Dimensions to change, such as 3,17.")
@click.option(
    "--range",
    "bounds",
    default="-2.68,2.68",
    show_default=True,
    help="Lowest and highest value of a dimension.",
)
@click.option("--steps", type=Count(2, 1_000), default=5, show_default=True)
@decoder_option
@checkpoint_option
@mask_option
@out_option
def traverse(run: str, source: str, dims: str, bounds: str, steps: int, **which: Any) -> None:
    """Decode FILE with one dimension of its latents set to different values."""
    from vgim.config.paths import resolve_path

    chosen = [int(dim) for dim in _numbers("--dims", dims)]
    ends = _numbers("--range", bounds)
    if len(ends) != 2 or any(
        dim != number for dim, number in zip(chosen, _numbers("--dims", dims), strict=True)
    ):
        raise ConfigError(
            f"--dims {dims} --range {bounds}: give whole numbers such as 3,17 and two ends such as -2.68,2.68"
        )
    path = resolve_path(source, "FILE")
    with _opened(run, **which) as (session, progress):
        from vgim.decode import sounds

        files = sounds.traverse(session, path, chosen, (ends[0], ends[1]), steps, progress)
    _print_paths(files)


def _numbers(option: str, text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not text.isascii() or not all(map(math.isfinite, numbers)):
        raise ConfigError(f"{option} {text} is no list of numbers; separate them by commas")
    return numbers


@contextmanager
def _opened(
    run: str,
    decoder: str | None,
    checkpoint: str,
    mask: str | None,
    out: str | None = None,
    option: str = "RUN",
) -> Iterator[tuple[DecoderSession, Progress]]:
    """A session of a decoder, while progress is shown."""
    from vgim.config.paths import resolve_path

    where, path = _run_path(run, option), None if out is None else resolve_path(out, "--out")
    with show_progress() as progress:
        with progress.stage("loading the decoder"):
            from vgim.decode.session import open_session

            session = open_session(where, decoder=decoder, which=checkpoint, out=path, mask=mask)
        if not session.kept_dimensions():
            progress.message(f"note: --mask {mask} sets all {session.num_channels} dimensions to 0")
        yield session, progress


def _run_path(run: str, option: str) -> str:
    """A run by its path or URI, or by its name under $VGIM_HOME/runs."""
    from vgim.config.paths import resolve_run_path

    return resolve_run_path(run, option)


def _print_paths(locations: list[Any]) -> None:
    for location in locations:
        click.echo(location.uri)
