"""What `vgim data` prints: progress of its work, and the description of a shard folder."""

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
    """Progress on stderr: one line that is overwritten on a terminal, a line every 15 seconds in a log."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._last_line = time.monotonic()

    def show(self, line: str, *, finished: bool) -> None:
        """Print the line, or skip it if the last line in the log is too recent."""
        if self._is_terminal:
            click.echo(f"\r{line}", nl=finished, err=True)
        elif finished or time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            click.echo(line, err=True)

    def show_shards(self, progress: Progress) -> None:
        """The `progress` callback of `prepare`."""
        if progress.unchanged:
            click.echo("already prepared from the same corpus with the same options; nothing to do", err=True)
            return
        line = (
            f"{progress.shards_done} of {progress.num_shards} shards, {progress.utterances_done:,} utterances"
        )
        if progress.shards_reused:
            line += f" ({progress.shards_reused} shards were finished earlier)"
        self.show(line, finished=progress.shards_done == progress.num_shards)

    def show_utterances(self, num_done: int, num_utterances: int) -> None:
        """The `progress` callback of `synthesize`."""
        self.show(f"{num_done:,} of {num_utterances:,} utterances", finished=num_done == num_utterances)


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
