"""`vgim data align`: phone labels by forced alignment."""

from __future__ import annotations

from collections import Counter

import click

from vgim.cli.messages import say
from vgim.cli.options import Count, LazyChoice, address_option
from vgim.errors import told_when_stopped

REASONS_SHOWN, NOTES_SHOWN = 5, 10


@click.command()
@click.argument("shards")
@click.option(
    "--aligner",
    type=LazyChoice("vgim.data.align.aligner:ALIGNERS"),
    default="pocketsphinx",
    show_default=True,
    help="pocketsphinx: PocketSphinx with its English model.",
)
@click.option(
    "--dictionary",
    metavar="FILE",
    help="Pronunciations of words that the aligner does not know: lines such as `hello HH AH L OW`.",
)
@click.option(
    "--workers",
    type=Count(0, 65_536),
    default=0,
    show_default=True,
    help="Shards that Ray aligns at the same time; 0 aligns one after the other, without Ray.",
)
@address_option
def align(shards: str, aligner: str, dictionary: str | None, workers: int, address: str | None) -> None:
    """Give shards phone labels by forced alignment of their transcripts.

    Labels are written beside the shards, which stay as they are, so that runs on them go on. An interrupted call goes
    on where it stopped. Utterances that cannot be aligned are listed and stay without labels. Needs the extra align.
    """
    from vgim.cli.live import show_progress
    from vgim.cli.shards import describe
    from vgim.config.paths import resolve_path
    from vgim.data.align.job import align as align_shards
    from vgim.text import plural, shorten

    shards = resolve_path(shards, "SHARDS")
    words = None if dictionary is None else resolve_path(dictionary, "--dictionary")
    with (
        show_progress() as progress,
        told_when_stopped(
            progress.message, "the labels of finished shards are kept, and the same command aligns the others"
        ),
    ):
        manifest = align_shards(
            shards, aligner=aligner, dictionary=words, workers=workers, address=address, progress=progress
        )
    unaligned = manifest.alignment.unaligned if manifest.alignment is not None else {}
    for name, reason in list(unaligned.items())[:NOTES_SHOWN]:
        say(f"not aligned: {name}: {shorten(reason, 100)}")
    if len(unaligned) > NOTES_SHOWN:
        say(f"and {len(unaligned) - NOTES_SHOWN:,} more, all in alignment.json; most often:")
        for reason, count in Counter(unaligned.values()).most_common(REASONS_SHOWN):
            say(f"  {plural(count, 'utterance')}: {shorten(reason, 100)}")
    click.echo(describe(shards, manifest))
