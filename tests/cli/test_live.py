"""Progress as people see it: drawn on a recorded terminal, as lines elsewhere, by a clock that the test sets."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.cli.clock import Clock
from tests.waiting import wait_until
from vgim.cli import live
from vgim.cli.live import has_color, show_progress
from vgim.cli.plain_lines import PlainLines
from vgim.cli.terminal import SHOW_CURSOR, Terminal, pack


class Screen(io.StringIO):
    """What was written to a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


def terminal(clock: Clock, width: int = 100, **options: Any) -> tuple[Terminal, Screen]:
    screen = Screen()
    return Terminal(screen, clock, force_terminal=True, width=width, color_system=None, **options), screen


def drawing(shown: Terminal) -> list[str]:
    """The lines that are drawn now, without color, the spinner and spaces at the end."""
    with shown.console.capture() as capture:
        shown.console.print(shown)
    return [line[2:].rstrip() for line in capture.get().splitlines()]


def test_a_stage_says_what_happens_how_far_it_is_and_how_long_it_takes(clock: Clock) -> None:
    shown, _ = terminal(clock)
    with shown.stage("writing shards", total=12, unit="shard") as stage:
        (line,) = drawing(shown)
        assert line.split() == ["writing", "shards", "0/12", "shards", "0:00", "ETA", "-"]
        for done in range(1, 4):
            clock.now += 10
            stage.update(done=done, detail="1,204 utterances")
        line, detail = drawing(shown)
        assert line.startswith("writing shards  ━━━━━━━━━━")
        assert line.endswith("  3/12 shards  0:30  ETA 1:30")
        assert detail == "1,204 utterances"
    assert drawing(shown) == []


@pytest.mark.parametrize("width", [20, 40, 60, 100, 300])
def test_no_line_is_wider_than_the_terminal(clock: Clock, width: int) -> None:
    shown, _ = terminal(clock, width)
    with (
        shown.stage("reproduce-artificial-sim-seed-0", total=30, unit="run"),
        shown.stage("training", total=1_000_000, unit="step") as inner,
    ):
        inner.update(done=1234, detail="  ".join(["epoch 3.40", "nce 1.980 2.110 2.030", "41.0 crops/s"] * 3))
        lines = drawing(shown)
        assert len(lines) >= 3
        assert all(len(line) + 2 < width for line in lines)
        if width >= 60:
            assert any("1,234/1,000,000 steps" in line for line in lines)


def test_stages_within_a_stage_stand_below_it_in_columns(clock: Clock) -> None:
    shown, _ = terminal(clock)
    with shown.stage("runs", total=3, unit="run"), shown.stage("training", total=200, unit="step"):
        first, second = drawing(shown)
        assert first.startswith("runs ")
        assert second.startswith("training ")
        assert first.index("ETA") == second.index("ETA")


def test_uneven_units_have_no_time_left(clock: Clock) -> None:
    shown, _ = terminal(clock)
    with shown.stage("analyzing", total=5, unit="analysis", even=False) as stage:
        clock.now += 10
        stage.advance()
        assert drawing(shown)[0].endswith("1/5 analyses  0:10")


def test_details_are_split_between_parts(clock: Clock) -> None:
    assert list(pack(["epoch 3.40", "nce 1.98", "", "41 crops/s"], 20)) == [
        "epoch 3.40  nce 1.98",
        "41 crops/s",
    ]
    assert list(pack([""], 20)) == []


def test_messages_stand_above_the_drawing_and_nothing_of_it_is_left(clock: Clock) -> None:
    shown, screen = terminal(clock)
    with shown, shown.stage("probing", total=2, unit="probe"):
        shown.message("speaker from module 0: 61.2 %")
    final = rendered(screen.getvalue())
    assert final == ["speaker from module 0: 61.2 %"]


