"""Whether an encoder was trained on the audio that a probe reports on."""

from __future__ import annotations

from vgim.config import RunConfig
from vgim.data.shards.manifest import Manifest, read_manifest
from vgim.data.shards.read import read_lengths
from vgim.errors import VgimError
from vgim.storage import Location


def count_seen(config: RunConfig, trained_on: str, shards: Location, manifest: Manifest) -> int | None:
    """How many utterances of the shards' test split stand in the train split of the run's own shards.

    An Artificial Speech syllable counts as seen where the word that it was cut from was trained on.

    Args:
        config: The run's.
        trained_on: Fingerprint of the data the weights were trained on.
        manifest: Of `shards`.

    Returns:
        None where it cannot be told: the run's own shards are gone, or are other data by now.
    """
    if manifest.fingerprint == trained_on:
        return 0  # splits of one shard folder are disjoint
    try:
        own = Location(config.data.shards)
        own_manifest = read_manifest(own)
        if own_manifest.fingerprint != trained_on:
            return None
        seen = {_recording(u, own_manifest) for u in read_lengths(own, "train")}
    except VgimError:
        return None
    return sum(_recording(u, manifest) in seen for u in read_lengths(shards, "test"))


def _recording(utterance_id: str, manifest: Manifest) -> tuple[str, str]:
    """Corpus and id of the recording that an utterance is cut from."""
    return manifest.corpus, manifest.traits.recording_of(utterance_id)
