"""The playground in headless Chromium with real sounds; skipped if there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.browser import CONTRASTS, Page, find_browser
from tests.serve.serving import served
from tests.serve.sounds import noise_file
from tests.waiting import wait_until
from vgim.serve.app import build_app
from vgim.serve.playground import Playground
from vgim.serve.survey import Dimension, Survey

PROGRAM = find_browser()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")

TOKEN = "a-token"
IDLE = (
    "document.querySelector('audio#after').src !== '' && !document.documentElement.hasAttribute('aria-busy')"
)
STATUS = "document.getElementById('status').textContent"
LISTEN = """
(() => {
  const fetched = window.fetch;
  window.fetch = async (path, options) => {
    const answer = await fetched(path, options);
    if (path.startsWith('api/decode') && answer.ok) {
      const bytes = new Uint8Array(await answer.clone().arrayBuffer());
      window.decoded = bytes.reduce((hash, byte) => (hash * 31 + byte) % 4294967296, bytes.length);
    }
    return answer;
  };
})()
"""
"""Keeps a hash of the last sound that the playground decoded; by the page's policy no script can fetch it again."""
AFTER = "window.decoded"
LENGTHS = """
Promise.all(['before', 'after'].map(async (name) => {
  const audio = document.getElementById(name);
  await new Promise((done) => audio.readyState >= 1 ? done() : audio.addEventListener('loadedmetadata', done));
  return audio.duration;
}))
"""
SHADES = """
(() => {
  const canvas = document.getElementById('%s');
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const shades = new Set();
  for (let at = 0; at < data.length; at += 4) if (data[at + 3] === 255) shades.add(data[at]);
  return shades.size;
})()
"""


@pytest.fixture(scope="module")
def url(playground: Playground) -> Iterator[str]:
    with served(build_app(playground, TOKEN)) as address:
        yield f"{address}/{TOKEN}/"


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sounds") / "my noise.wav"
    file.write_bytes(noise_file(1.0, 44_100, 2))
    return file


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, noise: Path) -> Iterator[Page]:
    assert PROGRAM is not None
    # A microphone that plays a file, and no question whether the page may use it.
    flags = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={noise}",
    )
    with Page(PROGRAM, tmp_path_factory.mktemp("profile"), flags) as page:
        yield page


@pytest.fixture
def page(browser: Page, url: str) -> Page:
    browser.show(1400, "light")
    browser.requests.clear()
    browser.complaints.clear()
    browser.open(url)
    wait_idle(browser)
    browser.evaluate(LISTEN)
    return browser


def until(page: Page, script: str) -> None:
    """Wait until a JavaScript expression is true in the page."""
    wait_until(lambda: page.evaluate(script), script)


def wait_idle(page: Page) -> None:
    """Wait until the page has shown the answers to all that it asked for."""
    until(page, IDLE)


def press(page: Page, key: str, times: int = 1) -> None:
    """Press a key as a user does: pages may play sounds after that."""
    for _ in range(times):
        for kind in ("keyDown", "keyUp"):
            page.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])


KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "Tab": 9}


def upload(page: Page, file: Path) -> None:
    """Choose a file, and wait until its sound was decoded."""
    page.call("DOM.getDocument")
    found = page.call("Runtime.evaluate", expression="document.getElementById('file')")["result"]
    page.call("DOM.setFileInputFiles", files=[str(file)], objectId=found["objectId"])
    until(page, "document.getElementById('a').value[0] === 's'")
    wait_idle(page)


def test_a_sound_goes_in_a_slider_moves_and_the_decoded_sound_changes_and_plays(
    page: Page, noise: Path
) -> None:
    upload(page, noise)
    assert "my noise.wav" in page.evaluate("document.getElementById('a').selectedOptions[0].textContent")
    assert page.evaluate(LENGTHS) == pytest.approx([1.0, 1.0], abs=0.001)
    sounds = {page.evaluate(AFTER)}
    page.evaluate(
        "window.ends = 0; document.getElementById('after').addEventListener('ended', () => { window.ends += 1; });"
        "document.querySelector('#sliders input').focus()"
    )
    press(page, "ArrowRight", 20)
    wait_idle(page)
    sounds.add(page.evaluate(AFTER))
    until(page, "window.ends >= 1")  # it played to its end, by itself
    for name in ("before", "after"):
        assert page.evaluate(SHADES % f"spectrogram-{name}") > 50
        assert page.evaluate(SHADES % f"wave-{name}") >= 1
    page.evaluate("document.querySelector('#sliders button').click()")
    wait_idle(page)
    unchanged = page.evaluate(AFTER)
    assert len(sounds) == 2
    assert unchanged in sounds
    assert page.complaints == []


def test_setting_a_dimension_differs_from_adding_to_it(page: Page) -> None:
    sounds = set()
    for mode in ("add", "set"):
        page.evaluate(f"document.querySelector('input[name=mode][value={mode}]').click()")
        page.evaluate("document.querySelector('#sliders input').focus()")
        press(page, "ArrowRight", 5)
        wait_idle(page)
        sounds.add(page.evaluate(AFTER))
    assert len(sounds) == 2


