"""The `vgim` command, and `python -m vgim` where its script is not on the path."""

from __future__ import annotations

import signal


def run() -> None:
    """Run the command. Ctrl-C ends it quietly while its modules are still imported; later the command handles it."""
    if (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):  # else the process was told to ignore it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from vgim.cli import main

    main(prog_name="vgim")


if __name__ == "__main__":
    run()
