"""Connections on which nothing is asked."""

from __future__ import annotations

import socket
import urllib.request
from urllib.parse import urlsplit

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.serve.serving import served
from vgim.serve import impatient

APP = Starlette(routes=[Route("/", lambda request: PlainTextResponse("the page"))])


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"], ids=["nothing", "half a request"]
)
def test_connections_that_ask_nothing_do_not_keep_the_page_out(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(impatient, "SECONDS_TO_ASK", 0.2)
    with served(APP) as url:
        address = urlsplit(url)
        silent = [socket.create_connection((str(address.hostname), address.port or 0)) for _ in range(130)]
        for connection in silent:
            connection.sendall(sent)
        for connection in silent:
            connection.settimeout(60)
            assert connection.recv(1) == b""  # the server has closed it
            connection.close()
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == b"the page"


def test_a_connection_stays_open_after_its_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impatient, "SECONDS_TO_ASK", 0.2)
    request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with served(APP) as url:
        address = urlsplit(url)
        with socket.create_connection((str(address.hostname), address.port or 0), timeout=60) as connection:
            for _ in range(2):
                connection.sendall(request)
                answer = b""
                while b"the page" not in answer:
                    answer += connection.recv(10_000)
                connection.settimeout(0.5)
                with pytest.raises(TimeoutError):
                    connection.recv(1)
                connection.settimeout(60)
