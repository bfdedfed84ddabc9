"""Serves an application as `vgim serve` does, in a thread of the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vgim.serve.server import listen, make_server


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve until the context ends; yields the server's address without a path."""
    with listen(0) as listening:
        server = make_server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()
