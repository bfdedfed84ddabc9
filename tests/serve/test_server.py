"""`vgim serve` as a process: its address, its end by a signal, and errors in one line."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from vgim.cli import main
from vgim.serve import server


def test_a_signal_ends_the_playground_in_one_line(served_run: Path) -> None:
    command = [sys.executable, "-m", "vgim", "serve", str(served_run), "--utterances", "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+/[\w-]{32}/", url)
        with urllib.request.urlopen(url) as answer:
            assert b"vgim playground" in answer.read()
        # An upload that never ends does not hold it up.
        address = urlsplit(url)
        with socket.create_connection((str(address.hostname), address.port or 0)) as connection:
            head = f"POST {address.path}api/sounds?page={'0' * 32} HTTP/1.1\r\nHost: {address.netloc}\r\n"
            connection.sendall(f"{head}Content-Length: 1000\r\n\r\nRIFF".encode())
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
            refused = connection.recv(1000)
    assert b" 503 " in refused or refused == b""
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-2:] == [
        "open this address in a browser on this machine; Ctrl-C ends the playground:",
        "the playground has ended (SIGINT)",
    ]
    assert "Traceback" not in err


def vgim(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["serve", *map(str, args)])
    return result.exit_code, result.output


def test_a_port_that_is_taken_is_refused(served_run: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, said = vgim(served_run, "--port", port)
    assert code == 2
    assert (
        said == f"error: --port {port} cannot be used (Address already in use); leave it out for a free one\n"
    )


def test_a_run_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    code, said = vgim(tmp_path / "nothing")
    assert code == 4
    assert said.count("\n") == 1


def test_the_extra_is_named_where_it_is_not_installed(
    served_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PACKAGES", ("starlette", "not_installed_here"))
    assert vgim(served_run) == (
        2,
        "error: vgim serve needs not_installed_here, not installed here; pip install 'vgim[serve]'\n",
    )
