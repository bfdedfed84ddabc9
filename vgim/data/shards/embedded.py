"""The embedded corpus straight as shards: what a config with `data.synthetic` trains on."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from vgim.config.schema import SyntheticConfig
from vgim.data.corpora.librispeech import find_librispeech, synthetic_variant
from vgim.data.corpora.synthetic import synthesize, synthetic_facts
from vgim.data.shards.manifest import Manifest, is_complete, read_manifest
from vgim.data.shards.prepare import prepare
from vgim.errors import DataError
from vgim.storage import Location


def prepare_embedded(shards: str | os.PathLike[str] | Location, config: SyntheticConfig) -> Manifest:
    """Synthesize and prepare in this process, without Ray; a complete folder of the same corpus is left alone.

    The audio files go to a temporary folder and are removed. Raises ConfigError as `synthesize`, DataError if
    `shards` holds something else, StorageError.
    """
    folder = Location(shards)
    wanted = synthetic_variant(synthetic_facts(config.speakers, config.utterances, config.seed))
    if is_complete(folder):
        manifest = read_manifest(folder)
        found = manifest.options.get("part") if manifest.corpus == "synthetic" else "another corpus"
        if found != wanted:
            raise DataError(
                f"{folder} holds {manifest.corpus} shards ({found}), not the embedded corpus with {wanted}; choose "
                "another folder, or remove it"
            )
        return manifest
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch, "corpus")
        synthesize(corpus, speakers=config.speakers, utterances=config.utterances, seed=config.seed)
        return prepare(find_librispeech(corpus), folder, workers=0)
