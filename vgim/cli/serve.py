"""`vgim serve`."""

from __future__ import annotations

import click

from vgim.cli.messages import say
from vgim.cli.options import Count, checkpoint_option, decoder_option, run_argument
from vgim.errors import Interrupted
from vgim.signals import Stopped, name_of


@click.command()
@run_argument
@click.option(
    "--module", type=Count(0), help="Module whose latents are changed.  [default: the last with a decoder]"
)
@decoder_option
@checkpoint_option
@click.option(
    "--shards", metavar="DIR", help="Shards of the utterances on the page.  [default: the decoder's]"
)
@click.option(
    "--utterances", type=Count(1, 10_000), default=60, show_default=True, help="Most utterances on the page."
)
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=0, help="Port to listen on.  [default: a free one]"
)
def serve(
    run: str,
    module: int | None,
    decoder: str | None,
    checkpoint: str,
    shards: str | None,
    utterances: int,
    port: int,
) -> None:
    """Serve a page on this machine on which to change latents, and hear and see the decoded sound at once.

    RUN is a path, a URI, or the name of a run under $VGIM_HOME/runs; it needs a decoder (`vgim decode train`). The
    page has sliders over the most informative dimensions and a map of utterances, and takes recordings and sound
    files. It needs no network, and keeps sounds in memory alone. Needs the extra serve.
    """
    from vgim.cli.live import show_progress
    from vgim.config.paths import resolve_path, resolve_run_path
    from vgim.extras import require_extra
    from vgim.serve.server import PACKAGES, ServeOptions, listen, open_playground
    from vgim.serve.server import serve as serve_playground

    where = resolve_run_path(run, "RUN")
    folder = None if shards is None else resolve_path(shards, "--shards")
    require_extra("vgim serve", "serve", PACKAGES)
    with listen(port) as listening:
        with show_progress() as progress:
            options = ServeOptions(decoder, module, checkpoint, folder, utterances)
            playground = open_playground(where, options, progress)
        say("open this address in a browser on this machine; Ctrl-C ends the playground:")
        try:
            serve_playground(playground, listening, click.echo)
        except Stopped as stopped:
            say(f"the playground has ended ({name_of(stopped.signal_number)})")
            raise Interrupted(stopped.signal_number) from None
