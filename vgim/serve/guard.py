"""Who may talk to the playground: only a page that it served itself, on this machine, with its token in the address.

The token keeps out other users of the machine. The checks of Host and Origin keep out other pages in the user's
browser: a page whose name was made to resolve to 127.0.0.1 sends its own name as Host, and the POST of any page names
that page as Origin.
"""

from __future__ import annotations

import asyncio
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost")
"""Names of this machine. Any port is accepted, because a tunnel may have another."""
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; media-src blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """ASGI middleware that checks Host, Origin and token, removes the token from the path, and adds headers.

    Args:
        app: What answers requests that pass.
        token: First part of every path.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        answered = False

        async def send_guarded(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        token, slash, rest = scope["path"].removeprefix("/").partition("/")
        refusal = self._refusal(Headers(scope=scope), token)
        if refusal is None and not slash:
            refusal = RedirectResponse(f"/{token}/")
        if refusal is not None:
            await refusal(scope, receive, send_guarded)
            return
        path = f"/{rest}"
        try:
            await self._app({**scope, "path": path, "raw_path": path.encode()}, receive, send_guarded)
        except asyncio.CancelledError:  # the server ends, and does not wait for this request any longer
            if not answered:
                await PlainTextResponse("The playground has ended.\n", 503)(scope, receive, send_guarded)

    def _refusal(self, headers: Headers, token: str) -> Response | None:
        host = headers.get("host", "")
        name, _, port = host.partition(":")
        if name not in HOSTS or (port and not port.isdecimal()) or len(headers.getlist("host")) != 1:
            return PlainTextResponse(
                "Host is not this machine; use the address that vgim serve printed.\n", 403
            )
        if headers.get("origin", f"http://{host}") != f"http://{host}":
            return PlainTextResponse("Another page may not use the playground.\n", 403)
        if not secrets.compare_digest(token.encode(), self._token):
            return PlainTextResponse(
                "The address has no token, or an old one; use the address that vgim serve printed.\n", 403
            )
        return None
