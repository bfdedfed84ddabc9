"""`vgim data download`: get a corpus from its publisher."""

from __future__ import annotations

import click

from vgim.cli.messages import say


@click.command()
@click.argument("corpus")
@click.option(
    "--out",
    required=True,
    help="Local folder for the corpus.",
)
@click.option(
    "--subset",
    "subsets",
    multiple=True,
    help="What to download, such as train-clean-100. Repeatable.",
)
@click.option(
    "--mirror",
    default="",
    metavar="URL",
    help="Folder of another server with the same archives, such as https://us.openslr.org/resources/12.",
)
@click.option("--keep-archives", is_flag=True, help="Keep archives after they are unpacked.")
@click.option(
    "--no-unpack",
    is_flag=True,
    help="Leave archives packed; `vgim data prepare` reads them as they are.",
)
def download(
    corpus: str, out: str, subsets: tuple[str, ...], mirror: str, keep_archives: bool, no_unpack: bool
) -> None:
    """Download a corpus and unpack it: librispeech or artificial-speech.

    An interrupted call goes on where it stopped. Archives are checked against their publisher's hashes. Needs the extra
    data.
    """
    from vgim.cli.live import show_progress
    from vgim.config.paths import resolve_path
    from vgim.data.corpora.registry import CORPORA
    from vgim.data.download.job import download as download_corpus

    out = resolve_path(out, "--out")
    with show_progress() as progress:
        folder = download_corpus(
            corpus,
            out,
            subsets=subsets,
            mirror=mirror,
            keep_archives=keep_archives,
            unpack_archives=not no_unpack,
            progress=progress,
        )
    if license_of := CORPORA[corpus].license:
        say(f"license: {license_of}")
    say(f"next: vgim data prepare {corpus} --corpus {folder} --out SHARDS")
    click.echo(str(folder))
