"""`vgim data merge`, `split` and `subset`: shards made of shards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vgim.cli.messages import say
from vgim.cli.options import FiniteRange, LazyChoice, seed_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from vgim.data.shards.manifest import Manifest, Split
    from vgim.progress import Progress

out_option = click.option("--out", required=True, help="Folder or URI for the new shards.")


@click.command()
@click.argument("shards", nargs=-1, required=True)
@out_option
@click.option(
    "--same-speakers", is_flag=True, help="Equal speaker ids in several folders are the same persons."
)
@click.option(
    "--join-phones",
    is_flag=True,
    help="Match phone classes by name where the folders have different ones, and keep them all.",
)
def merge(shards: tuple[str, ...], out: str, same_speakers: bool, join_phones: bool) -> None:
    """Join shard folders to one, without reading audio.

    Splits stay as they are. Shards are linked on one file system, copied by the storage on one object store, and else
    copied as they are. An interrupted call goes on where it stopped.
    """

    def make(progress: Progress, folder: str) -> Manifest:
        from vgim.config.paths import resolve_path
        from vgim.data.reshard.merge import merge as join

        sources = [resolve_path(each, "SHARDS") for each in shards]
        return join(sources, folder, same_speakers=same_speakers, join_phones=join_phones, progress=progress)

    _make(out, make)


@click.command()
@click.argument("shards")
@out_option
@click.option("--train-list", metavar="FILE", help="Utterance ids of the train split, one a line.")
@click.option("--validation-list", metavar="FILE", help="Utterance ids of the validation split.")
@click.option("--test-list", metavar="FILE", help="Utterance ids of the test split.")
@click.option(
    "--validation-fraction",
    type=FiniteRange(0, 1, max_open=True),
    default=0.1,
    show_default=True,
    help="Share of train for validation, without --validation-list; 0 makes no validation split.",
)
@click.option(
    "--test-fraction",
    type=FiniteRange(0, 1, max_open=True),
    default=0.1,
    show_default=True,
    help="Share of utterances for test, without lists.",
)
@click.option(
    "--disjoint-speakers",
    is_flag=True,
    help="Keep each speaker in one split; shares are then of the speakers.",
)
@click.option("--seed", type=seed_type, default=0, show_default=True, help="Seed of the random split.")
def split(shards: str, out: str, **options: Any) -> None:
    """Put the utterances of shards into new splits, without decoding audio.

    The options are those of `vgim data prepare`, and give the same splits. Utterances on no list are left out. An
    interrupted call goes on where it stopped.
    """

    def make(progress: Progress, folder: str) -> Manifest:
        from vgim.config.paths import resolve_path
        from vgim.data.reshard.split import split as split_anew

        files = {
            name: resolve_path(file, f"--{name.replace('_', '-')}")
            for name, file in options.items()
            if isinstance(file, str)
        }
        return split_anew(resolve_path(shards, "SHARDS"), folder, **{**options, **files}, progress=progress)

    _make(out, make)


@click.command()
@click.argument("shards")
@out_option
@click.option(
    "--max-hours",
    type=FiniteRange(0, min_open=True),
    required=True,
    help="Most hours of all splits together, each cut by the same share.",
)
@click.option(
    "--only",
    type=LazyChoice("vgim.data.shards.manifest:SPLITS"),
    help="Cut this split alone to --max-hours, and keep the others whole.",
)
@click.option(
    "--seed",
    type=seed_type,
    default=0,
    show_default=True,
    help="Seed of the choice. With that of the preparation, the least is read.",
)
def subset(shards: str, out: str, max_hours: float, only: Split | None, seed: int) -> None:
    """Take some hours of shards, without decoding audio.

    Each speaker has one utterance after the other in turn. One hour is a part of ten, with the same seed. An
    interrupted call goes on where it stopped.
    """

    def make(progress: Progress, folder: str) -> Manifest:
        from vgim.config.paths import resolve_path
        from vgim.data.reshard.subset import subset as take

        source = resolve_path(shards, "SHARDS")
        return take(source, folder, max_hours=max_hours, only=only, seed=seed, progress=progress)

    _make(out, make)


def _make(out: str, make: Callable[[Progress, str], Manifest]) -> None:
    """Make shards in a folder, and describe them."""
    from vgim.cli.live import show_progress
    from vgim.cli.shards import describe
    from vgim.cluster.working_dir import refuse_job_folder
    from vgim.config.paths import resolve_path
    from vgim.text import plural

    out = resolve_path(out, "--out")
    refuse_job_folder("--out", out)
    with show_progress() as progress:
        manifest = make(progress, out)
    say(f"{out} holds {plural(manifest.num_utterances, 'utterance')}")
    click.echo(describe(out, manifest))
