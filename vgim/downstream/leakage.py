"""Leakage: test utterances of a probe that the encoder was trained on."""

from __future__ import annotations

from vgim.config import RunConfig
from vgim.data.shards.index import of_split, read_index, recordings_of
from vgim.data.shards.manifest import Manifest, read_manifest
from vgim.errors import VgimError
from vgim.storage import Location


def count_seen(config: RunConfig, trained_on: str, shards: Location, manifest: Manifest) -> int | None:
    """Count the test utterances of the shards whose recording is in the train split of the run's own shards.

    An utterance that is cut from a recording, as a syllable from a word, counts as that recording.

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
        if own_manifest.corpora.isdisjoint(manifest.corpora):
            return 0
        seen = set(_recordings(own_shards, own_manifest, "train"))
    except VgimError:
        return None
    return sum(recording in seen for recording in _recordings(shards, manifest, "test"))


def _recordings(shards: Location, manifest: Manifest, split: str) -> list[str]:
    """Id of the recording that each utterance of a split is cut from."""
    index = read_index(shards, manifest)
    recording_of = recordings_of(index, manifest)
    return [recording_of[name] for name in of_split(index, split)["utterance_id"].to_pylist()]
