"""What `vgim data` prints about a shard folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgim.cli.color import table_width
from vgim.text import align_columns, first_few, plural, printable

if TYPE_CHECKING:
    from vgim.data.shards.manifest import Manifest
    from vgim.data.shards.phone_counts import PhoneCounts

MAX_LISTED = 10
MIB = 2**20


def describe(path: str, manifest: Manifest) -> str:
    """A shard folder in a few lines, its table as wide as the terminal at most."""
    splits = [("split", "utterances", "hours", "speakers", "shards", "MiB")]
    for name, split in manifest.splits.items():
        mib = sum(shard.bytes for shard in split.shards) / MIB
        counts = (
            f"{split.utterances:,}",
            f"{split.hours:.2f}",
            f"{split.speakers:,}",
            f"{len(split.shards):,}",
        )
        splits.append((name, *counts, f"{mib:,.1f}"))
    lines = [
        f"{path}: {manifest.corpus}, {manifest.codec} at {manifest.sample_rate_hz} Hz, "
        f"made {manifest.created}",
        align_columns(splits, width=table_width()),
    ]
    phones = manifest.phone_inventory
    lines += [
        f"phone labels: {f'{len(phones)} classes' if phones else 'none'}{_of_aligner(manifest)}",
        f"mean {manifest.corpus_mean:.6f}, standard deviation {manifest.corpus_std:.6f}",
        f"fingerprint {manifest.fingerprint}",
    ]
    if manifest.origin is not None:
        sources = first_few(source.shards for source in manifest.origin.sources)
        lines.append(f"made by `vgim data {manifest.origin.verb}` of {sources}")
    if manifest.beyond_max_hours:
        lines.append(f"left out by --max-hours: {plural(manifest.beyond_max_hours, 'utterance')}")
    if manifest.left_out:
        lines.append(f"left out, in none of the lists: {manifest.left_out:,}")
    if manifest.skipped:
        of_kinds = ", ".join(f"{kind}: {count:,}" for kind, count in manifest.skipped_by_reason.items())
        lines.append(f"skipped {plural(len(manifest.skipped), 'file')} ({of_kinds})")
        lines += [f"  {item.path_or_id}: {item.reason}" for item in manifest.skipped[:MAX_LISTED]]
        if len(manifest.skipped) > MAX_LISTED:
            lines.append(f"  and {len(manifest.skipped) - MAX_LISTED:,} more, all in manifest.json")
    lines += [f"warning: {warning}" for warning in manifest.warnings]
    return printable("\n".join(lines))  # names of files and utterances are the corpus's


def _of_aligner(manifest: Manifest) -> str:
    """Words on labels that an aligner made."""
    alignment = manifest.alignment
    if alignment is None:
        return ""
    without = len(alignment.unaligned)
    from vgim.data.shards.alignment import OF_PREPARATION

    made = "from" if OF_PREPARATION in alignment.aligner else "aligned by"
    return f", {made} {alignment.aligner}" + (f", {plural(without, 'utterance')} without" if without else "")


def describe_phones(counts: PhoneCounts, width: int | None = None) -> str:
    """A table of phone classes, the most frequent first, for a terminal of a width."""
    total = int(counts.frames_K.sum())
    rows = [("phone", "class", "minutes", "share", "stretches", "mean ms")]
    for number in sorted(range(len(counts.inventory)), key=lambda number: -counts.frames_K[number]):
        frames = int(counts.frames_K[number])
        rows.append(
            (
                counts.inventory[number],
                str(number),
                f"{frames / 6000:,.1f}",
                f"{frames / max(total, 1):.1%}",
                f"{int(counts.segments_K[number]):,}",
                f"{counts.mean_ms[number]:.0f}",
            )
        )
    labeled = f"{counts.num_labeled:,} of {plural(counts.num_utterances, 'utterance')} with labels"
    return f"{align_columns(rows, width=width)}\n{labeled}, {total / 360_000:.2f} hours"