def rendered(written: str, num_rows: int = 30) -> list[str]:
    """The text on a terminal after so much was written: what rich uses of its control sequences."""
    rows, row, column, rest = [""] * num_rows, 0, 0, written
    while rest:
        if rest.startswith("\x1b["):
            end = next(i for i, mark in enumerate(rest[2:], 2) if mark.isalpha())
            sequence, rest = rest[2 : end + 1], rest[end + 1 :]
            if sequence == "2K":
                rows[row] = ""
            elif sequence.endswith("A"):
                row -= int(sequence[:-1])
            else:
                assert sequence in ("?25l", "?25h"), sequence
            continue
        mark, rest = rest[0], rest[1:]
        if mark == "\r":
            column = 0
        elif mark == "\n":
            row, column = row + 1, 0
        else:
            rows[row] = rows[row][:column].ljust(column) + mark + rows[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in rows if line.strip()]


def test_the_cursor_is_shown_again_after_an_error(clock: Clock) -> None:
    shown, screen = terminal(clock)
    with pytest.raises(KeyboardInterrupt), shown, shown.stage("training", total=2, unit="step"):
        raise KeyboardInterrupt
    assert screen.getvalue().endswith(SHOW_CURSOR)
    assert rendered(screen.getvalue()) == []


def test_a_long_stage_leaves_a_line_and_its_parts_and_short_ones_none(clock: Clock) -> None:
    shown, screen = terminal(clock)
    with shown:
        with shown.stage("reading shards"):
            clock.now += 1
        with shown.stage("training", total=200, unit="step") as stage, shown.stage("validating"):
            clock.now += 64
            stage.update(done=200)
        with suppress(ValueError), shown.stage("decoding"):
            clock.now += 64
            raise ValueError
    assert rendered(screen.getvalue()) == ["training  200/200 steps  took 1:04"]


def test_without_a_terminal_a_line_is_printed_now_and_then(clock: Clock) -> None:
    out = io.StringIO()
    shown = PlainLines(out, clock)
    with shown.stage("starting Ray") as stage:
        stage.update(detail="waiting for 2 CPUs")
        for _ in range(60):
            clock.now += 1
            shown.print_if_due()
    lines = out.getvalue().splitlines()
    assert lines[0] == "starting Ray  0:02  waiting for 2 CPUs"
    assert lines[1] == "starting Ray  0:12  waiting for 2 CPUs"
    assert lines[-1] == "starting Ray  took 1:00"
    assert len(lines) == 7


def test_a_day_of_work_has_about_a_line_a_minute(clock: Clock) -> None:
    out = io.StringIO()
    shown = PlainLines(out, clock)
    with shown.stage("training", total=86_400, unit="step") as stage:
        for second in range(86_400):
            clock.now += 1
            stage.update(done=second)
            shown.print_if_due()
    assert 1400 < len(out.getvalue().splitlines()) < 1600


def test_short_stages_print_nothing_without_a_terminal(clock: Clock) -> None:
    out = io.StringIO()
    shown = PlainLines(out, clock)
    for _ in range(100):
        with shown.stage("reading"):
            clock.now += 1
            shown.print_if_due()
    assert out.getvalue() == ""


def test_without_a_terminal_work_that_says_nothing_is_shown_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vgim.cli.plain_lines.LOOK_S", 0.01)
    monkeypatch.setattr("vgim.cli.plain_lines.WORTH_A_LINE_S", 0.0)
    out = io.StringIO()
    with show_progress(out) as progress, progress.stage("starting Ray"):
        wait_until(lambda: "starting Ray  0:00" in out.getvalue(), "a line")
    assert "\r" not in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with show_progress(Screen()) as progress:
        assert isinstance(progress, PlainLines)


def test_quiet_output_has_messages_alone() -> None:
    screen = Screen()
    with (
        show_progress(screen, is_quiet=True) as progress,
        progress.stage("probing", total=1, unit="probe") as stage,
    ):
        stage.advance()
        stage.update(detail="module 0")
        progress.message("note: look")
    assert screen.getvalue() == "note: look\n"


