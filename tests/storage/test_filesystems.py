"""Real clients of object storage against a server on this machine, and the limits that they are given."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from vgim.errors import StorageError
from vgim.storage import Location, filesystems, retry, storage_errors

CONTENT = b"content of the file"
BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce</Message></Error>"


class Bucket(ThreadingHTTPServer):
    """A bucket with the same file under every name. It answers 503 a number of times first, or never."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.busy = 0
        self.silent = False
        self.status = 200
        self.requests = 0
        self.released = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bucket

    def do_GET(self) -> None:
        self.server.requests += 1
        if self.server.silent:
            self.server.released.wait()
            self.close_connection = True
            return
        busy = self.server.busy > 0
        self.server.busy -= busy
        body = BUSY if busy or self.server.status != 200 else CONTENT
        self.send_response(503 if busy else self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/xml" if body == BUSY else "binary/octet-stream")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    for name, value in {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)
    server = Bucket()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def file_in(bucket: Bucket) -> Location:
    host = f"127.0.0.1:{bucket.server_port}"
    return Location(f"s3://bucket/file?region=us-east-1&endpoint_override={host}&scheme=http")


def test_an_overloaded_bucket_is_read_when_it_answers(bucket: Bucket) -> None:
    bucket.busy = 2 * filesystems.ATTEMPTS_PER_REQUEST  # more than Arrow's client tries itself
    assert file_in(bucket).read_bytes() == CONTENT
    assert bucket.busy == 0


def test_a_refused_request_is_not_repeated(bucket: Bucket) -> None:
    bucket.status = 403
    with pytest.raises(
        StorageError, match=r"access denied \(No response body\.\); check that the credentials"
    ):
        file_in(bucket).read_bytes()
    assert bucket.requests == 1


def test_a_bucket_that_never_answers_is_given_up(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystems, "REQUEST_TIMEOUT_S", 1.0)
    monkeypatch.setattr(filesystems, "ATTEMPTS_PER_REQUEST", 1)
    monkeypatch.setattr(retry, "FIRST_CONTACT_LIMIT_S", 0.5)
    bucket.silent = True
    started = time.monotonic()
    with pytest.raises(StorageError, match=r"cannot look up s3://.*the storage does not answer"):
        file_in(bucket).exists()
    assert time.monotonic() - started < 60


def options_of(uri: str) -> dict[str, Any]:
    _, (options,) = Location(uri).filesystem.__reduce__()
    return dict(options)


def test_clients_get_limits_unless_the_uri_has_one() -> None:
    s3 = options_of("s3://b/x?region=eu-west-1&endpoint_override=localhost:1&scheme=http")
    assert (s3["connect_timeout"], s3["request_timeout"], s3["region"]) == (5.0, 15.0, "eu-west-1")
    assert (s3["endpoint_override"], s3["scheme"]) == ("localhost:1", "http")
    gcs = options_of("gs://anonymous@b/x?endpoint_override=localhost:1&scheme=http")
    assert gcs["retry_time_limit"] == timedelta(seconds=10)
    assert (gcs["anonymous"], gcs["endpoint_override"]) == (True, "localhost:1")
    assert options_of("gs://anonymous@b/x?retry_limit_seconds=77")["retry_time_limit"] == timedelta(
        seconds=77
    )


@pytest.mark.parametrize(
    ("error", "is_turned"),
    [
        (httpx.ConnectError("Name or service not known"), True),
        (type("ConnectError", (Exception,), {"__module__": "httpx2._exceptions"})("no answer"), True),
        (ValueError("Repository id must be 'namespace/name', got 'x'."), True),
        (KeyError("a defect"), False),
    ],
)
def test_errors_of_the_hubs_client_are_told_in_one_line(error: Exception, is_turned: bool) -> None:
    with (
        pytest.raises(StorageError if is_turned else type(error)) as caught,
        storage_errors("read", "hf://a/b"),
    ):
        raise error
    if is_turned:
        assert str(caught.value).startswith(f"cannot read hf://a/b: {error}")
        assert "\n" not in str(caught.value)
    with pytest.raises(type(error)), storage_errors("read", "s3://a/b"):
        raise error
