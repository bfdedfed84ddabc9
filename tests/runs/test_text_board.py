"""Results as text in a run's TensorBoard."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vgim.runs.text_board import BoardText, write_text_board
from vgim.storage import Location


def test_commands_that_write_the_same_board_at_once_leave_one_whole(tmp_path: Path) -> None:
    def write() -> None:
        for step in range(20):
            write_text_board(Location(tmp_path), "probes", {"phone": BoardText("| a |", step)})

    with ThreadPoolExecutor(2) as pool:
        for written in [pool.submit(write) for _ in range(2)]:
            written.result()
    assert [path.name for path in (tmp_path / "tensorboard").iterdir()] == ["probes"]
    assert len(list((tmp_path / "tensorboard" / "probes").iterdir())) == 1
