"""The playground over HTTP: the page's files, the sounds that it sends and the sounds that it gets.

    GET  /                       the page; its files beside it
    GET  /api/start              what the page shows when it opens
    POST /api/sounds?page&name   a sound file, kept for the page
    GET  /api/sound?page&key     a sound as the encoder hears it, a WAV file
    POST /api/decode?page        a `Change` as JSON → a WAV file

`page` is a random number by which a page finds its own sounds. One thread computes, so that a request of one page waits
for those of others, and memory holds one decoded sound at a time.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import TypeVar

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vgim.data.pcm import SAMPLE_RATE_HZ
from vgim.errors import VgimError
from vgim.serve.guard import Guard
from vgim.serve.playground import Change, Playground
from vgim.serve.uploads import MOST_BYTES, Sound, Uploads, new_key, read_upload
from vgim.text import shorten

T = TypeVar("T")

PAGE = re.compile(r"[0-9a-f]{32}")
MOST_CHANGE_BYTES = 2**16
MOST_WAITING = 32
"""Requests that wait for the computing thread."""
UPLOADS_AT_ONCE = 2
"""Sound files that are in memory at once."""
UPLOAD_TIMEOUT_S = 60.0
FILES = {
    "": ("vgim.serve", "web/index.html", "text/html; charset=utf-8"),
    "base.css": ("vgim.pages", "templates/base.css", "text/css; charset=utf-8"),
    "page.css": ("vgim.serve", "web/page.css", "text/css; charset=utf-8"),
    **{
        name: ("vgim.serve", f"web/{name}", "text/javascript; charset=utf-8")
        for name in ("app.js", "draw.js", "map.js", "sliders.js", "sound.js")
    },
}
"""The page's files by path: package, file in it, type. No other file can be asked for."""


class Refusal(Exception):  # noqa: N818 (an answer, no error of the program)
    """An answer in place of what was asked for."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Api:
    """What answers the page's requests.

    Args:
        playground: Computes; only in this object's one thread.
    """

    def __init__(self, playground: Playground) -> None:
        self._playground, self._uploads = playground, Uploads()
        self._thread = ThreadPoolExecutor(1, "playground")
        self._waiting = 0
        self._reading = asyncio.Semaphore(UPLOADS_AT_ONCE)

    def close(self) -> None:
        """End the thread after what it computes now."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def start(self, request: Request) -> Response:
        """What the page shows when it opens."""
        return JSONResponse(self._playground.describe())

    async def send_sound(self, request: Request) -> Response:
        """Keep a sound file for a page."""
        page, name = _page(request), shorten(request.query_params.get("name", "") or "the sound", 60)
        async with self._reading:
            try:
                async with asyncio.timeout(UPLOAD_TIMEOUT_S):
                    data = await _body(request, MOST_BYTES)
            except TimeoutError:
                raise Refusal(
                    408, f"{name} did not arrive in {UPLOAD_TIMEOUT_S:.0f} s; send it again"
                ) from None

            def read() -> Sound:
                samples, note = read_upload(data, name, self._playground.shortest)
                return self._playground.placed(Sound(new_key(), name, samples, note))

            sound = await self._compute(read)
        dropped = self._uploads.add(page, sound)
        seconds = len(sound.samples) / SAMPLE_RATE_HZ
        answer = {"key": sound.key, "name": name, "note": sound.note, "xy": sound.xy, "seconds": seconds}
        return JSONResponse({**answer, "dropped": dropped})

    async def get_sound(self, request: Request) -> Response:
        """A sound as the encoder hears it."""
        sound = self._find(_page(request), request.query_params.get("key", ""))
        return _wav(await self._compute(lambda: self._playground.original(sound)))

    async def decode(self, request: Request) -> Response:
        """Decode a change."""
        page = _page(request)
        try:
            change = Change.model_validate_json(await _body(request, MOST_CHANGE_BYTES))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the request"
            raise Refusal(422, f"{where}: {first['msg']}") from None
        a = self._find(page, change.a)
        b = None if change.b is None else self._find(page, change.b)

        def compute() -> tuple[bytes, list[int], float]:
            began = time.perf_counter()
            return *self._playground.decode(change, a, b), time.perf_counter() - began

        wav, moved, took_s = await self._compute(compute)
        answer = _wav(wav)
        answer.headers["Server-Timing"] = f"decode;dur={1000 * took_s:.1f}"
        answer.headers["X-Moved"] = json.dumps(moved)
        return answer

    def _find(self, page: str, key: str) -> Sound:
        sound = self._playground.utterance(key) or self._uploads.get(page, key)
        if sound is None:
            raise Refusal(404, "this sound is gone, because newer ones took its place; send it again")
        return sound

    async def _compute(self, function: Callable[[], T]) -> T:
        if self._waiting >= MOST_WAITING:
            raise Refusal(503, f"{MOST_WAITING} requests are waiting already; try again in a moment")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        finally:
            self._waiting -= 1


def build_app(playground: Playground, token: str) -> Starlette:
    """The application, whose paths all begin with the token."""
    api = Api(playground)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            api.close()

    return Starlette(
        routes=[
            Route("/api/start", api.start),
            Route("/api/sounds", api.send_sound, methods=["POST"]),
            Route("/api/sound", api.get_sound),
            Route("/api/decode", api.decode, methods=["POST"]),
            *(Route(f"/{path}", _file(*file)) for path, file in FILES.items()),
        ],
        middleware=[Middleware(Guard, token=token)],
        exception_handlers={Refusal: _refuse, VgimError: _refuse, ClientDisconnect: _refuse},
        lifespan=lifespan,
    )


def _file(package: str, file: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    content = files(package).joinpath(file).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return answer


async def _refuse(request: Request, error: Exception) -> Response:
    """One line for the page to show."""
    status = error.status if isinstance(error, Refusal) else 422
    return JSONResponse({"error": str(error)}, status)


def _wav(content: bytes) -> Response:
    return Response(content, media_type="audio/wav")


def _page(request: Request) -> str:
    page = request.query_params.get("page", "")
    if not PAGE.fullmatch(page):
        raise Refusal(422, "page is not 32 hexadecimal digits")
    return page


async def _body(request: Request, most_bytes: int) -> bytes:
    """The body of a request.

    Raises:
        Refusal: It is too large. Nothing beyond the limit is kept in memory.
    """
    too_large = Refusal(413, f"more than {most_bytes // 2**10} KiB; send less")
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > most_bytes:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise too_large
        parts.append(part)
    return b"".join(parts)
