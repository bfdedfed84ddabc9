"""Reads a page as a screen reader would: text, headings, pictures, sounds."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from vgim.report.page import write_report

VOID = {"meta", "link", "img", "br"}


class Reading(HTMLParser):
    """The text, headings and elements of a page.

    Raises:
        AssertionError: an element is not closed, or closes another.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.headings: list[tuple[int, str]] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every element of a kind."""
        return [attributes for name, attributes in self.attributes if name == tag]

    @property
    def pictures(self) -> list[dict[str, str | None]]:
        """Attributes of every picture that is no spectrogram."""
        return [attributes for attributes in self.of("img") if attributes.get("class") != "spectrogram"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag in ("h1", "h2", "h3", "h4", "h5"):
            self.headings.append((int(tag[1]), ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, tag
        self.text += " " * (tag in ("td", "th", "dt"))

    def handle_data(self, data: str) -> None:
        if {"script", "style"} & set(self._open):
            return
        self.text += data
        if self.headings and self._open and self._open[-1] == f"h{self.headings[-1][0]}":
            level, text = self.headings[-1]
            self.headings[-1] = (level, text + data)

    @property
    def words(self) -> str:
        """The text with single spaces."""
        return " ".join(self.text.split())


def read(run: Path, **more: object) -> Reading:
    """The report of a run, read back."""
    return Reading(write_report(str(run), **more).read_text())  # type: ignore[arg-type]