def test_the_handle_on_the_map_goes_from_one_utterance_to_another(page: Page) -> None:
    page.evaluate("document.getElementById('map').scrollIntoView({ block: 'center' })")
    at = (
        "(() => {{ const box = document.querySelectorAll('#map .{}')[{}].getBoundingClientRect();"
        "return [box.left + box.width / 2, box.top + box.height / 2]; }})()"
    )

    def mouse(kind: str, x: float, y: float) -> None:
        page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    for number in (0, 1):
        for kind in ("mousePressed", "mouseReleased"):
            mouse(kind, *page.evaluate(at.format("point", number)))
    chosen = page.evaluate("['a', 'b'].map((list) => document.getElementById(list).value)")
    assert len(set(chosen)) == 2
    wait_idle(page)
    first = page.evaluate(AFTER)
    start, goal = page.evaluate(at.format("handle", 0)), page.evaluate(at.format("end", 1))
    middle = [(one + other) / 2 for one, other in zip(start, goal, strict=True)]
    mouse("mousePressed", *start)
    mouse("mouseMoved", *middle)
    mouse("mouseReleased", *middle)
    assert page.evaluate("Number(document.getElementById('share').value)") == pytest.approx(0.5, abs=0.03)
    wait_idle(page)
    assert page.evaluate(AFTER) != first
    assert "% of the way from A to B" in page.evaluate("document.getElementById('after-text').textContent")
    assert page.complaints == []


def test_a_recording_goes_in(page: Page) -> None:
    page.evaluate("document.getElementById('record').click()")
    until(page, "parseFloat(document.getElementById('record').textContent.slice(6)) >= 0.5")
    page.evaluate("document.getElementById('record').click()")
    until(page, "document.getElementById('a').selectedOptions[0].textContent.startsWith('recording 1')")
    wait_idle(page)
    assert min(page.evaluate(LENGTHS)) > 0.2
    assert page.evaluate(SHADES % "spectrogram-before") > 50
    assert page.evaluate("document.getElementById('record').textContent") == "Record"
    assert page.complaints == []


def test_a_file_that_is_no_sound_gets_one_line_and_the_page_goes_on(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "text.wav"
    file.write_text("no sound")
    found = page.call("Runtime.evaluate", expression="document.getElementById('file')")["result"]
    page.call("DOM.setFileInputFiles", files=[str(file)], objectId=found["objectId"])
    until(page, f"{STATUS}.includes('text.wav cannot be decoded')")
    page.evaluate("document.querySelector('#sliders input').focus()")
    press(page, "ArrowRight")
    until(page, f"{STATUS}.includes('of sound in')")


def test_the_page_loads_from_the_playground_alone(page: Page, url: str) -> None:
    assert page.complaints == []
    assert all(request.startswith((url, "data:", "blob:")) for request in page.requests)


def test_every_control_has_a_name_and_is_reached_by_the_keyboard(page: Page) -> None:
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    controls = {"button", "combobox", "slider", "spinbutton", "checkbox", "radio", "link", "image"}
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and node.get("role", {}).get("value") in controls
    ]
    assert [one for one in named if not one[1]] == []
    assert {"combobox", "slider", "spinbutton", "checkbox", "radio", "button", "image"} <= {
        role for role, _ in named
    }
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached = set()
    for _ in range(60):
        press(page, "Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.name || ''"))
    assert {"a", "b", "file", "record", "pick", "play", "before", "after", "mode", "reset"} <= reached
    assert sum(name.startswith("dimension-") for name in reached) == 8


@pytest.mark.parametrize("width", [360, 390, 768, 1400])
def test_nothing_is_wider_than_the_screen(page: Page, width: int) -> None:
    page.show(width, "light")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_is_legible_and_canvases_follow_the_scheme(page: Page, scheme: str) -> None:
    page.show(1400, scheme)
    found = page.evaluate(CONTRASTS)
    assert found["low"] == []
    assert found["count"] > 40
    corner = (
        "[...document.getElementById('spectrogram-before').getContext('2d').getImageData(60, 12, 1, 1).data]"
    )

    def paper_like() -> bool:
        shade: list[int] = page.evaluate(corner)
        return shade[3] == 255 and (shade[0] > 128) == (scheme == "light")

    wait_until(paper_like, f"a canvas in {scheme} colors")


def test_a_page_that_lost_its_playground_says_so(page: Page) -> None:
    page.call(
        "Network.emulateNetworkConditions",
        offline=True,
        latency=0,
        downloadThroughput=-1,
        uploadThroughput=-1,
    )
    try:
        page.evaluate("document.querySelector('#sliders input').focus()")
        press(page, "ArrowRight")
        until(page, f"{STATUS}.includes('does not answer')")
    finally:
        page.call(
            "Network.emulateNetworkConditions",
            offline=False,
            latency=0,
            downloadThroughput=-1,
            uploadThroughput=-1,
        )


def test_a_playground_without_shards_begins_with_a_sound_of_ones_own(
    browser: Page, playground: Playground, noise: Path
) -> None:
    dimensions = tuple(Dimension(index, None, None, None) for index in range(8))
    empty = Playground(playground._session, Survey((), None, dimensions, "", "the shards are gone"))
    with served(build_app(empty, TOKEN)) as origin:
        address = f"{origin}/{TOKEN}/"
        browser.show(390, "dark")
        browser.complaints.clear()
        browser.open(address)
        until(browser, f"{STATUS}.startsWith('Upload or record')")
        assert browser.evaluate("document.getElementById('problem').textContent") == "the shards are gone"
        assert browser.evaluate("document.getElementById('map-figure').hidden")
        upload(browser, noise)
        assert browser.evaluate(LENGTHS) == pytest.approx([1.0, 1.0], abs=0.001)
        assert browser.complaints == []
