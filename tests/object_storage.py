"""An S3 server on loopback that can fail: moto's, in a process of its own, reached by Arrow's real client.

    def test_x(bucket: Bucket) -> None:                # a fixture; the environment leads to the server
        bucket.server.set_faults(rate=0.05)
        Location(f"{bucket.uri}/x").write_bytes_atomic(b"1")
        assert bucket.server.state()["met"]

The server must not share a process with its client: Arrow's client waits for answers with Python's lock held when a
stream is destroyed, and at exit. `python -m tests.object_storage` serves until its standard input ends.
"""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

KEY_ID, SECRET = "vgim-test-key-id", "vgim-test-secret"
KINDS = ("busy", "broken", "busy after", "reset", "reset after", "cut", "slow")
"""503 SlowDown or 500 instead of what was asked; 503 although it was done; the connection reset before or after it was
done; the connection closed after half of the answer's body; a delay before it is done."""
ACCOUNT = "123456789012"
STATE, FAULTS, BUCKETS = "/_state", "/_faults", "/_buckets/"
_ERROR = "<?xml version='1.0'?><Error><Code>{0}</Code><Message>{0}, injected</Message></Error>"

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


@dataclass
class Faults:
    """What goes wrong from now on."""

    rate: float = 0.0
    """Probability with which a request meets a fault."""
    kinds: tuple[str, ...] = KINDS
    longest_delay_s: float = 1.0
    seed: int = 0
    method: str = ""
    """The only method whose requests meet faults; all, if empty."""
    key: str = ""
    """Text that the path or query of a request must contain to meet a fault."""
    planned: tuple[str, ...] = ()
    """Faults of the next requests, before any are drawn; an empty text is none."""


@dataclass
class ObjectServer:
    """A running server, as its clients see it."""

    port: int
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def lead_to(self, patch: pytest.MonkeyPatch) -> None:
        """Let the environment name the server and the credentials that it accepts."""
        for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ENDPOINT_URL", self.url)
        patch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("no_proxy", "*")

    def new_bucket(self) -> Bucket:
        """A new, empty bucket, of a name that no other server of this process had."""
        bucket = Bucket(self, f"bucket-{self.port}-{next(self._numbers)}")
        self._ask("PUT", BUCKETS + bucket.name)
        return bucket

    def set_faults(self, **settings: Any) -> None:
        """Let requests meet `Faults(**settings)` and forget those before; without settings, let none."""
        self._ask("PUT", FAULTS, asdict(Faults(**settings)))

    def state(self) -> State:
        """What requests came and what faults they met since `set_faults`."""
        return State(**self._ask("GET", STATE))

    def _ask(self, method: str, path: str, content: Any = None) -> Any:
        import httpx

        answer = httpx.request(method, self.url + path, json=content, trust_env=False, timeout=60)
        answer.raise_for_status()
        return answer.json()


@dataclass(frozen=True)
class State:
    """What happened to a server."""

    met: dict[str, int]
    """Number of each kind of fault."""
    requests: list[str]
    """Method, path and query of each request."""


@dataclass(frozen=True)
class Bucket:
    """A bucket of a server."""

    server: ObjectServer
    name: str

    @property
    def uri(self) -> str:
        return f"s3://{self.name}"

    def objects(self) -> dict[str, int]:
        """Size of each object."""
        return dict(self.server._ask("GET", BUCKETS + self.name))


@contextmanager
def object_server_process() -> Iterator[ObjectServer]:
    """Run a server in a process of its own."""
    command = [sys.executable, "-m", "tests.object_storage"]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield ObjectServer(int(process.stdout.readline()))
        finally:
            process.stdin.close()


class _Faulty:
    """An S3 server as a WSGI application, with faults, and with addresses by which tests control it."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._set_faults(Faults())

    def _set_faults(self, faults: Faults) -> None:
        with self._lock:
            self._faults, self._planned = faults, list(faults.planned)
            self._random = random.Random(faults.seed)
            self._met: Counter[str] = Counter()
            self._requests: list[str] = []

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith((STATE, FAULTS, BUCKETS)):
            return _answer(start_response, "200 OK", json.dumps(self._control(environ)))
        if f"Credential={KEY_ID}/" not in environ.get("HTTP_AUTHORIZATION", ""):
            return _answer(start_response, "403 Forbidden", _ERROR.format("AccessDenied"))
        kind, delay_s = self._draw(environ)
        if kind == "slow":
            time.sleep(delay_s)
        if kind in ("", "slow"):
            return self._application(environ, start_response)
        connection: socket.socket = environ["werkzeug.socket"]
        if kind in ("busy after", "reset after", "cut"):
            started: list[Any] = []
            body = b"".join(self._application(environ, lambda *args: started.append(args)))
            if kind == "cut" and body and environ["REQUEST_METHOD"] != "HEAD":
                start_response(*started[-1])
                return _cut(body, connection)
        else:
            _read_body(environ)
        if kind in ("reset", "reset after", "cut"):
            _reset(connection)
        if kind == "forgotten":
            return _answer(start_response, "404 Not Found", _ERROR.format("NoSuchUpload"))
        if kind == "broken":
            return _answer(start_response, "500 Internal Server Error", _ERROR.format("InternalError"))
        return _answer(start_response, "503 Slow Down", _ERROR.format("SlowDown"))

    def _draw(self, environ: Environ) -> tuple[str, float]:
        """The kind of fault that a request meets, if any, and a delay."""
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ['QUERY_STRING']}"
        with self._lock:
            faults = self._faults
            self._requests.append(request)
            if not request.startswith(faults.method) or faults.key not in request:
                return "", 0.0
            delay_s = self._random.uniform(0, faults.longest_delay_s)
            drawn = self._random.choice(faults.kinds) if self._random.random() < faults.rate else ""
            kind = self._planned.pop(0) if self._planned else drawn
            self._met.update([kind] if kind else [])
            return kind, delay_s

    def _control(self, environ: Environ) -> Any:
        from moto.s3.models import s3_backends

        path, body = environ["PATH_INFO"], _read_body(environ)
        if path == FAULTS:
            settings = json.loads(body)
            self._set_faults(Faults(**{**settings, "kinds": tuple(settings["kinds"])}))
        if path.startswith(BUCKETS):
            backend, name = s3_backends[ACCOUNT]["aws"], path.removeprefix(BUCKETS)
            if environ["REQUEST_METHOD"] == "PUT":
                backend.create_bucket(name, "us-east-1")
            return {key: found.size for key, found in backend.buckets[name].keys.items()}
        with self._lock:
            return {"met": dict(self._met), "requests": list(self._requests)}


def _read_body(environ: Environ) -> bytes:
    return bytes(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))


def _answer(start_response: Callable[..., Any], status: str, text: str) -> list[bytes]:
    content = text.encode()
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(content)))])
    return [content]


def _cut(body: bytes, connection: socket.socket) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    connection.shutdown(socket.SHUT_WR)
    raise ConnectionAbortedError("injected")


def _reset(connection: socket.socket) -> None:
    """Close a connection at once, so that the client gets a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())
    raise ConnectionResetError("injected")


def _serve() -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept, as object stores do

        def log(self, *args: Any) -> None:
            pass

    application = _Faulty(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # of connections that were reset
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _serve()
