"""`vgim data info`: what a shard folder holds, as a record and as text."""

from __future__ import annotations

from pathlib import Path

from vgim.data.manifest import (
    Manifest,
    Record,
    check_shards_present,
    counts_in_words,
    read_manifest,
    verify,
)
from vgim.storage import Location

LISTED = 5
"""Skipped files that are shown; the manifest has them all."""
MIB = 1024 * 1024


class DataInfo(Record):
    """A shard folder, described."""

    uri: str
    manifest: Manifest
    problems: tuple[str, ...] | None = None
    """Missing or damaged shards; None if the hashes were not checked."""

    def render(self) -> str:
        """Lines for a terminal."""
        manifest = self.manifest
        head = f"{'split':<12}{'utterances':>11}{'hours':>10}{'speakers':>10}{'shards':>8}{'MiB':>10}"
        lines = [
            f"{self.uri}: {manifest.corpus}, {manifest.codec}, {manifest.sample_rate_hz} Hz, {manifest.created}",
            head,
        ]
        for name, split in manifest.splits.items():
            size = sum(shard.bytes for shard in split.shards) / MIB
            lines.append(
                f"{name:<12}{split.utterances:>11}{split.hours:>10.3f}{split.speakers:>10}"
                f"{len(split.shards):>8}{size:>10.1f}"
            )
        phones = len(manifest.phone_inventory) if manifest.phone_inventory else "none"
        lines += [
            f"speakers     {len(manifest.speakers)}",
            f"phones       {phones}",
            f"train audio  mean {manifest.corpus_mean:.6f}, deviation {manifest.corpus_std:.6f} (float PCM)",
        ]
        if manifest.left_out:
            lines.append(f"left out     {manifest.left_out} utterances that no split list names")
        if manifest.skipped:
            lines.append(f"skipped      {counts_in_words(manifest.skipped_by_reason)}")
            lines += [f"  {item.path_or_id}: {item.reason}" for item in manifest.skipped[:LISTED]]
            if len(manifest.skipped) > LISTED:
                lines.append(f"  and {len(manifest.skipped) - LISTED} more, in manifest.json")
        lines += [f"warning      {warning}" for warning in manifest.warnings]
        lines.append(f"fingerprint  {manifest.fingerprint}")
        if self.problems is not None:
            lines += [f"damaged      {problem}" for problem in self.problems] or [
                "verified     every shard is whole"
            ]
        return "\n".join(lines)


def describe(uri: str | Path | Location, *, check_hashes: bool = False) -> DataInfo:
    """Describe a shard folder.

    check_hashes: hash every shard and list what is missing or damaged in `problems`; otherwise a shard that is
    missing or of another size is a DataError.
    """
    folder = Location(uri)
    manifest = read_manifest(folder)
    if not check_hashes:
        check_shards_present(folder, manifest)
        return DataInfo(uri=folder.uri, manifest=manifest)
    return DataInfo(uri=folder.uri, manifest=manifest, problems=tuple(verify(folder)))
