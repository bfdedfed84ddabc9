"""The playground's answers, without a browser: sounds in and out, bounds, and who is let in."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import soundfile

pytest.importorskip("starlette")

from starlette.testclient import TestClient

from tests.serve.sounds import noise_file
from vgim.serve import app as app_module
from vgim.serve.app import FILES, build_app
from vgim.serve.guard import SECURITY_HEADERS
from vgim.serve.playground import Playground
from vgim.serve.uploads import MOST_BYTES, MOST_OF_PAGE

TOKEN = "a-token"
BASE = f"http://127.0.0.1:8000/{TOKEN}/"
PAGE, OTHER_PAGE = "0" * 32, "f" * 32


@pytest.fixture
def client(playground: Playground) -> Iterator[TestClient]:
    with TestClient(build_app(playground, TOKEN), base_url=BASE) as one:
        yield one


def send(client: TestClient, data: bytes, name: str = "noise.wav", page: str = PAGE) -> dict[str, Any]:
    answer = client.post("api/sounds", params={"page": page, "name": name}, content=data)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def decode(client: TestClient, page: str = PAGE, **change: Any) -> Any:
    return client.post("api/decode", params={"page": page}, json=change)


def test_the_page_and_its_files_are_there_and_no_others(client: TestClient) -> None:
    for path, (_, _, media_type) in FILES.items():
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
        assert answer.text
    for path in (
        "nothing",
        "app.js/x",
        "../guard.py",
        "..%2fguard.py",
        "%2e%2e/guard.py",
        "web/app.js",
        "/etc/passwd",
    ):
        assert client.get(path).status_code in (403, 404)
    assert client.get(BASE.rstrip("/"), follow_redirects=False).headers["location"] == f"/{TOKEN}/"


def test_every_file_of_the_page_is_served() -> None:
    from importlib.resources import files

    there = {one.name for one in files("vgim.serve").joinpath("web").iterdir()}
    assert there == {file.split("/")[1] for package, file, _ in FILES.values() if package == "vgim.serve"}


def test_a_sound_goes_in_and_comes_out_changed(client: TestClient) -> None:
    sent = send(client, noise_file(1.0, 44_100, 2))
    assert sent["seconds"] == 1.0
    assert "averaged 2 channels, resampled 44100 Hz" in sent["note"]
    assert len(sent["xy"]) == 2
    original = client.get("api/sound", params={"page": PAGE, "key": sent["key"]})
    assert soundfile.info(io.BytesIO(original.content)).frames == 16_000
    plain, changed = decode(client, a=sent["key"]), decode(client, a=sent["key"], values={"3": 1.5})
    assert plain.headers["content-type"] == "audio/wav"
    assert plain.headers["server-timing"].startswith("decode;dur=")
    assert soundfile.info(io.BytesIO(changed.content)).frames == 16_000
    assert plain.content != changed.content
    assert decode(client, a=sent["key"]).content == plain.content


def test_utterances_of_the_shards_are_there_for_every_page(client: TestClient) -> None:
    start = client.get("api/start").json()
    assert [one["key"] for one in start["utterances"]] == ["u0", "u1", "u2", "u3"]
    answer = decode(client, a="u0", b="u1", share=0.5, moved=3)
    assert answer.status_code == 200
    assert len(set(map(int, answer.headers["x-moved"].strip("[]").split(",")))) == 3
    assert client.get("api/sound", params={"page": OTHER_PAGE, "key": "u3"}).status_code == 200


def test_a_page_cannot_reach_the_sounds_of_another(client: TestClient) -> None:
    key = send(client, noise_file(0.5))["key"]
    assert decode(client, a=key).status_code == 200
    for answer in (
        decode(client, OTHER_PAGE, a=key),
        client.get("api/sound", params={"page": OTHER_PAGE, "key": key}),
        decode(client, OTHER_PAGE, a="u0", b=key),
    ):
        assert answer.status_code == 404
        assert "gone" in answer.json()["error"]


def test_many_pages_at_once_each_hear_their_own_sound(client: TestClient) -> None:
    pages = [f"{number:032x}" for number in range(6)]
    sounds = [noise_file(0.3 + 0.05 * number, seed=number) for number in range(6)]
    keys = [send(client, sound, page=page)["key"] for sound, page in zip(sounds, pages, strict=True)]
    alone = [
        decode(client, page, a=key, values={"1": 0.5}).content for page, key in zip(pages, keys, strict=True)
    ]
    assert len(set(alone)) == 6

    def ask(number: int) -> bool:
        answer = decode(client, pages[number % 6], a=keys[number % 6], values={"1": 0.5})
        return bool(answer.content == alone[number % 6])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(48)))


def test_the_seventh_sound_drops_the_first(client: TestClient) -> None:
    sent = [send(client, noise_file(0.3, seed=number)) for number in range(MOST_OF_PAGE + 1)]
    assert [one["dropped"] for one in sent] == [[]] * MOST_OF_PAGE + [[sent[0]["key"]]]
    assert decode(client, a=sent[0]["key"]).status_code == 404


@pytest.mark.parametrize(
    ("data", "status", "told"),
    [
        (b"", 422, "no bytes"),
        (b"no sound", 422, "not readable as audio"),
        (noise_file(0.5)[:1000], 422, "bytes of samples are there"),
        (noise_file(0.001), 422, "a frame needs"),
        (b"x" * (MOST_BYTES + 1), 413, "16384 KiB"),
    ],
)
def test_an_unusable_file_gets_one_line(client: TestClient, data: bytes, status: int, told: str) -> None:
    answer = client.post("api/sounds", params={"page": PAGE, "name": "x" * 500 + ".wav"}, content=data)
    assert answer.status_code == status
    assert told in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert len(answer.json()["error"]) < 300


def test_a_body_without_a_length_is_cut_off(client: TestClient) -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while read < 4 * MOST_BYTES:
            read += 2**20
            yield bytes(2**20)

    answer = client.post("api/sounds", params={"page": PAGE}, content=endless())
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "Invalid JSON"),
        (b"[]", "object"),
        (b'{"a": "u0", "more": 1}', "more"),
        (b'{"a": "u0", "share": 2}', "share"),
        (b'{"a": "u0", "values": {"0": NaN}}', "values"),
        (b'{"a": "u0", "values": {"0": 1e9}}', "values"),
        (b'{"a": "u0", "values": {"8": 1}}', "dimension 8"),
        (b'{"a": "u0", "values": {"-1": 1}}', "dimension -1"),
        (b'{"a": "u0", "b": "u1", "moved": 0}', "moved"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(client: TestClient, body: bytes, told: str) -> None:
    answer = client.post("api/decode", params={"page": PAGE}, content=body)
    assert answer.status_code == 422
    assert told in answer.json()["error"]


@pytest.mark.parametrize("page", ["", "../..", "G" * 32, "0" * 33])
def test_a_page_is_a_number(client: TestClient, page: str) -> None:
    assert decode(client, page, a="u0").status_code == 422


@pytest.mark.parametrize(
    "url", ["/", "/wrong/", "/wrong/api/start", f"/{TOKEN}x/", f"//{TOKEN}/", "/%00/", "/é/"]
)
def test_without_the_token_nothing_is_answered(client: TestClient, url: str) -> None:
    answer = client.get(f"http://127.0.0.1:8000{url}")
    assert answer.status_code == 403
    assert TOKEN not in answer.text


@pytest.mark.parametrize(
    "host", ["example.org", "127.0.0.1.example.org", "0.0.0.0:8", "[::1]:8", "", "127.0.0.1:x"]
)
def test_another_host_is_refused(client: TestClient, host: str) -> None:
    assert client.get("api/start", headers={"host": host}).status_code == 403


@pytest.mark.parametrize(
    "origin", ["http://example.org", "null", "https://127.0.0.1:8000", "http://127.0.0.1:9"]
)
def test_another_origin_is_refused(client: TestClient, origin: str) -> None:
    headers = {"origin": origin}
    assert (
        client.post("api/decode", params={"page": PAGE}, json={"a": "u0"}, headers=headers).status_code == 403
    )


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:9", "localhost"])
def test_a_tunnel_may_have_another_port(client: TestClient, host: str) -> None:
    headers = {"host": host, "origin": f"http://{host}"}
    assert (
        client.post("api/decode", params={"page": PAGE}, json={"a": "u0"}, headers=headers).status_code == 200
    )


def test_every_answer_has_the_security_headers(client: TestClient) -> None:
    for answer in (client.get(""), client.get("api/start"), client.get("/wrong/"), client.get("nothing")):
        assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert "unsafe" not in SECURITY_HEADERS["Content-Security-Policy"]


def test_the_page_has_no_script_and_no_style_of_its_own(client: TestClient) -> None:
    text = client.get("").text
    assert "<style" not in text
    assert " style=" not in text
    assert text.count("<script") == 1
    assert "http://" not in text + client.get("app.js").text
    assert "https://" not in text + client.get("app.js").text


def test_too_many_requests_are_turned_away(
    playground: Playground, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "MOST_WAITING", 1)
    began, go_on = threading.Event(), threading.Event()
    decode_before = Playground.decode

    def slow(self: Playground, *args: Any) -> Any:
        began.set()
        assert go_on.wait(60)
        return decode_before(self, *args)

    monkeypatch.setattr(Playground, "decode", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(decode, client, a="u0")
        assert began.wait(60)
        refused = decode(client, a="u0")
        go_on.set()
        assert first.result().status_code == 200
    assert (refused.status_code, "try again" in refused.json()["error"]) == (503, True)
