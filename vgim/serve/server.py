"""`vgim serve`: opens a decoder, looks at its run's utterances, and serves the page until a signal comes."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vgim.errors import ConfigError
from vgim.progress import Progress
from vgim.storage import Location

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

    from vgim.serve.playground import Playground

HOST = "127.0.0.1"
"""The loopback interface, which other machines cannot reach."""
PACKAGES = ("starlette", "uvicorn")
"""Packages of the extra `serve`, by the name that is imported."""
SECONDS_TO_END = 1
"""How long requests may go on after a signal."""


@dataclass(frozen=True)
class ServeOptions:
    """Options of the command."""

    decoder: str | None = None
    """Name of a decoder of the run; None chooses one."""
    module: int | None = None
    """Module whose latents are changed, counted from 0; None for the last that has a decoder."""
    which: str = "last"
    """Checkpoint of the decoder, `last` or `best`."""
    shards: str | None = None
    """Shards of the utterances on the page; None for those that the decoder was trained on."""
    most_utterances: int = 60
    """Utterances on the page."""


def open_playground(where: str, options: ServeOptions, progress: Progress) -> Playground:
    """Load a decoder of a run, and look at its latents.

    Args:
        where: An encoder's run with a trained decoder, or a decoder's folder.
        options: Which decoder, and what to show.
        progress: Where to report.

    Raises:
        VgimError: There is no such decoder, it is damaged, or shards that were named do not fit.
    """
    from vgim.decode.session import open_session
    from vgim.serve.choose import choose_decoder
    from vgim.serve.playground import Playground
    from vgim.serve.survey import survey

    with progress.stage("loading the decoder"):
        folder = choose_decoder(Location(where), options.decoder, options.module, progress.message)
        session = open_session(folder.uri, which=options.which)
    found = survey(session, options.shards, options.most_utterances, progress)
    if found.problem:
        progress.message(f"note: {found.problem}")
    return Playground(session, found)


def serve(playground: Playground, listening: socket.socket, show: Callable[[str], None]) -> None:
    """Serve a playground on this machine until a signal comes.

    Args:
        playground: What answers.
        listening: A socket of `listen`.
        show: Prints the page's address.

    Raises:
        Stopped: A signal ended it.
    """
    from vgim.serve.app import build_app

    token = secrets.token_urlsafe(24)
    server = make_server(build_app(playground, token))
    show(f"http://{HOST}:{listening.getsockname()[1]}/{token}/")
    server.run(sockets=[listening])


def make_server(app: Starlette) -> uvicorn.Server:
    """A server that says nothing but tracebacks of defects, and ends soon after a signal."""
    import uvicorn

    from vgim.serve.impatient import ImpatientProtocol

    logging.getLogger("uvicorn.error").addFilter(_is_defect)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=ImpatientProtocol,
            ws="none",
            log_config=None,
            access_log=False,  # its lines would hold the token
            proxy_headers=False,
            server_header=False,
            limit_concurrency=128,
            timeout_graceful_shutdown=SECONDS_TO_END,
        )
    )


def _is_defect(record: logging.LogRecord) -> bool:
    """Whether a line of the server's log is about a defect, which has a traceback."""
    return record.exc_info is not None


def listen(port: int) -> socket.socket:
    """A socket that listens on the loopback interface.

    Args:
        port: Port; 0 for a free one.

    Raises:
        ConfigError: The port is taken, or not for this user.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()  # a browser that comes before the server runs waits instead of failing
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"--port {port} cannot be used ({error.strerror}); leave it out for a free one"
        ) from error
    return listening
