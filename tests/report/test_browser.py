"""The page in headless Chromium; skipped if there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import CONTRASTS, Page, find_browser
from vgim.report.page import write_report

PROGRAM = find_browser()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")

LENGTHS = """
Promise.all([...document.querySelectorAll('audio')].map(async (audio) => {
  await new Promise((done) => audio.readyState >= 1 ? done() : audio.addEventListener('loadedmetadata', done));
  const promised = parseFloat(audio.getAttribute('aria-label').match(/([0-9.]+) seconds$/)[1]);
  return { promised, duration: audio.duration, error: audio.error && audio.error.message };
}))
"""
PLAY_ONE = """
(async (number) => {
  const audio = document.querySelectorAll('audio')[number];
  const ended = new Promise((done) => audio.addEventListener('ended', done, { once: true }));
  await audio.play();
  await ended;
  return audio.currentTime;
})(%d)
"""


@pytest.fixture(scope="module")
def url(whole_run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("browser") / "report.html"
    write_report(str(whole_run), [str(whole_run)], out=str(out))
    return out.as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    assert PROGRAM is not None
    with Page(PROGRAM, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser: Page, url: str) -> Page:
    browser.show(1280, "light")
    browser.requests.clear()
    browser.complaints.clear()
    browser.open(url)
    return browser


def test_the_page_loads_without_browser_errors_and_without_the_network(page: Page, url: str) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.evaluate("new Promise((done) => setTimeout(done, 200))")
    assert page.complaints == []
    assert {request for request in page.requests if not request.startswith("data:")} == {url}


def test_every_picture_has_loaded(page: Page) -> None:
    sizes = page.evaluate(
        "Promise.all([...document.images].map((one) => one.decode().then(() => one.naturalWidth)))"
    )
    assert len(sizes) == 10 + 15  # and a spectrogram of each sound
    assert min(sizes) > 0


def test_sounds_have_their_length_and_play_to_their_end(page: Page) -> None:
    sounds: list[dict[str, Any]] = page.evaluate(LENGTHS)
    assert len(sounds) == 15
    for sound in sounds:
        assert sound["error"] is None
        assert sound["duration"] == pytest.approx(sound["promised"], abs=0.01)
    for number in (0, 1, 14):
        assert page.evaluate(PLAY_ONE % number) == pytest.approx(sounds[number]["promised"], abs=0.02)


def test_playing_a_sound_pauses_the_others(page: Page) -> None:
    first = "document.querySelectorAll('audio')[0]"
    assert page.evaluate(
        f"{first}.play().then(() => document.querySelectorAll('audio')[1].play()).then(() => {first}.paused)"
    )


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen(page: Page, width: int) -> None:
    page.show(width, "light")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_is_legible(page: Page, scheme: str) -> None:
    page.show(1280, scheme)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = page.evaluate(CONTRASTS)
    assert found["low"] == []
    assert found["count"] > 200


def test_light_and_dark_follow_the_system_until_the_reader_chooses(page: Page) -> None:
    color = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(color)
    page.show(1280, "dark")
    dark = page.evaluate(color)
    assert light != dark
    page.evaluate("document.querySelector('#tools button').click()")
    assert page.evaluate(color) == light
    page.show(1280, "light")
    page.evaluate("document.querySelector('#tools button').click()")
    assert page.evaluate(color) == dark


def test_the_copy_button_copies_the_whole_command(page: Page) -> None:
    page.evaluate(
        "navigator.clipboard.writeText = async (text) => { window.copied = text; };"
        "document.querySelector('#commands').parentElement.querySelector('.command button').click()"
    )
    assert page.evaluate("window.copied") == "vgim train tiny.yaml 'storage.name=a run'"


def test_a_reader_who_points_at_a_chart_is_told_the_value(page: Page) -> None:
    x, y = page.evaluate(
        "(() => { const svg = document.querySelector('[aria-labelledby=training] .chart svg'); "
        "svg.scrollIntoView({ behavior: 'instant' });"
        "const at = svg.querySelector('.line').getPointAtLength(0).matrixTransform(svg.getScreenCTM());"
        "return [at.x, at.y]; })()"
    )
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    tip = page.evaluate("document.querySelector('[aria-labelledby=training] .tip').textContent")
    assert tip.startswith("module ")
    assert "optimizer steps 10: " in tip or "optimizer steps 30: " in tip
    box = page.evaluate(
        "document.querySelector('[aria-labelledby=training] .tip').getBoundingClientRect().toJSON()"
    )
    assert box["width"] > 40
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    assert page.evaluate("document.querySelector('[aria-labelledby=training] .tip').textContent") == ""


def test_the_arrow_keys_walk_along_the_lines_of_a_chart(page: Page) -> None:
    page.evaluate("document.querySelector('[aria-labelledby=training] .chart svg').focus()")

    def press(key: str) -> str:
        for kind in ("rawKeyDown", "keyUp"):
            page.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)
        tip: str = page.evaluate("document.querySelector('[aria-labelledby=training] .tip').textContent")
        return tip

    first, second, other = press("Home"), press("ArrowRight"), press("ArrowDown")
    assert len({first, second, other}) == 3
    line = first.partition("\n")[0]
    assert press("ArrowUp").partition("\n")[0] == line != other.partition("\n")[0]
    assert press("Home") == first
    press("ArrowRight")
    assert press("ArrowLeft") == first
    assert "optimizer steps 300: " in press("End")
    assert press("Escape") == ""


def test_a_table_that_goes_on_to_the_right_says_so(page: Page) -> None:
    hints = "[...document.querySelectorAll('.hint')].filter((one) => one.offsetParent).map((one) => one.textContent)"
    page.show(390, "light")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    found = page.evaluate(hints)
    assert found
    assert "sideways" in found[0]
    page.show(1280, "light")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert len(page.evaluate(hints)) < len(found)


def test_pictures_and_spectrograms_follow_dark_mode_and_the_readers_choice_but_not_paper(page: Page) -> None:
    filters = "[...document.querySelectorAll('.picture img, .spectrogram')].map((one) => getComputedStyle(one).filter)"
    assert set(page.evaluate(filters)) == {"none"}
    page.show(1280, "dark")
    assert "none" not in page.evaluate(filters)
    page.evaluate("document.querySelector('#tools button').click()")
    assert set(page.evaluate(filters)) == {"none"}
    page.evaluate("document.querySelector('#tools button').click()")
    page.call("Emulation.setEmulatedMedia", media="print")
    assert set(page.evaluate(filters)) == {"none"}
    page.call("Emulation.setEmulatedMedia", media="")
