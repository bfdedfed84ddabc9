"""What `vgim data` tells of its work: progress while it goes on, and what a shard folder holds."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from vgim.data.shards.manifest import Manifest
    from vgim.data.shards.write_all import Progress

SECONDS_BETWEEN_LINES = 15.0
MAX_LISTED = 10
MIB = 2**20


class ProgressLine:
    """Progress on stderr: one line that renews itself on a terminal, a line now and then in a log."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last = time.monotonic()

    def show(self, line: str, *, finished: bool) -> None:
        """Show where the work stands."""
        if self._terminal:
            click.echo(f"\r{line}", nl=finished, err=True)
        elif finished or time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            click.echo(line, err=True)

    def of_shards(self, progress: Progress) -> None:
        """The callback of `prepare`."""
        if progress.unchanged:
            click.echo("already prepared from the same corpus with the same options; nothing to do", err=True)
            return
        line = (
            f"{progress.shards_done} of {progress.num_shards} shards, {progress.utterances_done:,} utterances"
        )
        if progress.shards_reused:
            line += f" ({progress.shards_reused} shards were finished earlier)"
        self.show(line, finished=progress.shards_done == progress.num_shards)

    def of_utterances(self, done: int, count: int) -> None:
        """The callback of `synthesize`."""
        self.show(f"{done:,} of {count:,} utterances", finished=done == count)


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
        f"phone labels: {f'{len(phones)} classes' if phones else 'none'}",
        f"mean {manifest.corpus_mean:.6f}, deviation {manifest.corpus_std:.6f}",
        f"fingerprint {manifest.fingerprint}",
    ]
    if manifest.left_out:
        lines.append(f"left out, being in none of the lists: {manifest.left_out:,}")
    if manifest.skipped:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in manifest.skipped_by_reason.items())
        lines.append(f"skipped: {counts}")
        lines += [f"  {item.path_or_id}: {item.reason}" for item in manifest.skipped[:MAX_LISTED]]
        if len(manifest.skipped) > MAX_LISTED:
            lines.append(f"  and {len(manifest.skipped) - MAX_LISTED:,} more, all in manifest.json")
    lines += [f"warning: {warning}" for warning in manifest.warnings]
    return "\n".join(lines)
