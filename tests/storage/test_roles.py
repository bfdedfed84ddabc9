"""S3 by a role, without keys in the environment: of a pod on EKS, and of a machine of EC2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.object_storage import KEY_ID, SECRET, Bucket

WRITE = "import sys; from vgim.storage import Location; Location(sys.argv[1]).write_bytes_atomic(b'here')"
TOKEN = "the-token-of-the-pod"
SESSION = {"AccessKeyId": KEY_ID, "SecretAccessKey": SECRET, "Expiration": "2099-01-01T00:00:00Z"}


@contextmanager
def answering(answers: dict[tuple[str, str], tuple[str, str, str]]) -> Iterator[tuple[str, list[str]]]:
    """A server on loopback that lends credentials.

    Args:
        answers: A header that the request must have, its value, and the answer, by method and path.

    Yields:
        The server's address, and the paths of requests that it answered.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            header, value, text = answers.get((self.command, self.path), ("Host", "", ""))
            known = self.headers.get(header) == value
            if known:
                asked.append(self.path)
            self.send_response(200 if known else 404)
            self.send_header("Content-Length", str(len(text) if known else 0))
            self.end_headers()
            self.wfile.write(text.encode() if known else b"")

        do_PUT = do_GET

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def write(uri: str, without: tuple[str, ...], **environment: str) -> subprocess.CompletedProcess[str]:
    """Write an object in a process of its own, since Arrow looks for credentials once in a process."""
    inherited = {name: value for name, value in os.environ.items() if name not in without}
    return subprocess.run(
        [sys.executable, "-c", WRITE, uri],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture
def no_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


@pytest.mark.usefixtures("no_profile")
def test_a_pod_writes_by_the_role_of_its_service_account(bucket: Bucket, tmp_path: Path) -> None:
    # What EKS Pod Identity gives a container: an address of the node's agent, and a file with a token.
    (tmp_path / "token").write_text(TOKEN)
    answer = json.dumps({**SESSION, "Token": "session"})
    with answering({("GET", "/v1/credentials"): ("Authorization", TOKEN, answer)}) as (url, asked):
        done = write(
            f"{bucket.uri}/object",
            KEYS,
            AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{url}/v1/credentials",
            AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(tmp_path / "token"),
        )
    assert done.returncode == 0, done.stderr
    assert set(asked) == {"/v1/credentials"}
    assert bucket.objects() == {"object": 4}


@pytest.mark.usefixtures("no_profile")
def test_a_machine_writes_by_the_role_of_its_instance_profile(bucket: Bucket) -> None:
    # What EC2 answers at http://169.254.169.254 to whoever fetched a token first.
    roles = "/latest/meta-data/iam/security-credentials"
    answer = json.dumps({**SESSION, "Token": "session", "Code": "Success"})
    header = "x-aws-ec2-metadata-token"
    answers = {
        ("PUT", "/latest/api/token"): ("x-aws-ec2-metadata-token-ttl-seconds", "21600", TOKEN),
        ("GET", roles): (header, TOKEN, "vgim"),
        ("GET", f"{roles}/vgim"): (header, TOKEN, answer),
        ("GET", "/latest/meta-data/placement/availability-zone"): (header, TOKEN, "us-west-2a"),
    }
    with answering(answers) as (url, asked):
        done = write(
            f"{bucket.uri}/object",
            (*KEYS, "AWS_EC2_METADATA_DISABLED"),
            AWS_EC2_METADATA_SERVICE_ENDPOINT=url,
        )
    assert done.returncode == 0, done.stderr
    assert f"{roles}/vgim" in asked
    assert bucket.objects() == {"object": 4}


@pytest.mark.usefixtures("no_profile")
def test_without_a_role_and_keys_the_server_lets_nobody_in(bucket: Bucket) -> None:
    done = write(f"{bucket.uri}/object", KEYS)
    assert done.returncode != 0
    assert bucket.objects() == {}
