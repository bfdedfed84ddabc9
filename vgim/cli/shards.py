"""What `vgim data` prints about a shard folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgim.text import align_columns, plural

if TYPE_CHECKING:
    from vgim.data.shards.manifest import Manifest
    from vgim.data.shards.phone_counts import PhoneCounts

MAX_LISTED = 10
MIB = 2**20


def describe(path: str, manifest: Manifest) -> str:
    """A shard folder in a few lines."""
    lines = [
        f"{path}: {manifest.corpus}, {manifest.codec} at {manifest.sample_rate_hz} Hz, "
        f"made {manifest.created}",
        f"{'split':<12}{'utterances':>10}{'hours':>9}{'speakers':>10}{'shards':>8}{'MiB':>10}",
    ]
    for name, split in manifest.splits.items():
        mib = sum(shard.bytes for shard in split.shards) / MIB
        lines.append(
            f"{name:<12}{split.utterances:>10,}{split.hours:>9.2f}{split.speakers:>10}"
            f"{len(split.shards):>8}{mib:>10.1f}"
        )
    phones = manifest.phone_inventory
    lines += [
        f"phone labels: {f'{len(phones)} classes' if phones else 'none'}{_of_aligner(manifest)}",
        f"mean {manifest.corpus_mean:.6f}, standard deviation {manifest.corpus_std:.6f}",
        f"fingerprint {manifest.fingerprint}",
    ]
    if manifest.left_out:
        lines.append(f"left out, in none of the lists: {manifest.left_out:,}")
    if manifest.skipped:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in manifest.skipped_by_reason.items())
        lines.append(f"skipped: {counts}")
        lines += [f"  {item.path_or_id}: {item.reason}" for item in manifest.skipped[:MAX_LISTED]]
        if len(manifest.skipped) > MAX_LISTED:
            lines.append(f"  and {len(manifest.skipped) - MAX_LISTED:,} more, all in manifest.json")
    lines += [f"warning: {warning}" for warning in manifest.warnings]
    return "\n".join(lines)


def _of_aligner(manifest: Manifest) -> str:
    """Words on labels that an aligner made."""
    alignment = manifest.alignment
    if alignment is None:
        return ""
    without = len(alignment.unaligned)
    return f", aligned by {alignment.aligner}" + (f", {without:,} utterances without" if without else "")


def describe_phones(counts: PhoneCounts) -> str:
    """A table of phone classes, the most frequent first."""
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
    return f"{align_columns(rows)}\n{labeled}, {total / 360_000:.2f} hours"
