"""Prepare the embedded corpus without keeping its audio files, for a config with `data.synthetic`."""

from __future__ import annotations

import os

from vgim.config.schema import SyntheticConfig
from vgim.data.corpora.librispeech import SYNTHETIC, find_librispeech, synthetic_variant
from vgim.data.corpora.synthetic import synthesize, synthetic_facts
from vgim.data.shards.manifest import Manifest, is_complete, read_manifest
from vgim.data.shards.prepare import prepare
from vgim.errors import DataError
from vgim.progress import SILENT, Progress
from vgim.storage import Location, temporary_folder


def prepare_embedded(
    shards: str | os.PathLike[str] | Location, config: SyntheticConfig, progress: Progress = SILENT
) -> Manifest:
    """Synthesize the corpus into a temporary folder and prepare it in this process, without Ray.

    A complete folder of the same corpus is left alone.

    Args:
        shards: Folder or URI for the shards.
        config: Size and seed of the corpus.
        progress: Where to report how far the work is.

    Returns:
        The manifest.

    Raises:
        ConfigError: There are fewer utterances than speakers.
        DataError: `shards` holds something else.
        StorageError: `shards` cannot be written.
    """
    folder = Location(shards)
    variant = synthetic_variant(synthetic_facts(config.speakers, config.utterances, config.seed))
    if is_complete(folder):
        manifest = read_manifest(folder)
        found = manifest.variant if manifest.corpus == SYNTHETIC.name else "another corpus"
        if found != variant:
            raise DataError(
                f"{folder} holds {manifest.corpus} shards ({found}), not the embedded corpus with {variant}; choose "
                "another folder, or remove it"
            )
        return manifest
    with temporary_folder("vgim-corpus-") as scratch:
        corpus = scratch / "corpus"
        synthesize(
            corpus,
            speakers=config.speakers,
            utterances=config.utterances,
            seed=config.seed,
            progress=progress,
        )
        return prepare(find_librispeech(corpus), folder, workers=0, progress=progress)