@pytest.mark.parametrize(("variable", "is_colored"), [("", True), ("1", False)])
def test_no_color_is_respected(variable: str, is_colored: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", variable)
    assert has_color(Screen()) is is_colored
    assert not has_color(io.StringIO())
    shown = Terminal(Screen(), Clock(), force_terminal=True, width=60)
    with shown.stage("training", total=4, unit="step") as stage:
        stage.advance()
        with shown.console.capture() as capture:
            shown.console.print(shown)
    assert ("\x1b[3" in capture.get()) is is_colored


def test_stages_may_be_reported_from_several_threads() -> None:
    screen = Screen()
    shown = Terminal(screen, force_terminal=True, width=80)
    with shown, shown.stage("decoding", total=400, unit="sound") as stage:

        def work() -> None:
            for number in range(100):
                with shown.stage(f"sound {number}"):
                    stage.advance()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert stage.done == 400
        assert any("400/400 sounds" in line for line in drawing(shown))


def test_rich_is_imported_for_terminals_alone() -> None:
    code = (
        "import io, sys; from vgim.cli.live import show_progress\n"
        "with show_progress(io.StringIO()) as p, p.stage('x'): pass\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] == 'rich'))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True, env=os.environ).strip() == "[]"
    assert live.__doc__


def test_a_stage_without_numbers_has_the_room_of_the_others_numbers(clock: Clock) -> None:
    shown, _ = terminal(clock, 60)
    with (
        shown.stage("writing shards", total=358, unit="utterance"),
        shown.stage("starting Ray on this machine"),
    ):
        first, second = drawing(shown)
        assert second.startswith("starting Ray on this machine  ")
        assert first.index("0:00") == second.index("0:00")


HOSTILE = "skipped a\x1b[2J\x1b]0;title\x07\u202e.wav"
"""A note on a file whose name would clear the screen."""


def test_names_cannot_move_the_cursor(clock: Clock) -> None:
    shown, screen = terminal(clock)
    with shown.stage(HOSTILE) as stage:
        stage.update(detail=HOSTILE)
        assert not any("\x1b" in line for line in drawing(shown))
    with shown:
        shown.message(HOSTILE)
    plain = io.StringIO()
    with show_progress(plain) as lines:
        lines.message(HOSTILE)
    with show_progress(plain, is_quiet=True) as quiet:
        quiet.message(HOSTILE)
    for written in (screen.getvalue(), plain.getvalue()):
        assert "\x1b[2J" not in written
        assert "\x1b]0" not in written
        assert "\u202e" not in written
        assert r"skipped a\x1b[2J\x1b]0;title\x07\u202e.wav" in written


@pytest.mark.parametrize("term", [None, "", "dumb", "unknown"])
def test_nothing_is_drawn_where_the_terminal_is_not_known(
    term: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if term is None:
        monkeypatch.delenv("TERM", raising=False)
    else:
        monkeypatch.setenv("TERM", term)
    screen = Screen()
    with show_progress(screen) as progress, progress.stage("training", total=2, unit="step"):
        progress.message("half")
    assert screen.getvalue() == "half\n"


def test_what_a_terminal_cannot_write_is_not_drawn(clock: Clock) -> None:
    class AsciiScreen(Screen):
        encoding = "ascii"  # type: ignore[assignment]

    shown = Terminal(AsciiScreen(), clock, force_terminal=True, width=20, color_system=None)
    with shown.stage("writing features of speech", total=1_000_000, unit="utterance") as stage:
        stage.update(detail="x" * 50)
        for line in drawing(shown):
            assert line.isascii()
            assert len(line) + 2 < 20


@pytest.mark.parametrize(
    "command",
    [
        "probe nowhere",
        "latents nowhere",
        "export nowhere --to folder",
        "features nowhere corpus --out features",
        "decode sample nowhere",
    ],
)
def test_torch_is_imported_within_a_stage(command: str, tmp_path: Path) -> None:
    """Importing torch takes seconds, of which the user must be told."""
    code = f"""
import os, sys
from contextlib import contextmanager
from vgim.cli.stages import Board
open_stages = []
begin = Board.stage
@contextmanager
def stage(board, title, **how):
    with begin(board, title, **how) as begun:
        open_stages.append(title)
        yield begun
        open_stages.pop()
Board.stage = stage
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("stages:", *open_stages, flush=True)
            os._exit(0)
sys.meta_path.insert(0, Watch())
sys.argv = ["vgim", *{command.split()!r}]
from vgim.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stdout.startswith("stages: loading "), (done.stdout, done.stderr)
