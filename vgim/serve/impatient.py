"""A connection of the playground's server that is closed if nobody asks anything on it.

The server takes a bounded number of connections. Without a limit of their time, programs that connect and stay silent
would keep the page out for as long as they like; uvicorn's own limit begins after the first request.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS_TO_ASK = 10.0
"""How long a connection may stay open before its first request has come whole; a browser sends it at once."""


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 with a limit of the time until the first request's headers have come."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._waiting = self.loop.call_later(SECONDS_TO_ASK, self._close_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._waiting.cancel()
        super().connection_lost(exc)

    def _close_if_silent(self) -> None:
        if self.cycle is None:  # no request has come
            self.transport.close()
