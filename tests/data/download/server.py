"""A server of archives on loopback, which misbehaves as it is told."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Archives:
    """What the server has, and how it behaves."""

    files: dict[str, bytes] = field(default_factory=dict)
    address: str = ""
    sends: list[int] = field(default_factory=list)
    """Bytes after which it closes the connection, for each request from now on; all of them once the list is empty."""
    has_ranges: bool = True
    encoding: str = ""
    """Content-Encoding that it claims; the bytes are the file's own."""
    promised_more: int = 0
    """Bytes by which Content-Length is too large; the size of a file is then told nowhere else."""
    asked: list[str] = field(default_factory=list)
    """The `Range` of each request, empty for none."""


@contextmanager
def serve(archives: Archives) -> Iterator[Archives]:
    """Serve until the context ends."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            data = archives.files.get(self.path.lstrip("/"))
            wanted = self.headers.get("Range", "")
            archives.asked.append(wanted)
            if data is None:
                self.send_error(404)
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and archives.has_ranges else 0
            if start >= len(data):
                self.send_response(416)
                if not archives.promised_more:
                    self.send_header("Content-Range", f"bytes */{len(data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start + archives.promised_more))
            if archives.encoding:
                self.send_header("Content-Encoding", archives.encoding)
            self.end_headers()
            sent = archives.sends.pop(0) if archives.sends else len(data)
            self.wfile.write(data[start : start + sent])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    archives.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield archives
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
