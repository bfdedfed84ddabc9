"""Leakage: test utterances of a probe that the encoder was trained on."""

from __future__ import annotations

from vgim.config import RunConfig
from vgim.data.shards.manifest import Manifest, read_manifest
from vgim.data.shards.read import read_lengths
from vgim.errors import VgimError
from vgim.storage import Location


def count_seen(config: RunConfig, trained_on: str, shards: Location, manifest: Manifest) -> int | None:
    """Count the test utterances of the shards whose recording is in the train split of the run's own shards.

    Utterances that are cut from one recording, as syllables from a word, count as that recording.

    Args:
        config: Config of the run.
        trained_on: Fingerprint of the data that the weights were trained on.
        shards: Shards of the probe.
        manifest: Manifest of `shards`.

    Returns:
        The number; None if it is unknown, because the run's own shards are gone or hold other data by now.
    """
    if manifest.fingerprint == trained_on:
        return 0  # splits of one shard folder are disjoint
    try:
        own_shards = Location(config.data.shards)
        own_manifest = read_manifest(own_shards)
        if own_manifest.fingerprint != trained_on:
            return None
        seen = {_recording(u, own_manifest) for u in read_lengths(own_shards, "train")}
    except VgimError:
        return None
    return sum(_recording(u, manifest) in seen for u in read_lengths(shards, "test"))


def _recording(utterance_id: str, manifest: Manifest) -> tuple[str, str]:
    """Corpus and id of the recording that an utterance is cut from."""
    return manifest.corpus, manifest.traits.recording_of(utterance_id)
