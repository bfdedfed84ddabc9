"""What every corpus is turned into before it is prepared: a list of source utterances below a root."""

from __future__ import annotations

from dataclasses import dataclass

from vgim.data.shards.manifest import CorpusName, Skipped
from vgim.storage import Location


@dataclass(frozen=True)
class SourceUtterance:
    """One audio file of a corpus, as it was listed, not yet opened."""

    utterance_id: str
    speaker_id: str
    chapter_id: str
    path: str
    """Relative to the corpus's root."""
    size_bytes: int
    transcript: str
    """Empty where the corpus has none."""
    split: str | None = None
    """The published split, where the corpus's folders are its splits."""


@dataclass(frozen=True)
class Corpus:
    """All utterances of a corpus in a fixed order, and what was noticed while listing them."""

    name: CorpusName
    root: Location
    utterances: tuple[SourceUtterance, ...]
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()
    labels: Location | None = None
    """Phone labels found beside the audio."""
    pcm_bytes_per_file_byte: float = 1.0
    """A file's byte as 16 kHz PCM16, roughly; sizes the shards without opening files."""
    variant: str | None = None
    """The part of the corpus that was chosen, where there are several."""

    @property
    def estimated_pcm_bytes(self) -> int:
        return int(self.pcm_bytes_per_file_byte * sum(item.size_bytes for item in self.utterances))
