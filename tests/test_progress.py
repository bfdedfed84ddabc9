"""What work reports to where nothing, or messages alone, are shown."""

from __future__ import annotations

from tests.recorded import Recorded
from vgim.progress import SILENT, MessagesOnly, WithPrefix, track


def test_the_default_shows_nothing() -> None:
    with SILENT.stage("reading", total=3, unit="shard") as stage:
        stage.advance()
        stage.update(done=2, total=4, detail="more")
    SILENT.message("a note")


def test_messages_only_go_where_they_are_sent() -> None:
    lines: list[str] = []
    progress = MessagesOnly(lines.append)
    with progress.stage("reading") as stage:
        stage.advance(2)
    progress.message("a note")
    assert lines == ["a note"]


def test_items_are_tracked_and_come_in_their_order() -> None:
    assert list(track(SILENT, ["a", "b"], "reading", "file")) == ["a", "b"]


def test_a_prefix_is_before_messages_and_not_before_stages() -> None:
    heard = Recorded()
    progress = WithPrefix(heard, "one: ")
    with progress.stage("reading", total=2, unit="file", done=1) as stage:
        stage.advance()
    progress.message("a note")
    assert heard.messages == ["one: a note"]
    assert (heard.of("reading").total, heard.of("reading").unit, heard.of("reading").done) == (2, "file", 2)
