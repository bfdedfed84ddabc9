"""Features that tests write, whole or stopped before the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from vgim.export.features.job import FeaturesRecord, write_features
from vgim.export.features.options import FeatureOptions
from vgim.export.features.part import write_part
from vgim.progress import MessagesOnly

ALL = FeatureOptions(modules=())


def files_of(folder: Path) -> dict[str, bytes]:
    """Content of every file but the record, which has a time."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "features.json" and ".claim" not in path.parts
    }


def features_of(
    corpus: Path,
    run: str,
    out: Path,
    said: list[str],
    *,
    options: FeatureOptions | None = None,
    overwrite: bool = False,
) -> FeaturesRecord:
    return write_features(
        run,
        str(corpus),
        str(out),
        options or FeatureOptions(),
        device="cpu",
        overwrite=overwrite,
        progress=MessagesOnly(said.append),
    )


def stop_before_the_end(
    corpus: Path, run: str, out: Path, monkeypatch: pytest.MonkeyPatch, *, num_parts: int
) -> None:
    """Write features in parts of two files, and stop after some of the parts."""

    def stopping(*arguments: object) -> object:
        nonlocal num_parts
        if not num_parts:
            raise KeyboardInterrupt
        num_parts -= 1
        return write_part(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("vgim.export.features.corpus.FILES_IN_PART", 2)
    with monkeypatch.context() as patch:
        patch.setattr("vgim.export.features.job.write_part", stopping)
        with pytest.raises(KeyboardInterrupt):
            features_of(corpus, run, out, [])
